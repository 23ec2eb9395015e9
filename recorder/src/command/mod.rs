//! A command line in, a child process out that is held back until everything is ready to watch it.
//!
//! The child is forked at once, so its process id can be put under observation, and waits on a pipe before it calls
//! exec. If the recorder dies first, the pipe ends and the child with it.
//!
//! The file that was found is the file that is run: the child compares before it calls exec. Executing a descriptor
//! would need no comparison, but then the kernel calls the program `/dev/fd/N`, its threads `N` (before 6.14), and
//! scripts get that for their name: just what is to be recorded.

mod inherited;
mod pidfd;
mod search;

use std::ffi::{CString, OsString};
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use anyhow::{Context, Result, bail, ensure};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use nix::sys::stat::{fstat, stat};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::{ForkResult, Pid, fork, pipe2, read, write};

pub use inherited::{Inherited, is_ignored};
pub use pidfd::Pidfd;
pub(crate) use search::search;

/// What the shells add to the number of the signal that ended a command.
const SIGNALLED: i32 = 128;
/// Exit code of a child that never ran its program; nobody sees it.
const NOT_RUN: i32 = 127;

/// What a child says when its program is not the file that was found.
const REPLACED: Errno = Errno::ESTALE;

/// A program that exists, and its arguments.
#[derive(Debug)]
pub struct Command {
    program: CString,
    /// What the program was when it was found.
    file: File,
    args: Vec<CString>,
    shown: String,
}

impl Command {
    /// Find the program (`words[0]`) as a shell would. Fails if it is not there or not executable.
    pub fn find(words: &[OsString]) -> Result<Self> {
        let Some(name) = words.first() else { bail!("no command given after --") };
        let shown = name.to_string_lossy().into_owned();
        let (path, file) = search(name, std::env::var_os("PATH"))?;
        let args = words.iter().map(|word| CString::new(word.as_bytes()));
        Ok(Self {
            program: CString::new(path.as_os_str().as_bytes()).context("the command holds a NUL byte")?,
            file,
            args: args.collect::<Result<_, _>>().context("an argument of the command holds a NUL byte")?,
            shown,
        })
    }

    /// Fork the child; it waits for [`Held::release`], with the signals of `inherited`.
    pub fn hold(self, inherited: Inherited) -> Result<Held> {
        let (gate_read, gate) = pipe2(OFlag::O_CLOEXEC).context("cannot make a pipe")?;
        let (failure, failure_write) = pipe2(OFlag::O_CLOEXEC).context("cannot make a pipe")?;
        let mut argv: Vec<*const libc::c_char> = self.args.iter().map(|arg| arg.as_ptr()).collect();
        argv.push(std::ptr::null());
        // SAFETY: the child only calls async-signal-safe functions (see `child`) and ends in exec or _exit, so locks
        // that other threads held at the fork do not matter.
        match unsafe { fork() }.with_context(|| format!("cannot start '{}'", self.shown))? {
            ForkResult::Child => {
                // The parent's end must not keep the pipe open, or its death would not be seen.
                drop(gate);
                child(&gate_read, &failure_write, (&self.program, &self.file), &argv, inherited)
            }
            ForkResult::Parent { child } => Ok(Held {
                child: Some(Child {
                    pid: child,
                    pidfd: Pidfd::open(child).context("cannot watch the command")?,
                    status: None,
                }),
                gate: Some(gate),
                failure,
                shown: self.shown,
            }),
        }
    }
}

/// A child that waits to be let go. Dropping it ends the child without running anything.
#[derive(Debug)]
pub struct Held {
    /// Until it is released.
    child: Option<Child>,
    /// Until it is opened or closed.
    gate: Option<OwnedFd>,
    failure: OwnedFd,
    shown: String,
}

impl Drop for Held {
    fn drop(&mut self) {
        drop(self.gate.take());
        if let Some(child) = &mut self.child {
            child.wait();
        }
    }
}

