//! Figures and goals in, markdown and JSON out.

use std::fmt::Write;

use serde::Serialize;

use super::figures::Row;
use super::goals::Goal;
use super::guest::{Size, Sizes};

/// Where and how it was measured.
#[derive(Debug, Serialize)]
pub struct Machine {
    pub kernel: String,
    pub cpus: u64,
    /// That call getppid.
    pub threads: u16,
    pub buffer_bytes_per_cpu: u64,
    pub rounds: u32,
    pub is_quick: bool,
}

/// All of it.
#[derive(Debug, Serialize)]
pub struct Report {
    pub machine: Machine,
    /// getppid.
    pub storm: Vec<Row>,
    /// Kernel memory under file churn.
    pub churn: Vec<Row>,
    /// The same, ktape with twelve columns.
    pub kmem12: Row,
    pub guest: Vec<Sizes>,
    pub goals: Vec<Goal>,
}

impl Report {
    /// For people.
    pub fn markdown(&self) -> String {
        let Self { machine, storm, churn, kmem12, guest, goals } = self;
        let Machine { kernel, cpus, threads, buffer_bytes_per_cpu, rounds, is_quick } = machine;
        let mut out = format!(
            "Linux {kernel}, {cpus} processors, {threads} busy with getppid, {} MiB of buffer for each processor, median of \
             {rounds} rounds.\n",
            buffer_bytes_per_cpu >> 20
        );
        if *is_quick {
            out += "A smoke test: these figures mean nothing.\n";
        }
        out += "\n### getppid, as fast as can be\n\n";
        rows(&mut out, storm.iter());
        out += "\n### kmem, file churn\n\n";
        rows(&mut out, churn.iter().chain([kmem12]));
        out += "\n### Size in a guest\n\n";
        sizes(&mut out, guest);
        out += "\n### Goals\n\n";
        table(&mut out, &["goal", "wanted", "is", ""]);
        for Goal { what, value, limit, at_least, is_met, note } in goals {
            let sign = if *at_least { "at least" } else { "at most" };
            let met = if *is_met { "met" } else { "**missed**" };
            let note = note.map(|note| format!("; {note}")).unwrap_or_default();
            line(
                &mut out,
                &[*what, &format!("{sign} {limit:.2}"), &format!("{value:.2}"), &(met.to_owned() + &note)],
            );
        }
        out
    }
}

fn rows<'a>(out: &mut String, rows: impl Iterator<Item = &'a Row>) {
    table(
        out,
        &[
            "tracer",
            "recorded, M/s",
            "missing (tracer says)",
            "highest rate without loss, M/s",
            "overhead, ns per call or file",
            "tracer's CPU, s per M events: user + kernel",
            "start and end, s CPU",
            "peak RSS, MiB",
            "bytes/event",
            "spread",
        ],
    );
    for row in rows {
        let Row {
            tracer,
            per_second: _,
            recorded_per_second,
            missing,
            lost,
            overhead_ns,
            tracer_user_ns_per_event: user_ns,
            tracer_system_ns_per_event: system_ns,
            tracer_fixed_ms,
            peak_rss_bytes,
            bytes_per_event,
            spread,
            loss_free,
        } = row;
        let highest = loss_free.map_or("-".to_owned(), |highest| {
            let sign = if highest.is_workload_limit { "≥ " } else { "" };
            format!("{sign}{:.2}", highest.per_second / 1e6)
        });
        // ns per event are ms per million.
        let cpu = format!("{:.3} + {:.3}", user_ns / 1e3, system_ns / 1e3);
        let cpu = if user_ns.is_nan() { "-".to_owned() } else { cpu };
        line(
            out,
            &[
                tracer,
                &format!("{:.2}", recorded_per_second / 1e6),
                &format!("{} ({})", percent(*missing), percent(*lost)),
                &highest,
                &format!("{overhead_ns:.0}"),
                &cpu,
                &format!("{:.2}", tracer_fixed_ms / 1e3),
                &format!("{}", peak_rss_bytes >> 20),
                &format!("{bytes_per_event:.2}"),
                &percent(*spread),
            ],
        );
    }
}

fn sizes(out: &mut String, guest: &[Sizes]) {
    table(out, &["load", "tracer", "events", "lost, it says", "calls made", "bytes", "net bytes/event"]);
    for Sizes { load, calls, ktape, trace_cmd, trace_cmd_plain } in guest {
        for (tracer, Size { events, lost, bytes, net }) in
            [("ktape", ktape), ("trace-cmd", trace_cmd), ("trace-cmd --compression none", trace_cmd_plain)]
        {
            let calls = calls.map_or("-".to_owned(), |calls| calls.to_string());
            let numbers = [events, lost].map(u64::to_string);
            line(
                out,
                &[*load, tracer, &numbers[0], &numbers[1], &calls, &bytes.to_string(), &format!("{net:.2}")],
            );
        }
    }
}

/// A part as text.
pub fn percent(part: f64) -> String {
    if part == 0.0 { "0".to_owned() } else { format!("{:.2} %", part * 100.0) }
}

/// The head of a table.
pub fn table(out: &mut String, heads: &[&str]) {
    line(out, heads);
    line(out, &vec!["---"; heads.len()]);
}

/// A line of a table.
pub fn line(out: &mut String, cells: &[&str]) {
    // Writing to a String cannot fail.
    let _ = writeln!(out, "| {} |", cells.join(" | "));
}
