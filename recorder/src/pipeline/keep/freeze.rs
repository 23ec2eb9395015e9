//! A trace that is being written in, a closed copy of it beside it out, made of hard links.
//!
//! The publisher only links (or opens, where links are impossible) what is there at that moment; everything else
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

use anyhow::{Context, Result, anyhow, bail, ensure};
use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use schemas::trace::{Meta, SIDE_TABLES, TRACE_SUFFIX};

use super::super::compact::compact_table;
use super::super::count_rows::side_schema;
use super::super::files::{FILE_MODE, create_dir, sync_dir};
use super::super::meta::write_meta;
use super::super::priority::Priority;
use super::super::segment::{Segment, segment_name, writer_properties};
use super::place::Place;
use super::shelf::Table;
use super::{COUNTS, Keeper};

/// Longest wait for snapshots at the end; a copy to another disk could take for ever.
const PATIENCE: Duration = Duration::from_secs(10);
/// Time to remove what is half-made. One that hangs in a disk is left behind, and what it made to the next recorder.
const CLEARING: Duration = Duration::from_secs(1);
/// Bytes that are copied between two looks whether anybody still waits.
const COPY_BYTES: u64 = 8 << 20;
/// Snapshots of one second that are told apart by a number.
const MOST_OF_A_SECOND: u32 = 1000;

/// A snapshot to be made.
pub struct Freeze {
    /// Where it goes; of a taken name the next free one with a number if `is_exact` is false.
    pub to: PathBuf,
    /// Fail if there is something called `to`.
    pub is_exact: bool,
    /// Its `trace.json`.
    pub meta: Meta,
    /// Gets the directory, or why there is none.
    pub reply: Sender<Result<PathBuf>>,
}

impl Keeper {
    /// Make a snapshot; who asked gets the reply.
    pub fn freeze(&mut self, mut freeze: Freeze) {
        freeze.meta.kept_from_ns = self.meta.kept_from_ns;
        self.frozen += 1;
        let half = self
            .unpublished(freeze.meta.end_ns.unwrap_or_default())
            .and_then(|counts| Half::begin(self, &mut freeze, counts));
        let reply = freeze.reply.clone();
        match half.and_then(|half| half.finish(freeze, &self.priority)) {
            Ok(thread) => self.freezing.push(thread),
            Err(error) => {
                // Whoever asked may have gone.
                let _ = reply.send(Err(error));
            }
        }
    }

    /// Set it to make snapshots no more: those that are being made end soon, without a result.
    pub fn is_over(&self) -> Arc<AtomicBool> {
        self.is_over.clone()
    }

    /// Finish what runs. Fails if a snapshot's thread has died.
    pub fn finish(&mut self) -> Result<()> {
        self.settle()?;
        // Whoever has waited already has no more patience.
        self.wait_for_snapshots(PATIENCE, || !self.is_over.load(Ordering::Relaxed));
        self.is_over.store(true, Ordering::Relaxed);
        self.wait_for_snapshots(CLEARING, || true);
        self.freezing.drain(..).filter(JoinHandle::is_finished).try_for_each(|thread| {
            thread.join().map_err(|_| anyhow!("the thread that makes snapshots has died"))
        })
    }

    fn wait_for_snapshots(&self, patience: Duration, goes_on: impl Fn() -> bool) {
        let start = Instant::now();
        let is_made = |thread: &JoinHandle<()>| !thread.is_finished();
        while self.freezing.iter().any(is_made) && start.elapsed() < patience && goes_on() {
            sleep(Duration::from_millis(1));
        }
    }
}

/// A file that could not be linked, and where its copy goes.
type Copy = (File, PathBuf);

/// What is left to do after the publisher has done its part.
struct Half {
    place: Place,
    copies: Vec<Copy>,
    /// Rows that are to be added to tables.
    extra: Vec<(String, RecordBatch)>,
    /// Name, number of the next segment, and whether rows came late.
    tables: Vec<(String, u64, bool)>,
    /// Set when nobody waits any more.
    is_over: Arc<AtomicBool>,
}

