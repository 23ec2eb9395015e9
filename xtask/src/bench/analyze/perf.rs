//! The same questions asked of perf: `perf script` makes text of its recording, and awk counts. A recording of its own
//! (`workload churn`), so only seconds per million events are compared.

use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result};
use serde::Serialize;

use super::Bench;
use super::questions::{QUESTIONS, Question};
use crate::{host, setup};

/// Question, fields of `perf script`, and the awk that answers.
const PEERS: [(&str, &str, &str); 2] = [
    (
        "count by call site",
        "trace",
        "{ for (i = 1; i <= NF; i++) if ($i ~ /^call_site=/) n[$i]++ } END { for (site in n) print site, n[site] }",
    ),
    ("count by second", "time", "{ n[int($1)]++ } END { for (second in n) print second, n[second] }"),
];
const EVENTS: &str = "kmem:kmalloc,kmem:kfree,kmem:kmem_cache_alloc,kmem:kmem_cache_free";

/// What one question costs, seconds per million events.
#[derive(Debug, Serialize)]
pub struct Compared {
    pub question: &'static str,
    pub analyze_seconds: f64,
    pub perf_seconds: f64,
}

/// Record with perf, and ask both. `None` where perf cannot record.
pub fn compare(bench: &Bench, is_quick: bool) -> Result<Option<Vec<Compared>>> {
    if !setup::is_root() || host::which("perf").is_none() {
        eprintln!("bench: without root and perf, perf script and awk are left out");
        return Ok(None);
    }
    let data = bench.dir.join("perf.data");
    let seconds = if is_quick { "0.2" } else { "5" };
    let mut record = Command::new("perf");
    record.args(["record", "-q", "--no-buildid", "-m", "16M", "-e", EVENTS, "-o"]).arg(&data).arg("--");
    record.arg(host::built("xtask")?).args(["workload", "churn", "--seconds", seconds, "--dir", "/dev/shm"]);
    record.arg("--truth").arg(bench.dir.join("churn.json"));
    host::output(&mut record)?;
    let text = script(&data, "event", "END { print NR }")?;
    let events: f64 = text.trim().parse().with_context(|| format!("awk counted '{text}' events"))?;
    let mut compared = Vec::new();
    for (name, fields, awk) in PEERS {
        let began = Instant::now();
        script(&data, fields, awk)?;
        let perf_seconds = began.elapsed().as_secs_f64() / (events / 1e6);
        let question = QUESTIONS.iter().find(|question: &&Question| question.name == name);
        let question = question.context("perf is asked another question")?;
        let (cost, _) = bench.ask(question)?;
        let cost = cost.context("analyze gave no answer")?;
        let rows = bench.kmem_rows as f64 / 1e6;
        compared.push(Compared { question: name, analyze_seconds: cost.seconds / rows, perf_seconds });
    }
    std::fs::remove_file(&data)?;
    Ok(Some(compared))
}

/// What awk prints of the text of a recording.
fn script(data: &std::path::Path, fields: &str, awk: &str) -> Result<String> {
    let line = format!("perf script -i '{}' -F {fields} 2>/dev/null | awk '{awk}'", data.display());
    host::output(Command::new("sh").args(["-c", &line]))
}
