//! Other readers of Parquet, the newest and the oldest that are promised: they find in recorded traces what `analyze`
//! finds. (docs/trace-format.md says which versions these are and where they differ.)

use std::path::{Path, PathBuf};

use analyze::session::{Options, Session};
use arrow_array::RecordBatch;
use arrow_cast::display::{ArrayFormatter, FormatOptions};
use serde_json::Value;

use crate::duckdb;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/readers/readers.py");
/// Traces of one recorder, so that a table of several of them is a table of several files.
const TRACES: [&str; 6] = ["joins", "kmem", "listens", "mkdirs", "packets", "switches"];

/// What a reader found in the files of a table.
fn found_by(python: &Path, reader: &str, files: &[PathBuf]) -> Value {
    let files = files.iter().map(|file| file.to_str().unwrap());
    let args: Vec<&str> = [SCRIPT, reader].into_iter().chain(files).collect();
    serde_json::from_str(&duckdb::python_of(python, &args)).unwrap()
}

/// The only row of an answer, as text.
fn row(batches: &[RecordBatch]) -> Vec<String> {
    let batch = batches.iter().find(|batch| batch.num_rows() == 1).unwrap();
    let options = FormatOptions::new().with_null("null");
    let cell = |column| ArrayFormatter::try_new(column, &options).unwrap().value(0).to_string();
    batch.columns().iter().map(|column| cell(column.as_ref())).collect()
}

/// Compare each column of a table with what `analyze` says of it.
fn compare(session: &Session, table: &str, found: &Value, cuts_times: bool, who: &str) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let ask = |sql: &str| row(&runtime.block_on(session.collect(sql)).unwrap());
    let rows = ask(&format!("SELECT count(*) FROM {table}"));
    assert_eq!(found["rows"].to_string(), rows[0], "{who}: rows of {table}");
    let columns = found["columns"].as_object().unwrap();
    assert!(columns.len() >= 4, "{who}: {table} has columns: {columns:?}");
    for (name, summary) in columns {
        let kind = summary[0].as_str().unwrap();
        let value = match kind {
            "time" if cuts_times => format!("CAST({name} AS BIGINT) / 1000 * 1000"),
            "time" => format!("CAST({name} AS BIGINT)"),
            _ => name.clone(),
        };
        let most = format!("(SELECT max({value}) FROM {table})");
        let wanted = match kind {
            "other" => ask(&format!("SELECT count({name}) FROM {table}")),
            _ => ask(&format!(
                "SELECT count({name}), min({value}), max({value}), count(*) FILTER (WHERE {value} = {most}) \
                 FROM {table}"
            )),
        };
        let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let found: Vec<String> = summary.as_array().unwrap()[1..].iter().map(text).collect();
        assert_eq!(found[..wanted.len()], wanted, "{who}: {table}.{name}");
    }
}

#[test]
fn other_readers_find_the_same_in_every_table() {
    let dir = fixtures::root().join("captured");
    let traces: Vec<PathBuf> = TRACES.iter().map(|name| dir.join(format!("{name}.trace"))).collect();
    let session = Session::open(&traces, &Options { threads: 2, ..Options::default() }).unwrap();
    let files = |table: &str| -> Vec<PathBuf> {
        let tables = session.traces.iter().filter_map(|trace| trace.table(table));
        tables.flat_map(|table| &table.segments).map(|segment| segment.file.path.clone()).collect()
    };
    let tables = ["kmem", "listens", "mkdirs", "netns_joins", "packets", "switches", "processes", "counts"];
    for (python, is_old) in [(duckdb::interpreter(), false), (duckdb::old_interpreter(), true)] {
        for reader in ["duckdb", "pyarrow", "polars"] {
            for table in tables {
                let files = files(table);
                assert!(!files.is_empty(), "{table} was recorded");
                let found = found_by(&python, reader, &files);
                let who = format!("{reader} {}", found["version"]);
                compare(&session, table, &found, is_old && reader == "duckdb", &who);
            }
        }
    }
    assert_eq!(files("processes").len(), TRACES.len(), "a table of several files is among them");
}
