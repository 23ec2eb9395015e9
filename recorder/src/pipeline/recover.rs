//! A trace whose recorder died in; the same without what was half-made, and a line about it, out.
//!
//! Segments that were whole but not yet durable when the recorder died are published, unless the machine was started
//! again since: then the disk may have only parts of them.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use schemas::trace::{Meta, State};

use super::compact::WORK_PREFIX;
use super::files::{Owner, RESERVE, TEMP_SUFFIX, WHOLE_SUFFIX, lock, sync_dir};
use super::merged::Input;
use super::meta::{boot_id, read_meta, tables, write_meta};
use super::probes;
use super::segment::{list_segments, segment_name};

/// Remove what a recorder that died has left half-made in `dir` and mark the trace as recovered. The result is one
/// line about it, `None` if there was nothing to do. Fails if the trace is being written.
pub fn recover(dir: &Path) -> Result<Option<String>> {
    let dir = &dir.canonicalize().with_context(|| format!("cannot open '{}'", dir.display()))?;
    let _lock = lock(dir)?;
    Ok(tidy_up(dir, Owner::of_this_process())?.1)
}

/// The same, for whoever holds the trace.
pub fn tidy_up(dir: &Path, owner: Owner) -> Result<(Meta, Option<String>)> {
    let mut meta = read_meta(dir)?;
    let (published, not_durable) = publish_whole(dir, &meta)?;
    let removed = remove_unfinished(dir, &meta)?;
    if meta.state != State::Open && published + not_durable + removed == 0 {
        return Ok((meta, None));
    }
    let mut parts = Vec::new();
    if meta.state == State::Open {
        meta.state = State::Recovered;
        write_meta(dir, &meta, owner)?;
        parts.push("the recorder died, up to a second may be missing at the end".to_owned());
    }
    for (number, what) in [
        (published, "segments published that waited for the disk"),
        (not_durable, "segments dropped that the disk did not have when the machine stopped"),
        (removed, "unfinished files removed"),
    ] {
        if number > 0 {
            parts.push(format!("{number} {what}"));
        }
    }
    Ok((meta, Some(format!("'{}': {}", dir.display(), parts.join("; ")))))
}

/// Publish the whole segments, those of side tables first. The result is how many were, and how many could not be
/// trusted.
fn publish_whole(dir: &Path, meta: &Meta) -> Result<(usize, usize)> {
    let is_same_boot = boot_id() == meta.boot_id;
    let mut numbers = (0, 0);
    let (events, side): (Vec<&str>, Vec<&str>) =
        tables(meta).partition(|table| meta.events.iter().any(|event| event.event == *table));
    for table in side.into_iter().chain(events) {
        let table_dir = dir.join(table);
        for path in whole_segments(dir, table)? {
            if !is_same_boot || !table_dir.is_dir() || Input::open(0, &path).is_err() {
                remove_file(&path)?;
                numbers.1 += 1;
                continue;
            }
            let last = list_segments(&table_dir)?.last().map(|(number, _)| *number);
            // All rows of this table are in one segment, the newest.
            let number = if table == probes::TABLE { 0 } else { last.map_or(0, |last| last + 1) };
            let sync = || File::open(&path)?.sync_all();
            sync().with_context(|| format!("cannot write '{}'", path.display()))?;
            let to = table_dir.join(segment_name(number));
            fs::rename(&path, &to).with_context(|| format!("cannot create '{}'", to.display()))?;
            sync_dir(&table_dir)?;
            numbers.0 += 1;
        }
    }
    Ok(numbers)
}

/// Segments of `table` that are whole but not published, in their order.
fn whole_segments(dir: &Path, table: &str) -> Result<Vec<PathBuf>> {
    let prefix = format!(".{table}-");
    let mut found = Vec::new();
    for (name, path) in entries(dir)? {
        let number = name.strip_prefix(&prefix).and_then(|name| name.strip_suffix(WHOLE_SUFFIX));
        if let Some(number) = number.and_then(|digits| digits.parse::<u64>().ok()) {
            found.push((number, path));
        }
    }
    found.sort();
    Ok(found.into_iter().map(|(_, path)| path).collect())
}

/// Remove temporary files and directories. The result is how many there were.
fn remove_unfinished(dir: &Path, meta: &Meta) -> Result<usize> {
    let mut removed = 0;
    let tables = tables(meta).map(|table| dir.join(table)).filter(|table| table.is_dir());
    for dir in [dir.to_owned()].into_iter().chain(tables) {
        for (name, path) in entries(&dir)? {
            if name.starts_with(WORK_PREFIX) && path.is_dir() {
                fs::remove_dir_all(&path).with_context(|| format!("cannot remove '{}'", path.display()))?;
            } else if name.starts_with('.') && name.ends_with(TEMP_SUFFIX) {
                remove_file(&path)?;
            } else {
                continue;
            }
            // The reserve was no work of anybody.
            removed += usize::from(name != format!(".{RESERVE}{TEMP_SUFFIX}"));
        }
    }
    Ok(removed)
}

fn entries(dir: &Path) -> Result<Vec<(String, PathBuf)>> {
    let context = || format!("cannot list '{}'", dir.display());
    let mut entries = Vec::new();
    for entry in fs::read_dir(dir).with_context(context)? {
        let entry = entry.with_context(context)?;
        entries.push((entry.file_name().to_string_lossy().into_owned(), entry.path()));
    }
    Ok(entries)
}

fn remove_file(path: &Path) -> Result<()> {
    fs::remove_file(path).with_context(|| format!("cannot remove '{}'", path.display()))
}
