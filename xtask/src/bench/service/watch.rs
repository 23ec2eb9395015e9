//! Who watches the service: the command lines, and what their outputs say.

use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use serde::Serialize;

use super::super::process::Usage;
use super::super::tracer::{in_tables, perf_stats, size_bytes};
use super::redis::{Done, Redis};
use crate::bench::process::Running;

const LIMIT: Duration = Duration::from_secs(300);
/// The flight recorder's set.
pub const FLIGHT: [&str; 4] = ["listens", "processes", "netns_joins", "mkdirs"];
/// Every system call, entry and exit.
const CALLS: [(&str, &str); 2] =
    [("enter", "tp:raw_syscalls:sys_enter"), ("exit", "tp:raw_syscalls:sys_exit")];

/// A watcher.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watch {
    Nobody,
    /// `perf record` of every system call.
    Perf,
    /// The recorder, of every system call.
    Calls,
    /// The recorder, of these built-in events.
    Events(&'static [&'static str]),
}

/// One run.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Sample {
    pub service: Done,
    /// Events in the watcher's output, and those that it says it lost.
    pub events: u64,
    pub lost: u64,
    pub bytes: u64,
    pub tracer: Usage,
}

/// The same for all runs.
pub struct Bench {
    pub redis: Redis,
    pub dir: PathBuf,
    pub recorder: PathBuf,
    pub requests: u64,
    /// Memory between kernel and watcher for each processor.
    pub buffer_mib: u64,
    pub cpus: u64,
}

impl Watch {
    /// In tables.
    pub fn name(self) -> String {
        match self {
            Self::Nobody => "alone".to_owned(),
            Self::Perf => "perf record".to_owned(),
            Self::Calls => "ktape".to_owned(),
            Self::Events(events) if events == FLIGHT => "flight recorder's set".to_owned(),
            Self::Events(events) => events.join(", "),
        }
    }
}

impl Bench {
    /// Let the benchmark run while `watch` watches it and the server, and nobody else.
    pub fn run(&self, watch: Watch) -> Result<Sample> {
        let Self { redis, dir, requests, .. } = self;
        if dir.exists() {
            fs::remove_dir_all(dir).with_context(|| format!("cannot empty {}", dir.display()))?;
        }
        fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
        let server = redis.serve(dir)?;
        let benchmark = redis.benchmark(&server, *requests, dir)?;
        let watcher = self.watcher(watch, [server.pid(), benchmark.pid()])?;
        let service = benchmark.run()?;
        let mut sample = Sample { service, events: 0, lost: 0, bytes: 0, tracer: Usage::default() };
        if let Some(watcher) = watcher {
            watcher.signal(Signal::SIGINT);
            let (status, usage) = watcher.end(LIMIT)?;
            // perf ends itself by the signal that it was ended with.
            let is_well = status.success() || status.signal() == Some(libc::SIGINT);
            ensure!(is_well, "{} failed: {status}: {}", watch.name(), self.said());
            sample.tracer = usage;
        }
        server.end()?;
        let trace = dir.join("trace");
        let tables: Vec<&str> = match watch {
            Watch::Nobody => Vec::new(),
            Watch::Perf => {
                let data = dir.join("perf.data");
                (sample.events, sample.lost) = perf_stats(&data)?;
                sample.bytes = size_bytes(&data)?;
                Vec::new()
            }
            Watch::Calls => CALLS.iter().map(|(name, _)| *name).collect(),
            Watch::Events(events) => events.to_vec(),
        };
        for table in tables {
            let (events, lost) = in_tables(&trace, table)?;
            sample.events += events;
            sample.lost += lost;
            sample.bytes = size_bytes(&trace)?;
        }
        Ok(sample)
    }

    fn watcher(&self, watch: Watch, pids: [u32; 2]) -> Result<Option<Running>> {
        let Self { dir, .. } = self;
        let mut command = match watch {
            Watch::Nobody => return Ok(None),
            Watch::Perf => perf(dir, pids, self.buffer_mib),
            Watch::Calls | Watch::Events(_) => self.recorder(watch, pids),
        };
        let ready = if watch == Watch::Perf { "Events enabled" } else { "recorder: recording" };
        let file = |name: &str| {
            let path = dir.join(name);
            let made = File::options().append(true).create(true).open(&path);
            made.with_context(|| format!("cannot make {}", path.display()))
        };
        command.stdin(Stdio::null()).stdout(file("watcher.out")?).stderr(file("watcher.err")?);
        let mut running = Running::start(&mut command)?;
        running
            .until(LIMIT, || self.said().contains(ready))
            .with_context(|| format!("{}: {}", watch.name(), self.said()))?;
        Ok(Some(running))
    }

    fn recorder(&self, watch: Watch, pids: [u32; 2]) -> Command {
        let mut command = Command::new(&self.recorder);
        command.arg("record");
        match watch {
            Watch::Events(events) => drop(command.args(events)),
            _ => drop(command.args(CALLS.map(|(name, probe)| format!("{name}={probe}")))),
        }
        command.args(pids.map(|pid| format!("--pid={pid}")));
        command.arg(format!("--buffer-size={}M", self.buffer_mib * self.cpus));
        command.arg("-o").arg(self.dir.join("trace"));
        command
    }

    fn said(&self) -> String {
        let text = |name: &str| fs::read_to_string(self.dir.join(name)).unwrap_or_default();
        [text("watcher.out"), text("watcher.err")].join("\n")
    }
}

fn perf(dir: &Path, pids: [u32; 2], buffer_mib: u64) -> Command {
    let mut command = Command::new("perf");
    // Without looking for build ids: that would be a second pass over the file.
    command.args(["record", "--no-buildid", "--no-buildid-cache", "--delay", "1"]);
    command.arg("--mmap-pages").arg(format!("{buffer_mib}M"));
    for (_, probe) in CALLS {
        command.args(["-e", probe.trim_start_matches("tp:")]);
    }
    command.arg("-p").arg(pids.map(|pid| pid.to_string()).join(",")).arg("-o").arg(dir.join("perf.data"));
    command
}
