//! Work in, its wall time and its processor time in this process out.

use std::io::Read;
use std::time::Instant;

use anyhow::{Context, Result};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use serde::{Deserialize, Serialize};

/// Time that work took.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Cost {
    pub wall_ns: u64,
    pub user_ns: u64,
    pub system_ns: u64,
}

/// Wait until whoever started this program closes its standard input.
pub fn wait_for_go() -> Result<()> {
    std::io::stdin().read_to_end(&mut Vec::new()).map(|_| ()).context("cannot read standard input")
}

/// Do `work` and tell what it took.
pub fn of<T>(work: impl FnOnce() -> T) -> Result<(T, Cost)> {
    let (user, system) = processor_ns()?;
    let began = Instant::now();
    let done = work();
    let wall_ns = began.elapsed().as_nanos() as u64;
    let (user_after, system_after) = processor_ns()?;
    Ok((done, Cost { wall_ns, user_ns: user_after - user, system_ns: system_after - system }))
}

fn processor_ns() -> Result<(u64, u64)> {
    let usage = getrusage(UsageWho::RUSAGE_SELF).context("cannot ask for the processor time")?;
    let ns = |time: nix::sys::time::TimeVal| time.num_microseconds().unsigned_abs() * 1000;
    Ok((ns(usage.user_time()), ns(usage.system_time())))
}
