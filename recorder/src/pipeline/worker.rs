//! The encoder's thread: chunks of raw records and batches of side tables in, published segments out.
//!
//! The first failure ends all writing: what is published stays, temporary files go, later rows are counted as lost.
//! A segment of an event is published after the stacks, symbols and cgroups that its rows name.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result};
use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use schemas::column::Layout;

use super::decode::Decoder;
use super::files::Owner;
use super::merge::{Chunk, Merge, Rows, SeqCounter};
use super::profile::{Stage, time};
use super::queue::Receiver;
use super::segment::{Segment, segment_name, writer_properties};
use super::stacks::{CgroupFinder, Collector, Symbolizer};
use super::staging::Pool;
use crate::source::ProbeId;

/// Rows decoded at a time: raw records and columns of a batch stay in the processor's cache.
const BATCH_ROWS: usize = 4096;
/// Rows after which a segment is closed even if it is young.
const SEGMENT_ROWS: u64 = 1 << 20;

/// What the encoder is told.
pub enum Job {
    /// Records of the event with that number, behind the watermark.
    Rows { event: usize, chunk: Chunk },
    /// Records that are too late for the ordinary segments.
    LateRows { event: usize, chunk: Chunk },
    /// Publish what there is of that event.
    Publish { event: usize },
    /// Rows of a side table, published at once.
    Side { table: &'static str, batch: RecordBatch },
    /// All rows of a side table, in place of those before.
    ReplaceSide { table: &'static str, batch: RecordBatch },
    /// The recording ends: tables that have no segment get an empty one, so that every table can be opened by any
    /// reader.
    Finish,
    /// Write again after a failure: what is known about the loss, as far as it can be written.
    Retry,
    /// Drop this: everything before it is done.
    Answer(std::sync::mpsc::Sender<()>),
}

/// Called with each batch of an event, in the order of the table.
pub type BatchHook = Box<dyn FnMut(&str, &RecordBatch) + Send>;

/// What the encoder has done so far, as the drain sees it.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    /// The first failure.
    pub failure: Option<Arc<anyhow::Error>>,
    /// Bytes of published segments.
    pub bytes: u64,
    /// Published segments.
    pub segments: u64,
    /// Rows on disk, by event.
    pub rows: Vec<u64>,
    /// Rows that could not be written.
    pub disk_lost: HashMap<(ProbeId, u16), u64>,
}

/// [`Progress`] of both threads.
#[derive(Clone, Default)]
pub struct SharedProgress(Arc<Mutex<Progress>>);

impl SharedProgress {
    /// Look or change.
    pub fn lock(&self) -> MutexGuard<'_, Progress> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct EventTable {
    name: String,
    dir: PathBuf,
    decoder: Decoder,
    counters: Vec<SeqCounter>,
    open: Option<Segment>,
    /// Rows in `open` by probe and CPU.
    unpublished: HashMap<(ProbeId, u16), u64>,
    next: u64,
}

struct SideTable {
    dir: PathBuf,
    schema: SchemaRef,
    next: u64,
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
    /// Of the files.
    pub owner: Owner,
    /// For table symbols.
    pub symbolizer: Symbolizer,
    /// For table cgroups.
    pub cgroups: CgroupFinder,
    /// Sees each batch.
    pub on_batch: Option<BatchHook>,
}

/// State of the encoder's thread.
pub struct Worker {
    events: Vec<EventTable>,
    side: HashMap<&'static str, SideTable>,
    collector: Collector,
    zstd_level: i32,
    owner: Owner,
    symbolizer: Symbolizer,
    cgroups: CgroupFinder,
    on_batch: Option<BatchHook>,
    progress: SharedProgress,
    pool: Pool,
    has_failed: bool,
}

impl Worker {
    /// Prepare; the directories exist already. Fails if a layout or the zstd level makes no sense.
    pub fn new(setup: Setup, pool: Pool, progress: SharedProgress) -> Result<Self> {
        let Setup { dir, events, utc_minus_boottime_ns, zstd_level, owner, symbolizer, cgroups, on_batch } =
            setup;
        let events = events
            .iter()
            .map(|layout| {
                let decoder = Decoder::new(layout, utc_minus_boottime_ns)?;
                writer_properties(decoder.schema(), zstd_level, false)?;
                Ok(EventTable {
                    name: layout.event.clone(),
                    dir: dir.join(&layout.event),
                    decoder,
                    counters: Vec::new(),
                    open: None,
                    unpublished: HashMap::new(),
                    next: 0,
                })
            })
            .collect::<Result<Vec<_>>>()?;
        let side = schemas::trace::SIDE_TABLES
            .iter()
            .map(|table| {
                let schema = Arc::new((table.schema)());
                (table.name, SideTable { dir: dir.join(table.name), schema, next: 0 })
            })
            .collect();
        progress.lock().rows = vec![0; events.len()];
        Ok(Self {
            events,
            side,
            collector: Collector::default(),
            zstd_level,
            owner,
            symbolizer,
            cgroups,
            on_batch,
            progress,
            pool,
            has_failed: false,
        })
    }

