//! The encoder's thread: chunks of raw records and batches of side tables in, whole files and commits out, to the store.
//!
//! The first failure ends all writing: what is committed stays, files that are not go, later rows are counted as lost.
//! What the rows of a commit name (stacks, symbols, cgroups) is in the same commit, or in one before.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use schemas::column::{Layout, Type};
use schemas::trace::log::SegmentName;
use schemas::trace::{PROCESSES, SIDE_TABLES};

use super::alive::{self, Alive};
use super::cgroups::CgroupNames;
use super::count_rows::{Interval, adjustment};
use super::event_table::{EventTable, empty_segment};
use super::job::{CommitJob, Job};
use super::merge::{Chunk, Merge, Rows};
use super::priority::Priority;
use super::profile::{Stage, time};
use super::progress::SharedProgress;
use super::queue::Receiver;
use super::segment::{Segment, Written, writer_properties};
use super::stacks::{Collector, Symbolizer};
use super::staging::Pool;
use crate::store::{Change, NewSegment, Store};

/// Rows decoded at a time: raw records and columns of a batch stay in the processor's cache.
const BATCH_ROWS: usize = 4096;
/// Rows after which a segment is finished even if no commit is due.
const SEGMENT_ROWS: u64 = 1 << 20;
const COUNTS: &str = "counts";

/// Called with each batch of an event, in the order of the table.
pub type BatchHook = Box<dyn FnMut(&str, &RecordBatch) + Send>;

struct SideTable {
    dir: PathBuf,
    schema: SchemaRef,
    /// Rows of the next commit.
    rows: Vec<RecordBatch>,
}

/// What the encoder needs to know.
pub struct Setup {
    /// The trace.
    pub dir: PathBuf,
    /// Its events.
    pub events: Vec<Layout>,
    /// For `ts`.
    pub utc_minus_boottime_ns: i64,
    /// Compression.
    pub zstd_level: i32,
    /// For table symbols.
    pub symbolizer: Symbolizer,
    /// For table cgroups.
    pub cgroups: CgroupNames,
    /// Sees each batch.
    pub on_batch: Option<BatchHook>,
    /// Of the threads that write.
    pub priority: Priority,
    /// Old rows go while recording, so that epochs must be whole by themselves.
    pub has_epochs: bool,
}

/// State of the encoder's thread.
pub struct Worker {
    dir: PathBuf,
    events: Vec<EventTable>,
    side: HashMap<&'static str, SideTable>,
    collector: Collector,
    zstd_level: i32,
    on_batch: Option<BatchHook>,
    priority: Priority,
    progress: SharedProgress,
    /// Names of addresses are needed and have not been asked for yet.
    names_addresses: bool,
    pool: Pool,
    store: Store,
    /// Files that are whole, and segments that they replace: for the next commit.
    ready: Vec<NewSegment>,
    replaced: Vec<SegmentName>,
    /// Who is alive, for the next epoch.
    alive: Option<Alive>,
    has_failed: bool,
}

impl Worker {
    /// Prepare; the directories exist already. Fails if a layout or the zstd level makes no sense.
    pub fn new(setup: Setup, store: Store, pool: Pool, progress: SharedProgress) -> Result<Self> {
        let Setup { dir, events, utc_minus_boottime_ns, zstd_level, symbolizer, cgroups, .. } = setup;
        let Setup { on_batch, priority, has_epochs, .. } = setup;
        let names_addresses = events
            .iter()
            .flat_map(|layout| &layout.columns)
            .any(|column| matches!(column.ty, Type::Sym | Type::KernelStack(_)));
        let events = events
            .iter()
            .map(|layout| EventTable::new(&dir, layout, utc_minus_boottime_ns, zstd_level))
            .collect::<Result<Vec<_>>>()?;
        let side_table = |table: &schemas::trace::SideTable| {
            let schema = Arc::new((table.schema)());
            (table.name, SideTable { dir: dir.join(table.name), schema, rows: Vec::new() })
        };
        let side = SIDE_TABLES.iter().map(side_table).collect();
        Ok(Self {
            dir,
            events,
            side,
            collector: Collector::new(symbolizer).with_cgroups(cgroups),
            zstd_level,
            on_batch,
            priority,
            progress,
            names_addresses,
            pool,
            store,
            ready: Vec::new(),
            replaced: Vec::new(),
            alive: has_epochs.then(Alive::default),
            has_failed: false,
        })
    }

