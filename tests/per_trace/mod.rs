//! Over several traces, each analysis and each form of a query has the rows that it has over each of them alone, with the
//! trace and its host in front.

mod forms;
mod plan;

use std::path::{Path, PathBuf};

use analyze::library::Library;
use analyze::library::analysis::{self, Analysis};
use analyze::library::params::ParamType;
use analyze::session::{Options, Session};
use sqllogictest::DBOutput;

/// Traces that are opened together: of the same host, of other hosts, without rows, with losses in one only, of which one
/// lacks a table, recorded on a real kernel.
const TOGETHER: &[&[&str]] = &[
    &["kmem_lossy", "open_empty", "kmem_bound", "kmem"],
    &["listens_b", "packets", "listens"],
    &["packets", "gaps", "netns_reused", "late", "open_empty"],
    &["syscalls", "open_empty", "wakeups", "irqs", "signals", "ooms"],
    &["works", "capabilities", "execs", "exits", "lock_waits", "reclaims", "samples", "open_empty"],
    &["switches", "mkdirs", "joins", "unseen", "losses", "open_empty"],
    &["sock_io", "open_empty", "tcp_conns", "tcp_events", "tcp_segments", "drops"],
    &["cache", "opens", "block_io", "dir_entries", "file_io", "mounts", "open_empty"],
    &["captured/kmem", "captured/listens", "captured/packets", "captured/joins", "captured/mkdirs"],
];

fn session(names: &[&str], dir: &Path) -> Session {
    let open = |name: &&str| {
        let built = dir.join(format!("{name}.trace"));
        if built.exists() { built } else { fixtures::trace(name, dir).unwrap() }
    };
    let paths: Vec<PathBuf> = names.iter().map(open).collect();
    Session::open(&paths, &Options { threads: 2, ..Options::default() }).unwrap()
}

type Rows = Vec<Vec<String>>;

/// The rows of `sql`, asked of each trace of `session` if it is about one.
async fn rows(session: &Session, sql: &str) -> anyhow::Result<(Rows, Vec<String>)> {
    let question = session.ask_each(sql).await?;
    let notes = question.notes.clone();
    let schema = question.frame.schema().as_arrow().clone();
    let batches = question.frame.collect().await.map_err(|e| session.explain(&e, sql))?;
    match crate::rows::output(&schema, &batches)? {
        DBOutput::Rows { rows, .. } => Ok((rows, notes)),
        _ => anyhow::bail!("no rows"),
    }
}

/// Traces that are opened together, and each of them alone.
struct Together {
    several: Session,
    alone: Vec<Session>,
}

impl Together {
    fn open(names: &[&str], dir: &Path) -> Self {
        let alone = names.iter().map(|name| session(&[name], dir)).collect();
        Self { several: session(names, dir), alone }
    }

    /// What `sql` is to answer over several traces, and the traces that have no answer.
    async fn wanted(&self, sql: &str) -> (Rows, Vec<String>) {
        let (mut together, mut without) = (Rows::new(), Vec::new());
        for session in &self.alone {
            let trace = &session.traces[0];
            match rows(session, sql).await {
                Ok((rows, _)) => {
                    for mut row in rows {
                        row.splice(0..0, [trace.name(), trace.meta.host.clone()]);
                        together.push(row);
                    }
                }
                Err(error) => {
                    let error = format!("{error:#}");
                    let is_missing =
                        error.contains("there is no table") || error.contains("is not in this trace");
                    assert!(is_missing, "{}: {sql}: {error}", trace.name());
                    without.push(trace.name());
                }
            }
        }
        (together, without)
    }

    /// Compares several traces with each of them, if one of them has an answer; how many rows there were.
    async fn check(&self, sql: &str) -> usize {
        let (wanted, without) = self.wanted(sql).await;
        if without.len() == self.alone.len() {
            return 0;
        }
        let (mut found, notes) = rows(&self.several, sql).await.unwrap_or_else(|e| panic!("{sql}: {e:#}"));
        let order = |rows: &Rows| rows.iter().map(|row| row[0].clone()).collect::<Vec<_>>();
        assert_eq!(order(&found), order(&wanted), "{sql}");
        let mut wanted = wanted;
        if !sql.contains("ORDER BY") {
            found.sort();
            wanted.sort();
        }
        assert_eq!(found, wanted, "{sql}");
        assert_eq!(notes.len(), without.len(), "{sql}: {notes:?}");
        for name in without {
            assert!(
                notes.iter().any(|note| note.starts_with(&format!("{name} is not in the answer"))),
                "{notes:?}"
            );
        }
        found.len()
    }
}

