//! Network namespaces: the inode of what people call one, the cookie of each, and work done inside one.
//!
//! An inode is used again once its namespace is gone; the cookie never is.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::thread;

use anyhow::{Context, Result, anyhow, bail, ensure};
use nix::sched::{CloneFlags, setns};

/// Namespace inodes are larger than this (the first ones have fixed numbers from 0xeffffff8 on, the others count up
/// from 0xf0000000); smaller numbers are process ids.
const FIRST_INODE: u32 = 0xefff_fff0;
/// The namespace of this thread.
const OWN: &str = "/proc/thread-self/ns/net";
/// Where `ip netns add` and docker keep namespaces that have no process.
const NAMED: [&str; 2] = ["/run/netns", "/run/docker/netns"];

/// The inode of the namespace that `text` names: an inode (`4026531840` or `net:[4026531840]`), a process id, a
/// path, or a name as in `ip netns`.
pub fn inode_of(text: &str) -> Result<u32> {
    let number = text.strip_prefix("net:[").and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let path = match number.parse::<u32>() {
        Ok(inode) if inode >= FIRST_INODE => return Ok(inode),
        Ok(pid) => PathBuf::from(format!("/proc/{pid}/ns/net")),
        Err(_) if text.contains('/') => PathBuf::from(text),
        Err(_) => {
            NAMED.iter().map(|dir| Path::new(dir).join(text)).find(|path| path.exists()).ok_or_else(|| {
                anyhow!("--netns {text}: no such name in {}; 'ip netns list' shows them", NAMED[0])
            })?
        }
    };
    let inode = inode_at(&path).with_context(|| {
        format!(
            "--netns {text}: cannot read {}; give an inode, a path, a name or a process id",
            path.display()
        )
    })?;
    ensure!(inode >= FIRST_INODE, "--netns {text}: {} is not a network namespace", path.display());
    Ok(inode)
}

/// The inode of the namespace file `path`.
pub fn inode_at(path: &Path) -> Result<u32> {
    Ok(u32::try_from(fs::metadata(path)?.ino())?)
}

/// Every network namespace that a process lives in or that has a name: inode and a path that opens it.
pub fn all() -> BTreeMap<u32, PathBuf> {
    let processes = super::processes::pids().map(|pid| PathBuf::from(format!("/proc/{pid}/ns/net")));
    let named = NAMED.iter().filter_map(|dir| fs::read_dir(dir).ok()).flatten().flatten().map(|e| e.path());
    let mut found = BTreeMap::new();
    for path in processes.chain(named) {
        // A process may have ended, or be somebody else's: what cannot be read is not there for us.
        if let Ok(inode) = inode_at(&path)
            && inode >= FIRST_INODE
        {
            found.entry(inode).or_insert(path);
        }
    }
    found
}

/// The cookie of each of `namespaces`, where it can be asked for.
pub fn cookies(namespaces: &BTreeMap<u32, PathBuf>) -> HashMap<u32, u64> {
    let own = inode_at(Path::new(OWN)).ok();
    let cookie = |(inode, path): (&u32, &PathBuf)| {
        let expected = *inode;
        // To ask where one is takes no rights.
        if own == Some(expected) {
            return Some((expected, own_cookie().ok()?));
        }
        // Meanwhile the process may have ended, or its number be another's.
        let is_same = move || inode_at(Path::new(OWN)).is_ok_and(|inode| inode == expected);
        let ask = move || Ok(if is_same() { Some(own_cookie()?) } else { None });
        Some((expected, inside(path, ask).ok()??))
    };
    namespaces.iter().filter_map(cookie).collect()
}

/// The cookie of the namespace of this thread.
fn own_cookie() -> Result<u64> {
    let socket = UnixDatagram::unbound()?;
    let mut cookie = 0u64;
    let mut length = size_of::<u64>() as libc::socklen_t;
    // SAFETY: both pointers are to local variables, and the length is that of the first.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut length,
        )
    };
    ensure!(result == 0, "cannot ask for the cookie of a network namespace: {}", io::Error::last_os_error());
    Ok(cookie)
}

/// Do `work` in the namespace at `path`, in a thread of its own, so that this thread stays where it is. Needs
/// CAP_SYS_ADMIN unless it is the own namespace.
pub fn inside<T: Send + 'static>(
    path: &Path,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let shown = path.display().to_string();
    let thread = thread::Builder::new().name("netns".to_owned()).spawn(move || {
        setns(&file, CloneFlags::CLONE_NEWNET).with_context(|| format!("cannot enter {shown}"))?;
        work()
    })?;
    match thread.join() {
        Ok(result) => result,
        Err(_) => bail!("the thread in {} panicked", path.display()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_namespace_has_one_inode_by_every_name() {
        let own = inode_at(Path::new("/proc/self/ns/net")).unwrap();
        assert_eq!(inode_of(&own.to_string()).unwrap(), own);
        assert_eq!(inode_of(&format!("net:[{own}]")).unwrap(), own);
        assert_eq!(inode_of(&std::process::id().to_string()).unwrap(), own);
        assert_eq!(inode_of("/proc/self/ns/net").unwrap(), own);
        assert!(all().contains_key(&own));
        let cookies = cookies(&BTreeMap::from([(own, PathBuf::from("/proc/self/ns/net"))]));
        assert_eq!(cookies, HashMap::from([(own, own_cookie().unwrap())]));
    }

    #[test]
    fn what_is_no_namespace_is_refused_with_a_remedy() {
        let error = inode_of("no-such-name").unwrap_err().to_string();
        assert!(error.contains("ip netns list"), "{error}");
        let error = inode_of("/etc/passwd").unwrap_err().to_string();
        assert!(error.contains("is not a network namespace"), "{error}");
    }
}