    /// Do jobs until there are no more.
    pub fn run(mut self, queue: &Receiver<Job>) {
        let _registered = self.priority.register();
        while let Some((bytes, job)) = queue.receive() {
            if std::mem::take(&mut self.names_addresses) {
                // It can take as long as all symbols of the kernel take to read. Not before the first job, for then our
                // own programs are among them, and not later, when rows wait for it.
                self.collector.warm_up();
            }
            if !self.has_failed && self.store.is_stopped() {
                self.stop();
            }
            if let Err(error) = self.job(job) {
                self.stop();
                self.store.fail(error);
            }
            self.progress.stepped();
            queue.done(bytes);
        }
    }

    fn job(&mut self, job: Job) -> Result<()> {
        match job {
            Job::Rows { event, chunk } => {
                let result = if self.has_failed { Ok(()) } else { self.write_rows(event, &chunk) };
                self.pool.put_back(chunk);
                result
            }
            Job::LateRows { event, chunk } => {
                let result = if self.has_failed { Ok(()) } else { self.write_late(event, &chunk) };
                self.pool.put_back(chunk);
                result
            }
            Job::Retry => {
                self.has_failed = false;
                self.store.retry();
                Ok(())
            }
            Job::Answer(reply) => {
                drop(reply);
                Ok(())
            }
            Job::Freeze(freeze) if !self.has_failed => {
                self.store.freeze(*freeze);
                Ok(())
            }
            _ if self.has_failed => Ok(()),
            Job::Side { table, batch } => {
                self.side_table(table)?.rows.push(batch);
                Ok(())
            }
            Job::ReplaceSide { table, batch } => {
                self.replaced = self.store.segments_of(table);
                self.ready.retain(|new| new.segment.table != table);
                let new = self.write_side(table, &[batch])?;
                self.ready.push(new);
                Ok(())
            }
            Job::Epoch { since_ns, carried } => self.begin_epoch(since_ns, carried),
            Job::Commit(commit) => self.commit(*commit),
            Job::Finish => self.finish(),
            Job::Freeze(_) => Ok(()),
        }
    }

    /// Write nothing more: what is not committed will not be.
    fn stop(&mut self) {
        self.has_failed = true;
        for event in &mut self.events {
            event.forget();
        }
        self.side.values_mut().for_each(|side| side.rows.clear());
        self.ready.clear();
        self.replaced.clear();
        self.store.set_unfinished_bytes(0);
    }

    fn write_rows(&mut self, event: usize, chunk: &Chunk) -> Result<()> {
        self.events[event].count(chunk, self.store.has_most_bytes());
        let segment = match self.events[event].open.take() {
            Some(segment) => segment,
            None => self.begin(event, false)?,
        };
        let segment = self.pour(event, chunk, segment)?;
        let is_full = segment.rows >= SEGMENT_ROWS;
        self.events[event].open = Some(segment);
        if is_full { self.finish_segment(event) } else { Ok(()) }
    }

    fn write_late(&mut self, event: usize, chunk: &Chunk) -> Result<()> {
        // So that nothing but this chunk is counted as its rows below.
        self.finish_segment(event)?;
        self.events[event].count(chunk, self.store.has_most_bytes());
        let segment = self.begin(event, true)?;
        self.events[event].open = Some(self.pour(event, chunk, segment)?);
        self.finish_segment(event)
    }