impl Half {
    /// Link what the tables consist of into a directory of their own. `counts` are rows that make the numbers of table
    /// counts fit the rows that are there.
    fn begin(keeper: &Keeper, freeze: &mut Freeze, counts: Option<RecordBatch>) -> Result<Self> {
        let cannot = || format!("cannot make '{}'", freeze.to.display());
        let name = freeze.to.file_name().with_context(cannot)?.to_owned();
        let parent = freeze.to.parent().filter(|parent| !parent.as_os_str().is_empty());
        let parent = parent.unwrap_or(Path::new(".")).canonicalize().with_context(cannot)?;
        let place = Place::create(&keeper.dir, &parent, keeper.frozen).with_context(cannot)?;
        freeze.to = parent.join(&name);
        let extra = counts.map(|rows| (COUNTS.to_owned(), rows)).into_iter().collect();
        let (copies, tables) = (Vec::new(), Vec::new());
        let mut half = Self { place, copies, extra, tables, is_over: keeper.is_over.clone() };
        half.link(&keeper.tables)?;
        Ok(half)
    }

    fn link(&mut self, tables: &[Table]) -> Result<()> {
        for table in tables {
            let dir = self.place.path().join(&table.name);
            create_dir(&dir)?;
            for entry in &table.entries {
                let (from, to) = (table.path(entry.number), dir.join(segment_name(entry.number)));
                if fs::hard_link(&from, &to).is_err() {
                    let file =
                        File::open(&from).with_context(|| format!("cannot read '{}'", from.display()))?;
                    self.copies.push((file, to));
                }
            }
            let is_late = table.entries.iter().any(|entry| entry.is_late);
            let next = if table.entries.is_empty() { 0 } else { table.next };
            self.tables.push((table.name.clone(), next, is_late));
        }
        Ok(())
    }

    /// Do the rest in a thread, which replies.
    fn finish(mut self, freeze: Freeze, priority: &Priority) -> Result<JoinHandle<()>> {
        let priority = priority.clone();
        let run = move || {
            // Somebody waits for it.
            let _urgent = (priority.register(), priority.hurry());
            let result = self.complete(&freeze);
            // Whatever is left of it is gone when the reply comes.
            drop(self);
            // Whoever asked may have gone.
            let _ = freeze.reply.send(result);
        };
        std::thread::Builder::new().name("freeze".to_owned()).spawn(run).context("cannot start a thread")
    }

    fn complete(&mut self, freeze: &Freeze) -> Result<PathBuf> {
        let Self { place, copies, extra, tables, is_over } = self;
        let work = place.path();
        for (file, to) in copies {
            copy(file, to, is_over).with_context(|| format!("cannot write '{}'", to.display()))?;
        }
        for (name, next, is_late) in tables {
            check(is_over)?;
            let dir = work.join(&*name);
            let schema = schema(&freeze.meta, name)?;
            let rows = extra.iter().find(|(table, _)| table == name).map(|(_, rows)| rows.clone());
            let is_empty = *next == 0;
            if let Some(rows) = rows.or_else(|| is_empty.then(|| RecordBatch::new_empty(schema.clone()))) {
                write(&dir, *next, &schema, &rows)?;
            }
            if *is_late {
                compact_table(work, name, &mut |_| check(is_over))?;
            }
            sync_dir(&dir)?;
        }
        write_meta(work, &freeze.meta)?;
        sync_dir(work)?;
        let to = reveal(work, freeze)?;
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

fn reveal(work: &Path, freeze: &Freeze) -> Result<PathBuf> {
    let most = if freeze.is_exact { 1 } else { MOST_OF_A_SECOND };
    for number in 1..=most {
        let to = numbered(&freeze.to, number);
        match renameat2(AT_FDCWD, work, AT_FDCWD, &to, RenameFlags::RENAME_NOREPLACE) {
            Ok(()) => return Ok(to),
            Err(Errno::EEXIST) => {}
            Err(error) => {
                let error = io::Error::from(error);
                return Err(error).with_context(|| format!("cannot create '{}'", to.display()));
            }
        }
    }
    bail!("'{}' exists already: choose another name", freeze.to.display())
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

fn schema(meta: &Meta, table: &str) -> Result<SchemaRef> {
    if SIDE_TABLES.iter().any(|side| side.name == table) {
        return side_schema(table);
    }
    let layout = meta.events.iter().find(|layout| layout.event == table);
    Ok(layout.with_context(|| format!("there is no table '{table}'"))?.schema().into())
}

fn write(dir: &Path, number: u64, schema: &SchemaRef, rows: &RecordBatch) -> Result<()> {
    let mut segment = Segment::create(dir, "more", schema, writer_properties(schema, 1, false)?)?;
    segment.write(rows)?;
    segment.finish()?.temp.publish(&segment_name(number))?;
    Ok(())
}

fn copy(from: &File, to: &Path, is_over: &AtomicBool) -> Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(to)?;
    while io::copy(&mut { from }.take(COPY_BYTES), &mut file)? > 0 {
        check(is_over)?;
    }
    Ok(file.sync_all()?)
}
