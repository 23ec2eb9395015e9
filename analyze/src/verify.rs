//! Reads all of a trace and says what is not as it was recorded.

mod progress;

use std::collections::{BTreeMap, HashSet};
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;

use anyhow::{Result, bail, ensure};
use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, TimestampNanosecondType, UInt16Type};
use arrow_array::{Array, RecordBatch};
use parquet::arrow::arrow_reader::ArrowReaderOptions;
use parquet::errors::ParquetError;
use schemas::column::COUNT;
use schemas::trace::State;
use schemas::trace::log::SegmentName;
use schemas::trace::read::read;

use crate::trace::file::damage;
use crate::trace::segment::Segment;
use crate::trace::{Table, Trace, counts, format2};
use progress::Progress;

/// What was found in a trace.
#[derive(Debug)]
pub struct Found {
    /// What is wrong, one line each.
    pub problems: Vec<String>,
    files: usize,
    bytes: u64,
    rows: u64,
    has_log: bool,
    is_counted: bool,
}

/// Verify the traces in `dirs` with that many threads, and write what was found; are all of them sound?
///
/// Fails if one cannot be opened, or `out` cannot be written.
pub fn write(dirs: &[PathBuf], threads: usize, out: &mut impl Write) -> Result<bool> {
    let mut is_sound = true;
    for dir in dirs {
        let found = verify(dir, threads)?;
        for problem in &found.problems {
            writeln!(
                out,
                "{}",
                problem.escape_debug().to_string().replace("\\'", "'").replace("\\\"", "\"")
            )?;
        }
        writeln!(out, "{}: {}", dir.display(), found.summary())?;
        is_sound &= found.problems.is_empty();
    }
    Ok(is_sound)
}

impl Found {
    fn summary(&self) -> String {
        let Self { problems, files, bytes, rows, has_log, is_counted } = self;
        let size = format!("{files} files, {bytes} bytes, {rows} rows");
        if !problems.is_empty() {
            return format!("{} problems in {size}", problems.len());
        }
        let crcs = if *has_log { "every CRC fits and " } else { "" };
        let counted = if *is_counted { ", and rows are as many as were counted" } else { "" };
        let old = if *has_log { "" } else { " (format 1 has no CRCs)" };
        format!("{size}: {crcs}every page can be read{counted}{old}")
    }
}

/// Verify the trace in `dir`.
///
/// Fails if it cannot be opened.
pub fn verify(dir: &Path, threads: usize) -> Result<Found> {
    let description = read(dir)?;
    let has_log = description.log.is_some();
    let nothing = |_: &str| Vec::new();
    let (mut hidden, mut strays) = (Vec::new(), Vec::new());
    let trace = if has_log {
        let mut instant = format2::open(dir, description, |contents| contents.segments.values().collect())?;
        let contents = &instant.description.contents;
        let visible: HashSet<SegmentName> = contents.visible().into_iter().map(|it| it.name()).collect();
        if contents.status.state != State::Open && !instant.is_locked {
            strays = format2::strays(dir, &instant.description)?;
        }
        let (seen, others) =
            instant.files.into_iter().partition(|(segment, _)| visible.contains(&segment.name()));
        (instant.files, hidden) = (seen, others);
        Trace::at(dir, instant, &nothing)
    } else {
        Trace::open(dir, &nothing)?
    };
    let mut segments: Vec<(String, Segment)> = Vec::new();
    for table in &trace.tables {
        segments.extend(table.segments.iter().map(|segment| (table.recorded.clone(), segment.clone())));
        for (logged, file) in hidden.extract_if(.., |(logged, _)| logged.table == table.recorded) {
            segments.push((table.recorded.clone(), format2::segment(logged, file, &table.schema)));
        }
    }
    let mut problems = trace.warnings.clone();
    let is_aggregate = |table: &str| trace.is_aggregate(table);
    for ((table, segment), error) in segments.iter().zip(check_all(&segments, &is_aggregate, threads)) {
        if let Err(error) = error {
            problems.push(format!("{}: {}: copy it again", shown(dir, table, segment), why(&error)));
        }
    }
    if has_log && problems.is_empty() {
        // Format 1 is compared when it is opened.
        problems.extend(counts::miscounted(&trace));
    }
    let events = trace.tables.iter().filter(|table| table.is_event);
    problems.extend(events.flat_map(|table| overlaps(dir, table)));
    problems.extend(strays.iter().map(|path| {
        format!(
            "{}: the log does not name it, and other readers take its rows for some of the table: remove it",
            path.display()
        )
    }));
    Ok(Found {
        problems,
        files: segments.len(),
        bytes: segments.iter().map(|(_, segment)| segment.bytes).sum(),
        rows: trace.tables.iter().map(Table::rows).sum(),
        has_log,
        is_counted: counts::is_counted(&trace),
    })
}

fn shown(dir: &Path, table: &str, segment: &Segment) -> String {
    let name = segment.file.path.file_name().unwrap_or_default();
    dir.join(table).join(name).display().to_string()
}

