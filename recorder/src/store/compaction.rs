//! Merges the small segments of a trace into files of about a million rows: when a trace is closed, and by
//! `recorder compact`.
//!
//! Each table is one commit. In the end the log is one commit, the names of a table's files rise with time, late rows are
//! in their place, and of stacks, symbols and cgroups each is there once.

use std::collections::HashSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, UInt64Type};
use arrow_array::{ArrayRef, BooleanArray, RecordBatch};
use arrow_schema::DataType;
use arrow_select::filter::filter_record_batch;
use nix::sys::statvfs::statvfs;
use schemas::trace::log::{Segment, segment_path};
use schemas::trace::{Meta, State};

use super::catalog::{Catalog, Change, NewSegment, disk_bytes};
use super::merge::sources;
use super::recovery;
use crate::pipeline::files::{TempFile, lock, open_dir, open_own_dir, sync_dir};
use crate::pipeline::merged::{Input, Merged};
use crate::pipeline::meta::tables;
use crate::pipeline::segment::Written;

/// Rows of a file that is worth no further merging.
pub const FILE_ROWS: u64 = 1 << 20;
/// The side tables whose rows are named by an id, their first column: each epoch has those that its rows name.
const WITH_IDS: [&str; 3] = ["stacks", "symbols", "cgroups"];

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

/// Told the table that is being merged, and how many of its segments have been: fails to stop that.
pub type Watch<'a> = dyn FnMut(&str, u64) -> Result<()> + 'a;

/// Tidy the trace in `dir` up and merge its small segments: `recorder compact`. Fails if it is being written, or if
/// `watch` stops it; a table is either merged or as it was then.
pub fn compact(dir: &Path, watch: &mut Watch) -> Result<Compacted> {
    let dir = &dir.canonicalize().with_context(|| format!("cannot open '{}'", dir.display()))?;
    let _lock = lock(dir)?;
    let (description, mut catalog, recovered) = recovery::tidy_up(dir)?;
    let segments_before = catalog.contents.segments.len() as u64;
    let state = catalog.contents.status.state;
    let merged = compact_tables(dir, &description.meta, &mut catalog, None, watch);
    finish(&mut catalog, state, merged.is_ok())?;
    if let Err(error) = merged {
        // What was tidied up is told once: now or never.
        return Err(match recovered {
            Some(line) => error.context(format!("{line}; not all segments are merged")),
            None => error,
        });
    }
    let segments_after = catalog.contents.segments.len() as u64;
    Ok(Compacted { recovered, segments_before, segments_after })
}

/// Does a recorder hold the trace in `dir`?
pub fn is_being_written(dir: &Path) -> Result<bool> {
    let dir = dir.canonicalize().with_context(|| format!("cannot open '{}'", dir.display()))?;
    // Let go at once, at the end of this function.
    Ok(matches!(open_dir(&dir)?.try_lock(), Err(fs::TryLockError::WouldBlock)))
}

/// Compact every table; the caller holds the trace.
/// Files of more than `most_bytes` are not made, and each is a commit of its own where that is a limit: so much more is on
/// the disk for a while.
pub fn compact_tables(
    dir: &Path,
    meta: &Meta,
    catalog: &mut Catalog,
    most_bytes: Option<u64>,
    watch: &mut Watch,
) -> Result<()> {
    drop_hidden(catalog)?;
    for table in tables(meta) {
        compact_table(dir, table, catalog, most_bytes, watch)
            .with_context(|| format!("cannot merge the segments of table '{table}'"))?;
    }
    Ok(())
}

/// What is carried into later epochs is not needed any more: nothing goes that is before it.
fn drop_hidden(catalog: &mut Catalog) -> Result<()> {
    let visible: HashSet<_> = catalog.contents.visible().into_iter().map(Segment::name).collect();
    let names = catalog.contents.segments.keys();
    let remove: Vec<_> = names.filter(|name| !visible.contains(name)).cloned().collect();
    if remove.is_empty() { Ok(()) } else { catalog.commit(Change { remove, ..Change::default() }) }
}

/// The trace is as it should be: say `state` in a log of one commit, and let nothing stay that it does not name. With
/// `is_compacted`, epochs are over: each row is there once.
pub fn finish(catalog: &mut Catalog, state: State, is_compacted: bool) -> Result<()> {
    drop_hidden(catalog)?;
    if is_compacted {
        for segment in catalog.contents.segments.values_mut() {
            (segment.epoch, segment.carried, segment.level) = (0, false, 0);
        }
    }
    catalog.contents.status.state = state;
    catalog.shorten()
}

