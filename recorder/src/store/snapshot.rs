//! Makes a closed copy of a trace that is being written, of hard links.
//!
//! What the trace consists of at that moment is only linked (or opened, where links are impossible); everything else
//! happens in a thread of its own, in another place, so that the copy is there as a whole or not at all.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::thread::{JoinHandle, sleep};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use schemas::trace::log::{Contents, Segment, Status};
use schemas::trace::{Meta, State, TRACE_SUFFIX};

use super::catalog::{Catalog, Change, NewSegment};
use super::compaction::{compact_table, finish as finish_log};
use super::place::Place;
use super::{Store, write_meta};
use crate::pipeline::event_table::{empty_segment, event_schema};
use crate::pipeline::files::{FILE_MODE, create_dir, sync_dir};
use crate::pipeline::meta::tables;

/// Longest wait for snapshots at the end; a copy to another disk could take for ever.
const PATIENCE: Duration = Duration::from_secs(10);
/// Time to remove what is half-made. One that hangs in a disk is left behind, and what it made to the next recorder.
const CLEARING: Duration = Duration::from_secs(1);
/// Bytes that are copied between two looks whether anybody still waits.
const COPY_BYTES: u64 = 8 << 20;
/// Snapshots of one second that are told apart by a number.
const MOST_OF_A_SECOND: u32 = 1000;

/// Where a snapshot goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotName {
    /// Its directory.
    pub path: PathBuf,
    /// Fail if it exists, instead of putting a number behind the name.
    pub is_exact: bool,
}

/// A snapshot to be made.
pub struct Freeze {
    /// Where it goes.
    pub to: SnapshotName,
    /// Its `trace.json`.
    pub meta: Meta,
    /// When it ends (UTC ns).
    pub end_ns: i64,
    /// Gets the directory, or why there is none.
    pub reply: Sender<Result<PathBuf>>,
}

impl Store {
    /// Make a snapshot of what the trace consists of now; who asked gets the reply.
    pub fn freeze(&self, mut freeze: Freeze) {
        let reply = freeze.reply.clone();
        let half = Half::begin(self, &mut freeze);
        if let Err(error) = half.and_then(|half| half.finish(freeze, self)) {
            // Whoever asked may have gone.
            let _ = reply.send(Err(error));
        }
    }

    /// Set it to wait for snapshots no more: those that are being made end soon, without a result.
    pub fn snapshots_are_over(&self) -> Arc<AtomicBool> {
        self.0.snapshots_are_over.clone()
    }
}

/// Wait until the snapshots are made that are being made, unless nobody waits for them.
pub fn finish(store: &Store) {
    let is_over = &store.0.snapshots_are_over;
    let wait = |patience: Duration, goes_on: &dyn Fn() -> bool| {
        let start = Instant::now();
        let is_made = |thread: &JoinHandle<()>| thread.is_finished();
        while !store.lock().snapshots.iter().all(is_made) && start.elapsed() < patience && goes_on() {
            sleep(Duration::from_millis(1));
        }
    };
    // Whoever has waited already has no more patience.
    wait(PATIENCE, &|| !is_over.load(Ordering::Relaxed));
    is_over.store(true, Ordering::Relaxed);
    wait(CLEARING, &|| true);
}

/// A file that could not be linked, and where its copy goes.
type Copy = (File, PathBuf);

/// What is left to do after the links are made.
struct Half {
    place: Place,
    copies: Vec<Copy>,
    contents: Contents,
    /// Set when nobody waits any more.
    is_over: Arc<AtomicBool>,
}

impl Half {
    /// Link what the trace consists of into a directory of its own.
    fn begin(store: &Store, freeze: &mut Freeze) -> Result<Self> {
        let to = &freeze.to.path;
        let cannot = || format!("cannot make '{}'", to.display());
        let name = to.file_name().with_context(cannot)?.to_owned();
        let parent = to.parent().filter(|parent| !parent.as_os_str().is_empty());
        let parent = parent.unwrap_or(Path::new(".")).canonicalize().with_context(cannot)?;
        let mut state = store.lock();
        state.snapshots.retain(|thread| !thread.is_finished());
        state.frozen += 1;
        let place = Place::create(&store.0.dir, &parent, state.frozen).with_context(cannot)?;
        freeze.to.path = parent.join(&name);
        let all = &state.catalog.contents;
        let segments = all.visible().into_iter().map(|it| (it.name(), it.clone())).collect();
        let status = Status { state: State::Open, end_ns: Some(freeze.end_ns), ..all.status.clone() };
        let contents = Contents { segments, status, until_ns: all.until_ns, last: None };
        let (copies, is_over) = (Vec::new(), store.0.snapshots_are_over.clone());
        let mut half = Self { place, copies, contents, is_over };
        // Under the lock: nothing that is linked goes meanwhile.
        half.link(&store.0.dir, &freeze.meta)?;
        Ok(half)
    }