    /// Do jobs until there are no more.
    pub fn run(mut self, queue: &Receiver<Job>) {
        while let Some((bytes, job)) = queue.receive() {
            if let Err(error) = self.job(job) {
                self.fail(error);
            }
            queue.done(bytes);
        }
    }

    fn job(&mut self, job: Job) -> Result<()> {
        match job {
            Job::Rows { chunk, .. } | Job::LateRows { chunk, .. } if self.has_failed => {
                self.count_lost(&chunk);
                self.pool.put_back(chunk);
                Ok(())
            }
            Job::Rows { event, chunk } => {
                let result = self.write_rows(event, &chunk);
                self.pool.put_back(chunk);
                result
            }
            Job::LateRows { event, chunk } => {
                let result = self.write_late(event, &chunk);
                self.pool.put_back(chunk);
                result
            }
            Job::Retry => {
                self.has_failed = false;
                Ok(())
            }
            Job::Answer(reply) => {
                drop(reply);
                Ok(())
            }
            _ if self.has_failed => Ok(()),
            Job::Publish { event } => self.publish(event),
            Job::Finish => self.finish(),
            Job::Side { table, batch } => self.flush_side(table, &batch),
            Job::ReplaceSide { table, batch } => self.replace_side(table, &batch),
        }
    }

    fn fail(&mut self, error: anyhow::Error) {
        self.has_failed = true;
        let mut progress = self.progress.lock();
        for event in &mut self.events {
            event.open = None;
            for (source, rows) in event.unpublished.drain() {
                *progress.disk_lost.entry(source).or_default() += rows;
            }
        }
        progress.failure.get_or_insert(Arc::new(error));
    }

    fn count_lost(&self, chunk: &Chunk) {
        let mut progress = self.progress.lock();
        for buffer in &chunk.buffers {
            let rows = (buffer.bytes.len() / chunk.record_size) as u64;
            *progress.disk_lost.entry((buffer.probe, buffer.cpu)).or_default() += rows;
        }
    }

    fn write_rows(&mut self, event: usize, chunk: &Chunk) -> Result<()> {
        let table = &mut self.events[event];
        table.count(chunk);
        let segment = match table.open.take() {
            Some(segment) => segment,
            None => table.begin(self.zstd_level, self.owner, false)?,
        };
        let segment = self.pour(event, chunk, segment)?;
        let is_full = segment.rows >= SEGMENT_ROWS;
        self.events[event].open = Some(segment);
        if is_full { self.publish(event) } else { Ok(()) }
    }

    fn write_late(&mut self, event: usize, chunk: &Chunk) -> Result<()> {
        // So that nothing but this chunk is counted as unpublished below.
        if let Err(error) = self.publish(event) {
            self.count_lost(chunk);
            return Err(error);
        }
        let table = &mut self.events[event];
        table.count(chunk);
        let segment = table.begin(self.zstd_level, self.owner, true)?;
        let segment = self.pour(event, chunk, segment)?;
        self.publish_segment(event, segment)
    }

