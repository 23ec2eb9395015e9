//! Keeps a trace on disk: its segments, and the log that says which of them it consists of.
//!
//! ```text
//! encoder        whole files -> commit                                        catalog, log
//! `publish`      commits -> durable; the oldest epochs go                     publish, retention
//! `compact`      many small segments -> a few large ones, a commit each       compaction
//! a snapshot     hard links and a log of one commit                           snapshot
//! `recorder compact`, after a crash: what the log does not name goes          recovery
//! ```
//! A commit is one line of the log and happens at once. It has the rows of all tables up to a time, with those of tables
//! `counts` and `losses` that tell of exactly these rows; so both fit each other whatever happens next, and nothing has
//! to be counted again. Files never change. What is removed by a commit is unlinked when the disk has that commit.
//!
//! Everything that changes a trace goes through [`Catalog`], under one lock.

mod catalog;
pub mod compaction;
mod log;
mod merge;
mod place;
mod publish;
pub mod recovery;
mod retention;
mod snapshot;
mod told;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Result, anyhow, ensure};
use schemas::trace::log::{Contents, Segment, Status};
use schemas::trace::{META_FILE, Meta};

use crate::pipeline::files::replace;
use crate::pipeline::pace::Lag;
use crate::pipeline::priority::Priority;
use crate::pipeline::queue::Backlog;
use crate::source::ProbeId;

use catalog::Catalog;
pub use catalog::{Change, NewSegment, disk_bytes};
pub use retention::Limits;
pub use snapshot::{Freeze, SnapshotName};
use told::Told;

/// Told what goes wrong and is no reason to end.
pub type Warn = Box<dyn Fn(&str) + Send + Sync>;

/// A trace being written, for all threads that write it.
#[derive(Clone)]
pub struct Store(Arc<Shared>);

struct Shared {
    dir: PathBuf,
    meta: Meta,
    limits: Limits,
    warn: Warn,
    priority: Priority,
    state: Mutex<State>,
    changed: Condvar,
    told: Mutex<Told>,
    /// Bytes of files that are being written and are no segments yet.
    unfinished_bytes: AtomicU64,
    /// Bytes of files that are there beside the segments: `trace.json` and the reserve.
    other_bytes: u64,
    /// Files whose names wait for the disk.
    backlog: Arc<Backlog>,
    most_waiting: usize,
    /// Snapshots are not waited for any more.
    snapshots_are_over: Arc<AtomicBool>,
    /// Grows while anything is written.
    steps: AtomicU64,
}

struct State {
    catalog: Catalog,
    /// UTC ns of the last commit of the drain.
    now_ns: i64,
    /// The current epoch.
    epoch: u64,
    lag: Lag,
    /// Files that are being made durable, if that goes on.
    syncing: Option<usize>,
    /// Number of the last commit of the drain that the disk has.
    durable_serial: Option<u64>,
    failure: Option<Arc<anyhow::Error>>,
    /// Commits are refused since a failure.
    is_stopped: bool,
    /// Merges: none before this time (UTC ns), and why.
    next_merge_ns: i64,
    merge_problem: Option<String>,
    is_merging: bool,
    is_over: bool,
    snapshots: Vec<JoinHandle<()>>,
    frozen: u64,
}

impl State {
    /// Has the disk everything, and is gone what had to go?
    fn is_settled(&self) -> bool {
        self.syncing.is_none() && self.catalog.is_settled()
    }

    fn waiting_files(&self) -> usize {
        self.syncing.unwrap_or(0) + self.catalog.waiting_files()
    }
}

/// The threads of a [`Store`].
pub struct Threads(Vec<JoinHandle<()>>);

