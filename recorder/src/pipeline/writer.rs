//! Raw records and counters of a recording in, a trace on disk out.
//!
//! ```text
//! feed: one copy into a buffer per probe and cpu                                         (thread of the caller)
//! tick: cut behind the watermark -> chunk -> bounded queue; counts, clock, commits       (thread of the caller)
//!       chunk -> merge -> decode -> Parquet -> file -> commit; stacks, symbols, cgroups  (thread `encode`)
//!       commit -> durable                                                                (crate::store)
//! ```
//! Memory is the sum of
//! - raw records: [`CUT_BYTES`] per event and what one drain gives beyond, or, while the watermark stands still, up to
//!   twice [`Options::staged_bytes`] and one drain; [`Options::queue_bytes`] on their way to the encoder; 16 MiB of
//!   buffers for reuse;
//! - the open row group of each event (at most 256 Ki rows): its encoded pages, about 8 bytes a row; per column the
//!   distinct values, at most 2 MiB (and those of 4096 rows) of a dictionary and 8 MiB of hash table, mostly a few
//!   KiB of both; a page of at most 20 Ki indices or 1 MiB;
//! - the distinct stacks, addresses and cgroups of the recording (of an epoch, where old rows go), at most 64 bytes each.

mod account;
mod close;
mod cut;
mod freeze;
mod replayed;
mod room;
mod tick;
mod told;

use std::collections::VecDeque;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use anyhow::{Context, Result, anyhow, bail, ensure};
use schemas::column::Layout;
use schemas::frames::{ClockReading, Frame, ProbeRow};
use schemas::trace::read::{check_events, check_tables};
use schemas::trace::{CGROUP_CHANGES, Meta};

use super::cgroups::{CgroupNames, CgroupReader};
use super::clock::{ClockSteps, ClockWatch};
use super::counts::Counts;
use super::files::{Reserve, create_dir, create_trace_dir, lock};
use super::frame_log::FrameLog;
use super::job::Job;
use super::merge::ts_ns;
use super::meta::tables;
use super::options::Options;
use super::outbox::Outbox;
use super::priority::Priority;
use super::progress::SharedProgress;
use super::queue::bounded;
use super::staging::{Pool, Staging};
use super::worker::{Setup, Worker};
use crate::source::ProbeId;
use crate::store::{Store, Threads};

/// Staged bytes of an event after which they go to the encoder.
pub const CUT_BYTES: usize = 1 << 20;
/// Longest time between two rows of table counts about the same probe.
const COUNTS_EVERY_NS: u64 = 1_000_000_000;
/// 146 years after boot: with the offset to UTC this is still a timestamp that rises.
const MAX_TS_NS: u64 = 1 << 62;
/// Rows are to be visible at an age; a job that has waited for this part of it is urgent.
const URGENT_PART: u32 = 4;
/// Kept free for the end, so that on a full disk the trace can still say what is missing: for `trace.json`, ...
const RESERVE_BYTES: i64 = 64 << 10;
/// ... and for a last small segment of each table.
const RESERVE_BYTES_PER_TABLE: i64 = 8 << 10;

struct Event {
    staging: Staging,
    /// Boot time (ns) of the first record handed over since the last commit.
    open_since_ns: Option<u64>,
}

/// Where records of a probe go: event, and source number by CPU.
struct Route {
    event: usize,
    by_cpu: Vec<Option<usize>>,
}

/// What was told with a commit, for as long as it may be taken back.
struct Pending {
    serial: u64,
    counts: Counts,
    /// End (UTC ns) of its last interval of table counts.
    counted_ns: Option<i64>,
    clocks: Vec<ClockReading>,
}