impl Held {
    /// Process id of the child, now and later.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().map_or(0, Child::pid)
    }

    /// Let it run its program. Fails if exec fails; the child is gone then.
    pub fn release(mut self) -> Result<Child> {
        let shown = std::mem::take(&mut self.shown);
        let (Some(mut child), Some(gate)) = (self.child.take(), self.gate.take()) else {
            bail!("'{shown}' was started already");
        };
        match write(&gate, b"!") {
            Ok(_) => {}
            // It was ended while it waited, by a signal: by Ctrl-C, which the terminal sends to both of us.
            Err(Errno::EPIPE) => {
                child.wait();
                return Ok(child);
            }
            Err(error) => return Err(error).with_context(|| format!("cannot start '{shown}'")),
        }
        let mut errno = [0; size_of::<i32>()];
        // Exec closes the pipe; a failed exec writes its error first.
        let length = loop {
            match read(&self.failure, &mut errno) {
                Err(Errno::EINTR) => {}
                result => break result.context("cannot learn whether the command runs")?,
            }
        };
        if length == errno.len() {
            child.wait();
            let error = Errno::from_raw(i32::from_ne_bytes(errno));
            ensure!(error != REPLACED, "'{shown}' is another file now than when it was looked up: not run");
            ensure!(
                error != Errno::ENOEXEC,
                "cannot run '{shown}': it is no program for this machine, nor a script whose first line says what \
                 runs it (#!/bin/sh): add that line, or run 'sh {shown}'"
            );
            return Err(error).with_context(|| format!("cannot run '{shown}'"));
        }
        Ok(child)
    }
}

/// A running command.
#[derive(Debug)]
pub struct Child {
    pid: Pid,
    pidfd: Pidfd,
    status: Option<i32>,
}

impl Child {
    /// Process id.
    pub fn pid(&self) -> u32 {
        self.pid.as_raw().unsigned_abs()
    }

    /// Its exit code if it has ended: 128 + signal if a signal ended it.
    pub fn poll(&mut self) -> Option<i32> {
        self.collect(WaitPidFlag::WNOHANG);
        self.status
    }

    fn wait(&mut self) {
        self.collect(WaitPidFlag::empty());
    }

    fn collect(&mut self, flags: WaitPidFlag) {
        while self.status.is_none() {
            match waitid(Id::PIDFd(self.pidfd.as_fd()), WaitPidFlag::WEXITED | flags) {
                Ok(WaitStatus::Exited(_, code)) => self.status = Some(code),
                Ok(WaitStatus::Signaled(_, signal, _)) => self.status = Some(SIGNALLED + signal as i32),
                Ok(WaitStatus::StillAlive) => break,
                Ok(_) | Err(Errno::EINTR) => {}
                // Somebody else collected it: its code is unknown, but it is over.
                Err(_) => self.status = Some(NOT_RUN),
            }
        }
    }

    /// Send it `signal`; nothing happens if it has ended.
    pub fn signal(&self, signal: Signal) {
        if self.status.is_none() {
            // It may have just ended, or be another user's and we without CAP_KILL: it is told in the end if it runs.
            let _ = self.pidfd.signal(signal);
        }
    }
}

/// The child's side: wait for the gate, then become the program. Only async-signal-safe calls from here on.
fn child(
    gate: &OwnedFd,
    failure: &OwnedFd,
    (program, file): (&CString, &File),
    argv: &[*const libc::c_char],
    inherited: Inherited,
) -> ! {
    // Waiting comes with the signals already free, so that one that arrives now ends the child.
    inherited.restore();
    // By poll, which hardly anybody records: whoever records `read` would see one of the recorder's making, of which
    // only the return comes after the start.
    let mut wait = [PollFd::new(gate.as_fd(), PollFlags::POLLIN)];
    loop {
        match poll(&mut wait, PollTimeout::NONE) {
            Ok(_) if wait[0].revents().is_some_and(|seen| seen.contains(PollFlags::POLLIN)) => break,
            Err(Errno::EINTR) => {}
            // SAFETY: _exit only ends the process.
            _ => unsafe { libc::_exit(NOT_RUN) },
        }
    }
    let errno = match (stat(program.as_c_str()), fstat(file)) {
        (Ok(now), Ok(found)) if (now.st_dev, now.st_ino) != (found.st_dev, found.st_ino) => REPLACED as i32,
        _ => {
            // SAFETY: program and argv are NUL-terminated and argv ends with a null pointer.
            unsafe { libc::execv(program.as_ptr(), argv.as_ptr()) };
            Errno::last_raw()
        }
    };
    let errno = errno.to_ne_bytes();
    // SAFETY: writes from a live buffer of that length, then ends the process.
    unsafe {
        libc::write(failure.as_raw_fd(), errno.as_ptr().cast(), errno.len());
        libc::_exit(NOT_RUN)
    }
}

#[cfg(test)]
mod tests;
