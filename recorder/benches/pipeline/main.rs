//! What the consumer costs, without a kernel: raw frames through the `EventSource` seam to a closed trace.
//!
//! `cargo bench -p recorder --bench pipeline [-- FILTER]`. Time is processor time of all threads, less that of the
//! made-up source; so events per second are those that one processor can take. Before each benchmark comes its profile,
//! in nanoseconds per event. `KTAPE_BENCH_EVENTS` sets the number of events (4 million).

mod frames;

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use frames::{CPUS, Frames, layout};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use recorder::pipeline::{End, Options, ProbeRow, TraceWriter, profile};
use recorder::source::EventSource;
use schemas::column::Layout;
use schemas::trace::{FORMAT_VERSION, Meta, State};

/// The profile is that of the cheapest of so many recordings: what else the machine does only adds to the time.
const RUNS: usize = 5;

/// Processor and wall time of one recording.
struct Cost {
    /// All threads, the source included.
    process_ns: u64,
    /// The thread that drains, until all is fed, the source included.
    drain_ns: u64,
    /// The same thread afterwards: it waits, merges segments, ends.
    close_ns: u64,
    wall: Duration,
    bytes: u64,
}

fn process_ns() -> Result<u64> {
    let usage = getrusage(UsageWho::RUSAGE_SELF)?;
    Ok((usage.user_time().num_nanoseconds() + usage.system_time().num_nanoseconds()) as u64)
}

fn meta(layout: &Layout) -> Meta {
    Meta {
        format_version: FORMAT_VERSION,
        recorder_version: env!("CARGO_PKG_VERSION").into(),
        state: State::Open,
        host: String::new(),
        kernel_release: String::new(),
        machine: String::new(),
        boot_id: String::new(),
        cpus: CPUS as u32,
        utc_minus_boottime_ns: 0,
        start_ns: 0,
        end_ns: None,
        command_line: vec![],
        command_exit_code: None,
        recorder_pid: 0,
        kept_from_ns: None,
        gfp_flags: Vec::new(),
        frozen: None,
        events: vec![layout.clone()],
    }
}

fn record(layout: &Layout, events: u64, dir: &Path) -> Result<Cost> {
    let mut source = Frames::new(layout, events);
    let options = Options { is_live: false, ..Options::default() };
    let (start, start_process, start_thread) = (Instant::now(), process_ns()?, profile::thread_ns());
    let mut writer = TraceWriter::create(dir, meta(layout), options)?;
    writer.add_probe(ProbeRow { probe: Some(0), event: layout.event.clone(), ..ProbeRow::default() })?;
    while !source.finished() {
        writer.pump(&mut source)?;
    }
    let fed_thread = profile::thread_ns();
    let summary = writer.close(End::default())?;
    let cost = Cost {
        process_ns: process_ns()? - start_process,
        drain_ns: fed_thread - start_thread,
        close_ns: profile::thread_ns() - fed_thread,
        wall: start.elapsed(),
        bytes: summary.bytes,
    };
    if let Some(failure) = summary.failure {
        return Err(anyhow::anyhow!("{failure:#}"));
    }
    std::fs::remove_dir_all(dir).with_context(|| format!("cannot remove '{}'", dir.display()))?;
    Ok(cost)
}

/// Processor time of the made-up source alone.
fn source_ns(layout: &Layout, events: u64) -> Result<u64> {
    let mut source = Frames::new(layout, events);
    let start_ns = profile::thread_ns();
    let mut bytes = 0;
    while !source.finished() {
        source.drain(&mut |_, _, record| bytes += std::hint::black_box(record).len())?;
    }
    ensure!(bytes as u64 == events * u64::from(layout.record_size), "the source gave {bytes} bytes");
    Ok(profile::thread_ns() - start_ns)
}

fn print_profile(layout: &Layout, events: u64, dir: &Path) -> Result<()> {
    let source_ns = source_ns(layout, events)?;
    let (mut cost, mut stages) = (None, None);
    for _ in 0..RUNS {
        profile::start();
        let run = record(layout, events, dir)?;
        let run_stages = profile::stop();
        if cost.as_ref().is_none_or(|best: &Cost| run.process_ns < best.process_ns) {
            (cost, stages) = (Some(run), Some(run_stages));
        }
    }
    let (cost, stages) = cost.zip(stages).context("no run")?;
    let per_event = |ns: u64| ns as f64 / events as f64;
    let columns = layout.schema().fields().len();
    println!(
        "\n{columns} columns, {events} records of {} bytes, ns of processor time per event:",
        layout.record_size
    );
    let known: u64 = stages.iter().map(|(_, ns)| ns).sum::<u64>() + cost.drain_ns + cost.close_ns;
    let stages = stages.iter().map(|(stage, ns)| (format!("{stage:?}").to_lowercase(), *ns));
    let rows = [("drain, feed".to_owned(), cost.drain_ns.saturating_sub(source_ns))]
        .into_iter()
        .chain(stages)
        .chain([
            ("close".to_owned(), cost.close_ns),
            ("other".to_owned(), cost.process_ns.saturating_sub(known)),
            ("all".to_owned(), cost.process_ns.saturating_sub(source_ns)),
        ]);
    for (name, ns) in rows {
        println!("  {name:12}{:7.1}", per_event(ns));
    }
    println!(
        "  {:.2} bytes on disk per event, {:.0} ns of wall time",
        per_event(cost.bytes),
        per_event(cost.wall.as_nanos() as u64)
    );
    Ok(())
}

fn pipeline(criterion: &mut Criterion) {
    let events: u64 =
        std::env::var("KTAPE_BENCH_EVENTS").ok().and_then(|n| n.parse().ok()).unwrap_or(4_000_000);
    let temp = tempfile::tempdir().expect("a directory for the trace");
    let dir = temp.path().join("bench.trace");
    let mut group = criterion.benchmark_group("pipeline");
    group.throughput(Throughput::Elements(events)).sample_size(10).measurement_time(Duration::from_secs(10));
    for own in [4, 10] {
        let layout = layout(own).expect("a layout");
        print_profile(&layout, events, &dir).expect("a recording");
        let source_ns = source_ns(&layout, events).expect("a source");
        group.bench_function(BenchmarkId::new("columns", 8 + own), |bencher| {
            bencher.iter_custom(|times| {
                let costs = (0..times).map(|_| record(&layout, events, &dir).expect("a recording"));
                Duration::from_nanos(costs.map(|cost| cost.process_ns.saturating_sub(source_ns)).sum())
            });
        });
    }
    group.finish();
}

criterion_group!(benches, pipeline);
criterion_main!(benches);