/// What becomes a file of the compacted table.
enum Part {
    /// A segment that stays as it is.
    Whole(Segment),
    /// Segments that are merged.
    Merged(Vec<Unit>),
}

/// Compact one table, in one commit, or in one for each file of at most `most_bytes`.
pub fn compact_table(
    dir: &Path,
    table: &str,
    catalog: &mut Catalog,
    most_bytes: Option<u64>,
    watch: &mut Watch,
) -> Result<()> {
    // Whatever has its name now: nothing is written elsewhere.
    open_own_dir(&dir.join(table))?;
    let visible = catalog.contents.visible();
    let before: Vec<Segment> = visible.into_iter().filter(|it| it.table == table).cloned().collect();
    let mut done = 0;
    let mut step = || {
        done += 1;
        watch(table, done)
    };
    if WITH_IDS.contains(&table) && catalog.contents.epochs().len() > 1 {
        check_room(dir, before.iter().map(disk_bytes).sum())?;
        let new = distinct(dir, table, catalog, &before, &mut step)?;
        return replace(dir, table, catalog, &before, new.into_iter().collect(), &HashSet::new());
    }
    let parts = parts(before.clone(), most_bytes.unwrap_or(u64::MAX));
    let is_in_order = parts.is_sorted_by_key(|part| match part {
        Part::Whole(segment) => Some(segment.number),
        Part::Merged(_) => None,
    });
    if is_in_order && parts.len() == before.len() && parts.iter().all(|part| matches!(part, Part::Whole(_))) {
        return Ok(());
    }
    let merged =
        parts.iter().filter_map(|part| if let Part::Merged(units) = part { Some(units) } else { None });
    check_room(dir, merged.flatten().flatten().map(disk_bytes).sum())?;
    let (mut add, mut stay, mut last) = (Vec::new(), HashSet::new(), None);
    for part in parts {
        match part {
            Part::Whole(segment) if last < Some(segment.number) => {
                last = Some(segment.number);
                stay.insert(segment.number);
            }
            // Names rise with time, so that a reader of files reads in that order.
            Part::Whole(segment) => {
                let number = catalog.number(table);
                let to = dir.join(segment_path(table, number));
                // Not every file system can: the order of names is a convenience.
                if fs::hard_link(dir.join(segment.path()), &to).is_ok() {
                    last = Some(number);
                    let segment = Segment { number, ..segment };
                    add.push(NewSegment { temp: None, segment, is_durable: true });
                } else {
                    stay.insert(segment.number);
                }
            }
            Part::Merged(units) => {
                let number = catalog.number(table);
                last = Some(number);
                let temp = TempFile::create(&dir.join(table), &number.to_string())?;
                let mut new = NewSegment::new(merge(dir, temp, &units, false, &mut step)?, table, number, 0);
                new.segment.sources = sources(units.iter().flatten());
                if most_bytes.is_some() {
                    let merged: Vec<Segment> = units.into_iter().flatten().collect();
                    replace(dir, table, catalog, &merged, vec![new], &HashSet::new())?;
                    stay.extend(merged.iter().map(|it| it.number).chain([number]));
                } else {
                    add.push(new);
                }
            }
        }
    }
    let names = catalog.contents.segments.keys().filter(|name| name.table == table);
    let there: HashSet<u64> = names.map(|name| name.number).collect();
    let before: Vec<Segment> = before.into_iter().filter(|it| there.contains(&it.number)).collect();
    replace(dir, table, catalog, &before, add, &stay)
}

