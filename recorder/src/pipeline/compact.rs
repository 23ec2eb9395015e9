//! A trace with many small segments in, the same rows in files of about a million out.
//!
//! A table is compacted by building the directory `.compact-TABLE` beside it and exchanging the two in one step
//! (`renameat2` with `RENAME_EXCHANGE`): whoever lists the table sees every row exactly once at any instant, also
//! after a crash at any instant, because the directory that is not the table is left over either way. Files get
//! numbers that no segment had before, so that a reader which has listed the old names finds them gone (and lists
//! again) rather than different. On a file system that cannot exchange, the segments stay as they are.

use std::fs;
use std::io;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use nix::sys::statvfs::statvfs;
use schemas::trace::Meta;

use super::files::{TempFile, create_dir, lock, open_dir, open_own_dir, sync_dir};
use super::merged::{Input, Merged};
use super::meta::{read_meta, tables};
use super::recover::tidy_up;
use super::segment::{list_segments, segment_name};

/// Rows of a file that is worth no further merging.
const FILE_ROWS: u64 = 1 << 20;
/// What the name of a directory starts with that is to become a table or was one.
pub const WORK_PREFIX: &str = ".compact-";

/// What [`compact`] did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compacted {
    /// What was left by a recorder that died, if one did: one line.
    pub recovered: Option<String>,
    /// Segments before.
    pub segments_before: u64,
    /// Segments after.
    pub segments_after: u64,
}

/// Told the table that is being counted or merged, and how many of its segments have been: fails to stop that.
pub type Watch<'a> = dyn FnMut(&str, u64) -> Result<()> + 'a;

/// Tidy the trace in `dir` up and merge its small segments: `recorder compact`. Fails if it is being written, or if
/// `watch` stops it; a table is either merged or as it was then.
pub fn compact(dir: &Path, watch: &mut Watch) -> Result<Compacted> {
    let dir = &dir.canonicalize().with_context(|| format!("cannot open '{}'", dir.display()))?;
    let _lock = lock(dir)?;
    let (meta, recovered) = tidy_up(dir, watch)?;
    let (_, segments_before) = size_of_trace(dir)?;
    if let Err(error) = compact_tables(dir, &meta, watch) {
        // What was tidied up is told once: now or never.
        return Err(match recovered {
            Some(line) => error.context(format!("{line}; not all segments are merged")),
            None => error,
        });
    }
    let (_, segments_after) = size_of_trace(dir)?;
    Ok(Compacted { recovered, segments_before, segments_after })
}

/// Does a recorder hold the trace in `dir`?
pub fn is_being_written(dir: &Path) -> Result<bool> {
    let dir = dir.canonicalize().with_context(|| format!("cannot open '{}'", dir.display()))?;
    // Let go at once, at the end of this function.
    Ok(matches!(open_dir(&dir)?.try_lock(), Err(fs::TryLockError::WouldBlock)))
}

/// Bytes and number of all segments.
pub fn size_of_trace(dir: &Path) -> Result<(u64, u64)> {
    let meta = read_meta(dir)?;
    let mut size = (0, 0);
    for table in tables(&meta) {
        let table_dir = dir.join(table);
        if table_dir.is_dir() {
            for (_, path) in list_segments(&table_dir)? {
                size.0 += fs::metadata(&path).map_or(0, |m| m.len());
                size.1 += 1;
            }
        }
    }
    Ok(size)
}

/// Compact every table; the caller holds the trace.
pub fn compact_tables(dir: &Path, meta: &Meta, watch: &mut Watch) -> Result<()> {
    for table in tables(meta) {
        if dir.join(table).is_dir() {
            let mut segments = 0;
            let result = compact_table(dir, table, &mut |step| {
                segments += u64::from(step == Step::Merged);
                watch(table, segments)
            });
            if result.is_err() {
                // Half-made, or the old segments: not the table either way.
                let _ = fs::remove_dir_all(dir.join(format!("{WORK_PREFIX}{table}")));
            }
            result.with_context(|| format!("cannot merge the segments of table '{table}'"))?;
        }
    }
    Ok(())
}

/// Steps of a compaction, for tests that stop it there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The new directory is there, empty.
    Begun,
    /// A segment is in a file of the new directory.
    Merged,
    /// A file of the new directory is there.
    FileMade,
    /// The new directory is whole.
    Built,
    /// The directories have changed places.
    Exchanged,
}

