//! `cargo xtask bench memory`: the peak memory of whole `analyze` processes beside the limit that they were given.

mod questions;

use std::fs::{self, File};
use std::io::{PipeReader, Read};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use clap::Args;
use serde::Serialize;

use super::analyze::program;
use super::frames::Load;
use super::process::Running;
use super::report;
use super::tracer::size_bytes;
use super::traces::trace;
use crate::host;
use questions::{Question, all};

/// Longest time for an answer.
const LIMIT: Duration = Duration::from_secs(3600);
/// The limit that `analyze` has by itself.
const DEFAULT_MIB: u64 = 1024;
/// What a process may take beside its limit: the program itself, its threads, what is read from files.
const BESIDE_BYTES: u64 = 200_000_000;

/// How much of it.
#[derive(Args)]
pub struct Options {
    /// Rows of kmem, in millions; the packets are in proportion
    #[arg(long, value_name = "MILLIONS", default_value_t = 143.0)]
    rows: f64,
    /// The small limit, MiB
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u64).range(16..))]
    small_mib: u64,
    /// Only questions that have this in them
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// This program instead of a release build of analyze
    #[arg(long, value_name = "PATH")]
    analyze: Option<PathBuf>,
    /// Only see that it works: few rows, the small limit, analyze as built for tests. The figures mean nothing
    #[arg(long)]
    quick: bool,
}

/// What came of a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Outcome {
    /// There is an answer of so many rows.
    Answered(u64),
    /// One error says what to give.
    Refused,
    /// It ended otherwise.
    Failed,
}

/// One question with one limit.
#[derive(Debug, Serialize)]
struct Row {
    question: String,
    table: &'static str,
    limit_bytes: u64,
    seconds: f64,
    peak_rss_bytes: u64,
    /// Most that temporary files took at a time.
    spilled_bytes: u64,
    /// The process stayed within the limit and [`BESIDE_BYTES`], and answered or said what to give.
    is_kept: bool,
    outcome: Outcome,
    /// What it said, if it did not answer.
    said: Option<String>,
}

#[derive(Debug, Serialize)]
struct Report {
    is_quick: bool,
    kmem_rows: u64,
    packet_rows: u64,
    rows: Vec<Row>,
}

/// Measure and report.
pub fn run(options: &Options) -> Result<()> {
    let analyze = match &options.analyze {
        Some(path) => path.clone(),
        None => program(options.quick)?,
    };
    let dir = host::target_dir()?.join("bench/memory");
    fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let (kmem_rows, packet_rows) = super::analyze::sizes(options.rows, options.quick)?;
    let traces =
        [(Load::Kmem, trace(Load::Kmem, kmem_rows)?), (Load::Packets, trace(Load::Packets, packet_rows)?)];
    let limits = if options.quick { vec![options.small_mib] } else { vec![options.small_mib, DEFAULT_MIB] };
    let mut rows = Vec::new();
    for question in all()? {
        if options.only.as_ref().is_some_and(|only| !question.shown().contains(only.as_str())) {
            continue;
        }
        let trace = traces.iter().find(|(load, _)| *load == question.load);
        let (_, trace) = trace.context("a question needs a trace")?;
        for limit_mib in &limits {
            eprintln!("bench: {} with {limit_mib} MiB", question.shown());
            rows.push(ask(&analyze, &question, trace, *limit_mib, &dir)?);
        }
    }
    let report = Report { is_quick: options.quick, kmem_rows, packet_rows, rows };
    let path = host::target_dir()?.join("bench/memory.json");
    fs::write(&path, serde_json::to_string_pretty(&report)? + "\n")
        .with_context(|| format!("cannot write {}", path.display()))?;
    print!("{}", report.markdown());
    Ok(())
}