/// A trace being written.
pub struct TraceWriter {
    dir: PathBuf,
    meta: Meta,
    events: Vec<Event>,
    routes: Vec<Option<Route>>,
    record_sizes: Vec<usize>,
    probes: Vec<ProbeRow>,
    probes_are_dirty: bool,
    counts: Counts,
    progress: SharedProgress,
    store: Store,
    threads: Option<Threads>,
    queue: Option<Outbox<Job>>,
    encoder: Option<JoinHandle<()>>,
    segment_age_ns: u64,
    staged_bytes: usize,
    next_counts_ns: u64,
    /// End (UTC ns) of the last interval of table counts.
    counted_ns: Option<i64>,
    next_clock_ns: u64,
    /// Number of the last commit, and when (boot time, ns) it was.
    serial: u64,
    committed_ns: u64,
    /// Commits that the disk may not have, oldest first, and the last that it has.
    pending: VecDeque<Pending>,
    uncommitted_clocks: Vec<ClockReading>,
    last_clock: Option<ClockReading>,
    /// Bytes of records that were handed over, and of those that were so when the last commit came.
    handed_bytes: u64,
    committed_bytes: u64,
    /// When the epoch began (UTC ns), and what was handed over before.
    epoch_since_ns: Option<i64>,
    epoch_bytes: u64,
    status_is_dirty: bool,
    /// The event that tells what cgroups are called, and who listens to it.
    cgroups: Option<(usize, CgroupReader)>,
    /// Notices when the wall clock is set.
    clock: Option<ClockWatch>,
    clock_steps: ClockSteps,
    watermark_ns: u64,
    /// Time of what is replayed: what its frames say, or the last watermark that is a time.
    replay_now_ns: u64,
    is_live: bool,
    /// Keeps what goes in.
    frames: Option<FrameLog>,
    compact_at_close: bool,
    priority: Priority,
    /// Room on the disk for how it ended.
    reserve: Option<Reserve>,
    /// Keeps other recorders away; given up with the process.
    _lock: File,
}

impl TraceWriter {
    /// Make the directory `dir` with everything that a trace has. Fails if anything of that name exists; what was
    /// made before a failure is removed.
    pub fn create(dir: &Path, meta: Meta, options: Options) -> Result<Self> {
        check_events(&meta.events)?;
        ensure!(
            fs::symlink_metadata(dir).is_err(),
            "'{}' exists already: remove it, or choose another name with -o",
            dir.display()
        );
        let dir = create_trace_dir(dir, None)?;
        let result = Self::in_new_dir(&dir, meta, options);
        if result.is_err() {
            // The directory is ours and new; if it cannot be removed, the first error says more.
            let _ = fs::remove_dir_all(&dir);
        }
        result
    }

