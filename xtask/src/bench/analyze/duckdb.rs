//! A question in, the command that has DuckDB answer it out. Its time is that of the query alone: that Python starts and
//! loads the library is not counted.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use super::questions::Question;
use crate::setup;

const RUN: &str = include_str!("duckdb.py");

/// Have the answer printed as CSV, and the time of the query on standard error.
pub fn command(question: &Question, trace: &Path, threads: u16) -> Result<Command> {
    let mut python = Command::new(setup::python()?);
    python
        .args(["-c", RUN])
        .arg(trace)
        .arg(question.load.event())
        .arg(threads.to_string())
        .arg(question.duckdb);
    Ok(python)
}

/// What it said.
pub fn seconds(messages: &str) -> Result<f64> {
    let line = messages.lines().find_map(|line| line.strip_prefix("seconds: "));
    line.and_then(|text| text.parse().ok()).context("DuckDB did not say how long it took")
}
