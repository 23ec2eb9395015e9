//! `cargo xtask bench analyze`: large traces in; how long analyze and DuckDB take for the same answers, and how much
//! memory, out.

mod answers;
mod duckdb;
mod goals;
mod perf;
mod questions;
mod report;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde::Serialize;

use super::frames::Load;
use super::process::Running;
use super::traces::trace;
use crate::{host, setup};
use answers::Answer;
use questions::{QUESTIONS, Question};
use report::Report;

/// Longest time for an answer.
const LIMIT: Duration = Duration::from_secs(600);
/// Packets for a number of rows of kmem: as in the recordings that are modelled.
const PACKETS_OF_KMEM: f64 = 19.0 / 143.0;

/// How much of it.
#[derive(Args)]
pub struct Options {
    /// Rows of kmem, in millions; the packets are in proportion
    #[arg(long, value_name = "MILLIONS", default_value_t = 143.0)]
    rows: f64,
    /// Rounds in which both take turns; figures are medians
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Threads of each
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: u16,
    /// Only questions whose name has this in it
    #[arg(long, value_name = "NAME")]
    only: Option<String>,
    /// This program instead of a release build of analyze
    #[arg(long, value_name = "PATH")]
    analyze: Option<PathBuf>,
    /// Only see that it works: few rows, analyze as built for tests. The figures mean nothing
    #[arg(long)]
    quick: bool,
}

/// What one program did with a question.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Cost {
    pub seconds: f64,
    /// Above that of a query that reads nothing.
    pub peak_rss_bytes: u64,
}

/// A question and what it cost.
#[derive(Debug, Serialize)]
pub struct Row {
    pub question: &'static str,
    /// Medians of the rounds; none: no answer.
    pub analyze: Option<Cost>,
    pub duckdb: Option<Cost>,
    /// Rows of the answer of analyze.
    pub answer_rows: usize,
    /// Both gave the same answer; none: one of them gave none.
    pub is_same: Option<bool>,
    /// Why there was none, or how they differ.
    pub note: Option<String>,
}

/// Large traces, and the programs that are asked about them.
struct Bench {
    dir: PathBuf,
    analyze: PathBuf,
    threads: u16,
    kmem: PathBuf,
    packets: PathBuf,
    kmem_rows: u64,
}

/// Measure and report.
pub fn run(options: &Options) -> Result<()> {
    setup::readers()?;
    let analyze = match &options.analyze {
        Some(path) => path.clone(),
        None => program(options.quick)?,
    };
    let (kmem_rows, packet_rows) = sizes(options.rows, options.quick)?;
    let dir = host::target_dir()?.join("bench/analyze");
    fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let (kmem, packets) = (trace(Load::Kmem, kmem_rows)?, trace(Load::Packets, packet_rows)?);
    let bench = Bench { dir, analyze, threads: options.threads, kmem, packets, kmem_rows };
    let empty = [bench.ask(&questions::EMPTY)?.0, bench.ask_duckdb(&questions::EMPTY)?.0];
    let mut rows = Vec::new();
    for question in &QUESTIONS {
        if options.only.as_ref().is_none_or(|only| question.name.contains(only.as_str())) {
            let rounds = if options.quick { 1 } else { options.rounds };
            rows.push(bench.compare(question, rounds, empty)?);
        }
    }
    let perf = perf::compare(&bench, options.quick)?;
    let report =
        Report { is_quick: options.quick, kmem_rows, packet_rows, threads: options.threads, rows, perf };
    let path = host::target_dir()?.join("bench/analyze.json");
    fs::write(&path, serde_json::to_string_pretty(&report)? + "\n")
        .with_context(|| format!("cannot write {}", path.display()))?;
    print!("{}", report.markdown());
    let wrong = report.rows.iter().find(|row| row.is_same == Some(false));
    ensure!(
        wrong.is_none(),
        "analyze and DuckDB give different answers: {}",
        wrong.map_or("", |row| row.question)
    );
    Ok(())
}

/// Rows of kmem and of packets, for so many millions of the former.
pub fn sizes(millions: f64, is_quick: bool) -> Result<(u64, u64)> {
    let kmem_rows = if is_quick { 1e6 } else { millions * 1e6 };
    ensure!((10_000.0..=1e12).contains(&kmem_rows), "--rows {millions}: give 0.01 or more");
    Ok((kmem_rows as u64, (kmem_rows * PACKETS_OF_KMEM) as u64))
}

