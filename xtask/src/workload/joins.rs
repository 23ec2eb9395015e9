//! Calls of setns: with namespaces, with a process, and three kinds that fail.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use anyhow::{Context, Result};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, Pid, fork, pause, pipe, read, write};
use serde::{Deserialize, Serialize};

use super::netns::Netns;

/// One call.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Join {
    pub fd: i32,
    pub nstype: u32,
    pub ret: i32,
    pub net_before: u32,
    pub net_after: u32,
}

/// What was done.
#[derive(Debug, Serialize, Deserialize)]
pub struct Truth {
    pub pid: u32,
    pub calls: Vec<Join>,
}

pub fn run() -> Result<Truth> {
    let (home, first, second) = (Netns::current()?, Netns::new()?, Netns::new()?);
    let mut calls = Vec::new();
    for nstype in [0, libc::CLONE_NEWNET, libc::CLONE_NEWNET] {
        for space in [&first, &second, &home] {
            calls.push(join(space.file.as_raw_fd(), nstype)?);
        }
    }
    // A network namespace is not the kind asked for, and -1 is not a descriptor.
    for _ in 0..3 {
        calls.push(join(first.file.as_raw_fd(), libc::CLONE_NEWUTS)?);
    }
    calls.push(join(-1, libc::CLONE_NEWNET)?);
    let child = Elsewhere::start()?;
    calls.push(join(child.pidfd.as_raw_fd(), libc::CLONE_NEWNET)?);
    calls.push(join(home.file.as_raw_fd(), 0)?);
    Ok(Truth { pid: std::process::id(), calls })
}

fn join(fd: i32, nstype: i32) -> Result<Join> {
    let net_before = Netns::current()?.inode;
    // SAFETY: two numbers.
    let done = unsafe { libc::setns(fd, nstype) };
    let ret = if done == 0 { 0 } else { -nix::errno::Errno::last_raw() };
    let net_after = Netns::current()?.inode;
    Ok(Join { fd, nstype: nstype.cast_unsigned(), ret, net_before, net_after })
}

/// A child process in a network namespace of its own, until this is dropped.
struct Elsewhere {
    child: Pid,
    pidfd: OwnedFd,
}

impl Elsewhere {
    fn start() -> Result<Self> {
        let (ready, tell) = pipe().context("cannot make a pipe")?;
        // SAFETY: the child only makes system calls before it waits for its end.
        let child = match unsafe { fork() }.context("cannot fork")? {
            ForkResult::Parent { child } => child,
            ForkResult::Child => {
                let moved = unshare(CloneFlags::CLONE_NEWNET).is_ok();
                let _ = write(&tell, &[u8::from(moved)]);
                loop {
                    pause();
                }
            }
        };
        let mut moved = [0];
        read(&ready, &mut moved).context("the child is gone")?;
        anyhow::ensure!(moved == [1], "the child cannot make a network namespace");
        // SAFETY: numbers go in, a descriptor or -1 comes out.
        let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, child.as_raw(), 0) };
        let fd = nix::errno::Errno::result(fd).context("cannot open a pidfd")?;
        // SAFETY: the descriptor is open and nobody else's.
        Ok(Self { child, pidfd: unsafe { OwnedFd::from_raw_fd(fd as i32) } })
    }
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        // Fails only if it has ended already.
        let _ = kill(self.child, Signal::SIGKILL);
        let _ = waitpid(self.child, None);
    }
}
