//! What is asked under a limit: each analysis that the large traces have the tables of, and queries that group, sort,
//! join and look at neighbours.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use schemas::trace::SIDE_TABLES;

use super::Load;
use crate::host;

/// Queries that people write, each of which needs much at a time if it is not done with care.
const QUERIES: [(Load, &str); 10] = [
    (Load::Kmem, "SELECT * FROM kmem ORDER BY ptr, ts LIMIT 10"),
    (Load::Kmem, "SELECT ptr, count(*) AS n FROM kmem GROUP BY ptr ORDER BY n DESC, ptr LIMIT 10"),
    (Load::Kmem, "SELECT count(DISTINCT seq) FROM kmem"),
    (
        Load::Kmem,
        "SELECT max(d) FROM (SELECT ns(ts) - lag(ns(ts)) OVER (PARTITION BY ptr ORDER BY ts) AS d FROM kmem) AS t",
    ),
    (
        Load::Kmem,
        "SELECT count(*) FROM kmem AS a JOIN kmem AS b ON a.probe = b.probe AND a.cpu = b.cpu AND a.seq = b.seq + 1",
    ),
    (
        Load::Kmem,
        "SELECT date_trunc('second', ts) AS second, cache, sum(bytes_alloc) FROM kmem GROUP BY 1, 2",
    ),
    (
        Load::Kmem,
        "SELECT count(*) FROM (SELECT row_number() OVER (ORDER BY ptr, ts) AS n FROM kmem) AS t WHERE n % 1000000 = 0",
    ),
    (Load::Kmem, "SELECT cache, median(bytes_alloc) FROM kmem GROUP BY cache"),
    (Load::Packets, "SELECT sport, dport, count(*), sum(skb_bytes) FROM packets GROUP BY sport, dport"),
    (Load::Packets, "SELECT DISTINCT ts, seq FROM packets ORDER BY seq DESC, ts LIMIT 10"),
];

/// One question.
pub enum Words {
    /// An analysis.
    Analysis(String),
    /// A query.
    Sql(&'static str),
}

/// Of which trace.
pub struct Question {
    pub load: Load,
    words: Words,
}

impl Question {
    /// For people.
    pub fn shown(&self) -> String {
        match &self.words {
            Words::Analysis(name) => name.clone(),
            Words::Sql(query) => format!("`{query}`"),
        }
    }

    /// Ask it in `command`.
    pub fn words(&self, command: &mut Command, trace: &Path) {
        match &self.words {
            Words::Analysis(name) => command.arg(name).arg(trace),
            Words::Sql(query) => command.arg("sql").arg(trace).arg(query),
        };
    }
}

/// The analyses, by name, and the queries.
pub fn all() -> Result<Vec<Question>> {
    let dir = host::repo().join("analyze/sql");
    let mut questions = Vec::new();
    for entry in fs::read_dir(&dir).with_context(|| format!("cannot list {}", dir.display()))? {
        let path = entry?.path();
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        questions.extend(load(&text).map(|load| Question { load, words: Words::Analysis(name) }));
    }
    ensure!(!questions.is_empty(), "{} has no analysis of these traces", dir.display());
    questions.sort_by_key(Question::shown);
    questions.extend(QUERIES.map(|(load, query)| Question { load, words: Words::Sql(query) }));
    Ok(questions)
}

/// A trace that has the tables of an analysis, if one has.
fn load(text: &str) -> Option<Load> {
    let tables = text.lines().filter_map(|line| line.strip_prefix("-- @table "));
    let mut names = tables.map(|table| table.split(['(', ' ']).next().unwrap_or(table));
    match names.next() {
        None => Some(Load::Kmem),
        Some(name) if SIDE_TABLES.iter().any(|table| table.name == name) => Some(Load::Kmem),
        Some(name) => [Load::Kmem, Load::Packets].into_iter().find(|load| load.event() == name),
    }
}
