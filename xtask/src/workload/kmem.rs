//! Files opened: some closed again, some leaked (they outlive the workload, in a process that keeps them). Routing
//! rules added and deleted: freed through kfree_rcu, which has no tracepoint.

use std::collections::HashSet;
use std::fs::File;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::unistd::{ForkResult, fork, setsid};
use serde::{Deserialize, Serialize};

use super::{netns::Netns, rules};

/// How many.
#[derive(clap::Args)]
pub struct Options {
    /// Files opened and kept open
    #[arg(long, default_value_t = 200)]
    pub held: u32,
    /// Files opened and closed
    #[arg(long, default_value_t = 1000)]
    pub churned: u32,
    /// Routing rules added and deleted, in a network namespace of its own
    #[arg(long, default_value_t = 60)]
    pub rules: u32,
}

/// What was done.
#[derive(Debug, Serialize, Deserialize)]
pub struct Truth {
    pub pid: u32,
    /// The process that keeps the held files open for a minute; kill it when done.
    pub keeper_pid: u32,
    pub held: u32,
    /// Files that the keeper holds because they are mapped: the program and its libraries.
    pub mapped: u32,
    pub churned: u32,
    pub rules: u32,
}

pub fn run(options: &Options) -> Result<Truth> {
    let Options { held, churned, rules } = *options;
    for _ in 0..churned {
        drop(open()?);
    }
    let home = Netns::current()?;
    let space = Netns::new()?;
    space.enter()?;
    rules::add_and_delete(rules)?;
    home.enter()?;
    drop((home, space));
    let mapped = mapped()?;
    let files = (0..held).map(|_| open()).collect::<Result<Vec<_>>>()?;
    // SAFETY: this program has one thread here, so the child may go on as it likes.
    let keeper = match unsafe { fork() }.context("cannot fork")? {
        ForkResult::Parent { child } => child.as_raw().cast_unsigned(),
        ForkResult::Child => keep(files),
    };
    Ok(Truth { pid: std::process::id(), keeper_pid: keeper, held, mapped, churned, rules })
}

/// The files stay open in a process that nobody waits for: it lets go of the terminal and of any pipe.
fn keep(files: Vec<File>) -> ! {
    let _ = setsid();
    for fd in 0..3 {
        // SAFETY: closes this process's own standard streams, which nothing uses any more.
        unsafe { libc::close(fd) };
    }
    std::thread::sleep(Duration::from_secs(60));
    drop(files);
    std::process::exit(0)
}

fn mapped() -> Result<u32> {
    let maps = std::fs::read_to_string("/proc/self/maps").context("cannot read /proc/self/maps")?;
    let files: HashSet<&str> = maps.lines().filter_map(|line| line.find('/').map(|at| &line[at..])).collect();
    Ok(files.len() as u32)
}

fn open() -> Result<File> {
    File::open("/dev/null").context("cannot open /dev/null; raise ulimit -n")
}