    fn link(&mut self, dir: &Path, meta: &Meta) -> Result<()> {
        for table in tables(meta) {
            create_dir(&self.place.path().join(table))?;
        }
        for segment in self.contents.segments.values() {
            let (from, to) = (dir.join(segment.path()), self.place.path().join(segment.path()));
            if fs::hard_link(&from, &to).is_err() {
                let file = File::open(&from).with_context(|| format!("cannot read '{}'", from.display()))?;
                self.copies.push((file, to));
            }
        }
        Ok(())
    }

    /// Do the rest in a thread, which replies.
    fn finish(mut self, freeze: Freeze, store: &Store) -> Result<()> {
        let priority = store.0.priority.clone();
        let run = move || {
            // Somebody waits for it.
            let _urgent = (priority.register(), priority.hurry());
            let result = self.complete(&freeze);
            // Whatever is left of it is gone when the reply comes.
            drop(self);
            // Whoever asked may have gone.
            let _ = freeze.reply.send(result);
        };
        let thread = std::thread::Builder::new().name("freeze".to_owned()).spawn(run);
        store.lock().snapshots.push(thread.context("cannot start a thread")?);
        Ok(())
    }

    fn complete(&mut self, freeze: &Freeze) -> Result<PathBuf> {
        let Self { place, copies, contents, is_over } = self;
        let work = place.path();
        for (file, to) in copies {
            copy(file, to, is_over).with_context(|| format!("cannot write '{}'", to.display()))?;
        }
        for segment in contents.segments.values() {
            check(is_over)?;
            // The trace itself may not have come to that yet.
            let path = work.join(segment.path());
            File::open(&path)
                .and_then(|file| file.sync_all())
                .with_context(|| format!("cannot write '{}'", path.display()))?;
        }
        write_meta(work, &freeze.meta)?;
        let mut catalog = Catalog::create(work, contents.clone())?;
        let is_of_epochs = contents.epochs().len() > 1;
        let epoch = contents.epochs().last().copied().unwrap_or(0);
        for table in tables(&freeze.meta) {
            let mut segments = contents.segments.values().filter(|it| it.table == table).peekable();
            if segments.peek().is_none() {
                let schema = event_schema(&freeze.meta, table);
                let new = empty_segment(work, schema, table, (catalog.number(table), epoch))?;
                new.temp.iter().try_for_each(|temp| temp.sync())?;
                let new = NewSegment { is_durable: true, ..new };
                catalog.commit(Change { add: vec![new], ..Change::default() })?;
            } else if is_of_epochs || segments.any(|it: &Segment| it.late) {
                compact_table(work, table, &mut catalog, None, &mut |_, _| check(is_over))?;
            }
            sync_dir(&work.join(table))?;
        }
        finish_log(&mut catalog, State::Closed, true)?;
        let to = reveal(work, &freeze.to)?;
        place.keep();
        if let Some(parent) = to.parent() {
            sync_dir(parent)?;
        }
        Ok(to)
    }
}

fn check(is_over: &AtomicBool) -> Result<()> {
    ensure!(!is_over.load(Ordering::Relaxed), "the recording has ended, and it takes too long");
    Ok(())
}

fn reveal(work: &Path, name: &SnapshotName) -> Result<PathBuf> {
    let most = if name.is_exact { 1 } else { MOST_OF_A_SECOND };
    for number in 1..=most {
        let to = numbered(&name.path, number);
        match renameat2(AT_FDCWD, work, AT_FDCWD, &to, RenameFlags::RENAME_NOREPLACE) {
            Ok(()) => return Ok(to),
            Err(Errno::EEXIST) => {}
            Err(error) => {
                let error = io::Error::from(error);
                return Err(error).with_context(|| format!("cannot create '{}'", to.display()));
            }
        }
    }
    bail!("'{}' exists already: choose another name", name.path.display())
}

/// `run-snapshot-X.trace` -> `run-snapshot-X-2.trace`.
fn numbered(path: &Path, number: u32) -> PathBuf {
    if number == 1 {
        return path.to_owned();
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let stem = name.strip_suffix(TRACE_SUFFIX).unwrap_or(&name);
    path.with_file_name(format!("{stem}-{number}{TRACE_SUFFIX}"))
}

fn copy(from: &File, to: &Path, is_over: &AtomicBool) -> Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(to)?;
    while io::copy(&mut { from }.take(COPY_BYTES), &mut file)? > 0 {
        check(is_over)?;
    }
    Ok(file.sync_all()?)
}