    /// Make everything that a trace has in `dir`, a new directory that belongs to this user. The threads that write
    /// have the rights of the calling thread.
    pub fn in_new_dir(dir: &Path, meta: Meta, options: Options) -> Result<Self> {
        check_events(&meta.events)?;
        check_tables(&meta.events)?;
        let Options {
            segment_age,
            zstd_level,
            queue_bytes,
            staged_bytes,
            waits,
            limits,
            compact_at_close,
            is_live,
            frames,
            symbolizer,
            on_batch,
            warn,
            priority,
        } = options;
        let cgroup_names = CgroupNames::default();
        let lock = lock(dir)?;
        for name in tables(&meta) {
            create_dir(&dir.join(name))?;
        }
        let bytes = RESERVE_BYTES + RESERVE_BYTES_PER_TABLE * tables(&meta).count() as i64;
        let reserve = Reserve::new(dir, bytes)?;
        let pool = Pool::default();
        let progress = SharedProgress::default();
        let setup = Setup {
            dir: dir.to_owned(),
            events: meta.events.clone(),
            utc_minus_boottime_ns: meta.utc_minus_boottime_ns,
            zstd_level,
            symbolizer,
            cgroups: cgroup_names.clone(),
            on_batch,
            priority: priority.clone(),
            has_epochs: !limits.is_none(),
        };
        let urgent_after = segment_age / URGENT_PART;
        let (store, threads) = Store::create(
            dir,
            meta.clone(),
            limits,
            warn,
            priority.clone(),
            urgent_after,
            bytes.unsigned_abs(),
        )?;
        let worker = Worker::new(setup, store.clone(), pool.clone(), progress.clone())?;
        let (sender, receiver) = bounded(queue_bytes);
        priority.watch(sender.backlog(), urgent_after);
        let frames =
            frames.map(|place| FrameLog::start(place, &meta, waits, &priority, urgent_after)).transpose()?;
        let encoder = std::thread::Builder::new()
            .name("encode".to_owned())
            .spawn(move || worker.run(&receiver))
            .context("cannot start the encoder's thread")?;
        let cgroups = meta.events.iter().enumerate().find(|(_, layout)| layout.event == CGROUP_CHANGES);
        let cgroups =
            cgroups.and_then(|(event, layout)| Some((event, CgroupReader::new(layout, cgroup_names)?)));
        let clock = is_live.then(|| ClockWatch::start(meta.utc_minus_boottime_ns)).transpose()?;
        let record_sizes: Vec<usize> = meta.events.iter().map(|e| e.record_size as usize).collect();
        let staging = |layout: &Layout| {
            Staging::new(layout.record_size as usize, pool.clone()).counting(layout.count_at())
        };
        let events = meta
            .events
            .iter()
            .map(|layout| Event { staging: staging(layout), open_since_ns: None })
            .collect();
        Ok(Self {
            dir: dir.to_owned(),
            meta,
            events,
            routes: Vec::new(),
            record_sizes,
            probes: Vec::new(),
            probes_are_dirty: false,
            counts: Counts::default(),
            progress,
            store,
            threads: Some(threads),
            queue: Some(Outbox::new(sender, waits)),
            encoder: Some(encoder),
            segment_age_ns: u64::try_from(segment_age.as_nanos()).unwrap_or(u64::MAX),
            staged_bytes,
            next_counts_ns: 0,
            counted_ns: None,
            next_clock_ns: 0,
            serial: 0,
            committed_ns: 0,
            pending: VecDeque::new(),
            uncommitted_clocks: Vec::new(),
            last_clock: None,
            handed_bytes: 0,
            committed_bytes: 0,
            epoch_since_ns: None,
            epoch_bytes: 0,
            status_is_dirty: false,
            cgroups,
            clock,
            clock_steps: ClockSteps::default(),
            watermark_ns: 0,
            replay_now_ns: 0,
            is_live,
            frames,
            compact_at_close,
            priority,
            reserve: Some(reserve),
            _lock: lock,
        })
    }

    /// Where the trace is.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// `trace.json` as it is now.
    pub fn meta(&self) -> &Meta {
        &self.meta
    }

    /// The recording has started, at that time (UTC ns): every probe is attached.
    pub fn started(&mut self, start_ns: i64) {
        self.meta.start_ns = start_ns;
        self.log(|| Frame::Started { start_ns });
        self.status_is_dirty = true;
    }

    /// A probe was tried. With a number, its records may be fed from now on.
    pub fn add_probe(&mut self, row: ProbeRow) -> Result<()> {
        if let Some(probe) = row.probe {
            let event = self.meta.events.iter().position(|e| e.event == row.event);
            let event =
                event.with_context(|| format!("probe {probe} is of unknown event '{}'", row.event))?;
            let index = usize::from(probe);
            if index >= self.routes.len() {
                self.routes.resize_with(index + 1, || None);
            }
            ensure!(self.routes[index].is_none(), "probe {probe} is there already");
            self.routes[index] = Some(Route { event, by_cpu: Vec::new() });
            self.counts.add_probe(probe, &row.event);
        }
        self.log(|| Frame::Probe(Box::new(row.clone())));
        self.probes.push(row);
        self.probes_are_dirty = true;
        Ok(())
    }

