//! What is traced: a probe and a workload of this program that fires it; what the workload did and what it cost, out.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Result, ensure};
use serde::Serialize;

use super::process::Running;
use crate::host;
use crate::workload::cost::Cost;
use crate::workload::{churn, storm, truth};

/// Longest time for a workload, whatever slows it down.
const LIMIT: Duration = Duration::from_secs(120);

/// What fires.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Probe {
    /// Each call of getppid.
    Getppid,
    /// Kernel memory allocated and freed, in four tracepoints.
    Kmem,
    /// The same, with fewer columns.
    Kmem12,
}

/// How much of it.
#[derive(Clone, Copy, Debug)]
pub enum Load {
    /// Calls of getppid for a time, at a rate or as fast as can be.
    Storm { seconds: f64, rate: Option<u64>, threads: u16 },
    /// That many calls of getppid.
    Calls(u64),
    /// Files made, written and removed, for a time.
    Churn { seconds: f64, columns12: bool },
}

/// What was done.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Done {
    /// Calls, or files.
    pub count: u64,
    pub cost: Cost,
}

/// A workload that waits for its start.
pub struct Waiting {
    process: Running,
    load: Load,
    truth: PathBuf,
}

impl Load {
    /// Where it fires.
    pub fn probe(self) -> Probe {
        match self {
            Self::Storm { .. } | Self::Calls(_) => Probe::Getppid,
            Self::Churn { columns12: false, .. } => Probe::Kmem,
            Self::Churn { columns12: true, .. } => Probe::Kmem12,
        }
    }

    /// Words of the command line behind `xtask workload`.
    fn words(self) -> Vec<String> {
        match self {
            Self::Storm { seconds, rate, threads } => {
                let mut words =
                    vec!["storm".to_owned(), format!("--seconds={seconds}"), format!("--threads={threads}")];
                words.extend(rate.map(|rate| format!("--rate={rate}")));
                words
            }
            Self::Calls(count) => vec!["storm".to_owned(), format!("--count={count}")],
            // In memory: the disk is for the tracers.
            Self::Churn { seconds, .. } => {
                vec!["churn".to_owned(), format!("--seconds={seconds}"), "--dir=/dev/shm".to_owned()]
            }
        }
    }

    /// Start it in `dir`, to wait.
    pub fn start(self, dir: &Path) -> Result<Waiting> {
        let truth = dir.join("truth.json");
        let mut command = Command::new(host::built("xtask")?);
        command.arg("workload").args(self.words()).arg("--wait").arg("--truth").arg(&truth);
        let process = Running::start(command.stdin(Stdio::piped()))?;
        Ok(Waiting { process, load: self, truth })
    }
}

impl Waiting {
    /// The process to trace.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Let it do its work.
    pub fn run(mut self) -> Result<Done> {
        self.process.close_stdin();
        let (status, _) = self.process.end(LIMIT)?;
        ensure!(status.success(), "the workload failed: {status}");
        match self.load.probe() {
            Probe::Getppid => {
                let storm::Truth { calls, cost, .. } = truth(&self.truth)?;
                Ok(Done { count: calls, cost })
            }
            Probe::Kmem | Probe::Kmem12 => {
                let churn::Truth { files, cost, .. } = truth(&self.truth)?;
                Ok(Done { count: files, cost })
            }
        }
    }
}
