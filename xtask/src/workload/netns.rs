//! Network namespaces with their loopback up, and what the kernel counts in them.

use std::fs::{self, File};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::{Context, Result};
use nix::sched::{CloneFlags, setns, unshare};

const OWN: &str = "/proc/thread-self/ns/net";

/// A network namespace, alive while this is.
pub struct Netns {
    pub file: File,
    pub inode: u32,
}

impl Netns {
    /// The one that the thread is in.
    pub fn current() -> Result<Self> {
        Self::open(Path::new(OWN))
    }

    /// The one that a path such as /proc/PID/ns/net stands for.
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
        let inode = u32::try_from(file.metadata()?.ino()).context("the inode of a namespace has 32 bits")?;
        Ok(Self { file, inode })
    }

    /// A new one, made by a thread of its own: this thread stays where it is, without any setns.
    pub fn new() -> Result<Self> {
        let made = std::thread::spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).context("cannot make a network namespace (needs root)")?;
            loopback_up()?;
            Self::current()
        });
        made.join().unwrap_or_else(|_| anyhow::bail!("the thread that makes a network namespace panicked"))
    }

    /// Move the thread into it.
    pub fn enter(&self) -> Result<()> {
        setns(&self.file, CloneFlags::CLONE_NEWNET).context("cannot enter a network namespace")
    }
}

/// A socket by libc's numbers, closed on drop.
pub fn socket(family: i32, kind: i32, protocol: i32) -> Result<OwnedFd> {
    // SAFETY: plain numbers go in, a descriptor or -1 comes out.
    let fd = unsafe { libc::socket(family, kind | libc::SOCK_CLOEXEC, protocol) };
    if fd < 0 {
        let error = std::io::Error::last_os_error();
        return Err(error).with_context(|| format!("cannot make a socket ({family}, {kind}, {protocol})"));
    }
    // SAFETY: the descriptor is open and nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn loopback_up() -> Result<()> {
    let socket = socket(libc::AF_INET, libc::SOCK_DGRAM, 0)?;
    let mut request = loopback();
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: SIOCSIFFLAGS reads an ifreq, which outlives the call.
    let done = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) };
    nix::errno::Errno::result(done).context("cannot bring the loopback up")?;
    Ok(())
}

/// Let larger packets be fragments on the loopback of the thread's namespace.
pub fn set_loopback_mtu(bytes: u16) -> Result<()> {
    let socket = socket(libc::AF_INET, libc::SOCK_DGRAM, 0)?;
    let mut request = loopback();
    request.ifr_ifru.ifru_mtu = bytes.into();
    // SAFETY: SIOCSIFMTU reads an ifreq, which outlives the call.
    let done = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFMTU, &raw const request) };
    nix::errno::Errno::result(done).context("cannot set the MTU of the loopback")?;
    Ok(())
}

/// A request about the loopback.
fn loopback() -> libc::ifreq {
    // SAFETY: all zeroes is a valid ifreq.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = from.cast_signed();
    }
    request
}

/// IP packets that the thread's namespace received, as the kernel counts them: IPv4, IPv6.
pub fn in_receives() -> Result<(u64, u64)> {
    let read = |name: &str| {
        fs::read_to_string(format!("/proc/thread-self/net/{name}")).context("cannot read counters")
    };
    let (snmp, snmp6) = (read("snmp")?, read("snmp6")?);
    let mut ip = snmp.lines().filter(|line| line.starts_with("Ip:"));
    let (names, values) = (ip.next().context("no Ip: in snmp")?, ip.next().context("no values in snmp")?);
    let v4 = names.split(' ').zip(values.split(' ')).find(|(name, _)| *name == "InReceives");
    let v6 = snmp6.lines().find_map(|line| line.strip_prefix("Ip6InReceives"));
    Ok((v4.context("no InReceives")?.1.parse()?, v6.context("no Ip6InReceives")?.trim().parse()?))
}

/// CLOCK_BOOTTIME, the time scale of records.
pub fn boottime_ns() -> Result<i64> {
    let now =
        nix::time::clock_gettime(nix::time::ClockId::CLOCK_BOOTTIME).context("cannot read the clock")?;
    Ok(now.tv_sec() * 1_000_000_000 + now.tv_nsec())
}
