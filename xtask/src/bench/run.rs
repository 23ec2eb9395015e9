//! A tracer and a load in, one run of both and what it cost out.

use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use serde::Serialize;

use super::load::{Done, Load};
use super::process::{Running, Usage};
use super::tracer::{Found, KTAPE, Task, Tracer};

/// Longest time for a tracer to attach, and to end.
const LIMIT: Duration = Duration::from_secs(60);

/// Who watches a load.
#[derive(Clone, Copy)]
pub enum Watch<'a> {
    Nobody,
    Tracer(&'a Tracer),
    /// ktape, stopped after it has attached: its rings take all, and nobody empties them.
    BareRing,
}

/// The same for all runs.
pub struct Bench {
    /// For output; emptied before each run.
    pub dir: PathBuf,
    pub buffer_bytes_per_cpu: u64,
    pub cpus: u64,
    /// The recorder.
    pub ktape: PathBuf,
}

/// One run.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Sample {
    /// The workload.
    pub done: Done,
    /// Events in the tracer's output.
    pub events: u64,
    /// Events that the tracer says it lost.
    pub lost: u64,
    /// Its output.
    pub bytes: u64,
    /// The tracer's own process.
    pub tracer: Usage,
}

impl Bench {
    /// Run `load` while `watch` watches it.
    pub fn run(&self, watch: Watch<'_>, load: Load) -> Result<Sample> {
        if self.dir.exists() {
            fs::remove_dir_all(&self.dir).with_context(|| format!("cannot empty {}", self.dir.display()))?;
        }
        fs::create_dir_all(&self.dir).with_context(|| format!("cannot make {}", self.dir.display()))?;
        let waiting = load.start(&self.dir)?;
        let task = Task {
            probe: load.probe(),
            pid: waiting.pid(),
            dir: &self.dir,
            buffer_bytes_per_cpu: self.buffer_bytes_per_cpu,
            cpus: self.cpus,
            ktape: &self.ktape,
        };
        let tracer = match watch {
            Watch::Nobody => {
                let done = waiting.run()?;
                return Ok(Sample { done, events: 0, lost: 0, bytes: 0, tracer: Usage::default() });
            }
            Watch::Tracer(tracer) => tracer,
            Watch::BareRing => &KTAPE,
        };
        let running = self.attach(tracer, &task)?;
        if matches!(watch, Watch::BareRing) {
            running.signal(Signal::SIGSTOP);
        }
        let done = waiting.run()?;
        running.signal(Signal::SIGCONT);
        running.signal(Signal::SIGINT);
        let (status, usage) = running.end(LIMIT)?;
        // perf ends itself by the signal that it was ended with.
        let is_well = status.success() || status.signal() == Some(libc::SIGINT);
        ensure!(is_well, "{} failed: {status}: {}", tracer.name, self.said());
        let Found { events, lost, bytes } = (tracer.find)(&task)
            .with_context(|| format!("{} left no events: {}", tracer.name, self.said()))?;
        Ok(Sample { done, events, lost, bytes, tracer: usage })
    }

    fn attach(&self, tracer: &Tracer, task: &Task<'_>) -> Result<Running> {
        let mut command = (tracer.command)(task)?;
        let file = |name: &str| {
            let path = self.dir.join(name);
            File::options()
                .append(true)
                .create(true)
                .open(&path)
                .with_context(|| format!("cannot make {}", path.display()))
        };
        command.stdin(Stdio::null()).stdout(file("stdout")?).stderr(file("stderr")?);
        let mut running = Running::start(&mut command)?;
        let is_ready = || self.said().contains(tracer.ready);
        running.until(LIMIT, is_ready).with_context(|| format!("{}: {}", tracer.name, self.said()))?;
        Ok(running)
    }

    /// The tracer's messages.
    fn said(&self) -> String {
        let start = |name: &str| {
            let bytes = fs::read(self.dir.join(name)).unwrap_or_default();
            String::from_utf8_lossy(&bytes[..bytes.len().min(4096)]).trim().to_owned()
        };
        [start("stdout"), start("stderr")].join("\n")
    }
}

impl Sample {
    /// Calls or files a second, as the clock on the wall has it.
    pub fn per_second(&self) -> f64 {
        self.done.count as f64 / (self.done.cost.wall_ns as f64 / 1e9)
    }

    /// Processor time of the workload for one call or file.
    pub fn workload_ns(&self) -> f64 {
        (self.done.cost.user_ns + self.done.cost.system_ns) as f64 / self.done.count as f64
    }

    /// True if a storm is in the output whole. perf at times has an event twice, so more than all is not enough.
    pub fn is_complete(&self) -> bool {
        self.events >= self.done.count && self.lost == 0
    }
}
