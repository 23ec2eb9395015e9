//! A trace whose recorder died in; the same without what was half-made, and a line about it, out.
//!
//! Segments that were whole but not yet durable when the recorder died are published, unless the machine was started
//! again since: then the disk may have only parts of them.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use schemas::trace::{Meta, PROBES, State, whole_segment};

use super::compact::{WORK_PREFIX, Watch, remove_dir};
use super::files::{RESERVE, TEMP_SUFFIX, lock, sync_dir};
use super::keep::make_way;
use super::merged::Input;
use super::meta::{boot_id, read_meta, tables, write_meta};
use super::recount::balance;
use super::segment::{list_segments, segment_name};

/// Remove what a recorder that died has left half-made in `dir` and mark the trace as recovered. The result is one
/// line about it, `None` if there was nothing to do. Fails if the trace is being written.
pub fn recover(dir: &Path) -> Result<Option<String>> {
    let dir = &dir.canonicalize().with_context(|| format!("cannot open '{}'", dir.display()))?;
    let _lock = lock(dir)?;
    Ok(tidy_up(dir, &mut |_, _| Ok(()))?.1)
}

/// The same, for whoever holds the trace. `watch` can stop it; what is left is done the next time.
pub fn tidy_up(dir: &Path, watch: &mut Watch) -> Result<(Meta, Option<String>)> {
    let mut meta = read_meta(dir)?;
    // First, because what is half-made takes the names of what is made below.
    let removed = remove_unfinished(dir, &meta)?;
    let (published, not_durable) = publish_whole(dir, &meta, watch)?;
    if meta.state != State::Open && published + not_durable + removed == 0 {
        return Ok((meta, None));
    }
    let mut parts = Vec::new();
    if meta.state == State::Open {
        // Before the state is written: stopped in between, it is done again.
        let mut is_stopped = false;
        let counted = balance(dir, &meta, &mut |table, segments| {
            watch(table, segments).inspect_err(|_| is_stopped = true)
        });
        let counted = match counted {
            Err(error) if is_stopped => return Err(error),
            counted => counted,
        };
        meta.state = State::Recovered;
        write_meta(dir, &meta)?;
        parts.push("the recorder died, up to a second may be missing at the end".to_owned());
        if let Err(error) = counted {
            // A segment that cannot be read is no reason to leave the others as they are.
            parts.push(format!("table counts may tell of other rows than there are ({error:#})"));
        }
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
fn publish_whole(dir: &Path, meta: &Meta, watch: &mut Watch) -> Result<(usize, usize)> {
    let is_same_boot = boot_id() == meta.boot_id;
    let mut numbers = (0, 0);
    let (events, side): (Vec<&str>, Vec<&str>) =
        tables(meta).partition(|table| meta.events.iter().any(|event| event.event == *table));
    for table in side.into_iter().chain(events) {
        let table_dir = dir.join(table);
        for path in whole_segments(dir, table)? {
            watch(table, numbers.0 as u64)?;
            if !is_same_boot || !table_dir.is_dir() || is_damaged(&path)? {
                remove_file(&path)?;
                numbers.1 += 1;
                continue;
            }
            if meta.kept_from_ns.is_some() {
                make_way(dir, table, &path)?;
            }
            let last = list_segments(&table_dir)?.last().map(|(number, _)| *number);
            // All rows of this table are in one segment, the newest.
            let number = if table == PROBES { 0 } else { last.map_or(0, |last| last + 1) };
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

/// Fails if that cannot be told because the machine is short of something: the segment is not given up then.
fn is_damaged(path: &Path) -> Result<bool> {
    let Err(error) = Input::open(0, path) else { return Ok(false) };
    let is_of_system = error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|io| io.raw_os_error().is_some());
    if is_of_system { Err(error) } else { Ok(true) }
}

/// Segments of `table` that are whole but not published, in their order.
fn whole_segments(dir: &Path, table: &str) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for (name, path) in entries(dir)? {
        if let Some((_, number)) = whole_segment(&name).filter(|(of, _)| *of == table) {
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
                // A directory is a snapshot that was being made.
                match path.symlink_metadata() {
                    Ok(metadata) if metadata.is_dir() => remove_dir(&path)?,
                    _ => remove_file(&path)?,
                }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_is_damaged_by_what_is_in_it_and_not_by_what_the_machine_lacks() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join(".tick-1.whole");
        fs::write(&path, "PAR1 and no more").unwrap();
        assert!(is_damaged(&path).unwrap());
        fs::write(&path, "").unwrap();
        assert!(is_damaged(&path).unwrap());
        fs::remove_file(&path).unwrap();
        // As too many open files, or a disk that cannot be read just now.
        assert!(is_damaged(&path).is_err());
    }
}
