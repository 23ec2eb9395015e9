//! Figures in, markdown and JSON out.

use std::fmt::Write;

use serde::Serialize;

use super::super::report::{line, table};
use super::goals::verdict;
use super::perf::Compared;
use super::{Cost, Row};

/// Rows of kmem that the goals are for.
const GOAL_ROWS: f64 = 143e6;

/// All of it.
#[derive(Debug, Serialize)]
pub struct Report {
    pub is_quick: bool,
    pub kmem_rows: u64,
    pub packet_rows: u64,
    pub threads: u16,
    pub rows: Vec<Row>,
    /// None: it was left out.
    pub perf: Option<Vec<Compared>>,
}

impl Report {
    /// For people.
    pub fn markdown(&self) -> String {
        let Self { is_quick, kmem_rows, packet_rows, threads, rows, perf } = self;
        let mut out = String::new();
        if *is_quick {
            out += "A smoke test: these figures mean nothing.\n\n";
        }
        let millions = |rows: &u64| *rows as f64 / 1e6;
        // Writing to a String cannot fail.
        let _ = writeln!(
            out,
            "{:.1} million rows of kmem, {:.1} million packets, {threads} threads; memory above that of an empty query.\n",
            millions(kmem_rows),
            millions(packet_rows)
        );
        table(&mut out, &["question", "analyze", "DuckDB", "DuckDB / analyze", "answers", "goal"]);
        let scale = *kmem_rows as f64 / GOAL_ROWS;
        for row in rows {
            let Row { question, analyze, duckdb, answer_rows: _, is_same, note } = row;
            let ratio =
                analyze.zip(*duckdb).map(|(own, other)| format!("{:.1}", other.seconds / own.seconds));
            let answers = match is_same {
                Some(true) => "the same".to_owned(),
                _ => note.clone().unwrap_or_default().replace('|', "/"),
            };
            line(
                &mut out,
                &[
                    *question,
                    &cost(*analyze),
                    &cost(*duckdb),
                    &ratio.unwrap_or("-".to_owned()),
                    &answers,
                    &if *is_quick { String::new() } else { verdict(row, scale) },
                ],
            );
        }
        out += "\n";
        match perf {
            None => out += "`perf script | awk` was left out: it needs root and perf.\n",
            Some(compared) => {
                table(
                    &mut out,
                    &["question", "analyze, s per million events", "perf script and awk", "ratio"],
                );
                for Compared { question, analyze_seconds, perf_seconds } in compared {
                    let ratio = perf_seconds / analyze_seconds;
                    let cells = [
                        format!("{analyze_seconds:.4}"),
                        format!("{perf_seconds:.2}"),
                        format!("{ratio:.0}"),
                    ];
                    line(&mut out, &[*question, &cells[0], &cells[1], &cells[2]]);
                }
            }
        }
        out
    }
}

fn cost(cost: Option<Cost>) -> String {
    let Some(Cost { seconds, peak_rss_bytes }) = cost else { return "no answer".to_owned() };
    format!("{seconds:.2} s, {} MiB", peak_rss_bytes >> 20)
}
