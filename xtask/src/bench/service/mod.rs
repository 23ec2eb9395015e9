//! `cargo xtask bench service`: what a service feels of being recorded, under ktape and under perf, in interleaved rounds;
//! and what each of them misses on a saturated machine.

mod redis;
mod report;
mod watch;

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use clap::Args;

use super::load::Load;
use super::process::Running;
use super::run::{self, Sample as StormSample};
use super::tracer::{KTAPE, PEERS, Tracer, recorder_of};
use crate::{host, setup};
use redis::Redis;
use report::Report;
use watch::{Bench, FLIGHT, Sample, Watch};

/// Each event of the flight recorder's set alone.
const EACH: [Watch; 4] = [
    Watch::Events(&["listens"]),
    Watch::Events(&["processes"]),
    Watch::Events(&["netns_joins"]),
    Watch::Events(&["mkdirs"]),
];

/// How much of it.
#[derive(Args)]
pub struct Options {
    /// Rounds in which the watchers take turns
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Requests of a run
    #[arg(long, default_value_t = 400_000, value_parser = clap::value_parser!(u64).range(1000..))]
    requests: u64,
    /// Memory between kernel and watcher for each CPU, the same for all, MiB
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u64).range(1..=64))]
    buffer_mib: u64,
    /// Only see that it works: one short round, the recorder as built for tests. The figures mean nothing
    #[arg(long)]
    quick: bool,
}

/// All runs of one watcher.
pub struct Runs {
    watch: Watch,
    samples: Vec<Sample>,
    /// Runs with nobody, each next to the one of the same number.
    alone: Vec<Sample>,
}

/// A storm on a saturated machine under one tracer.
pub struct Storms {
    load: &'static str,
    tracer: &'static str,
    samples: Vec<StormSample>,
}

/// Measure and report.
pub fn run(options: &Options) -> Result<()> {
    ensure!(setup::is_root(), "tracing needs root: run it as root, or through sudo");
    setup::bench()?;
    if !options.quick {
        let mut cargo = Command::new("cargo");
        cargo.args(["build", "--release", "-p", "recorder", "--bin", "recorder"]);
        host::status(cargo.current_dir(host::repo()))?;
    }
    let cpus = std::thread::available_parallelism().context("cannot count the processors")?.get() as u64;
    let rounds = if options.quick { 1 } else { options.rounds };
    let dir = host::target_dir()?.join("bench");
    let bench = Bench {
        redis: Redis::get()?,
        dir: dir.join("service"),
        recorder: recorder_of(options.quick)?,
        requests: if options.quick { 2000 } else { options.requests },
        buffer_mib: options.buffer_mib,
        cpus,
    };
    let watches = [Watch::Perf, Watch::Calls, Watch::Events(&FLIGHT)].into_iter().chain(EACH);
    let mut runs: Vec<Runs> =
        watches.map(|watch| Runs { watch, samples: Vec::new(), alone: Vec::new() }).collect();
    let mut storms = storms();
    for round in 1..=rounds {
        // Whoever is first in one round is last in the next: a machine becomes warm, or busy.
        let order: Vec<usize> =
            if round % 2 == 1 { (0..runs.len()).collect() } else { (0..runs.len()).rev().collect() };
        for index in order {
            let Runs { watch, samples, alone } = &mut runs[index];
            eprintln!("bench: round {round} of {rounds}: redis, {}", watch.name());
            alone.push(bench.run(Watch::Nobody)?);
            samples.push(bench.run(*watch)?);
        }
        for storm in &mut storms {
            eprintln!("bench: round {round} of {rounds}: {}, {}", storm.load, storm.tracer);
            storm.add(&bench, if options.quick { 0.1 } else { 3.0 })?;
        }
    }
    let kernel = nix::sys::utsname::uname().context("cannot ask for the kernel")?;
    let kernel = kernel.release().to_string_lossy().into_owned();
    let report = Report::new(kernel, cpus, options.quick, &runs, &storms);
    let path = dir.join("service.json");
    fs::write(&path, serde_json::to_string_pretty(&report)? + "\n")
        .with_context(|| format!("cannot write {}", path.display()))?;
    print!("{}", report.markdown());
    Ok(())
}

/// A storm of as many threads as there are processors, by itself and beside as many processes that only spin.
fn storms() -> Vec<Storms> {
    let tracers = [&KTAPE, &PEERS[0]];
    let loads = ["storm", "storm, spinners"];
    let pairs = loads.into_iter().flat_map(|load| tracers.map(|tracer| (load, tracer.name)));
    pairs.map(|(load, tracer)| Storms { load, tracer, samples: Vec::new() }).collect()
}

impl Storms {
    fn add(&mut self, bench: &Bench, seconds: f64) -> Result<()> {
        let cpus = bench.cpus;
        let run = run::Bench {
            dir: bench.dir.clone(),
            buffer_bytes_per_cpu: bench.buffer_mib << 20,
            cpus,
            ktape: bench.recorder.clone(),
        };
        let threads = u16::try_from(cpus).unwrap_or(u16::MAX);
        let tracer: &Tracer = if self.tracer == KTAPE.name { &KTAPE } else { &PEERS[0] };
        let spinners = if self.load == "storm" { 0 } else { cpus };
        // Ended when they are dropped.
        let spinning =
            (0..spinners).map(|_| Running::start(Command::new("sh").args(["-c", "while :; do :; done"])));
        let _spinning = spinning.collect::<Result<Vec<_>>>()?;
        let load = Load::Storm { seconds, rate: None, threads };
        self.samples.push(run.run(run::Watch::Tracer(tracer), load)?);
        Ok(())
    }
}
