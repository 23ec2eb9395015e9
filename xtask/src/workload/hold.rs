//! Namespaces with a listener in each that are there before a recording begins, and stay.

use std::io::Read;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;

use anyhow::{Context, Result};
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

/// A namespace and its listener.
#[derive(Debug, Serialize, Deserialize)]
pub struct Held {
    pub netns: u32,
    /// Opens the namespace, while the holder lives.
    pub path: PathBuf,
    pub listener: Listen,
}

/// Keeps them alive.
pub struct Keeper {
    _namespaces: Vec<(Netns, OwnedFd)>,
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
    let (mut namespaces, mut kept) = (Vec::new(), Vec::new());
    for number in 0..options.count {
        let space = Netns::new()?;
        space.enter()?;
        let v6 = number % 2 == 1;
        let socket = stream(v6, libc::IPPROTO_TCP)?;
        let port = 40_000 + number;
        let to = match v6 {
            true => SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)),
            false => SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
        };
        bind_to(&socket, to)?;
        let listener = listen(&socket, &space, 11 + i32::from(number), libc::IPPROTO_TCP)?;
        let path = PathBuf::from(format!("/proc/{pid}/fd/{}", space.file.as_raw_fd()));
        namespaces.push(Held { netns: space.inode, path, listener });
        kept.push((space, socket));
    }
    home.enter()?;
    Ok((Truth { pid, namespaces }, Keeper { _namespaces: kept }))
}