    /// Merge, decode and encode `chunk`.
    fn pour(&mut self, event: usize, chunk: &Chunk, mut segment: Segment) -> Result<Segment> {
        let is_of_processes = self.events[event].name == PROCESSES;
        let (mut merge, mut rows) = (Merge::new(chunk), Rows::default());
        loop {
            let EventTable { name, decoder, counters, .. } = &mut self.events[event];
            if !time(Stage::Merge, || merge.next(BATCH_ROWS, counters, &mut rows)) {
                break;
            }
            let batch = time(Stage::Decode, || decoder.decode(&rows, &mut self.collector))
                .with_context(|| format!("cannot decode records of event '{name}'"))?;
            if let Some(hook) = &mut self.on_batch {
                hook(name, &batch);
            }
            segment.write(&batch)?;
            if self.store.has_most_bytes() {
                self.events[event].count_batch(&batch)?;
                segment = self.bound(event, segment)?;
            }
            if let Some(alive) = self.alive.as_mut().filter(|_| is_of_processes) {
                alive.take(batch)?;
            }
        }
        Ok(segment)
    }

    /// Where the size is limited, a segment ends when it is large, and nothing is written while there is no room.
    fn bound(&mut self, event: usize, segment: Segment) -> Result<Segment> {
        if !self.store.is_large(self.events[event].expected_bytes(segment.rows)) {
            return Ok(segment);
        }
        let is_late = segment.is_late;
        self.tell_size(self.events[event].expected_bytes(segment.rows));
        self.store.wait_for_room();
        self.events[event].open = Some(segment);
        self.finish_segment(event)?;
        self.begin(event, is_late)
    }

    /// Tell the store what is written and not committed; `more` bytes are of a segment that is in nobody's hands.
    fn tell_size(&self, more: u64) {
        let open = self.events.iter().filter_map(|event| event.open.as_ref()).map(Segment::bytes);
        let ready = self.ready.iter().map(|new| new.segment.bytes);
        self.store.set_unfinished_bytes(open.chain(ready).sum::<u64>() + more);
    }

    fn begin(&mut self, event: usize, is_late: bool) -> Result<Segment> {
        let EventTable { name, dir, decoder, number, .. } = &mut self.events[event];
        let properties = writer_properties(decoder.schema(), self.zstd_level, is_late)?;
        *number = self.store.number(name);
        Segment::create(dir, &number.0.to_string(), decoder.schema(), properties)
    }

    /// The open segment of an event becomes whole.
    fn finish_segment(&mut self, event: usize) -> Result<()> {
        let EventTable { name, open, number: (number, epoch), unpublished, bytes_per_row, .. } =
            &mut self.events[event];
        let Some(segment) = open.take() else { return Ok(()) };
        if segment.rows == 0 {
            return Ok(());
        }
        let mut new = NewSegment::new(segment.finish()?, name, *number, *epoch);
        *bytes_per_row = Some(new.segment.bytes.div_ceil(new.segment.rows));
        let rows = std::mem::take(unpublished);
        new.segment.sources = rows.into_iter().map(|((probe, cpu), rows)| (probe, cpu, rows)).collect();
        new.segment.sources.sort_unstable();
        self.ready.push(new);
        self.tell_size(0);
        Ok(())
    }

    fn commit(&mut self, job: CommitJob) -> Result<()> {
        let CommitJob { serial, until_ns, now_ns, due_ns, all_before_ns, record_bytes, status } = job;
        (0..self.events.len()).try_for_each(|event| self.finish_segment(event))?;
        self.collect()?;
        for table in SIDE_TABLES.iter().map(|table| table.name) {
            let rows = std::mem::take(&mut self.side_table(table)?.rows);
            if !rows.is_empty() {
                let new = self.write_side(table, &rows)?;
                self.ready.push(new);
            }
        }
        self.collector.forget_cgroups(all_before_ns);
        let add = std::mem::take(&mut self.ready);
        let remove = std::mem::take(&mut self.replaced);
        let (until_ns, serial) = (Some(until_ns), Some(serial));
        self.store.set_unfinished_bytes(0);
        let change = Change { add, remove, until_ns, status, serial, due_ns };
        self.store.commit(change, now_ns, record_bytes)
    }

