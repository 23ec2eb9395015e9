//! Two processes that send a byte to and fro, and what the kernel says about how often each left a processor.

use std::os::fd::OwnedFd;

use anyhow::{Context, Result};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, fork, pipe, read, write};
use serde::{Deserialize, Serialize};

use super::netns::boottime_ns;

/// How many.
#[derive(clap::Args)]
pub struct Options {
    /// Times that the byte goes to and fro
    #[arg(long, default_value_t = 200)]
    pub rounds: u32,
}

/// What was done.
#[derive(Debug, Serialize, Deserialize)]
pub struct Truth {
    pub rounds: u32,
    pub threads: Vec<Thread>,
}

/// How often one thread left a processor between two instants, by /proc/self/status.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Thread {
    pub tid: u32,
    pub from_boottime_ns: i64,
    pub to_boottime_ns: i64,
    pub voluntary: u64,
    pub involuntary: u64,
}

pub fn run(options: &Options) -> Result<Truth> {
    let (to_child, to_parent, report) = (pipe()?, pipe()?, pipe()?);
    // SAFETY: this program has one thread here, so the child may go on as it likes.
    match unsafe { fork() }.context("cannot fork")? {
        ForkResult::Child => {
            let done = play(&to_child.0, &to_parent.1, options.rounds, false)
                .and_then(|thread| Ok(write(&report.1, &serde_json::to_vec(&thread)?)?));
            std::process::exit(i32::from(done.is_err()))
        }
        ForkResult::Parent { child } => {
            let own = play(&to_parent.0, &to_child.1, options.rounds, true)?;
            let mut text = [0; 4096];
            let size = read(&report.0, &mut text).context("the other process is gone")?;
            let other = serde_json::from_slice(&text[..size]).context("the other process failed")?;
            let status = waitpid(child, None)?;
            anyhow::ensure!(
                matches!(status, WaitStatus::Exited(_, 0)),
                "the other process ended with {status:?}"
            );
            Ok(Truth { rounds: options.rounds, threads: vec![own, other] })
        }
    }
}

fn play(from: &OwnedFd, to: &OwnedFd, rounds: u32, first: bool) -> Result<Thread> {
    let (from_boottime_ns, voluntary, involuntary) = switches()?;
    let mut byte = [7];
    if first {
        write(to, &byte)?;
    }
    for round in 1..=rounds {
        anyhow::ensure!(read(from, &mut byte)? == 1, "the other process is gone");
        if !(first && round == rounds) {
            write(to, &byte)?;
        }
    }
    let (to_boottime_ns, voluntary_after, involuntary_after) = switches()?;
    Ok(Thread {
        tid: std::process::id(),
        from_boottime_ns,
        to_boottime_ns,
        voluntary: voluntary_after - voluntary,
        involuntary: involuntary_after - involuntary,
    })
}

/// An instant and this process's counters at that instant: they are the same before and after reading the clock.
fn switches() -> Result<(i64, u64, u64)> {
    loop {
        let before = counters()?;
        let now = boottime_ns()?;
        if before == counters()? {
            return Ok((now, before.0, before.1));
        }
    }
}

fn counters() -> Result<(u64, u64)> {
    let status = std::fs::read_to_string("/proc/self/status").context("cannot read /proc/self/status")?;
    let value = |name: &str| {
        let line =
            status.lines().find_map(|line| line.strip_prefix(name)).with_context(|| format!("no {name}"))?;
        line.trim().parse::<u64>().with_context(|| format!("{name} is not a number"))
    };
    Ok((value("voluntary_ctxt_switches:")?, value("nonvoluntary_ctxt_switches:")?))
}
