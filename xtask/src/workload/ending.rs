//! A recorder that is told to end, and how long that takes: until its trace is closed, and until it is gone.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use schemas::trace::State;
use schemas::trace::read::read;
use serde::{Deserialize, Serialize};

use super::boottime_ns;

/// The kprobes of the kernel, one a line.
const KPROBES: &str = "/sys/kernel/debug/kprobes/list";
/// Time between two looks.
const EVERY: Duration = Duration::from_millis(5);
/// The longest time to look.
const PATIENCE: Duration = Duration::from_secs(180);

/// Whom to tell and whom to watch.
#[derive(clap::Args)]
pub struct Options {
    /// The recorder
    #[arg(long)]
    pub recorder: i32,
    /// Its trace
    #[arg(long)]
    pub trace: PathBuf,
    /// What to send
    #[arg(long)]
    pub signal: Signal,
    /// Who gets it, if not the recorder
    #[arg(long)]
    pub to: Option<i32>,
}

/// What came of it. Times are since the signal; `None`: not within three minutes.
#[derive(Debug, Serialize, Deserialize)]
pub struct Truth {
    pub signal_boottime_ns: i64,
    /// How many the kernel had before the signal, and when the recorder was gone.
    pub kprobes_before: usize,
    pub kprobes_after: usize,
    pub closed_ms: Option<u64>,
    pub gone_ms: Option<u64>,
}

/// Send the signal and look until the recorder is gone. It is nobody's child here, so that it may be a zombie.
pub fn run(options: &Options) -> Result<Truth> {
    let Options { recorder, trace, signal, to } = options;
    let kprobes_before = kprobes()?;
    let signal_boottime_ns = boottime_ns()?;
    let began = Instant::now();
    let to = to.unwrap_or(*recorder);
    kill(Pid::from_raw(to), *signal).with_context(|| format!("cannot send {signal} to {to}"))?;
    let elapsed_ms = || u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    let (mut closed_ms, mut gone_ms) = (None, None);
    while gone_ms.is_none() && began.elapsed() < PATIENCE {
        sleep(EVERY);
        // In this order: when it is gone, its last word has been read.
        let is_gone = is_gone(*recorder);
        if closed_ms.is_none() && is_closed(trace) {
            closed_ms = Some(elapsed_ms());
        }
        gone_ms = is_gone.then(elapsed_ms);
    }
    Ok(Truth { signal_boottime_ns, kprobes_before, kprobes_after: kprobes()?, closed_ms, gone_ms })
}

fn kprobes() -> Result<usize> {
    let list = fs::read_to_string(KPROBES).with_context(|| format!("cannot read {KPROBES}"))?;
    Ok(list.lines().count())
}

/// Have all of its threads ended? The first of them may be a zombie while others are still in the kernel, which closes
/// the files of the process, and with them its probes, when the last one ends.
fn is_gone(pid: i32) -> bool {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let has_ended = |stat: String| stat.rsplit(')').next().is_none_or(|rest| rest.starts_with(" Z"));
    tasks.map(|task| fs::read_to_string(task.path().join("stat")).unwrap_or_default()).all(has_ended)
}

fn is_closed(trace: &Path) -> bool {
    read(trace).is_ok_and(|description| description.meta.state == State::Closed)
}