    /// What comes from now on is whole without what was before: `carried` rows of side tables, who is alive, and names of
    /// what is met.
    fn begin_epoch(&mut self, since_ns: i64, carried: Vec<(&'static str, RecordBatch)>) -> Result<()> {
        self.store.begin_epoch();
        self.collector.begin_epoch();
        for (table, batch) in carried {
            self.carry(table, &[batch])?;
        }
        let Some(rows) = self.alive.as_mut().map(Alive::rows).transpose()?.flatten() else { return Ok(()) };
        let sources = alive::sources(&rows, false)?;
        alive::cgroups(&rows)?.into_iter().for_each(|id| self.collector.cgroup(id));
        let Some(event) = self.events.iter().find(|event| event.name == PROCESSES) else { return Ok(()) };
        let properties = writer_properties(&rows.schema(), self.zstd_level, false)?;
        let (number, epoch) = self.store.number(PROCESSES);
        let mut segment = Segment::create(&event.dir, &number.to_string(), &rows.schema(), properties)?;
        segment.write(&rows)?;
        let mut new = NewSegment::new(segment.finish()?, PROCESSES, number, epoch);
        new.segment.carried = true;
        new.segment.sources = sources.iter().map(|((probe, cpu), rows)| (*probe, *cpu, *rows)).collect();
        self.ready.push(new);
        // They are rows of the trace once those before have gone, and counted then.
        let interval = Interval { since_ns, ts_ns: since_ns };
        match adjustment(interval, PROCESSES, &sources)? {
            Some(counts) => self.carry(COUNTS, &[counts]),
            None => Ok(()),
        }
    }

    fn carry(&mut self, table: &'static str, rows: &[RecordBatch]) -> Result<()> {
        let mut new = self.write_side(table, rows)?;
        new.segment.carried = true;
        self.ready.push(new);
        Ok(())
    }

    /// Tables that have no segment get an empty one, so that every table can be opened by any reader.
    fn finish(&mut self) -> Result<()> {
        let mut add = Vec::new();
        for table in self.store.empty_tables() {
            let number = self.store.number(&table);
            let schema = self.events.iter().find(|event| event.name == table);
            let schema = schema.map(|event| event.decoder.schema().clone());
            add.push(empty_segment(&self.dir, schema, &table, number)?);
        }
        self.store.commit(Change { add, ..Change::default() }, i64::MIN, 0)
    }

    /// Rows about what was met since the last commit.
    fn collect(&mut self) -> Result<()> {
        let schema = |side: &HashMap<&str, SideTable>, name: &str| side[name].schema.clone();
        let symbols = self.collector.take_symbols(&schema(&self.side, "symbols"));
        let stacks = self.collector.take_stacks(&schema(&self.side, "stacks"));
        let cgroups = self.collector.take_cgroups(&schema(&self.side, "cgroups"));
        self.progress.lock().unknown_cgroups = self.collector.unknown_cgroups();
        for (table, batch) in [("symbols", symbols?), ("stacks", stacks?), ("cgroups", cgroups?)] {
            self.side_table(table)?.rows.extend(batch);
        }
        Ok(())
    }

    fn side_table(&mut self, table: &str) -> Result<&mut SideTable> {
        self.side.get_mut(table).with_context(|| format!("there is no side table '{table}'"))
    }

    fn write_side(&mut self, table: &str, rows: &[RecordBatch]) -> Result<NewSegment> {
        let zstd_level = self.zstd_level;
        let (number, epoch) = self.store.number(table);
        let SideTable { dir, schema, .. } = self.side_table(table)?;
        let written = write(dir, number, schema, rows, zstd_level)?;
        Ok(NewSegment::new(written, table, number, epoch))
    }
}

fn write(
    dir: &Path,
    number: u64,
    schema: &SchemaRef,
    rows: &[RecordBatch],
    zstd_level: i32,
) -> Result<Written> {
    let properties = writer_properties(schema, zstd_level, false)?;
    let mut segment = Segment::create(dir, &number.to_string(), schema, properties)?;
    rows.iter().try_for_each(|rows| segment.write(rows))?;
    segment.finish()
}
