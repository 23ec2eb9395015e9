//! Tidies a trace up whose recorder died: removes what its log does not name, and tells that in a line.

use std::collections::{BTreeSet, HashSet};
use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use schemas::trace::State;
use schemas::trace::log::{Segment, SegmentName, Status};
use schemas::trace::read::{Description, read};

use super::catalog::{Catalog, Change};
use crate::pipeline::files::{RESERVE, TEMP_SUFFIX, lock, open_own_dir, remove_dir, sync_dir};
use crate::pipeline::meta::{boot_id, tables};

/// Remove what a recorder that died has left half-made in `dir` and mark the trace as recovered. The result is one
/// line about it, `None` if there was nothing to do. Fails if the trace is being written.
pub fn recover(dir: &Path) -> Result<Option<String>> {
    let dir = &dir.canonicalize().with_context(|| format!("cannot open '{}'", dir.display()))?;
    let _lock = lock(dir)?;
    Ok(tidy_up(dir)?.2)
}

/// The same, for whoever holds the trace.
pub fn tidy_up(dir: &Path) -> Result<(Description, Catalog, Option<String>)> {
    let mut description = read(dir)?;
    if description.log.is_none() {
        bail!(
            "'{}' was recorded by an older recorder (format {}): analyze reads it as it is",
            dir.display(),
            description.meta.format_version
        );
    }
    let not_durable = match description.may_be_torn(&boot_id()) {
        true => description.forget_torn(dir)?,
        false => 0,
    };
    let mut catalog = Catalog::open(dir, &description)?;
    sync(dir, &description)?;
    let removed = remove_unnamed(dir, &description, &catalog)?;
    let was_open = catalog.contents.status.state == State::Open;
    let mut parts = Vec::new();
    if was_open {
        let before = &catalog.contents.status;
        let state = match before.end_ns {
            // Everything was written; only merging small segments was left.
            Some(_) => State::Closed,
            None => State::Recovered,
        };
        let status = Status { state, ..before.clone() };
        catalog.commit(Change { status: Some(status), ..Change::default() })?;
        catalog.log.sync()?;
        catalog.undurable.clear();
        catalog.contents.status.tell(&mut description.meta);
        parts.push(match state {
            State::Closed => {
                "the recorder died while it merged small segments, nothing is missing".to_owned()
            }
            _ => "the recorder died, up to a second may be missing at the end".to_owned(),
        });
    }
    for (number, what) in [
        (not_durable, "segments dropped that the disk did not have when the machine stopped"),
        (removed, "unfinished files removed"),
    ] {
        if number > 0 {
            parts.push(format!("{number} {what}"));
        }
    }
    let line = (!parts.is_empty()).then(|| format!("'{}': {}", dir.display(), parts.join("; ")));
    Ok((description, catalog, line))
}

/// Make durable what the recorder may not have come to.
fn sync(dir: &Path, description: &Description) -> Result<()> {
    let Some(log) = &description.log else { return Ok(()) };
    let later = log.commits.iter().filter(|commit| Some(commit.n) > log.durable());
    let added: HashSet<SegmentName> = later.flat_map(|commit| &commit.add).map(Segment::name).collect();
    let mut tables = BTreeSet::new();
    for name in added.iter().filter(|name| description.contents.segments.contains_key(name)) {
        let path = dir.join(name.path());
        match File::open(&path).and_then(|file| file.sync_all()) {
            // What somebody removed is told by whoever reads the trace.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            synced => synced.with_context(|| format!("cannot write '{}'", path.display()))?,
        }
        tables.insert(&name.table);
    }
    tables.into_iter().try_for_each(|table| sync_dir(&dir.join(table)))
}

/// Remove temporary files and directories, and segments that the log does not name. The result is how many there were.
fn remove_unnamed(dir: &Path, description: &Description, catalog: &Catalog) -> Result<usize> {
    let named: HashSet<PathBuf> =
        catalog.contents.segments.keys().map(|name| dir.join(name.path())).collect();
    let mut removed = 0;
    let tables = tables(&description.meta).map(|table| dir.join(table)).filter(|table| table.is_dir());
    for place in [dir.to_owned()].into_iter().chain(tables) {
        // Nothing is removed elsewhere.
        open_own_dir(&place)?;
        for (name, path) in entries(&place)? {
            let is_temporary = name.starts_with('.') && name.ends_with(TEMP_SUFFIX);
            let is_unnamed = place != dir && is_segment(&name) && !named.contains(&path);
            if !is_temporary && !is_unnamed {
                continue;
            }
            // A directory is a snapshot that was being made.
            match path.symlink_metadata() {
                Ok(metadata) if metadata.is_dir() => remove_dir(&path)?,
                _ => fs::remove_file(&path).with_context(|| format!("cannot remove '{}'", path.display()))?,
            }
            // The reserve was no work of anybody.
            removed += usize::from(name != format!(".{RESERVE}{TEMP_SUFFIX}"));
        }
    }
    Ok(removed)
}

/// Is it the name of a segment's file?
fn is_segment(name: &str) -> bool {
    let number = name.split_once('.').and_then(|(number, _)| number.parse().ok());
    number.is_some_and(|number| SegmentName { table: String::new(), number }.path() == format!("/{name}"))
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