    /// Wait until addresses can be named, those of programs that are attached by now included: that takes a moment and
    /// rights, so it is for when all is attached, nothing is seen yet, and no right is given up.
    pub fn get_ready(&self) {
        self.wait_for_encoder();
        // A failure is told by whoever writes next.
        let _ = self.store.settle();
    }

    /// Take a copy of a raw record. Fails if the probe is unknown, the length is not that of its event's records, or
    /// the time is impossible.
    pub fn feed(&mut self, probe: ProbeId, cpu: u16, record: &[u8]) -> Result<()> {
        let Some(Some(route)) = self.routes.get_mut(usize::from(probe)) else {
            bail!("a record of {} bytes came from unknown probe {probe}", record.len());
        };
        let event = route.event;
        if record.len() != self.record_sizes[event] {
            bail!(
                "event '{}', probe {probe}: a record has {} bytes, expected {}",
                self.meta.events[event].event,
                record.len(),
                self.record_sizes[event]
            );
        }
        let ts_ns = ts_ns(record);
        if ts_ns > MAX_TS_NS {
            bail!(
                "event '{}', probe {probe}: a record is of impossible time {ts_ns} ns",
                self.meta.events[event].event
            );
        }
        if let Some((_, reader)) = self.cgroups.as_ref().filter(|(cgroups, _)| *cgroups == event) {
            reader.read(record);
        }
        if let Some(frames) = &mut self.frames {
            frames.record(probe, cpu, record);
        }
        let staging = &mut self.events[event].staging;
        let index = usize::from(cpu);
        if index >= route.by_cpu.len() {
            route.by_cpu.resize(index + 1, None);
        }
        let source = *route.by_cpu[index].get_or_insert_with(|| staging.add_source(probe, cpu));
        staging.push(source, record);
        Ok(())
    }

    /// Keep what goes in, if that is wanted.
    fn log<'f>(&mut self, frame: impl FnOnce() -> Frame<'f>) {
        if let Some(frames) = &mut self.frames {
            frames.frame(&frame());
        }
    }

    fn send(&self, bytes: usize, job: Job) {
        // Refused only when the encoder's thread is gone; `close` finds out why.
        let _ = self.queue.as_ref().is_some_and(|queue| queue.send(bytes, job));
    }

    fn failure(&self) -> Option<Arc<anyhow::Error>> {
        let ended = self.encoder.as_ref().is_some_and(JoinHandle::is_finished);
        let failure = self.store.failure();
        failure.or_else(|| ended.then(|| Arc::new(anyhow!("the encoder's thread has died"))))
    }

    fn utc_ns(&self, boottime_ns: u64) -> i64 {
        (boottime_ns as i64).wrapping_add(self.meta.utc_minus_boottime_ns)
    }

    /// Whether the encoder keeps up. If it does not, drain nothing more until it does ([`Options::waits`]).
    pub fn has_room(&self) -> bool {
        self.priority.drained();
        // Both, because to ask is to offer what waits.
        let (frames, queue) = (self.frames.as_ref(), self.queue.as_ref());
        let has_room = [frames.is_none_or(FrameLog::has_room), queue.is_none_or(Outbox::has_room)];
        has_room == [true; 2]
    }

    /// Nothing is recorded any more: from now on the threads that write give way to nobody.
    pub fn hurry(&self) {
        self.priority.end();
    }

    /// Give up before anything was recorded: remove the directory.
    pub fn abandon(mut self) -> Result<()> {
        self.end_threads();
        fs::remove_dir_all(&self.dir).with_context(|| format!("cannot remove '{}'", self.dir.display()))
    }

    fn end_threads(&mut self) {
        drop(self.queue.take());
        if let Some(encoder) = self.encoder.take() {
            let _ = encoder.join();
        }
        // One that died has nothing to tell that anybody still wants to know.
        let _ = self.threads.take().map(|threads| self.store.finish(threads));
    }
}

impl Drop for TraceWriter {
    fn drop(&mut self) {
        self.end_threads();
    }
}