/// What is wrong with a file, without its path.
fn why(error: &anyhow::Error) -> String {
    let damage = error.downcast_ref::<ParquetError>().and_then(damage);
    damage.map_or_else(|| format!("{error:#}"), |damage| damage.why.clone())
}

/// Check each segment, several at a time; the results in their order.
fn check_all(
    segments: &[(String, Segment)],
    is_aggregate: &(dyn Fn(&str) -> bool + Sync),
    threads: usize,
) -> Vec<Result<()>> {
    let (next, done) = (AtomicUsize::new(0), AtomicU64::new(0));
    let progress = Progress::of(segments.iter().map(|(_, segment)| segment.bytes).sum());
    let work = || {
        let mut results = Vec::new();
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some((table, segment)) = segments.get(at) else { return results };
            let checked = catch_unwind(AssertUnwindSafe(|| check(segment, is_aggregate(table))));
            results.push((at, checked.unwrap_or_else(|_| bail!("its pages make no sense"))));
            progress.show(done.fetch_add(segment.bytes, Ordering::Relaxed) + segment.bytes);
        }
    };
    let mut results: Vec<(usize, Result<()>)> = thread::scope(|scope| {
        let workers: Vec<_> = (0..threads.max(1)).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap_or_default()).collect()
    });
    results.sort_by_key(|(at, _)| *at);
    results.into_iter().map(|(_, result)| result).collect()
}

/// Read all of a segment. Fails if it is damaged, or its rows are others than the log says.
fn check(segment: &Segment, is_aggregate: bool) -> Result<()> {
    let mut rows = 0;
    let mut last_ns = None;
    let mut sources: BTreeMap<(u16, u16), u64> = BTreeMap::new();
    for batch in segment.rows(ArrowReaderOptions::new())? {
        let batch = batch?;
        rows += batch.num_rows() as u64;
        last_ns = in_order(&batch, last_ns)?;
        count_sources(&batch, is_aggregate, &mut sources);
    }
    ensure!(rows == segment.rows, "it has {rows} rows, and is said to have {}", segment.rows);
    if let Some((_, last)) = segment.ts_range {
        ensure!(last_ns == Some(last), "its last time is not the one that it is said to have");
    }
    let told = segment.file.logged().map(|logged| logged.segment.sources.as_slice()).unwrap_or_default();
    let found: Vec<(u16, u16, u64)> =
        sources.into_iter().map(|((probe, cpu), rows)| (probe, cpu, rows)).collect();
    let mut told = told.to_vec();
    told.sort_unstable();
    ensure!(told.is_empty() || told == found, "it has other rows of a probe and CPU than the log says");
    Ok(())
}

/// Check that the rows are in order of time after `last_ns`; the time of the last.
fn in_order(batch: &RecordBatch, mut last_ns: Option<i64>) -> Result<Option<i64>> {
    let column = batch.column_by_name("ts");
    let Some(times) = column.and_then(|ts| ts.as_primitive_opt::<TimestampNanosecondType>()) else {
        return Ok(last_ns);
    };
    for ns in times.iter().flatten() {
        ensure!(last_ns.is_none_or(|last| last <= ns), "its rows are not in order of time");
        last_ns = Some(ns);
    }
    Ok(last_ns)
}

/// Rows by probe and CPU, or the events that they stand for.
fn count_sources(batch: &RecordBatch, is_aggregate: bool, sources: &mut BTreeMap<(u16, u16), u64>) {
    let numbers =
        |name: &str| batch.column_by_name(name).and_then(|column| column.as_primitive_opt::<UInt16Type>());
    let (Some(probes), Some(cpus)) = (numbers("probe"), numbers("cpu")) else { return };
    let counts = batch.column_by_name(COUNT).filter(|_| is_aggregate);
    let counts = counts.and_then(|column| column.as_primitive_opt::<Int64Type>());
    for row in (0..batch.num_rows()).filter(|row| probes.is_valid(*row) && cpus.is_valid(*row)) {
        let events = counts.map_or(1, |counts| counts.value(row).cast_unsigned());
        *sources.entry((probes.value(row), cpus.value(row))).or_default() += events;
    }
}

/// Files of `table` that overlap in time, and are not said to.
fn overlaps(dir: &Path, table: &Table) -> Vec<String> {
    let in_order = |segment: &&Segment| {
        segment.file.logged().is_some_and(|it| !it.segment.late && !it.segment.carried)
            && segment.ts_range.is_some()
    };
    let mut segments: Vec<&Segment> = table.segments.iter().filter(in_order).collect();
    segments.sort_by_key(|segment| segment.ts_range);
    let overlap = |pair: &&[&Segment]| {
        let (before, after) = (pair[0].ts_range, pair[1].ts_range);
        before.zip(after).is_some_and(|((_, last), (first, _))| first < last)
    };
    let pairs = segments.windows(2).filter(overlap);
    pairs
        .map(|pair| {
            format!(
                "{}: it overlaps {} in time, and neither is marked as late: report this",
                shown(dir, &table.recorded, pair[1]),
                shown(dir, &table.recorded, pair[0])
            )
        })
        .collect()
}