/// Let table `table` consist of `add` and, of the segments before, those that `stay`.
fn replace(
    dir: &Path,
    table: &str,
    catalog: &mut Catalog,
    before: &[Segment],
    mut add: Vec<NewSegment>,
    stay: &HashSet<u64>,
) -> Result<()> {
    let epoch = before.iter().map(|it| it.epoch).max().unwrap_or(0);
    for new in &mut add {
        // `Merged` has synced it.
        (new.segment.epoch, new.is_durable) = (epoch, true);
    }
    let remove = before.iter().filter(|it| !stay.contains(&it.number)).map(Segment::name).collect();
    catalog.commit(Change { add, remove, ..Change::default() })?;
    sync_dir(&dir.join(table))?;
    catalog.log.sync()?;
    catalog.undurable.clear();
    let n = catalog.contents.last.unwrap_or(0);
    catalog.durable(n)
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

/// A segment, open to be merged.
pub fn input(dir: &Path, segment: &Segment) -> Result<Input> {
    Input::open(segment.number, &dir.join(segment.path()))
}

/// The files that a table is to consist of, in order of time.
fn parts(segments: Vec<Segment>, most_bytes: u64) -> Vec<Part> {
    let mut groups: Vec<((u64, u64), Vec<Unit>)> = Vec::new();
    for unit in units(segments) {
        let more: u64 = unit.iter().map(|it| it.rows).sum();
        let more_bytes: u64 = unit.iter().map(|it| it.bytes).sum();
        match groups.last_mut() {
            Some(((rows, bytes), group))
                if *rows + more <= FILE_ROWS && *bytes + more_bytes <= most_bytes =>
            {
                group.push(unit);
                (*rows, *bytes) = (*rows + more, *bytes + more_bytes);
            }
            _ => groups.push(((more, more_bytes), vec![unit])),
        }
    }
    let part = |(_, mut group): (_, Vec<Unit>)| match group.as_mut_slice() {
        // Written anew, a late row is one like any other.
        [unit] if unit.len() == 1 && !unit[0].late => Part::Whole(unit.remove(0)),
        _ => Part::Merged(group),
    };
    groups.into_iter().map(part).collect()
}

/// Segments whose times overlap: one, or several with late rows among them.
pub type Unit = Vec<Segment>;

/// Put those of `segments`, which are in order of time, together that overlap; empty ones go, unless all are.
pub fn units(mut segments: Vec<Segment>) -> Vec<Unit> {
    if segments.iter().any(|it| it.rows > 0) {
        segments.retain(|it| it.rows > 0);
    } else {
        segments.truncate(1);
    }
    let mut units: Vec<Unit> = Vec::new();
    let mut end = i64::MIN;
    for segment in segments {
        match (units.last_mut(), segment.ts) {
            (Some(unit), Some((start, stop))) if start <= end => {
                unit.push(segment);
                end = end.max(stop);
            }
            (_, ts) => {
                units.push(vec![segment]);
                end = ts.map_or(i64::MIN, |(_, stop)| stop);
            }
        }
    }
    units
}

/// Write the rows of `units` to one file, and call `done` after each segment. Few files are open at a time.
pub fn merge(
    dir: &Path,
    temp: TempFile,
    units: &[Unit],
    is_late: bool,
    done: &mut dyn FnMut() -> Result<()>,
) -> Result<Written> {
    let mut merged = Merged::create(temp, &input(dir, &units[0][0])?, is_late)?;
    for unit in units {
        let inputs = unit.iter().map(|segment| input(dir, segment)).collect::<Result<Vec<_>>>()?;
        merged.append(&inputs)?;
        unit.iter().try_for_each(|_| done())?;
    }
    merged.finish()
}

/// One file with each id once. Of two rows the newer one stays: an address can have another name by now.
fn distinct(
    dir: &Path,
    table: &str,
    catalog: &mut Catalog,
    segments: &[Segment],
    done: &mut dyn FnMut() -> Result<()>,
) -> Result<Option<NewSegment>> {
    let Some(last) = segments.last() else { return Ok(None) };
    let number = catalog.number(table);
    let temp = TempFile::create(&dir.join(table), &number.to_string())?;
    let mut merged = Merged::create(temp, &input(dir, last)?, false)?;
    let mut seen = HashSet::new();
    for segment in segments.iter().rev() {
        for batch in input(dir, segment)?.batches()? {
            let batch: RecordBatch = batch?;
            let is_new: BooleanArray =
                ids_of(batch.column(0))?.into_iter().map(|id| Some(seen.insert(id))).collect();
            merged.push(filter_record_batch(&batch, &is_new)?)?;
        }
        done()?;
    }
    Ok(Some(NewSegment::new(merged.finish()?, table, number, 0)))
}

/// The ids in the first column of a table that has ids.
fn ids_of(column: &ArrayRef) -> Result<Vec<u64>> {
    Ok(match column.data_type() {
        DataType::Int64 => {
            column.as_primitive::<Int64Type>().values().iter().map(|id| id.cast_unsigned()).collect()
        }
        DataType::UInt64 => column.as_primitive::<UInt64Type>().values().to_vec(),
        other => bail!("a table whose first column is {other} has no ids"),
    })
}
