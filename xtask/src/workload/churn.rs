//! Files made, written, closed and removed again: kernel memory allocated and freed, and what that cost this process.

use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::cost::{self, Cost};

/// How many.
#[derive(clap::Args)]
pub struct Options {
    /// Files, one after the other
    #[arg(long, default_value_t = 10_000)]
    pub files: u64,
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
    let (done, cost) = cost::of(|| (0..options.files).try_for_each(|_| churn(&path)))?;
    done.with_context(|| format!("cannot make, write and remove {}", path.display()))?;
    Ok(Truth { pid, files: options.files, cost })
}

fn churn(path: &PathBuf) -> std::io::Result<()> {
    let mut file = File::create_new(path)?;
    file.write_all(&[7; 100])?;
    fs::remove_file(path)
}