impl Store {
    /// Begin a trace in `dir`, a directory of this user that has nothing but the directories of its tables.
    /// `other_bytes` is what else takes room there. A commit that has waited for `urgent_after` is urgent.
    pub fn create(
        dir: &Path,
        meta: Meta,
        limits: Limits,
        warn: Warn,
        priority: Priority,
        urgent_after: Duration,
        other_bytes: u64,
    ) -> Result<(Self, Threads)> {
        write_meta(dir, &meta)?;
        let other_bytes = other_bytes + std::fs::metadata(dir.join(META_FILE)).map_or(0, |file| file.len());
        let contents = Contents {
            status: Status { start_ns: Some(meta.start_ns), ..Status::default() },
            ..Contents::default()
        };
        let catalog = Catalog::create(dir, contents)?;
        let most_waiting = publish::most_waiting();
        let backlog = Arc::new(Backlog::new(most_waiting));
        priority.watch(backlog.clone(), urgent_after);
        let state = State {
            catalog,
            now_ns: i64::MIN,
            epoch: 0,
            lag: Lag::default(),
            syncing: None,
            durable_serial: None,
            failure: None,
            is_stopped: false,
            next_merge_ns: i64::MIN,
            merge_problem: None,
            is_merging: false,
            is_over: false,
            snapshots: Vec::new(),
            frozen: 0,
        };
        let store = Self(Arc::new(Shared {
            dir: dir.to_owned(),
            meta,
            limits,
            warn,
            priority,
            state: Mutex::new(state),
            changed: Condvar::new(),
            told: Mutex::default(),
            unfinished_bytes: AtomicU64::new(0),
            other_bytes,
            backlog,
            most_waiting,
            snapshots_are_over: Arc::default(),
            steps: AtomicU64::new(0),
        }));
        let threads = [publish::start(store.clone())?, merge::start(store.clone())?];
        Ok((store, Threads(threads.into())))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Let other threads look; wait until `is_done`.
    fn wait_until<'a>(
        &'a self,
        guard: MutexGuard<'a, State>,
        is_done: impl Fn(&State) -> bool,
    ) -> MutexGuard<'a, State> {
        let guard = self.0.changed.wait_while(guard, |state| !is_done(state));
        guard.unwrap_or_else(PoisonError::into_inner)
    }

    /// The number of a new segment of `table`, and the epoch that it is in.
    pub fn number(&self, table: &str) -> (u64, u64) {
        let mut state = self.lock();
        (state.catalog.number(table), state.epoch)
    }

    /// From now on segments are of another epoch.
    pub fn begin_epoch(&self) {
        self.lock().epoch += 1;
    }

    /// Let `change` happen; it is `now_ns` (UTC), and so many bytes of records have come to it so far. Waits while the disk, or retention, is behind. Fails if nothing can be
    /// written any more, or the log cannot.
    pub fn commit(&self, mut change: Change, now_ns: i64, record_bytes: u64) -> Result<()> {
        let mut state = self.lock();
        ensure!(!state.is_stopped, "nothing can be written any more");
        if let Some(status) = &mut change.status {
            status.kept_from_ns = state.catalog.contents.status.kept_from_ns;
        }
        let written: Vec<_> = change.add.iter().map(|new| new.segment.clone()).collect();
        state.catalog.commit(change)?;
        for Segment { table, rows, bytes, .. } in written {
            let mut told = self.told();
            *told.rows.entry(table).or_default() += rows;
            told.written_bytes += bytes;
            told.record_bytes = record_bytes.max(told.record_bytes);
        }
        state.now_ns = state.now_ns.max(now_ns);
        self.stepped();
        self.tell(&state);
        drop(self.wait_until(state, |state| state.is_stopped || !self.is_behind(state)));
        Ok(())
    }

    /// Wait until what is there takes no more than it may, before more is written.
    pub fn wait_for_room(&self) {
        if self.0.limits.max_bytes.is_some() {
            let state = self.lock();
            if self.is_too_large(&state) {
                self.0.changed.notify_all();
                drop(self.wait_until(state, |state| state.is_stopped || !self.is_too_large(state)));
            }
        }
    }

    fn is_too_large(&self, state: &State) -> bool {
        // What cannot go is not waited for.
        self.0.limits.is_too_large(self.all_bytes(state)) && (self.has_expired(state) || !state.is_settled())
    }

    /// What all files take on disk, and what they will take once those are gone that are to go.
    fn all_bytes(&self, state: &State) -> u64 {
        self.staying_bytes(state) + state.catalog.doomed_bytes()
    }

    fn staying_bytes(&self, state: &State) -> u64 {
        state.catalog.disk_bytes() + self.unfinished_bytes() + self.0.other_bytes
    }

    fn is_behind(&self, state: &State) -> bool {
        state.waiting_files() >= self.0.most_waiting || self.is_too_large(state) || merge::is_behind(state)
    }

    /// Nothing more can be written: the first failure counts.
    pub fn fail(&self, error: anyhow::Error) {
        self.failed(&mut self.lock(), error);
    }

    fn failed(&self, state: &mut State, error: anyhow::Error) {
        state.failure.get_or_insert(Arc::new(error));
        state.is_stopped = true;
        self.tell(state);
    }

    /// Write again after a failure: what is known about it. What was committed before is on the disk then, or taken back.
    pub fn retry(&self) {
        // It can fail once more, and then nothing waits.
        for _ in 0..2 {
            let mut state = self.lock();
            state.is_stopped = false;
            self.tell(&state);
            drop(self.wait_until(state, |state| state.is_stopped || state.is_settled()));
        }
        let mut state = self.lock();
        state.is_stopped = false;
        self.tell(&state);
    }

    /// Wait until the disk has every commit, and what had to go is gone. Fails if it does not take them.
    pub fn settle(&self) -> Result<()> {
        let state = self.wait_until(self.lock(), |state| state.is_stopped || state.is_settled());
        ensure!(!state.is_stopped, "nothing can be written any more");
        Ok(())
    }

    /// Rows of events that were ever part of the trace, by probe and CPU.
    pub fn rows(&self) -> BTreeMap<(ProbeId, u16), u64> {
        self.lock().catalog.rows.clone()
    }

    /// Tables that have no segment.
    pub fn empty_tables(&self) -> Vec<String> {
        let state = self.lock();
        let is_empty = |table: &&str| !state.catalog.contents.segments.keys().any(|it| it.table == **table);
        crate::pipeline::meta::tables(&self.0.meta).filter(is_empty).map(str::to_owned).collect()
    }

    /// Segments of `table`.
    pub fn segments_of(&self, table: &str) -> Vec<schemas::trace::log::SegmentName> {
        let state = self.lock();
        state.catalog.contents.segments.keys().filter(|it| it.table == table).cloned().collect()
    }

    /// What is known of the recording.
    pub fn status(&self) -> Status {
        self.lock().catalog.contents.status.clone()
    }

    /// Why small segments are not merged, if they are not.
    pub fn merge_problem(&self) -> Option<String> {
        self.lock().merge_problem.clone()
    }

    /// End the threads after what they are doing. Fails if one has died.
    pub fn finish(&self, threads: Threads) -> Result<()> {
        snapshot::finish(self);
        self.lock().is_over = true;
        self.0.changed.notify_all();
        let join =
            |thread: JoinHandle<()>| thread.join().map_err(|_| anyhow!("a thread that writes has died"));
        threads.0.into_iter().map(join).fold(Ok(()), Result::and)
    }

    /// Merge what is small (unless `is_hurried`), and let the log be one commit which says that the trace is as `state`
    /// says. The threads have ended. The result is why the small segments were not merged, if they were not.
    pub fn close(
        &self,
        end: schemas::trace::State,
        is_merged: bool,
        is_hurried: &AtomicBool,
    ) -> Result<Option<String>> {
        let mut state = self.lock();
        let merged = if is_merged {
            let most_bytes = self.0.limits.most_bytes_of_merged();
            compaction::compact_tables(
                &self.0.dir,
                &self.0.meta,
                &mut state.catalog,
                most_bytes,
                &mut |_, _| {
                    ensure!(!is_hurried.load(Ordering::Relaxed), "there was no time");
                    Ok(())
                },
            )
        } else {
            Ok(())
        };
        compaction::finish(&mut state.catalog, end, is_merged && merged.is_ok())?;
        self.tell(&state);
        Ok(merged.err().map(|error| format!("{error:#}")))
    }
}

/// Write `trace.json`.
pub fn write_meta(dir: &Path, meta: &Meta) -> Result<()> {
    replace(dir, META_FILE, meta.to_text()?.as_bytes())
}
