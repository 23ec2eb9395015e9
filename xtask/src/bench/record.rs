//! `cargo xtask bench record`: options in, all runs in turn, the report out.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use clap::Args;

use super::figures::{Measured, Row};
use super::goals::Figures;
use super::guest::{self, Amount};
use super::load::Load;
use super::report::{Machine, Report};
use super::run::{Bench, Sample, Watch};
use super::search::{self, Saturated};
use super::tracer::{KTAPE, PEERS, Tracer, recorder_of};
use crate::{host, setup};

/// How much of it.
#[derive(Args)]
pub struct Options {
    /// Rounds in which the tracers take turns
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Memory between kernel and tracer for each CPU, the same for all, MiB
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u64).range(1..=64))]
    buffer_mib: u64,
    /// Threads that call getppid [default: half as many as there are processors]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,
    /// Only see that it works: one short round, the recorder as built for tests. The figures mean nothing
    #[arg(long)]
    quick: bool,
}

/// Sizes of the loads.
struct Amounts {
    rounds: u32,
    seconds: f64,
    search_seconds: f64,
    search_steps: u32,
    /// So many that the rings hold them all.
    bare_calls: u64,
    guest: Amount,
}

impl Options {
    fn amounts(&self) -> Amounts {
        if self.quick {
            return Amounts {
                rounds: 1,
                seconds: 0.1,
                search_seconds: 0.1,
                search_steps: 1,
                bare_calls: 10_000,
                guest: Amount { calls: 2000, files: 0 },
            };
        }
        Amounts {
            rounds: self.rounds,
            seconds: 2.0,
            search_seconds: 2.0,
            search_steps: 5,
            bare_calls: self.buffer_mib * 5000,
            guest: Amount { calls: 20_000, files: 5000 },
        }
    }
}

/// Samples of all tracers on one load, in the order of [`tracers`].
#[derive(Default)]
struct Rounds {
    untraced: Vec<Sample>,
    traced: Vec<Vec<Sample>>,
    /// With next to nothing to trace: what starting and ending costs.
    idle: Vec<Vec<Sample>>,
}

fn tracers() -> impl Iterator<Item = &'static Tracer> {
    std::iter::once(&KTAPE).chain(&PEERS)
}

/// Measure everything and report.
pub fn run(options: &Options) -> Result<()> {
    ensure!(setup::is_root(), "tracing needs root: run it as root, or through sudo");
    setup::bench()?;
    if !options.quick {
        let mut cargo = Command::new("cargo");
        cargo.args(["build", "--release", "-p", "recorder", "--bin", "recorder"]);
        host::status(cargo.current_dir(host::repo()))?;
    }
    let cpus = std::thread::available_parallelism().context("cannot count the processors")?.get() as u64;
    let dir = host::target_dir()?.join("bench");
    let buffer_bytes_per_cpu = options.buffer_mib << 20;
    let ktape = recorder_of(options.quick)?;
    let bench = Bench { dir: dir.join("run"), buffer_bytes_per_cpu, cpus, ktape };
    let amounts = options.amounts();
    // The other half is for the tracer.
    let half = u16::try_from(cpus / 2).unwrap_or(u16::MAX).max(1);
    let threads = options.threads.unwrap_or(half);
    let storm_load = Load::Storm { seconds: amounts.seconds, rate: None, threads };
    let churn_load = Load::Churn { seconds: amounts.seconds, columns12: false };
    let churn12_load = Load::Churn { seconds: amounts.seconds, columns12: true };
    let (mut storm, mut churn) = (Rounds::default(), Rounds::default());
    let (mut bare, mut churn12) = (Vec::new(), Vec::new());
    let one_file = |columns12| Load::Churn { seconds: 1e-6, columns12 };
    let mut churn12_idle = Vec::new();
    for round in 1..=amounts.rounds {
        let step = |text: &str| eprintln!("bench: round {round} of {}: {text}", amounts.rounds);
        step("getppid");
        storm.add(&bench, storm_load, Load::Calls(1))?;
        bare.push(bench.run(Watch::BareRing, Load::Calls(amounts.bare_calls))?);
        step("kmem");
        churn.add(&bench, churn_load, one_file(false))?;
        churn12_idle.push(bench.run(Watch::Tracer(&KTAPE), one_file(true))?);
        churn12.push(bench.run(Watch::Tracer(&KTAPE), churn12_load)?);
    }
    let mut storm_rows = storm.rows(true);
    for ((tracer, row), samples) in tracers().zip(&mut storm_rows).zip(&storm.traced) {
        eprintln!("bench: highest rate without loss: {}", tracer.name);
        let saturated =
            Saturated { per_second: row.per_second, is_complete: samples.iter().all(Sample::is_complete) };
        let search = search::Search { seconds: amounts.search_seconds, threads, steps: amounts.search_steps };
        row.loss_free = Some(search.highest(&bench, tracer, saturated)?);
    }
    let bare = Measured { tracer: "bare ring", samples: &bare, idle: &storm.idle[0] };
    // It reads the rings when all is over: that says nothing about its costs.
    let unknown = f64::NAN;
    let bare = bare.row(&storm.untraced, true);
    storm_rows.push(Row { tracer_user_ns_per_event: unknown, tracer_system_ns_per_event: unknown, ..bare });
    let kmem12 = Measured { tracer: "ktape, 12 columns", samples: &churn12, idle: &churn12_idle };
    let kmem12 = kmem12.row(&churn.untraced, false);
    eprintln!("bench: trace-cmd, in a guest");
    let guest = guest::sizes(amounts.guest, buffer_bytes_per_cpu, options.quick)?;
    let churn_rows = churn.rows(false);
    let goals = Figures { storm: &storm_rows, churn: &churn_rows, kmem12: &kmem12, guest: &guest }.goals();
    let kernel = nix::sys::utsname::uname()
        .context("cannot ask for the kernel")?
        .release()
        .to_string_lossy()
        .into_owned();
    let machine = Machine {
        kernel,
        cpus,
        threads,
        buffer_bytes_per_cpu,
        rounds: amounts.rounds,
        is_quick: options.quick,
    };
    let report = Report { machine, storm: storm_rows, churn: churn_rows, kmem12, guest, goals };
    let path = dir.join("record.json");
    fs::write(&path, serde_json::to_string_pretty(&report)? + "\n")
        .with_context(|| format!("cannot write {}", path.display()))?;
    print!("{}", report.markdown());
    Ok(())
}

impl Rounds {
    /// One more round.
    fn add(&mut self, bench: &Bench, load: Load, next_to_nothing: Load) -> Result<()> {
        self.untraced.push(bench.run(Watch::Nobody, load)?);
        for all in [&mut self.traced, &mut self.idle] {
            all.resize(1 + PEERS.len(), Vec::new());
        }
        for ((tracer, samples), idle) in tracers().zip(&mut self.traced).zip(&mut self.idle) {
            idle.push(bench.run(Watch::Tracer(tracer), next_to_nothing)?);
            samples.push(bench.run(Watch::Tracer(tracer), load)?);
        }
        Ok(())
    }

    fn rows(&self, has_known_count: bool) -> Vec<Row> {
        let measured = tracers()
            .zip(&self.traced)
            .zip(&self.idle)
            .map(|((tracer, samples), idle)| Measured { tracer: tracer.name, samples, idle });
        measured.map(|measured| measured.row(&self.untraced, has_known_count)).collect()
    }
}
