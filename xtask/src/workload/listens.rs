//! TCP sockets that listen, spread over three network namespaces; with `--edges` also the rare ways to listen.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::Command;

use anyhow::{Context, Result};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::socket::{SockaddrStorage, bind, getsockname, setsockopt, sockopt};
use serde::{Deserialize, Serialize};

use super::netns::{Netns, socket};
use crate::host;

const FIRST_PORT: u16 = 20_000;

/// How many.
#[derive(clap::Args)]
pub struct Options {
    /// Listening sockets in all namespaces together
    #[arg(long, default_value_t = 1000)]
    pub count: u16,
    /// Also listen without bind, listen again, fail to listen, listen with MPTCP
    #[arg(long)]
    pub edges: bool,
}

/// One call of listen(2), and what the kernel says about the socket after it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Listen {
    pub netns: u32,
    pub family: u8,
    pub addr: IpAddr,
    pub port: u16,
    /// As given to listen(2), and below net.core.somaxconn.
    pub backlog: i32,
    /// 0 or -errno.
    pub ret: i32,
    /// 6 or 262.
    pub protocol: u16,
    pub inode: u64,
}

/// What was done.
#[derive(Debug, Serialize, Deserialize)]
pub struct Truth {
    pub pid: u32,
    pub listens: Vec<Listen>,
    /// The rare ones, by name.
    pub edges: Vec<(String, Listen)>,
    /// netns -> `ss -tlneH` there while all sockets of `listens` were listening; empty without `ss`.
    pub ss: Vec<(u32, String)>,
}

pub fn run(options: &Options) -> Result<Truth> {
    allow_files(u64::from(options.count) + 64)?;
    let home = Netns::current()?;
    let spaces = [Netns::new()?, Netns::new()?, Netns::new()?];
    let (mut listens, mut sockets) = (Vec::new(), Vec::new());
    for number in 0..options.count {
        let space = &spaces[usize::from(number % 3)];
        space.enter()?;
        let addr: IpAddr = match number % 4 {
            0 => Ipv4Addr::LOCALHOST.into(),
            1 => Ipv6Addr::LOCALHOST.into(),
            2 => Ipv4Addr::UNSPECIFIED.into(),
            _ => Ipv6Addr::UNSPECIFIED.into(),
        };
        let socket = stream(addr.is_ipv6(), libc::IPPROTO_TCP)?;
        bind_to(&socket, SocketAddr::new(addr, FIRST_PORT + number))?;
        listens.push(listen(&socket, space, 1 + i32::from(number % 500), libc::IPPROTO_TCP)?);
        sockets.push(socket);
    }
    let mut ss = Vec::new();
    if host::which("ss").is_some() {
        for space in &spaces {
            space.enter()?;
            ss.push((space.inode, host::output(Command::new("ss").args(["-tlneH"]))?));
        }
    }
    let mut edges = Vec::new();
    if options.edges {
        for space in &spaces {
            space.enter()?;
            rare(space, &mut edges)?;
        }
    }
    home.enter()?;
    Ok(Truth { pid: std::process::id(), listens, edges, ss })
}

fn rare(space: &Netns, edges: &mut Vec<(String, Listen)>) -> Result<()> {
    let mut note = |name: &str, listen| edges.push((name.to_owned(), listen));
    let tcp = libc::IPPROTO_TCP;
    let unbound = stream(false, tcp)?;
    note("autobind", listen(&unbound, space, 5, tcp)?);
    note("again", listen(&unbound, space, 6, tcp)?);
    let unbound6 = stream(true, tcp)?;
    note("autobind6", listen(&unbound6, space, 7, tcp)?);

    let port = SocketAddr::from((Ipv4Addr::LOCALHOST, 30_001));
    let (first, second) = (stream(false, tcp)?, stream(false, tcp)?);
    for socket in [&first, &second] {
        setsockopt(socket, sockopt::ReuseAddr, &true).context("cannot set SO_REUSEADDR")?;
        bind_to(socket, port)?;
    }
    note("first", listen(&first, space, 8, tcp)?);
    note("in-use", listen(&second, space, 9, tcp)?);

    let mptcp = stream(false, libc::IPPROTO_MPTCP)?;
    bind_to(&mptcp, SocketAddr::from((Ipv4Addr::LOCALHOST, 30_002)))?;
    note("mptcp", listen(&mptcp, space, 10, libc::IPPROTO_MPTCP)?);
    Ok(())
}

/// A TCP or MPTCP socket.
pub fn stream(v6: bool, protocol: i32) -> Result<OwnedFd> {
    socket(if v6 { libc::AF_INET6 } else { libc::AF_INET }, libc::SOCK_STREAM, protocol)
}

/// Bind, for IPv6 to that alone.
pub fn bind_to(socket: &OwnedFd, to: SocketAddr) -> Result<()> {
    if to.is_ipv6() {
        setsockopt(socket, sockopt::Ipv6V6Only, &true).context("cannot set IPV6_V6ONLY")?;
    }
    bind(socket.as_raw_fd(), &SockaddrStorage::from(to)).with_context(|| format!("cannot bind to {to}"))
}

/// listen(2), whatever comes of it.
pub fn listen(socket: &OwnedFd, space: &Netns, backlog: i32, protocol: i32) -> Result<Listen> {
    // SAFETY: an open descriptor and a number.
    let done = unsafe { libc::listen(socket.as_raw_fd(), backlog) };
    let ret = if done == 0 { 0 } else { -nix::errno::Errno::last_raw() };
    let name: SockaddrStorage = getsockname(socket.as_raw_fd()).context("cannot read a socket's address")?;
    let (family, addr, port) = match (name.as_sockaddr_in(), name.as_sockaddr_in6()) {
        (Some(v4), _) => (libc::AF_INET, IpAddr::from(v4.ip()), v4.port()),
        (_, Some(v6)) => (libc::AF_INET6, IpAddr::from(v6.ip()), v6.port()),
        _ => anyhow::bail!("a socket has an address that is not IP"),
    };
    let inode = nix::sys::stat::fstat(socket).context("cannot stat a socket")?.st_ino;
    let (family, protocol) = (family as u8, protocol as u16);
    Ok(Listen { netns: space.inode, family, addr, port, backlog, ret, protocol, inode })
}

fn allow_files(count: u64) -> Result<()> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).context("cannot read the limit of open files")?;
    if soft < count {
        setrlimit(Resource::RLIMIT_NOFILE, count, hard.max(count))
            .with_context(|| format!("cannot have {count} files open; raise ulimit -n"))?;
    }
    Ok(())
}