    /// Merge, decode and encode `chunk`, whose rows were counted before: a failure in the middle loses all of them.
    fn pour(&mut self, event: usize, chunk: &Chunk, mut segment: Segment) -> Result<Segment> {
        let EventTable { name, decoder, counters, .. } = &mut self.events[event];
        let (mut merge, mut rows) = (Merge::new(chunk), Rows::default());
        while time(Stage::Merge, || merge.next(BATCH_ROWS, counters, &mut rows)) {
            let batch = time(Stage::Decode, || decoder.decode(&rows, &mut self.collector))
                .with_context(|| format!("cannot decode records of event '{name}'"))?;
            if let Some(hook) = &mut self.on_batch {
                hook(name, &batch);
            }
            segment.write(&batch)?;
        }
        Ok(segment)
    }

    fn publish(&mut self, event: usize) -> Result<()> {
        match self.events[event].open.take() {
            Some(segment) => self.publish_segment(event, segment),
            None => Ok(()),
        }
    }

    fn publish_segment(&mut self, event: usize, segment: Segment) -> Result<()> {
        self.flush_collected()?;
        let table = &mut self.events[event];
        let written = segment.publish(&segment_name(table.next))?;
        table.next += 1;
        table.unpublished.clear();
        let mut progress = self.progress.lock();
        progress.rows[event] += written.rows;
        progress.bytes += written.bytes;
        progress.segments += 1;
        Ok(())
    }

    fn finish(&mut self) -> Result<()> {
        for event in 0..self.events.len() {
            if self.events[event].next == 0 {
                let empty = self.events[event].begin(self.zstd_level, self.owner, false)?;
                self.publish_segment(event, empty)?;
            }
        }
        for SideTable { dir, schema, next } in self.side.values_mut().filter(|side| side.next == 0) {
            let name = segment_name(0);
            let properties = writer_properties(schema, self.zstd_level, false)?;
            Segment::create(dir, &name, schema, properties, self.owner)?.publish(&name)?;
            *next = 1;
        }
        Ok(())
    }

    fn flush_collected(&mut self) -> Result<()> {
        let schema = |side: &HashMap<&str, SideTable>, name: &str| side[name].schema.clone();
        let symbols = self.collector.take_symbols(&schema(&self.side, "symbols"), &mut self.symbolizer);
        let stacks = self.collector.take_stacks(&schema(&self.side, "stacks"));
        let cgroups = self.collector.take_cgroups(&schema(&self.side, "cgroups"), &mut self.cgroups);
        for (table, batch) in [("symbols", symbols?), ("stacks", stacks?), ("cgroups", cgroups?)] {
            if let Some(batch) = batch {
                self.flush_side(table, &batch)?;
            }
        }
        Ok(())
    }

    fn flush_side(&mut self, table: &str, batch: &RecordBatch) -> Result<()> {
        let next = self.side[table].next;
        self.write_side(table, batch, next)?;
        if let Some(side) = self.side.get_mut(table) {
            side.next += 1;
        }
        Ok(())
    }

    fn replace_side(&mut self, table: &str, batch: &RecordBatch) -> Result<()> {
        self.write_side(table, batch, 0)?;
        if let Some(side) = self.side.get_mut(table) {
            side.next = 1;
        }
        Ok(())
    }

    fn write_side(&mut self, table: &str, batch: &RecordBatch, number: u64) -> Result<()> {
        let side = &self.side[table];
        let name = segment_name(number);
        let properties = writer_properties(&side.schema, self.zstd_level, false)?;
        let mut segment = Segment::create(&side.dir, &name, &side.schema, properties, self.owner)?;
        segment.write(batch)?;
        let written = segment.publish(&name)?;
        let mut progress = self.progress.lock();
        progress.bytes += written.bytes;
        progress.segments += 1;
        Ok(())
    }
}

impl EventTable {
    fn count(&mut self, chunk: &Chunk) {
        for buffer in &chunk.buffers {
            let rows = (buffer.bytes.len() / chunk.record_size) as u64;
            *self.unpublished.entry((buffer.probe, buffer.cpu)).or_default() += rows;
            if buffer.source >= self.counters.len() {
                self.counters.resize(buffer.source + 1, SeqCounter::default());
            }
        }
    }

    fn begin(&self, zstd_level: i32, owner: Owner, is_late: bool) -> Result<Segment> {
        let schema = self.decoder.schema();
        let properties = writer_properties(schema, zstd_level, is_late)?;
        let temp = if is_late { "late" } else { "open" };
        Segment::create_event(&self.dir, temp, schema, properties, owner)
    }
}
