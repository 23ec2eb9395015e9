//! The files of a trace that has a log: those that it names, as it describes them. None of them is read.
//!
//! A recorder that writes adds, merges and removes files at any time. So those of a trace that it holds are opened: what the
//! log named can be read to the end, and is the trace as it was after one commit. When one of them is gone already, the
//! log is read again.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use arrow_schema::SchemaRef;
use schemas::trace::log::{self, Contents, LOG_FILE, SegmentName, Stopped};
use schemas::trace::read::{Description, read};
use schemas::trace::{SEGMENT_SUFFIX, SIDE_TABLES};

use crate::trace::Table;
use crate::trace::file::TraceFile;
use crate::trace::logged::Logged;
use crate::trace::segment::Segment;

/// Times that a log is read which changes meanwhile.
const MOST_TRIES: usize = 20;

/// A trace with a log at one instant.
#[derive(Debug)]
pub struct Instant {
    /// What it says of itself.
    pub description: Description,
    /// A recorder holds the directory.
    pub is_locked: bool,
    /// The files that were asked for.
    pub files: Vec<(log::Segment, TraceFile)>,
    /// What is missing, one line each.
    pub warnings: Vec<String>,
}

/// The trace in `dir`, which `description` describes if nothing has changed since, with the files of the segments that
/// `wanted` chooses.
///
/// Fails if it is damaged so that nothing can be said, or changes all the time.
pub fn open(
    dir: &Path,
    mut description: Description,
    wanted: fn(&Contents) -> Vec<&log::Segment>,
) -> Result<Instant> {
    let absolute = fs::canonicalize(dir).with_context(|| format!("cannot open trace '{}'", dir.display()))?;
    let mut is_locked = is_locked(dir);
    for _ in 0..MOST_TRIES {
        let last = description.contents.last;
        let mut warnings = Vec::new();
        if !is_locked {
            warnings.extend(stopped(dir, &description)?);
        }
        let left_out = if is_locked { 0 } else { forget_torn(dir, &mut description, &mut warnings)? };
        let (files, missing) = files(dir, &absolute, wanted(&description.contents), is_locked, &mut warnings);
        if left_out > 0 || !missing.is_empty() {
            let (again, is_locked_now) = (read(dir)?, self::is_locked(dir));
            if again.contents.last != last || is_locked_now != is_locked {
                (description, is_locked) = (again, is_locked_now);
                continue;
            }
        }
        for path in missing {
            warnings.push(format!("{}: it is missing; its rows are left out: copy it again", path.display()));
        }
        return Ok(Instant { description, is_locked, files, warnings });
    }
    bail!(
        "'{}' changes faster than it can be read: ask again, or ask a copy made by `recorder snapshot`",
        dir.display()
    )
}

/// Forget what the disk may not have, if the machine was started again since; how many segments that leaves out.
fn forget_torn(dir: &Path, description: &mut Description, warnings: &mut Vec<String>) -> Result<usize> {
    let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    if !description.may_be_torn(boot_id.trim()) {
        return Ok(0);
    }
    let left_out = description.forget_torn(dir).with_context(|| dir.display().to_string())?;
    if left_out > 0 {
        warnings.push(format!(
            "{}: {left_out} segments are left out that waited for the disk when that machine stopped: `recorder compact` \
             drops them",
            dir.display()
        ));
    }
    Ok(left_out)
}

/// Does a recorder hold the directory? It does as long as it lives.
fn is_locked(dir: &Path) -> bool {
    // Let go at once: `recorder compact` may want it.
    fs::File::open(dir).is_ok_and(|dir| matches!(dir.try_lock_shared(), Err(fs::TryLockError::WouldBlock)))
}

