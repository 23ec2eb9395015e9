//! The directory of a table in, its files out: those that have their names, and those that still wait for the disk.
//!
//! A recorder that writes gives files their names, merges and removes them at any time, and merges go on for a while
//! after a trace is closed. So the files of a trace that is open, or held by a recorder, are held: what was listed can be
//! read to the end, and is the table as it was at one instant.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use nix::fcntl::OFlag;
use schemas::trace::{Meta, PROBES, SEGMENT_SUFFIX, State, whole_segment};

use crate::trace::file::TraceFile;

/// Times that something is read which changes meanwhile.
const MOST_TRIES: usize = 20;

/// What is to be known of a trace to list its tables.
#[derive(Clone, Copy, Debug)]
pub struct Listing<'a> {
    dir: &'a Path,
    /// Segments may wait for the disk.
    is_open: bool,
    /// Files may go away at any time.
    is_changing: bool,
    /// Segments that wait for the disk are what the recorder wrote: the machine has been running since.
    is_same_boot: bool,
}

/// The files of a table.
#[derive(Debug, Default)]
pub struct Files {
    /// With the path as it was asked for, in their order.
    pub files: Vec<(PathBuf, TraceFile)>,
    /// Path and reason of each that cannot be opened.
    pub unreadable: Vec<(PathBuf, anyhow::Error)>,
    /// How many wait for a disk that may not have them.
    pub not_durable: usize,
}

impl<'a> Listing<'a> {
    /// Of the trace in `dir`, whose `trace.json` is `meta`; `is_locked` if a recorder holds it.
    pub fn new(dir: &'a Path, meta: &Meta, is_locked: bool) -> Self {
        let is_open = meta.state == State::Open;
        let is_same_boot = fs::read_to_string("/proc/sys/kernel/random/boot_id")
            .is_ok_and(|id| !meta.boot_id.is_empty() && id.trim() == meta.boot_id);
        Self { dir, is_open, is_changing: is_open || is_locked, is_same_boot }
    }

    /// The files of `table`.
    ///
    /// Fails if a directory cannot be listed, or changes all the time.
    pub fn of(&self, table: &str) -> Result<Files> {
        until_it_stays(self.dir, || self.once(table))
    }

    /// `None` if it changed meanwhile.
    fn once(&self, table: &str) -> Result<Option<Files>> {
        let mut found = Files::default();
        // Before those with names: a file that gets its name meanwhile is there twice rather than not at all.
        let mut waiting = Vec::new();
        for path in if self.is_open { self.waiting(table)? } else { Vec::new() } {
            if !self.is_same_boot {
                found.not_durable += 1;
                continue;
            }
            match TraceFile::held(&path) {
                Ok(file) => waiting.push((path, file)),
                Err(error) if is_gone(&error) => return Ok(None),
                Err(error) => found.unreadable.push((path, error)),
            }
        }
        let dir = self.dir.join(table);
        let before = Held::at(&dir)?;
        for path in named(&dir)? {
            match if self.is_changing { TraceFile::held(&path) } else { TraceFile::named(&path) } {
                Ok(file) => found.files.push((path, file)),
                Err(error) if is_gone(&error) => return Ok(None),
                Err(error) => found.unreadable.push((path, error)),
            }
        }
        if identity(&dir) != before.as_ref().map(|held| held.id) {
            // Another directory has taken its place, and this one may have been emptied while it was listed.
            return Ok(None);
        }
        for (path, file) in waiting {
            let own = id(&file.metadata()?);
            if found.files.iter().any(|(_, other)| other.metadata().is_ok_and(|meta| id(&meta) == own)) {
                continue;
            }
            // Not yet published means not yet merged. What was published since may be in there already, merged.
            if identity(&path) == Some(own) {
                if table == PROBES {
                    // It has all rows, and takes the place of what is there.
                    found.files.clear();
                }
                found.files.push((path, file));
            } else {
                return Ok(None);
            }
        }
        Ok(Some(found))
    }

    /// Segments of `table` that wait for the disk.
    fn waiting(&self, table: &str) -> Result<Vec<PathBuf>> {
        let mut found = Vec::new();
        for name in names(self.dir)? {
            if let Some((_, number)) = whole_segment(&name).filter(|(of, _)| *of == table) {
                found.push((number, self.dir.join(&name)));
            }
        }
        found.sort();
        Ok(found.into_iter().map(|(_, path)| path).collect())
    }
}

/// What `read` gives of the trace in `dir`; it gives `None` if that has changed meanwhile.
///
/// Fails if it changes all the time.
pub fn until_it_stays<T>(dir: &Path, read: impl Fn() -> Result<Option<T>>) -> Result<T> {
    for _ in 0..MOST_TRIES {
        if let Some(whole) = read()? {
            return Ok(whole);
        }
    }
    bail!(
        "'{}' changes faster than it can be read: ask again, or ask a copy made by `recorder snapshot`",
        dir.display()
    )
}

/// A directory that is open, so that no other can get its inode number.
#[derive(Debug)]
struct Held {
    id: (u64, u64),
    _open: File,
}

impl Held {
    /// The one at `path`, if there is one.
    fn at(path: &Path) -> Result<Option<Self>> {
        // No other kind of file, which might keep whoever opens it waiting.
        let open = match File::options().read(true).custom_flags(OFlag::O_DIRECTORY.bits()).open(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            open => open.with_context(|| format!("cannot open {}", path.display()))?,
        };
        Ok(Some(Self { id: id(&open.metadata()?), _open: open }))
    }
}

/// Which file or directory has this name; `None`: none has.
fn identity(path: &Path) -> Option<(u64, u64)> {
    fs::symlink_metadata(path).ok().as_ref().map(id)
}

fn id(meta: &fs::Metadata) -> (u64, u64) {
    (meta.dev(), meta.ino())
}

fn is_gone(error: &anyhow::Error) -> bool {
    error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == ErrorKind::NotFound)
}

/// Segments that have their names.
fn named(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for name in names(dir)? {
        let digits = name.strip_suffix(SEGMENT_SUFFIX).unwrap_or_default();
        if digits.len() >= 6 && digits.len() <= 18 && digits.bytes().all(|b| b.is_ascii_digit()) {
            found.push((digits.parse::<u64>()?, dir.join(&name)));
        }
    }
    found.sort();
    Ok(found.into_iter().map(|(_, path)| path).collect())
}

/// Names in `dir`, which need not be there.
fn names(dir: &Path) -> Result<Vec<String>> {
    let context = || format!("cannot list {}", dir.display());
    let entries = match dir.read_dir() {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.with_context(context)?,
    };
    let mut names = Vec::new();
    for entry in entries {
        names.extend(entry.with_context(context)?.file_name().into_string());
    }
    Ok(names)
}

#[cfg(test)]
mod tests;
