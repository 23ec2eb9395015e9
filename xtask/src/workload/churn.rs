//! Files made, written, closed and removed again: kernel memory allocated and freed, and what that cost this process.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::cost::{self, Cost};

/// How many.
#[derive(clap::Args)]
pub struct Options {
    /// Files, one after the other
    #[arg(long, required_unless_present = "seconds")]
    pub files: Option<u64>,
    /// End after this time
    #[arg(long, conflicts_with = "files")]
    pub seconds: Option<f64>,
    /// Where; removed files leave nothing behind [default: the directory for temporary files]
    #[arg(long)]
    pub dir: Option<PathBuf>,
    /// Begin when standard input ends
    #[arg(long)]
    pub wait: bool,
    /// Have a timer send a signal this often, for which the kernel allocates memory in the interrupt
    #[arg(long)]
    pub alarm_us: Option<u32>,
}

/// What was done.
#[derive(Debug, Serialize, Deserialize)]
pub struct Truth {
    pub pid: u32,
    pub files: u64,
    /// Signals that the timer sent and this process got.
    pub alarms: u64,
    pub cost: Cost,
}

static ALARMS: AtomicU64 = AtomicU64::new(0);

extern "C" fn on_alarm(_: i32) {
    ALARMS.fetch_add(1, Ordering::Relaxed);
}

pub fn run(options: &Options) -> Result<Truth> {
    let pid = std::process::id();
    let dir = options.dir.clone().unwrap_or_else(std::env::temp_dir);
    let path = dir.join(format!("ktape-churn-{pid}"));
    if options.wait {
        cost::wait_for_go()?;
    }
    let limit = options.files.unwrap_or(u64::MAX);
    let duration = options.seconds.map(Duration::try_from_secs_f64).transpose().context("--seconds")?;
    if let Some(every) = options.alarm_us {
        set_alarm(every)?;
    }
    let (files, cost) = cost::of(|| churns(&path, limit, duration))?;
    set_alarm(0)?;
    let files = files.with_context(|| format!("cannot make, write and remove {}", path.display()))?;
    Ok(Truth { pid, files, alarms: ALARMS.load(Ordering::Relaxed), cost })
}

/// Start the timer, or stop it (0).
fn set_alarm(every_us: u32) -> Result<()> {
    let action = nix::sys::signal::SigAction::new(
        nix::sys::signal::SigHandler::Handler(on_alarm),
        nix::sys::signal::SaFlags::SA_RESTART,
        nix::sys::signal::SigSet::empty(),
    );
    // SAFETY: the handler only counts.
    unsafe { nix::sys::signal::sigaction(nix::sys::signal::Signal::SIGALRM, &action) }
        .context("cannot catch SIGALRM")?;
    let every = libc::timeval { tv_sec: 0, tv_usec: every_us.into() };
    let timer = libc::itimerval { it_interval: every, it_value: every };
    // SAFETY: the kernel reads a local variable.
    let done = unsafe { libc::setitimer(libc::ITIMER_REAL, &raw const timer, std::ptr::null_mut()) };
    nix::errno::Errno::result(done).context("cannot set a timer")?;
    Ok(())
}

fn churns(path: &Path, limit: u64, duration: Option<Duration>) -> std::io::Result<u64> {
    let began = Instant::now();
    let mut files = 0;
    while files < limit && duration.is_none_or(|duration| began.elapsed() < duration) {
        churn(path)?;
        files += 1;
    }
    Ok(files)
}

fn churn(path: &Path) -> std::io::Result<()> {
    let mut file = File::create_new(path)?;
    file.write_all(&[7; 100])?;
    fs::remove_file(path)
}
