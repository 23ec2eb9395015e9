//! Calls of getppid, as many and as fast as asked for, and what they cost this process.

use std::sync::Barrier;
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
    /// Threads that share the calls
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    pub threads: u16,
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
    let Options { count, seconds, rate, threads, wait } = *options;
    ensure!(rate != Some(0), "--rate must be at least 1");
    let duration = seconds.map(Duration::try_from_secs_f64).transpose().context("--seconds")?;
    let go = Barrier::new(usize::from(threads));
    let storm = |number: u16| {
        let share =
            |all: u64| all / u64::from(threads) + u64::from(u64::from(number) < all % u64::from(threads));
        let limit = count.map_or(u64::MAX, share);
        go.wait();
        match rate {
            None => as_fast_as_can_be(limit, duration),
            Some(rate) => paced(limit, duration, rate as f64 / f64::from(threads)),
        }
    };
    std::thread::scope(|scope| {
        // The first is this thread: the others wait for it.
        let others: Vec<_> = (1..threads).map(|number| scope.spawn(move || storm(number))).collect();
        let told = if wait { cost::wait_for_go() } else { Ok(()) };
        let (calls, cost) = cost::of(|| {
            let own = storm(0);
            let others = others.into_iter().map(|other| other.join().expect("a storm does not panic"));
            own + others.sum::<u64>()
        })?;
        told?;
        Ok(Truth { pid: std::process::id(), calls, cost })
    })
}

fn as_fast_as_can_be(limit: u64, duration: Option<Duration>) -> u64 {
    let began = Instant::now();
    let mut calls = 0;
    while calls < limit && duration.is_none_or(|duration| began.elapsed() < duration) {
        let batch = BATCH.min(limit - calls);
        burst(batch);
        calls += batch;
    }
    calls
}

/// A tick that comes late makes up for what it missed.
fn paced(limit: u64, duration: Option<Duration>, rate: f64) -> u64 {
    let began = Instant::now();
    let mut calls = 0;
    loop {
        let elapsed = duration.map_or(began.elapsed(), |duration| began.elapsed().min(duration));
        let due = ((elapsed.as_secs_f64() * rate) as u64).min(limit);
        burst(due - calls);
        calls = due;
        if calls == limit || duration == Some(elapsed) {
            return calls;
        }
        std::thread::sleep(TICK.saturating_sub(began.elapsed() - elapsed));
    }
}

fn burst(calls: u64) {
    let mut left = calls;
    // Not a `for`: this is built without optimisation, and a range costs as much as the call.
    while left > 0 {
        // SAFETY: always succeeds and touches no memory. Not kept by libc: each is a system call.
        unsafe { libc::getppid() };
        left -= 1;
    }
}
