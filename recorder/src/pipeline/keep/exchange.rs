//! Segments that stay and new ones in; the table rebuilt from them in one step out.
//!
//! Files that stay are linked under new numbers, so that a reader which has listed the old names finds them gone (and
//! lists again) rather than different.

use std::fs;
use std::path::Path;

use anyhow::{Context, Error, Result};

use super::super::compact::{WORK_PREFIX, exchange, remove_dir};
use super::super::files::{TempFile, create_dir, sync_dir};
use super::super::segment::segment_name;
use super::shelf::{Entry, Table};

/// A segment of the table to be.
pub enum Slot {
    /// One that is there already.
    Keep(Entry),
    /// A durable file that takes its place.
    New(Entry, TempFile),
}

/// What came of a table that could not be rebuilt.
#[derive(Debug)]
pub enum Failed {
    /// It is whole and known, rebuilt or as it was.
    AsItWas(Error),
    /// It is rebuilt, and after a power-off it may not be.
    NotDurable(Error),
}

impl From<Failed> for Error {
    fn from(failed: Failed) -> Self {
        match failed {
            Failed::AsItWas(error) | Failed::NotDurable(error) => error,
        }
    }
}

/// Let `table` of the trace `dir` consist of `slots`. Fails if the file system cannot exchange directories or link
/// files.
pub fn rebuild(dir: &Path, table: &mut Table, slots: Vec<Slot>) -> Result<(), Failed> {
    rebuild_with(dir, table, slots, sync_dir)
}

fn rebuild_with(
    dir: &Path,
    table: &mut Table,
    slots: Vec<Slot>,
    sync: impl FnOnce(&Path) -> Result<()>,
) -> Result<(), Failed> {
    let work = dir.join(format!("{WORK_PREFIX}{}", table.name));
    let filled = fill(&work, table, slots).and_then(|filled| {
        exchange(&work, &table.dir)?;
        Ok(filled)
    });
    match filled {
        // From here on it is the other one, whatever comes: a number of the old one would name a file of the new one.
        Ok((entries, next)) => (table.entries, table.next) = (entries, next),
        Err(error) => {
            // What it holds is not needed, and the space may be.
            let _ = remove_dir(&work);
            return Err(Failed::AsItWas(error));
        }
    }
    sync(dir).map_err(Failed::NotDurable)?;
    remove_dir(&work).map_err(Failed::AsItWas)
}

/// Fill `work`, which is made new, with what is to become the table.
fn fill(work: &Path, table: &Table, slots: Vec<Slot>) -> Result<(Vec<Entry>, u64)> {
    if work.exists() {
        remove_dir(work)?;
    }
    create_dir(work)?;
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
    Ok((entries, next))
}

/// Can directories in `dir` be exchanged and files be linked? Fails if not, with the reason.
pub fn check(dir: &Path) -> Result<()> {
    let probe = |name: &str| dir.join(format!("{WORK_PREFIX}{name}"));
    let (one, two) = (probe("probe"), probe("probe-2"));
    create_dir(&one)?;
    create_dir(&two)?;
    let temp = TempFile::create(&one, "probe")?;
    let result = fs::hard_link(temp.path(), two.join("probe"))
        .context("this file system cannot link files")
        .and_then(|()| exchange(&one, &two));
    drop(temp);
    for work in [&one, &two] {
        if work.exists() {
            remove_dir(work)?;
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::super::shelf::Sources;
    use super::*;

    /// A table of two segments, which hold their numbers.
    fn table(dir: &Path) -> Table {
        let mut table = Table::new(dir, "tick", true);
        create_dir(&table.dir).unwrap();
        for number in [0, 1] {
            fs::write(table.path(number), number.to_string()).unwrap();
            let (sources, range) = (Sources::new(), None);
            table.entries.push(Entry {
                number,
                rows: 1,
                disk_bytes: 0,
                range,
                is_late: false,
                level: 0,
                sources,
                era: 0,
            });
        }
        table.next = 2;
        table
    }

    fn slots(table: &Table) -> Vec<Slot> {
        table.entries.iter().cloned().map(Slot::Keep).collect()
    }

    fn numbers(table: &Table) -> Vec<u64> {
        table.entries.iter().map(|entry| entry.number).collect()
    }

    #[test]
    fn a_table_that_was_exchanged_is_the_new_one_also_if_that_cannot_be_made_durable() {
        let temp = tempfile::tempdir().unwrap();
        let mut table = table(temp.path());
        let new = slots(&table);
        let result = rebuild_with(temp.path(), &mut table, new, |_| Err(anyhow!("no disk")));
        assert!(matches!(result, Err(Failed::NotDurable(_))), "{result:?}");
        assert_eq!((numbers(&table), table.next), (vec![2, 3], 4));
        for (number, content) in [(2, "0"), (3, "1")] {
            assert_eq!(fs::read_to_string(table.path(number)).unwrap(), content);
        }
        assert!(!table.path(0).exists());
    }

    #[test]
    fn a_table_that_cannot_be_rebuilt_is_as_it_was() {
        let temp = tempfile::tempdir().unwrap();
        let mut table = table(temp.path());
        let new = slots(&table);
        fs::remove_file(table.path(1)).unwrap();
        let result = rebuild(temp.path(), &mut table, new);
        assert!(matches!(result, Err(Failed::AsItWas(_))), "{result:?}");
        assert_eq!((numbers(&table), table.next), (vec![0, 1], 2));
        assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 1, "nothing is left over");
    }

    #[test]
    fn why_directories_cannot_be_exchanged_is_told() {
        let temp = tempfile::tempdir().unwrap();
        let error = exchange(&temp.path().join("none"), temp.path()).unwrap_err();
        assert!(format!("{error:#}").contains("No such file or directory"), "{error:#}");
        let cause = error.chain().find_map(|cause| cause.downcast_ref::<std::io::Error>());
        assert_eq!(cause.and_then(|cause| cause.raw_os_error()), Some(libc::ENOENT));
    }
}
