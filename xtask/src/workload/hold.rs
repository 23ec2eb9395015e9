//! Namespaces with a listener in each that are there before a recording begins, and stay.

use std::io::Read;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use anyhow::{Context, Result};
use nix::sys::prctl;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, Pid, fork, pause};
use serde::{Deserialize, Serialize};

use super::listens::{Listen, bind_to, listen, stream};
use super::netns::Netns;

/// How many.
#[derive(clap::Args)]
pub struct Options {
    /// Namespaces to make
    #[arg(long, default_value_t = 3)]
    pub count: u16,
}

/// What is held.
#[derive(Debug, Serialize, Deserialize)]
pub struct Truth {
    pub pid: u32,
    pub namespaces: Vec<Held>,
}

/// A namespace, a process in it, and a listener of the holder's.
#[derive(Debug, Serialize, Deserialize)]
pub struct Held {
    pub netns: u32,
    /// Opens the namespace, while the holder lives.
    pub path: PathBuf,
    pub listener: Listen,
}

/// Keeps them alive.
pub struct Keeper {
    _sockets: Vec<OwnedFd>,
    _spaces: Vec<(Netns, Inhabitant)>,
}

impl Keeper {
    pub fn until_stdin_ends(&self) -> Result<()> {
        let mut rest = Vec::new();
        std::io::stdin().read_to_end(&mut rest).context("cannot read standard input")?;
        Ok(())
    }
}

pub fn start(options: &Options) -> Result<(Truth, Keeper)> {
    let (home, pid) = (Netns::current()?, std::process::id());
    // All processes first, so that none of them inherits a socket.
    let spaces = (0..options.count).map(|_| inhabited()).collect::<Result<Vec<_>>>()?;
    let (mut namespaces, mut sockets) = (Vec::new(), Vec::new());
    for ((space, inhabitant), number) in spaces.iter().zip(0..) {
        space.enter()?;
        let v6 = number % 2 == 1;
        let socket = stream(v6, libc::IPPROTO_TCP)?;
        let port = 40_000 + number;
        let to = match v6 {
            true => SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)),
            false => SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
        };
        bind_to(&socket, to)?;
        let listener = listen(&socket, space, 11 + i32::from(number), libc::IPPROTO_TCP)?;
        let path = PathBuf::from(format!("/proc/{}/ns/net", inhabitant.0));
        namespaces.push(Held { netns: space.inode, path, listener });
        sockets.push(socket);
    }
    home.enter()?;
    Ok((Truth { pid, namespaces }, Keeper { _sockets: sockets, _spaces: spaces }))
}

/// A process that waits, ended when dropped.
struct Inhabitant(Pid);

fn inhabited() -> Result<(Netns, Inhabitant)> {
    let space = Netns::new()?;
    // SAFETY: this program has one thread here, and the child only makes system calls.
    match unsafe { fork() }.context("cannot fork")? {
        ForkResult::Parent { child } => Ok((space, Inhabitant(child))),
        ForkResult::Child => {
            // Ends with its parent, even if that is killed.
            if prctl::set_pdeathsig(Signal::SIGKILL).is_err() || space.enter().is_err() {
                std::process::exit(1)
            }
            loop {
                pause();
            }
        }
    }
}

impl Drop for Inhabitant {
    fn drop(&mut self) {
        // Fails only if it has ended already.
        let _ = kill(self.0, Signal::SIGKILL);
        let _ = waitpid(self.0, None);
    }
}
