//! The files of a trace of format 1, which has no log: those that are there, as their footers say. Nobody writes such a
//! trace any more, so nothing changes while it is read.

use std::collections::HashMap;
use std::fs;
use std::io::ErrorKind;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use arrow_array::Array;
use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_schema::DataType;
use schemas::trace::{SEGMENT_SUFFIX, State};

use crate::trace::Trace;
use crate::trace::file::TraceFile;
use crate::trace::segment::Segment;
use crate::trace::symbols::{column, each_batch};

/// Fill the tables of `trace`. What cannot be read is left out with a warning.
///
/// Fails if a directory cannot be listed.
pub fn fill(trace: &mut Trace) -> Result<()> {
    let dir = trace.dir.clone();
    for table in &mut trace.tables {
        let table_dir = dir.join(&table.recorded);
        if fs::symlink_metadata(&table_dir).is_ok_and(|meta| !meta.is_dir()) {
            let path = table_dir.display();
            trace.warnings.push(format!("{path} is not a directory: its table is taken as empty"));
            continue;
        }
        for (age, (shown, path)) in (0..).zip(segments(&table_dir)?) {
            match TraceFile::named(&path).and_then(|file| Segment::open(file, &table.schema, age)) {
                Ok(segment) => table.segments.push(segment),
                Err(error) => {
                    trace.warnings.push(format!("{}: {error:#}; its rows are left out", shown.display()));
                }
            }
        }
    }
    if trace.warnings.is_empty() {
        trace.warnings = miscounted(trace);
    }
    Ok(())
}

/// The segments in `dir`, which need not be there, in their order: as it was given, and absolute.
fn segments(dir: &Path) -> Result<Vec<(PathBuf, PathBuf)>> {
    let context = || format!("cannot list {}", dir.display());
    let entries = match dir.read_dir() {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.with_context(context)?,
    };
    let absolute = fs::canonicalize(dir).with_context(context)?;
    let mut found = Vec::new();
    for entry in entries {
        let Ok(name) = entry.with_context(context)?.file_name().into_string() else { continue };
        let digits = name.strip_suffix(SEGMENT_SUFFIX).unwrap_or_default();
        if digits.len() >= 6 && digits.len() <= 18 && digits.bytes().all(|b| b.is_ascii_digit()) {
            found.push((digits.parse::<u64>()?, dir.join(&name), absolute.join(&name)));
        }
    }
    found.sort();
    Ok(found.into_iter().map(|(_, shown, path)| (shown, path)).collect())
}

/// Tables that have other rows than were counted: a Parquet file is whole by itself, and no reader misses one that a copy
/// left out, or sees that it is there twice. Nothing of a trace that is open, because what is counted is behind what is
/// there, and of one that has no counts.
fn miscounted(trace: &Trace) -> Vec<String> {
    let is_counted = trace.table("counts").is_some_and(|counts| !counts.segments.is_empty());
    if trace.meta.state == State::Open || !is_counted {
        return Vec::new();
    }
    let dir = trace.dir.display();
    let read = AssertUnwindSafe(|| recorded(trace));
    let recorded = catch_unwind(read).unwrap_or_else(|_| bail!("table counts: its pages make no sense"));
    let recorded = match recorded {
        Ok(recorded) => recorded,
        Err(error) => return vec![format!("{dir}: {error:#}; whether rows are missing is not known")],
    };
    let events = trace.tables.iter().filter(|table| table.is_event);
    let told = events.filter_map(|table| {
        let told = recorded.get(table.recorded.as_str()).copied().unwrap_or(0);
        let rows = table.rows();
        (i128::from(rows) != told).then(|| {
            format!(
                "{dir}: table {} has {rows} rows, and {told} were recorded (table counts): files are missing, or are not \
                 of this trace; copy it again",
                table.name
            )
        })
    });
    told.collect()
}

/// Rows by event as recorded, as table `counts` tells. Fails if it cannot be read, or tells of what is no event.
pub fn recorded(trace: &Trace) -> Result<HashMap<&str, i128>> {
    let mut sums: HashMap<&str, i128> = trace
        .tables
        .iter()
        .filter(|table| table.is_event)
        .map(|table| (table.recorded.as_str(), 0))
        .collect();
    each_batch([trace], "counts", |batch| {
        let events = column(batch, "event", &DataType::Utf8View)?;
        let recorded = column(batch, "recorded", &DataType::Int64)?;
        let (events, recorded) = (events.as_string_view(), recorded.as_primitive::<Int64Type>());
        for row in (0..batch.num_rows()).filter(|row| events.is_valid(*row) && recorded.is_valid(*row)) {
            let event = events.value(row);
            let sum = sums.get_mut(event);
            ensure!(sum.is_some(), "table counts tells of '{}', which is no event", event.escape_debug());
            sum.into_iter().for_each(|sum| *sum += i128::from(recorded.value(row)));
        }
        Ok(())
    })?;
    Ok(sums)
}