/// analyze, as users get it, or as built for tests.
pub fn program(is_quick: bool) -> Result<PathBuf> {
    if is_quick {
        return host::built("analyze");
    }
    let mut cargo = Command::new("cargo");
    cargo.args(["build", "--release", "-p", "analyze", "--bin", "analyze"]);
    host::status(cargo.current_dir(host::repo()))?;
    Ok(host::target_dir()?.join("release/analyze"))
}

impl Bench {
    fn trace_of(&self, question: &Question) -> &Path {
        match question.load {
            Load::Kmem => &self.kmem,
            Load::Packets => &self.packets,
        }
    }

    /// Both answer in turn, so that what else the machine does hits both.
    fn compare(&self, question: &Question, rounds: u32, empty: [Option<Cost>; 2]) -> Result<Row> {
        let (mut own, mut others) = (Vec::new(), Vec::new());
        let mut answers = [None, None];
        let mut note = None;
        for round in 1..=rounds {
            eprintln!("bench: round {round} of {rounds}: {}", question.name);
            for (costs, answer, (cost, given)) in
                [(&mut own, 0, self.ask(question)?), (&mut others, 1, self.ask_duckdb(question)?)]
            {
                match given {
                    Ok(given) => answers[answer] = Some(given),
                    Err(why) => note = Some(why),
                }
                costs.extend(cost);
            }
        }
        let [analyze, duckdb] =
            [(own, empty[0]), (others, empty[1])].map(|(costs, empty)| median(costs, empty));
        let is_same = match &answers {
            [Some(own), Some(other)] => {
                let difference = own.difference(other, question.columns);
                let is_same = difference.is_none();
                note = note.or(difference);
                Some(is_same)
            }
            _ => None,
        };
        let answer_rows = answers[0].as_ref().map_or(0, Answer::len);
        Ok(Row { question: question.name, analyze, duckdb, answer_rows, is_same, note })
    }

    /// Ask analyze: its cost, if it answered, and what it said.
    fn ask(&self, question: &Question) -> Result<(Option<Cost>, Result<Answer, String>)> {
        let mut command = Command::new(&self.analyze);
        match question.words {
            ["sql", query] => command.arg("sql").arg(self.trace_of(question)).arg(query),
            words => command.arg(words[0]).arg(self.trace_of(question)).args(&words[1..]),
        };
        command.args(["--format", "csv", "--threads", &self.threads.to_string()]);
        let began = Instant::now();
        // 1: there is an answer, and events were lost.
        self.answer(&mut command, &[0, 1], |_| Ok(began.elapsed().as_secs_f64()))
    }

    fn ask_duckdb(&self, question: &Question) -> Result<(Option<Cost>, Result<Answer, String>)> {
        let mut command = duckdb::command(question, self.trace_of(question), self.threads)?;
        self.answer(&mut command, &[0], duckdb::seconds)
    }

    /// Run it to its end.
    fn answer(
        &self,
        command: &mut Command,
        good: &[i32],
        seconds: impl FnOnce(&str) -> Result<f64>,
    ) -> Result<(Option<Cost>, Result<Answer, String>)> {
        let file = |name: &str| {
            let path = self.dir.join(name);
            File::create(&path).with_context(|| format!("cannot make {}", path.display()))
        };
        command.stdout(file("answer")?).stderr(file("messages")?);
        let (status, usage) = Running::start(command)?.end(LIMIT)?;
        let read = |name: &str| fs::read_to_string(self.dir.join(name)).context("there is no answer");
        let (answer, messages) = (read("answer")?, read("messages")?);
        if !status.code().is_some_and(|code| good.contains(&code)) {
            let line = messages.lines().find(|line| line.contains("rror")).unwrap_or(messages.trim());
            return Ok((None, Err(format!("{status}: {line}"))));
        }
        let cost = Cost { seconds: seconds(&messages)?, peak_rss_bytes: usage.peak_rss_bytes };
        Ok((Some(cost), Ok(Answer::read(&answer)?)))
    }
}

/// The medians, memory less what an `empty` query takes.
fn median(mut costs: Vec<Cost>, empty: Option<Cost>) -> Option<Cost> {
    let middle = costs.len() / 2;
    costs.sort_by_key(|cost| cost.peak_rss_bytes);
    let peak_rss_bytes = costs.get(middle)?.peak_rss_bytes;
    costs.sort_by(|one, other| one.seconds.total_cmp(&other.seconds));
    let empty_bytes = empty.map_or(0, |empty| empty.peak_rss_bytes);
    Some(Cost { seconds: costs[middle].seconds, peak_rss_bytes: peak_rss_bytes.saturating_sub(empty_bytes) })
}