/// Compact one table; `at` is called after each step and may stop it.
pub fn compact_table(dir: &Path, table: &str, at: &mut dyn FnMut(Step) -> Result<()>) -> Result<()> {
    let table_dir = dir.join(table);
    open_own_dir(&table_dir)?;
    let segments = list_segments(&table_dir)?;
    let Some((last, _)) = segments.last() else { return Ok(()) };
    let first_number = last + 1;
    let inputs = segments.iter().map(|(n, path)| Input::open(*n, path)).collect::<Result<Vec<_>>>()?;
    let units = units(inputs);
    let groups = groups(units);
    let is_merged = |group: &Vec<Unit>| group.len() > 1 || group.iter().any(|unit| unit.len() > 1);
    if !groups.iter().any(is_merged) {
        return Ok(());
    }
    let merged = groups.iter().filter(|group| is_merged(group)).flatten().flatten();
    check_room(dir, merged.map(|input| input.disk_bytes).sum())?;
    let work = dir.join(format!("{WORK_PREFIX}{table}"));
    if work.exists() {
        remove_dir(&work)?;
    }
    create_dir(&work)?;
    at(Step::Begun)?;
    for (number, group) in (first_number..).zip(&groups) {
        let name = segment_name(number);
        if is_merged(group) {
            let mut merged = Merged::create(TempFile::create(&work, &name)?, &group[0][0], false)?;
            for unit in group {
                merged.append(unit)?;
                unit.iter().try_for_each(|_| at(Step::Merged))?;
            }
            merged.finish()?.temp.reveal(&name)?;
        } else {
            let (from, to) = (&group[0][0].path, work.join(&name));
            fs::hard_link(from, &to).with_context(|| format!("cannot link '{}'", to.display()))?;
        }
        at(Step::FileMade)?;
    }
    sync_dir(&work)?;
    at(Step::Built)?;
    if let Err(error) = exchange(&work, &table_dir) {
        remove_dir(&work)?;
        return Err(error);
    }
    sync_dir(dir)?;
    at(Step::Exchanged)?;
    remove_dir(&work)
}

/// The new files are there beside the old ones for a while.
fn check_room(dir: &Path, needed_bytes: u64) -> Result<()> {
    let disk =
        statvfs(dir).with_context(|| format!("cannot ask how full the disk of '{}' is", dir.display()))?;
    let free_bytes = disk.blocks_available() * disk.fragment_size();
    ensure!(
        needed_bytes <= free_bytes,
        "that takes {} KiB of the disk for a while, {} KiB are free: free space; until then its segments stay as \
         they are",
        needed_bytes >> 10,
        free_bytes >> 10
    );
    Ok(())
}

/// Remove a directory with all that is in it.
pub fn remove_dir(path: &Path) -> Result<()> {
    fs::remove_dir_all(path).with_context(|| format!("cannot remove '{}'", path.display()))
}

/// Let the directories `work` and `table_dir` change places, which is durable once the directory of both is synced.
/// Fails if the file system cannot do that.
pub fn exchange(work: &Path, table_dir: &Path) -> Result<()> {
    let Err(errno) = renameat2(AT_FDCWD, work, AT_FDCWD, table_dir, RenameFlags::RENAME_EXCHANGE) else {
        return Ok(());
    };
    Err(io::Error::from(errno)).with_context(|| match errno {
        Errno::EINVAL | Errno::ENOSYS | Errno::EOPNOTSUPP => {
            "this file system cannot exchange directories: the small segments stay".to_owned()
        }
        _ => format!("cannot exchange '{}' and '{}'", work.display(), table_dir.display()),
    })
}

/// Segments whose times overlap: one, or several with late rows among them.
pub type Unit = Vec<Input>;

/// Order segments by time and put those together that overlap; empty ones go.
pub fn units(mut inputs: Vec<Input>) -> Vec<Unit> {
    let only_empty = inputs.iter().all(|i| i.rows == 0);
    inputs.retain(|i| i.rows > 0 || (only_empty && i.number == 0));
    // Tables without a time have no range and stay in the order of their numbers.
    inputs.sort_by_key(|i| (i.range.map(|r| r.0), i.number));
    let mut units: Vec<Unit> = Vec::new();
    let mut end = i64::MIN;
    for input in inputs {
        let range = input.range;
        match (units.last_mut(), range) {
            (Some(unit), Some((start, stop))) if start <= end => {
                unit.push(input);
                end = end.max(stop);
            }
            _ => {
                units.push(vec![input]);
                end = range.map_or(i64::MIN, |(_, stop)| stop);
            }
        }
    }
    units
}

/// Put neighbours together until a file has its rows.
fn groups(units: Vec<Unit>) -> Vec<Vec<Unit>> {
    let rows = |unit: &Unit| unit.iter().map(|i| i.rows).sum::<u64>();
    let mut groups: Vec<Vec<Unit>> = Vec::new();
    let mut group_rows = 0;
    for unit in units {
        let more = rows(&unit);
        match groups.last_mut() {
            Some(group) if group_rows + more <= FILE_ROWS => {
                group.push(unit);
                group_rows += more;
            }
            _ => {
                groups.push(vec![unit]);
                group_rows = more;
            }
        }
    }
    groups
}
