//! Calls of getppid, as many and as fast as asked for, and what they cost this process.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use super::cost::{self, Cost};

/// A paced storm makes its calls in bursts this far apart.
const TICK: Duration = Duration::from_millis(1);
/// Calls between looks at the clock, without pacing.
const BATCH: u64 = 1000;

/// How many and how fast.
#[derive(clap::Args)]
pub struct Options {
    /// Calls
    #[arg(long, required_unless_present = "seconds")]
    pub count: Option<u64>,
    /// End after this time
    #[arg(long, conflicts_with = "count")]
    pub seconds: Option<f64>,
    /// Calls a second, in a burst each millisecond [default: as fast as can be]
    #[arg(long)]
    pub rate: Option<u64>,
    /// Begin when standard input ends
    #[arg(long)]
    pub wait: bool,
}

/// What was done.
#[derive(Debug, Serialize, Deserialize)]
pub struct Truth {
    pub pid: u32,
    pub calls: u64,
    pub cost: Cost,
}

pub fn run(options: &Options) -> Result<Truth> {
    ensure!(options.rate != Some(0), "--rate must be at least 1");
    if options.wait {
        cost::wait_for_go()?;
    }
    let limit = options.count.unwrap_or(u64::MAX);
    let duration = options.seconds.map(Duration::try_from_secs_f64).transpose().context("--seconds")?;
    let (calls, cost) = cost::of(|began| match options.rate {
        None => as_fast_as_can_be(began, limit, duration),
        Some(rate) => paced(began, limit, duration, rate),
    })?;
    Ok(Truth { pid: std::process::id(), calls, cost })
}

fn as_fast_as_can_be(began: Instant, limit: u64, duration: Option<Duration>) -> u64 {
    let mut calls = 0;
    while calls < limit && duration.is_none_or(|duration| began.elapsed() < duration) {
        let batch = BATCH.min(limit - calls);
        burst(batch);
        calls += batch;
    }
    calls
}

/// A tick that comes late makes up for what it missed.
fn paced(began: Instant, limit: u64, duration: Option<Duration>, rate: u64) -> u64 {
    let mut calls = 0;
    loop {
        let elapsed = duration.map_or(began.elapsed(), |duration| began.elapsed().min(duration));
        let due = ((elapsed.as_secs_f64() * rate as f64) as u64).min(limit);
        burst(due - calls);
        calls = due;
        if calls == limit || duration == Some(elapsed) {
            return calls;
        }
        std::thread::sleep(TICK.saturating_sub(began.elapsed() - elapsed));
    }
}

fn burst(calls: u64) {
    for _ in 0..calls {
        // SAFETY: always succeeds and touches no memory. Not kept by libc: each is a system call.
        unsafe { libc::getppid() };
    }
}
