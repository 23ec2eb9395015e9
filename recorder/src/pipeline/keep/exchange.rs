//! Segments that stay and new ones in; the table rebuilt from them in one step out.
//!
//! Files that stay are linked under new numbers, so that a reader which has listed the old names finds them gone (and
//! lists again) rather than different.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::super::compact::{WORK_PREFIX, exchange, remove_dir};
use super::super::files::{Owner, TempFile, create_dir, sync_dir};
use super::super::segment::segment_name;
use super::shelf::{Entry, Table};

/// A segment of the table to be.
pub enum Slot {
    /// One that is there already.
    Keep(Entry),
    /// A durable file that takes its place.
    New(Entry, TempFile),
}

/// Let `table` of the trace `dir` consist of `slots`. Fails if the file system cannot exchange directories or link
/// files; the table is as it was then.
pub fn rebuild(dir: &Path, table: &mut Table, slots: Vec<Slot>, owner: Owner) -> Result<()> {
    let work = dir.join(format!("{WORK_PREFIX}{}", table.name));
    if work.exists() {
        remove_dir(&work)?;
    }
    create_dir(&work, owner)?;
    match fill(dir, &work, table, slots) {
        Ok((entries, next)) => (table.entries, table.next) = (entries, next),
        Err(error) => {
            // What it holds is not needed, and the space may be.
            let _ = remove_dir(&work);
            return Err(error);
        }
    }
    remove_dir(&work)
}

/// Fill `work` and let it become the table.
fn fill(dir: &Path, work: &Path, table: &Table, slots: Vec<Slot>) -> Result<(Vec<Entry>, u64)> {
    let mut next = table.next;
    let mut entries = Vec::with_capacity(slots.len());
    for slot in slots {
        let name = segment_name(next);
        let entry = match slot {
            Slot::Keep(entry) => {
                let to = work.join(&name);
                fs::hard_link(table.path(entry.number), &to)
                    .with_context(|| format!("cannot link '{}'", to.display()))?;
                entry
            }
            Slot::New(entry, mut temp) => {
                temp.reveal_in(work, &name)?;
                entry
            }
        };
        entries.push(Entry { number: next, ..entry });
        next += 1;
    }
    sync_dir(work)?;
    exchange(dir, work, &table.dir)?;
    Ok((entries, next))
}

/// Can directories in `dir` be exchanged and files be linked? Fails if not, with the reason.
pub fn check(dir: &Path, owner: Owner) -> Result<()> {
    let probe = |name: &str| dir.join(format!("{WORK_PREFIX}{name}"));
    let (one, two) = (probe("probe"), probe("probe-2"));
    create_dir(&one, owner)?;
    create_dir(&two, owner)?;
    let temp = TempFile::create(&one, "probe", owner)?;
    let result = fs::hard_link(temp.path(), two.join("probe"))
        .context("this file system cannot link files")
        .and_then(|()| exchange(dir, &one, &two));
    drop(temp);
    for work in [&one, &two] {
        if work.exists() {
            remove_dir(work)?;
        }
    }
    result
}
