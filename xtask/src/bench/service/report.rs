//! The figures of a recorded service: medians, ratios within rounds, and goals, as tables and JSON.

use std::fmt::Write;

use serde::Serialize;

use super::super::figures::median;
use super::super::report::{line, percent, table};
use super::watch::{FLIGHT, Sample, Watch};
use super::{Runs, Storms};

/// Most that the flight recorder's set may cost of throughput.
const FLIGHT_COST: f64 = 0.01;

/// One watcher.
#[derive(Debug, Serialize)]
pub struct Row {
    watcher: String,
    per_second: f64,
    p50_ms: f64,
    p99_ms: f64,
    p999_ms: f64,
    events: u64,
    lost: u64,
    peak_rss_bytes: u64,
    /// Throughput by that of the run alone beside it: median, least, most.
    of_alone: [f64; 3],
    samples: Vec<Sample>,
}

/// A tracer on a saturated machine.
#[derive(Debug, Serialize)]
struct Storm {
    load: &'static str,
    tracer: &'static str,
    calls_per_second: f64,
    missing: f64,
    most_missing: f64,
    lost: f64,
}

#[derive(Debug, Serialize)]
struct Goal {
    what: String,
    value: f64,
    limit: f64,
    at_least: bool,
    is_met: bool,
}

/// All of it.
#[derive(Debug, Serialize)]
pub struct Report {
    kernel: String,
    cpus: u64,
    rounds: usize,
    is_quick: bool,
    rows: Vec<Row>,
    storms: Vec<Storm>,
    goals: Vec<Goal>,
}

impl Report {
    pub fn new(kernel: String, cpus: u64, is_quick: bool, runs: &[Runs], storms: &[Storms]) -> Self {
        let alone: Vec<Sample> = runs.iter().flat_map(|run| &run.alone).copied().collect();
        let alone_row = row(Watch::Nobody, &alone, &alone);
        let rows: Vec<Row> = std::iter::once(alone_row)
            .chain(runs.iter().map(|run| row(run.watch, &run.samples, &run.alone)))
            .collect();
        let storms: Vec<Storm> = storms.iter().map(storm).collect();
        let goals = goals(&rows, &storms);
        let rounds = runs.first().map_or(0, |run| run.samples.len());
        Self { kernel, cpus, rounds, is_quick, rows, storms, goals }
    }

    /// For people.
    pub fn markdown(&self) -> String {
        let Self { kernel, cpus, rounds, is_quick, rows, storms, goals } = self;
        let mut out = format!("Linux {kernel}, {cpus} processors, medians of {rounds} rounds.\n");
        if *is_quick {
            out += "A smoke test: these figures mean nothing.\n";
        }
        out += "\n### redis-benchmark GET, 20 clients\n\n";
        let heads = [
            "watcher",
            "requests/s",
            "p50, ms",
            "p99, ms",
            "p99.9, ms",
            "events",
            "lost",
            "peak RSS, MiB",
            "requests/s by alone (least to most)",
        ];
        table(&mut out, &heads);
        for row in rows {
            let Row { watcher, per_second, p50_ms, p99_ms, p999_ms, events, lost, .. } = row;
            let Row { peak_rss_bytes, of_alone: [middle, least, most], .. } = row;
            line(
                &mut out,
                &[
                    watcher,
                    &format!("{per_second:.0}"),
                    &format!("{p50_ms:.3}"),
                    &format!("{p99_ms:.3}"),
                    &format!("{p999_ms:.3}"),
                    &events.to_string(),
                    &lost.to_string(),
                    &(peak_rss_bytes >> 20).to_string(),
                    &format!("{middle:.3} ({least:.3} to {most:.3})"),
                ],
            );
        }
        out += "\n### getppid by as many threads as processors\n\n";
        let heads =
            ["load", "tracer", "calls, M/s", "missing", "most missing in a round", "tracer says lost"];
        table(&mut out, &heads);
        for Storm { load, tracer, calls_per_second, missing, most_missing, lost } in storms {
            let rate = format!("{:.2}", calls_per_second / 1e6);
            line(
                &mut out,
                &[*load, tracer, &rate, &percent(*missing), &percent(*most_missing), &percent(*lost)],
            );
        }
        out += "\n### Goals\n\n";
        table(&mut out, &["goal", "wanted", "is", ""]);
        for Goal { what, value, limit, at_least, is_met } in goals {
            let sign = if *at_least { "at least" } else { "at most" };
            let met = if *is_met { "met" } else { "**missed**" };
            line(&mut out, &[what, &format!("{sign} {limit:.2}"), &format!("{value:.3}"), met]);
        }
        // Writing to a String cannot fail.
        let _ = writeln!(out);
        out
    }
}

fn row(watch: Watch, samples: &[Sample], alone: &[Sample]) -> Row {
    let of = |figure: fn(&Sample) -> f64| median(samples.iter().map(figure));
    let ratios: Vec<f64> = samples
        .iter()
        .zip(alone)
        .map(|(one, other)| one.service.per_second / other.service.per_second)
        .collect();
    let extremes =
        ratios.iter().fold([f64::MAX, 0.0], |[least, most], ratio| [ratio.min(least), ratio.max(most)]);
    Row {
        watcher: watch.name(),
        per_second: of(|s| s.service.per_second),
        p50_ms: of(|s| s.service.p50_ms),
        p99_ms: of(|s| s.service.p99_ms),
        p999_ms: of(|s| s.service.p999_ms),
        events: samples.iter().map(|s| s.events).sum(),
        lost: samples.iter().map(|s| s.lost).sum(),
        peak_rss_bytes: samples.iter().map(|s| s.tracer.peak_rss_bytes).max().unwrap_or(0),
        of_alone: [median(ratios.iter().copied()), extremes[0], extremes[1]],
        samples: samples.to_vec(),
    }
}

fn storm(storms: &Storms) -> Storm {
    let Storms { load, tracer, samples } = storms;
    let missing = |s: &super::StormSample| 1.0 - s.events as f64 / s.done.count as f64;
    Storm {
        load,
        tracer,
        calls_per_second: median(samples.iter().map(super::StormSample::per_second)),
        missing: median(samples.iter().map(missing)),
        most_missing: samples.iter().map(missing).fold(0.0, f64::max),
        lost: median(samples.iter().map(|s| s.lost as f64 / s.done.count as f64)),
    }
}

fn goals(rows: &[Row], storms: &[Storm]) -> Vec<Goal> {
    let find = |watch: Watch| {
        let name = watch.name();
        rows.iter().find(|row| row.watcher == name).expect("every watcher has a row")
    };
    let (perf, ktape, flight) = (find(Watch::Perf), find(Watch::Calls), find(Watch::Events(&FLIGHT)));
    let mut goals = vec![
        goal("p99 of redis, ktape / perf record", ktape.p99_ms / perf.p99_ms, 1.0, false),
        goal("requests a second, ktape / perf record", ktape.per_second / perf.per_second, 1.0, true),
        goal("events of redis that ktape lost", ktape.lost as f64, 0.0, false),
        goal("throughput that the flight recorder's set costs", 1.0 - flight.of_alone[0], FLIGHT_COST, false),
    ];
    for pair in storms.chunks(2) {
        if let [ktape, perf] = pair {
            let what = format!("{}: missing, ktape - perf record", ktape.load);
            goals.push(goal(&what, ktape.missing - perf.missing, 0.0, false));
        }
    }
    goals
}

fn goal(what: &str, value: f64, limit: f64, at_least: bool) -> Goal {
    let is_met = if at_least { value >= limit } else { value <= limit };
    Goal { what: what.to_owned(), value, limit, at_least, is_met }
}
