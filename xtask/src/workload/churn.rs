//! Files made, written, closed and removed again: kernel memory allocated and freed, and what that cost this process.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
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
}

/// What was done.
#[derive(Debug, Serialize, Deserialize)]
pub struct Truth {
    pub pid: u32,
    pub files: u64,
    pub cost: Cost,
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
    let (files, cost) = cost::of(|| churns(&path, limit, duration))?;
    let files = files.with_context(|| format!("cannot make, write and remove {}", path.display()))?;
    Ok(Truth { pid, files, cost })
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