fn ask(analyze: &Path, question: &Question, trace: &Path, limit_mib: u64, dir: &Path) -> Result<Row> {
    let spill = dir.join("spill");
    if spill.exists() {
        fs::remove_dir_all(&spill).with_context(|| format!("cannot empty {}", spill.display()))?;
    }
    fs::create_dir(&spill).with_context(|| format!("cannot make {}", spill.display()))?;
    let messages = dir.join("messages");
    let mut command = Command::new(analyze);
    question.words(&mut command, trace);
    command.args(["--format", "csv", "--memory", &format!("{limit_mib}M")]);
    let (reader, writer) = std::io::pipe().context("cannot make a pipe")?;
    let said = File::create(&messages).with_context(|| format!("cannot make {}", messages.display()))?;
    command.env("TMPDIR", &spill).stdout(writer).stderr(said);
    let began = Instant::now();
    let mut spilled_bytes = 0;
    let running = Running::start(&mut command)?;
    // Its end of the pipe is with the process alone from now on, so that the answer ends when that does.
    drop(command);
    let lines = std::thread::spawn(move || count_lines(reader));
    let (status, usage) = running.end_watched(LIMIT, || {
        // A file may go while it is looked at.
        spilled_bytes = spilled_bytes.max(size_bytes(&spill).unwrap_or(0));
    })?;
    let lines = lines.join().map_err(|_| anyhow!("the thread that reads the answer has died"))??;
    let said = fs::read_to_string(&messages).context("what analyze said cannot be read")?;
    let outcome = match status.code() {
        // 1: there is an answer, and events were lost.
        Some(0 | 1) => Outcome::Answered(lines.saturating_sub(1)),
        Some(2) if said.lines().count() == 1 && said.contains("--memory") => Outcome::Refused,
        _ => Outcome::Failed,
    };
    let is_within = usage.peak_rss_bytes <= (limit_mib << 20) + BESIDE_BYTES;
    Ok(Row {
        question: question.shown(),
        table: question.load.event(),
        limit_bytes: limit_mib << 20,
        seconds: began.elapsed().as_secs_f64(),
        peak_rss_bytes: usage.peak_rss_bytes,
        spilled_bytes,
        is_kept: is_within && outcome != Outcome::Failed,
        outcome,
        said: (!matches!(outcome, Outcome::Answered(_))).then(|| format!("{status}: {}", said.trim())),
    })
}

/// Lines of an answer, which may be larger than any disk.
fn count_lines(mut answer: PipeReader) -> std::io::Result<u64> {
    let mut bytes = vec![0; 1 << 16];
    let mut lines = 0;
    loop {
        match answer.read(&mut bytes)? {
            0 => return Ok(lines),
            length => lines += bytes[..length].iter().filter(|byte| **byte == b'\n').count() as u64,
        }
    }
}

impl Report {
    fn markdown(&self) -> String {
        let Self { is_quick, kmem_rows, packet_rows, rows } = self;
        let mut out = String::new();
        if *is_quick {
            out += "A smoke test: these figures mean nothing.\n\n";
        }
        out += &format!(
            "{:.1} million rows of kmem, {:.1} million packets. Kept: at most {} MB above --memory, and an answer or one error that names --memory.\n\n",
            *kmem_rows as f64 / 1e6,
            *packet_rows as f64 / 1e6,
            BESIDE_BYTES / 1_000_000
        );
        let heads =
            ["question", "--memory, MiB", "peak RSS, MiB", "kept", "spilled, MiB", "seconds", "answer"];
        report::table(&mut out, &heads);
        for row in rows {
            let Row {
                question,
                table,
                limit_bytes,
                seconds,
                peak_rss_bytes,
                spilled_bytes,
                is_kept,
                outcome,
                said,
            } = row;
            let answer = match outcome {
                Outcome::Answered(rows) => format!("{rows} rows"),
                Outcome::Refused => "one error".to_owned(),
                Outcome::Failed => {
                    format!(
                        "**failed**: {}",
                        said.as_deref().unwrap_or_default().lines().next().unwrap_or_default()
                    )
                }
            };
            report::line(
                &mut out,
                &[
                    &format!("{} ({table})", question.replace('|', "\\|")),
                    &(limit_bytes >> 20).to_string(),
                    &(peak_rss_bytes >> 20).to_string(),
                    if *is_kept { "yes" } else { "**no**" },
                    &(spilled_bytes >> 20).to_string(),
                    &format!("{seconds:.1}"),
                    &answer.replace('|', "\\|"),
                ],
            );
        }
        out
    }
}
