//! `cargo xtask bench memory`: the peak memory of whole `analyze` processes beside the limit that they were given.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde::Serialize;

use super::process::Running;
use super::report;
use super::tracer::size_bytes;
use crate::{host, setup};

/// Longest time for an answer.
const LIMIT: Duration = Duration::from_secs(3600);
/// The limit that `analyze` has by itself.
const DEFAULT_MIB: u64 = 1024;
const MAKE_TRACE: &str = include_str!("memory.py");
/// Event, and what is asked about it.
const QUESTIONS: [(&str, &[&str]); 6] = [
    ("kmem", &["lifetimes"]),
    ("kmem", &["leaks"]),
    ("kmem", &["leak_classes"]),
    ("packets", &["gaps"]),
    ("packets", &["gaps", "--by", "source"]),
    ("packets", &["bursts"]),
];

/// How much of it.
#[derive(Args)]
pub struct Options {
    /// Rows of kmem, and of packets, in millions
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..))]
    million_rows: u64,
    /// The small limit, MiB
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u64).range(16..))]
    small_mib: u64,
    /// Only see that it works: few rows, analyze as built for tests. The figures mean nothing
    #[arg(long)]
    quick: bool,
}

/// One question with one limit.
#[derive(Debug, Serialize)]
struct Row {
    question: String,
    table: &'static str,
    rows: u64,
    limit_bytes: u64,
    seconds: f64,
    peak_rss_bytes: u64,
    /// Most that temporary files took at a time.
    spilled_bytes: u64,
    /// The process stayed within the limit.
    is_kept: bool,
    /// None: it gave no answer.
    answer_rows: Option<u64>,
}

#[derive(Debug, Serialize)]
struct Report {
    is_quick: bool,
    rows: Vec<Row>,
}

/// Measure and report.
pub fn run(options: &Options) -> Result<()> {
    setup::run(false)?;
    let analyze = if options.quick {
        host::built("analyze")?
    } else {
        let mut cargo = Command::new("cargo");
        cargo.args(["build", "--release", "-p", "analyze", "--bin", "analyze"]);
        host::status(cargo.current_dir(host::repo()))?;
        host::target_dir()?.join("release/analyze")
    };
    let dir = host::target_dir()?.join("bench/memory");
    fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let wanted = if options.quick { 20_000 } else { options.million_rows * 1_000_000 };
    let mut traces: Vec<(&str, PathBuf, u64)> = Vec::new();
    for event in ["kmem", "packets"] {
        eprintln!("bench: a trace of {wanted} rows of {event}");
        let trace = dir.join(format!("{event}.trace"));
        let rows = make_trace(event, &trace, wanted)?;
        let count = format!("SELECT count(*) FROM {event}");
        let said = Command::new(&analyze).arg("sql").arg(&trace).arg(&count).args(["-F", "csv"]).output()?;
        let said = String::from_utf8_lossy(&said.stdout).into_owned();
        ensure!(
            said.lines().last() == Some(&rows.to_string()),
            "analyze sees other rows than {rows}: {said}"
        );
        traces.push((event, trace, rows));
    }
    let mut rows = Vec::new();
    for (table, words) in QUESTIONS {
        let (_, trace, count) =
            traces.iter().find(|(event, ..)| *event == table).context("a question needs a trace")?;
        for limit_mib in [DEFAULT_MIB, options.small_mib] {
            eprintln!("bench: {} with {limit_mib} MiB", words.join(" "));
            rows.push(ask(&analyze, table, words, trace, *count, limit_mib, &dir)?);
        }
    }
    for (_, trace, _) in &traces {
        fs::remove_dir_all(trace).with_context(|| format!("cannot remove {}", trace.display()))?;
    }
    let report = Report { is_quick: options.quick, rows };
    let path = host::target_dir()?.join("bench/memory.json");
    fs::write(&path, serde_json::to_string_pretty(&report)? + "\n")
        .with_context(|| format!("cannot write {}", path.display()))?;
    print!("{}", report.markdown());
    Ok(())
}

fn make_trace(event: &str, trace: &Path, rows: u64) -> Result<u64> {
    let mut python = Command::new(setup::python()?);
    python.args(["-c", MAKE_TRACE]);
    python.arg(host::repo().join(format!("fixtures/captured/{event}.trace"))).arg(event).arg(trace);
    let said = host::output(python.arg(rows.to_string()))?;
    said.trim().parse().with_context(|| format!("making the trace said: {said}"))
}

fn ask(
    analyze: &Path,
    table: &'static str,
    words: &[&str],
    trace: &Path,
    rows: u64,
    limit_mib: u64,
    dir: &Path,
) -> Result<Row> {
    let spill = dir.join("spill");
    if spill.exists() {
        fs::remove_dir_all(&spill).with_context(|| format!("cannot empty {}", spill.display()))?;
    }
    fs::create_dir(&spill).with_context(|| format!("cannot make {}", spill.display()))?;
    let file = |name: &str| {
        let path = dir.join(name);
        File::create(&path).with_context(|| format!("cannot make {}", path.display()))
    };
    let mut command = Command::new(analyze);
    command.arg(words[0]).arg(trace).args(&words[1..]);
    command.args(["-F", "csv", "--memory", &format!("{limit_mib}M")]);
    command.env("TMPDIR", &spill).stdout(file("answer")?).stderr(file("messages")?);
    let began = Instant::now();
    let mut spilled_bytes = 0;
    let running = Running::start(&mut command)?;
    let (status, usage) = running.end_watched(LIMIT, || {
        // A file may go while it is looked at.
        spilled_bytes = spilled_bytes.max(size_bytes(&spill).unwrap_or(0));
    })?;
    // 1: there is an answer, and events were lost.
    let is_answered = matches!(status.code(), Some(0 | 1));
    let answer = fs::read_to_string(dir.join("answer")).context("there is no answer")?;
    let answer_rows = is_answered.then(|| answer.lines().skip(1).count() as u64);
    Ok(Row {
        question: words.join(" "),
        table,
        rows,
        limit_bytes: limit_mib << 20,
        seconds: began.elapsed().as_secs_f64(),
        peak_rss_bytes: usage.peak_rss_bytes,
        spilled_bytes,
        is_kept: usage.peak_rss_bytes <= limit_mib << 20,
        answer_rows,
    })
}

impl Report {
    fn markdown(&self) -> String {
        let mut out = String::new();
        if self.is_quick {
            out += "A smoke test: these figures mean nothing.\n\n";
        }
        let heads = [
            "question",
            "rows, M",
            "--memory, MiB",
            "peak RSS, MiB",
            "kept",
            "spilled, MiB",
            "seconds",
            "answer",
        ];
        report::table(&mut out, &heads);
        for row in &self.rows {
            let Row { question, table, rows, limit_bytes, seconds, peak_rss_bytes, .. } = row;
            let Row { spilled_bytes, is_kept, answer_rows, .. } = row;
            report::line(
                &mut out,
                &[
                    &format!("{question} ({table})"),
                    &format!("{:.2}", *rows as f64 / 1e6),
                    &(limit_bytes >> 20).to_string(),
                    &(peak_rss_bytes >> 20).to_string(),
                    if *is_kept { "yes" } else { "**no**" },
                    &(spilled_bytes >> 20).to_string(),
                    &format!("{seconds:.1}"),
                    &answer_rows.map_or("refused".to_owned(), |rows| format!("{rows} rows")),
                ],
            );
        }
        out
    }
}