/// The files of `segments`, and those of them that are not there.
fn files(
    dir: &Path,
    absolute: &Path,
    segments: Vec<&log::Segment>,
    is_locked: bool,
    warnings: &mut Vec<String>,
) -> (Vec<(log::Segment, TraceFile)>, Vec<PathBuf>) {
    let (mut files, mut missing) = (Vec::new(), Vec::new());
    let mut dirs: HashMap<&str, bool> = HashMap::new();
    for segment in segments {
        let is_dir = *dirs.entry(&segment.table).or_insert_with(|| {
            let is_other =
                fs::symlink_metadata(absolute.join(&segment.table)).is_ok_and(|meta| !meta.is_dir());
            if is_other {
                let path = dir.join(&segment.table);
                let path = path.display();
                warnings.push(format!("{path} is not a directory: its table is taken as empty"));
            }
            !is_other
        });
        if !is_dir {
            continue;
        }
        let (path, shown) = (absolute.join(segment.path()), dir.join(segment.path()));
        let file = if is_locked { TraceFile::held(&path) } else { TraceFile::named(&path) };
        let checked = file.and_then(|(file, bytes)| {
            ensure!(bytes == segment.bytes, "it has {bytes} bytes, and the log says {}", segment.bytes);
            Ok(file)
        });
        match checked {
            Ok(file) => files.push((segment.clone(), file)),
            Err(error) if is_gone(&error) => missing.push(shown),
            Err(error) => {
                warnings.push(format!("{}: {error:#}; its rows are left out", shown.display()));
            }
        }
    }
    (files, missing)
}

fn is_gone(error: &anyhow::Error) -> bool {
    error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == ErrorKind::NotFound)
}

/// What is to be said of a log that cannot be read to its end, and whose writer is not at work.
fn stopped(dir: &Path, description: &Description) -> Result<Option<String>> {
    let Some(log) = &description.log else { return Ok(None) };
    let (path, line) = (dir.join(LOG_FILE), log.commits.len() + 1);
    let path = path.display();
    Ok(match &log.stopped {
        Some(Stopped { is_torn: true, .. }) => Some(format!(
            "{path}: line {line} was not written to its end: what it adds is left out; `recorder compact` drops it"
        )),
        Some(Stopped { why, .. }) => Some(format!(
            "{path}: line {line} is damaged: {why}; what it and later lines add is left out: copy it again"
        )),
        None if log.commits.is_empty() && !strays(dir, description)?.is_empty() => Some(format!(
            "{path} is empty, and there are files, whose rows are left out: copy it again, or restore it"
        )),
        None => None,
    })
}

/// Parquet files in the tables that the log does not name. Fails if a directory cannot be listed.
pub fn strays(dir: &Path, description: &Description) -> Result<Vec<PathBuf>> {
    let named: BTreeSet<String> = description.contents.segments.keys().map(SegmentName::path).collect();
    let mut strays = Vec::new();
    let events = description.meta.events.iter().map(|layout| layout.event.as_str());
    for table in events.chain(SIDE_TABLES.iter().map(|table| table.name)) {
        let of_table = dir.join(table);
        let entries = match of_table.read_dir() {
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => continue,
            entries => entries.with_context(|| format!("cannot list {}", of_table.display()))?,
        };
        for entry in entries {
            let name = entry?.file_name();
            let name = name.to_string_lossy();
            if name.ends_with(SEGMENT_SUFFIX) && !named.contains(&format!("{table}/{name}")) {
                strays.push(of_table.join(&*name));
            }
        }
    }
    strays.sort();
    Ok(strays)
}

/// Give `tables` the segments of `instant`.
pub fn fill(tables: &mut [Table], instant: Instant) {
    let mut ages: Vec<(u64, u64)> = instant.files.iter().map(|(it, _)| (it.epoch, it.number)).collect();
    ages.sort_unstable();
    let mut by_table: HashMap<String, Vec<(log::Segment, TraceFile)>> = HashMap::new();
    for (segment, file) in instant.files {
        by_table.entry(segment.table.clone()).or_default().push((segment, file));
    }
    for table in tables {
        let files = by_table.remove(&table.recorded).unwrap_or_default();
        table.is_repeated = files.windows(2).any(|pair| pair[0].0.epoch != pair[1].0.epoch);
        table.segments.extend(files.into_iter().map(|(logged, file)| {
            let age = ages.partition_point(|age| *age < (logged.epoch, logged.number)) as i64;
            Segment { age, ..segment(logged, file, &table.schema) }
        }));
        if table.segments.iter().all(|segment| segment.ts_range.is_none()) {
            // The newest of several rows with one id is read last.
            table.segments.sort_by_key(|segment| segment.age);
        }
    }
}

/// The segment that the log describes so, in `file`, of a table with `schema`.
pub fn segment(logged: log::Segment, file: TraceFile, schema: &SchemaRef) -> Segment {
    let (bytes, rows, ts_range) = (logged.bytes, logged.rows, logged.ts);
    Segment { file: file.checked(Logged::new(logged, schema.clone())), bytes, rows, ts_range, age: 0 }
}

#[cfg(test)]
mod tests;