/// The question of an analysis with these values, as written on the command line.
fn query(analysis: &Analysis, given: &[(&str, String)]) -> String {
    let moment = |_: &str| Ok(fixtures::BASE_NS + 1_000_000_000);
    let value = |(name, text): &(&str, String)| {
        let param = analysis.param(name).unwrap();
        (param.name.clone(), param.ty.value(text, &moment).unwrap())
    };
    let given: Vec<_> = given.iter().map(value).collect();
    analysis::text(analysis.bound(&analysis.query, &given, &moment).unwrap())
}

/// The analysis with other values of its parameters than the defaults.
fn variants(analysis: &Analysis) -> Vec<String> {
    let mut queries = Vec::new();
    for param in &analysis.params {
        let values = match &param.ty {
            ParamType::Choice(words) => words.iter().skip(1).cloned().collect(),
            ParamType::Time => vec![(fixtures::BASE_NS + 1_000_000_000).to_string()],
            ParamType::Duration => vec!["100".to_owned()],
            // What is no network is an error.
            ParamType::Text if param.name == "nets" => vec!["10.0.0.0/8".to_owned()],
            _ => vec!["2".to_owned()],
        };
        queries.extend(values.into_iter().map(|value| query(analysis, &[(&param.name, value)])));
    }
    queries
}

#[test]
fn each_analysis_answers_for_each_trace_as_for_it_alone() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut varied: Vec<String> = Vec::new();
    for names in TOGETHER {
        let traces = Together::open(names, dir.path());
        let check = |sql: &str| runtime.block_on(traces.check(sql));
        for analysis in Library::shipped().all() {
            let has_answer = check(&query(analysis, &[])) > 0;
            if let Some(note) = &analysis.note {
                check(&analysis::text(note.clone()));
            }
            if has_answer && !varied.contains(&analysis.name) {
                varied.push(analysis.name.clone());
                for sql in variants(analysis) {
                    check(&sql);
                }
            }
        }
    }
    for analysis in Library::shipped().all() {
        assert!(
            varied.contains(&analysis.name),
            "no traces of this test have an answer to {}",
            analysis.name
        );
    }
}

#[test]
fn an_analysis_in_a_query_has_the_columns_trace_and_host() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let several = session(&["listens", "listens_b", "kmem"], dir.path());
    let ask = |sql: &str| {
        let question = runtime.block_on(several.ask(sql)).unwrap_or_else(|e| panic!("{sql}: {e:#}"));
        let notes = question.notes.clone();
        let schema = question.frame.schema().as_arrow().clone();
        let batches = runtime.block_on(question.frame.collect()).unwrap();
        match crate::rows::output(&schema, &batches).unwrap() {
            DBOutput::Rows { rows, .. } => (rows, notes),
            _ => unreachable!("a query has rows"),
        }
    };
    let (rows, notes) = ask("WITH listens AS (SELECT 1 AS x)
         SELECT l.host, l.port, n.listens FROM listens(at => NULL) AS l
         JOIN a.listens_by_netns AS n ON n.trace = l.trace AND n.netns = l.netns
         CROSS JOIN listens
         WHERE l.trace LIKE '%listens_b.trace'");
    assert_eq!(rows, [["beta", "6379", "1"]]);
    assert_eq!(notes.len(), 1, "told once: {notes:?}");
    let (rows, _) = ask("SELECT host, count(*) AS n FROM listens() GROUP BY trace, host ORDER BY host");
    assert_eq!(rows, [["alpha", "3"], ["beta", "1"]]);
    let (rows, _) = ask(
        "SELECT count(*) FROM (SELECT * FROM leaks() UNION ALL SELECT * FROM leaks(top => 1)) AS both_of",
    );
    assert_eq!(rows, [["3"]]);
}
