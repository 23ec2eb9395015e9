//! The environment of sudo, or a trace, in; the user that a trace is written as out.

use std::ffi::CString;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::{Context, Result};
use nix::unistd::{Gid, Pid, Uid, User, geteuid, getgrouplist, getppid};

/// A user with all groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    uid: Uid,
    gid: Gid,
    groups: Vec<Gid>,
}

impl Identity {
    /// The user who called sudo, if one did. Only root may become somebody else, so the environment of others does
    /// not count.
    pub fn of_caller() -> Option<Self> {
        let id = |name| std::env::var(name).ok()?.parse::<u32>().ok();
        let (uid, gid) = id("SUDO_UID").zip(id("SUDO_GID"))?;
        Self::other(uid, gid)
    }

    /// The user whom `path` belongs to, if this is root and it is somebody else's.
    pub fn of_owner(path: &Path) -> Result<Option<Self>> {
        let metadata = path.metadata().with_context(|| format!("cannot open '{}'", path.display()))?;
        Ok(Self::other(metadata.uid(), metadata.gid()))
    }

    fn other(uid: u32, gid: u32) -> Option<Self> {
        if !geteuid().is_root() || uid == 0 {
            return None;
        }
        let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
        // A user without an entry has no more groups than this.
        let name = User::from_uid(uid).ok().flatten().and_then(|user| CString::new(user.name).ok());
        let groups = name.and_then(|name| getgrouplist(&name, gid).ok()).unwrap_or_else(|| vec![gid]);
        Some(Self { uid, gid, groups })
    }

    /// Whom files are to belong to: user and group.
    pub fn ids(&self) -> (u32, u32) {
        (self.uid.as_raw(), self.gid.as_raw())
    }

    /// Become this user, in this thread only and for ever. Capabilities stay permitted.
    pub(super) fn assume(&self) -> Result<()> {
        let (uid, gid) = self.ids();
        let groups: Vec<libc::gid_t> = self.groups.iter().map(|gid| gid.as_raw()).collect();
        let end = ParentEnd::take();
        // The functions of the C library change all threads; the system calls change this one.
        // SAFETY: plain numbers, and a list that is read with its length.
        let done = unsafe {
            check(libc::prctl(libc::PR_SET_KEEPCAPS, 1, 0, 0, 0).into())
                .and_then(|()| check(libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr())))
                .and_then(|()| check(libc::syscall(libc::SYS_setresgid, gid, gid, gid)))
                .and_then(|()| check(libc::syscall(libc::SYS_setresuid, uid, uid, uid)))
        };
        done.with_context(|| {
            format!("cannot write as user {uid}, who called sudo; to write as root: sudo env -u SUDO_UID recorder ...")
        })?;
        end.restore();
        Ok(())
    }
}

/// The signal that this thread is sent at the end of its parent (`setpriv --pdeathsig`): the kernel forgets it when
/// user or group change.
struct ParentEnd {
    signal: libc::c_int,
    parent: Pid,
}

impl ParentEnd {
    fn take() -> Self {
        let (mut signal, parent) = (0, getppid());
        // SAFETY: the kernel writes to a local variable; where it does not, there is no signal.
        unsafe { libc::prctl(libc::PR_GET_PDEATHSIG, &raw mut signal, 0, 0, 0) };
        Self { signal, parent }
    }

    fn restore(self) {
        let Self { signal, parent } = self;
        if signal == 0 {
            return;
        }
        // SAFETY: plain numbers; a signal that was set is a valid one.
        unsafe {
            libc::prctl(libc::PR_SET_PDEATHSIG, signal, 0, 0, 0);
            // It ended in between.
            if getppid() != parent {
                libc::kill(libc::getpid(), signal);
            }
        }
    }
}

/// The result of a system call.
pub(super) fn check(result: libc::c_long) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
