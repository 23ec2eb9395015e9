//! The files of a trace of format 1, which has no log: those that are there, as their footers say. Nobody writes such a
//! trace any more, so nothing changes while it is read.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use schemas::trace::{SEGMENT_SUFFIX, State};

use crate::trace::file::TraceFile;
use crate::trace::segment::Segment;
use crate::trace::{Trace, counts};

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
    // Of one that is open, what is counted is behind what is there.
    if trace.warnings.is_empty() && trace.meta.state != State::Open {
        trace.warnings = counts::miscounted(trace);
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
