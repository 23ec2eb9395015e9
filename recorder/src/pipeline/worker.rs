//! The encoder's thread: chunks of raw records and batches of side tables in, whole files out, to the publisher.
//!
//! The first failure ends all writing: what is published stays, temporary files go, later rows are counted as lost.
//! A segment of an event is handed over after the stacks, symbols and cgroups that its rows name.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use schemas::column::{Layout, Type};

use super::cgroups::CgroupNames;
use super::event_table::{EventTable, OnTheirWay, rows_of};
use super::files::TempFile;
use super::job::Job;
use super::keep::{Keeper, Kept, SharedKept};
use super::merge::{Chunk, Merge, Rows};
use super::priority::Priority;
use super::profile::{Stage, time};
use super::progress::{RowsBySource, SharedProgress};
use super::publisher::{Control, Publication, Publisher};
use super::queue::Receiver;
use super::segment::{Segment, list_segments, writer_properties};
use super::stacks::{Collector, Symbolizer};
use super::staging::Pool;

/// Rows decoded at a time: raw records and columns of a batch stay in the processor's cache.
const BATCH_ROWS: usize = 4096;
/// Rows after which a segment is closed even if it is young.
const SEGMENT_ROWS: u64 = 1 << 20;

/// Called with each batch of an event, in the order of the table.
pub type BatchHook = Box<dyn FnMut(&str, &RecordBatch) + Send>;

struct SideTable {
    dir: PathBuf,
    schema: SchemaRef,
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
    /// A job that has waited for so long is urgent.
    pub urgent_after: Duration,
}

/// State of the encoder's thread.
pub struct Worker {
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
    publisher: Publisher,
    kept: SharedKept,
    /// The time (UTC ns) up to which ids were forgotten.
    retired_ns: Option<i64>,
    utc_minus_boottime_ns: i64,
    /// Rows of side tables that could not be written: they say what happened and are tried again.
    held: Vec<(&'static str, RecordBatch)>,
    /// Numbers temporary files.
    files: u64,
    /// Numbers files that are whole, in the order in which they are to be published.
    whole_files: u64,
    on_their_way: OnTheirWay,
    has_failed: bool,
}

impl Worker {
    /// Prepare, and start the publisher; the directories exist already. Fails if a layout or the zstd level makes no
    /// sense.
    pub fn new(setup: Setup, keeper: Keeper, pool: Pool, progress: SharedProgress) -> Result<Self> {
        let Setup { dir, events, utc_minus_boottime_ns, zstd_level, symbolizer, cgroups, on_batch, .. } =
            setup;
        let Setup { priority, urgent_after, .. } = setup;
        let kept = keeper.kept();
        let names_addresses = events
            .iter()
            .flat_map(|layout| &layout.columns)
            .any(|column| matches!(column.ty, Type::Sym | Type::KernelStack(_)));
        let events = events
            .iter()
            .map(|layout| EventTable::new(&dir, layout, utc_minus_boottime_ns, zstd_level))
            .collect::<Result<Vec<_>>>()?;
        let side = schemas::trace::SIDE_TABLES
            .iter()
            .map(|table| {
                let schema = Arc::new((table.schema)());
                (table.name, SideTable { dir: dir.join(table.name), schema })
            })
            .collect();
        progress.lock().rows = vec![0; events.len()];
        let publisher = Publisher::start(keeper, progress.clone(), priority.clone(), urgent_after)?;
        Ok(Self {
            events,
            side,
            collector: Collector::new(symbolizer).with_cgroups(cgroups),
            zstd_level,
            on_batch,
            priority,
            progress,
            names_addresses,
            pool,
            publisher,
            kept,
            retired_ns: None,
            utc_minus_boottime_ns,
            held: Vec::new(),
            files: 0,
            whole_files: 0,
            on_their_way: OnTheirWay::default(),
            has_failed: false,
        })
    }

    /// Do jobs until there are no more and everything is published.
    pub fn run(mut self, queue: &Receiver<Job>) {
        let _registered = self.priority.register();
        while let Some((bytes, job)) = queue.receive() {
            if std::mem::take(&mut self.names_addresses) {
                // It can take as long as all symbols of the kernel take to read. Not before the first job, for then our
                // own programs are among them, and not later, when rows wait for it.
                self.collector.warm_up();
            }
            if !self.has_failed && self.progress.lock().cannot_publish {
                self.stop();
            }
            if let Err(error) = self.job(job) {
                self.stop();
                self.progress.lock().fail(error);
            }
            self.progress.lock().steps += 1;
            queue.done(bytes);
        }
        let result = self.publisher.finish();
        let mut progress = self.progress.lock();
        progress.is_unfinished |= self.has_failed || progress.cannot_publish || result.is_err();
        if let Err(error) = result {
            progress.fail(error);
        }
    }

    fn job(&mut self, job: Job) -> Result<()> {
        match job {
            Job::Rows { chunk, .. } | Job::LateRows { chunk, .. } if self.has_failed => {
                self.progress.lock().lose(rows_of(&chunk));
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
                self.progress.lock().cannot_publish = false;
                let held = std::mem::take(&mut self.held);
                held.into_iter().try_for_each(|(table, batch)| self.side(table, batch))
            }
            Job::Side { table, batch } => self.side(table, batch),
            Job::Answer(reply) => {
                self.publisher.answer(reply);
                Ok(())
            }
            _ if self.has_failed => Ok(()),
            Job::Publish { event, due_ns } => self.publish(event, due_ns),
            Job::Finish => self.finish(),
            Job::Keep { now_ns, staged_ns, all_before_ns } => {
                self.collector.forget_cgroups(all_before_ns);
                self.keep(now_ns, staged_ns)
            }
            Job::Describe(meta) => self.publisher.control(Control::Describe(meta)),
            Job::Freeze(freeze) => self.publisher.control(Control::Freeze(freeze)),
            Job::ReplaceSide { table, batch } => self.write_side(table, &batch, true, false),
        }
    }

    /// Forget what no row names, kept or on its way, and let the publisher do what is due.
    fn keep(&mut self, now_ns: i64, staged_ns: Option<i64>) -> Result<()> {
        // Before what is kept: what is published in between is in both.
        let unpublished_ns = self.unpublished_ns();
        let Kept { oldest_ns, cgroups, .. } = self.kept.lock().clone();
        // Of ids of records that have not come nobody knows: they are written again.
        let oldest_ns = oldest_ns.map(|oldest_ns| unpublished_ns.map_or(oldest_ns, |ns| ns.min(oldest_ns)));
        if let Some(oldest_ns) = oldest_ns.filter(|_| oldest_ns > self.retired_ns) {
            self.retired_ns = Some(oldest_ns);
            let boottime_ns = u64::try_from(oldest_ns - self.utc_minus_boottime_ns).unwrap_or(0);
            for retired in self.collector.retire(boottime_ns, &cgroups) {
                self.publisher.control(Control::Retire(retired))?;
            }
        }
        let unpublished_ns = unpublished_ns.into_iter().chain(staged_ns).min();
        self.publisher.control(Control::Keep { now_ns, unpublished_ns })
    }

    /// No row that the publisher has not published is older (UTC ns), if there are any.
    fn unpublished_ns(&mut self) -> Option<i64> {
        let published = self.progress.lock().event_segments;
        let open = self.events.iter().filter_map(|event| event.open_since_ns);
        let first_ns = open.chain(self.on_their_way.oldest_ns(published)).min()?;
        Some(first_ns.cast_signed().wrapping_add(self.utc_minus_boottime_ns))
    }

    /// Write nothing more: what is open will not be published.
    fn stop(&mut self) {
        self.has_failed = true;
        let mut progress = self.progress.lock();
        for event in &mut self.events {
            (event.open, event.open_since_ns) = (None, None);
            progress.lose(event.unpublished.drain());
        }
    }

    fn write_rows(&mut self, event: usize, chunk: &Chunk) -> Result<()> {
        self.events[event].count(chunk);
        let segment = match self.events[event].open.take() {
            Some(segment) => segment,
            None => self.begin(event, false)?,
        };
        let segment = self.pour(event, chunk, segment)?;
        let is_full = segment.rows >= SEGMENT_ROWS;
        self.events[event].open = Some(segment);
        if is_full { self.publish(event, None) } else { Ok(()) }
    }

    fn write_late(&mut self, event: usize, chunk: &Chunk) -> Result<()> {
        // So that nothing but this chunk is counted as unpublished below.
        if let Err(error) = self.publish(event, None) {
            self.progress.lock().lose(rows_of(chunk));
            return Err(error);
        }
        self.events[event].count(chunk);
        let segment = self.begin(event, true)?;
        let segment = self.pour(event, chunk, segment)?;
        self.publish_segment(event, segment, None)
    }

    /// Merge, decode and encode `chunk`, whose rows were counted before: a failure in the middle loses all of them.
    fn pour(&mut self, event: usize, chunk: &Chunk, mut segment: Segment) -> Result<Segment> {
        let EventTable { name, decoder, counters, .. } = &mut self.events[event];
        self.collector.at(chunk.last_ns());
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

    fn begin(&mut self, event: usize, is_late: bool) -> Result<Segment> {
        let EventTable { dir, decoder, .. } = &self.events[event];
        let properties = writer_properties(decoder.schema(), self.zstd_level, is_late)?;
        self.files += 1;
        Segment::create(dir, &self.files.to_string(), decoder.schema(), properties)
    }

    fn publish(&mut self, event: usize, due_ns: Option<u64>) -> Result<()> {
        match self.events[event].open.take() {
            Some(segment) => self.publish_segment(event, segment, due_ns),
            None => Ok(()),
        }
    }

    fn publish_segment(&mut self, event: usize, segment: Segment, due_ns: Option<u64>) -> Result<()> {
        self.flush_collected()?;
        let temp = self.whole(segment)?;
        let rows = std::mem::take(&mut self.events[event].unpublished);
        self.on_their_way.push(self.events[event].open_since_ns.take());
        self.publisher.publish(Publication {
            temp,
            event: Some(event),
            side_rows: None,
            rows,
            due_ns,
            is_only: false,
            is_again: false,
        })
    }

    fn whole(&mut self, segment: Segment) -> Result<TempFile> {
        let mut temp = segment.finish()?.temp;
        self.whole_files += 1;
        temp.is_whole(self.whole_files)?;
        Ok(temp)
    }

    fn finish(&mut self) -> Result<()> {
        // What was handed over is there now or has failed.
        self.publisher.wait();
        for event in 0..self.events.len() {
            if is_empty(&self.events[event].dir)? {
                let empty = self.begin(event, false)?;
                self.publish_segment(event, empty, None)?;
            }
        }
        for table in schemas::trace::SIDE_TABLES {
            if is_empty(&self.side[table.name].dir)? {
                let empty = RecordBatch::new_empty(self.side[table.name].schema.clone());
                self.write_side(table.name, &empty, false, false)?;
            }
        }
        Ok(())
    }

    fn flush_collected(&mut self) -> Result<()> {
        let schema = |side: &HashMap<&str, SideTable>, name: &str| side[name].schema.clone();
        let symbols = self.collector.take_symbols(&schema(&self.side, "symbols"));
        let stacks = self.collector.take_stacks(&schema(&self.side, "stacks"));
        let cgroups = self.collector.take_cgroups(&schema(&self.side, "cgroups"));
        self.progress.lock().unknown_cgroups = self.collector.unknown_cgroups();
        let is_again = self.collector.take_again();
        for (table, batch) in [("symbols", symbols?), ("stacks", stacks?), ("cgroups", cgroups?)] {
            if let Some(batch) = batch {
                self.write_side(table, &batch, false, is_again)?;
            }
        }
        Ok(())
    }

    fn side(&mut self, table: &'static str, batch: RecordBatch) -> Result<()> {
        let result = if self.has_failed { Ok(()) } else { self.write_side(table, &batch, false, false) };
        if self.has_failed || result.is_err() {
            self.held.push((table, batch));
        }
        result
    }

    fn write_side(&mut self, table: &str, batch: &RecordBatch, is_only: bool, is_again: bool) -> Result<()> {
        let Some(side) = self.side.get(table) else { bail!("there is no side table '{table}'") };
        self.files += 1;
        let properties = writer_properties(&side.schema, self.zstd_level, false)?;
        let temp_name = self.files.to_string();
        let mut segment = Segment::create(&side.dir, &temp_name, &side.schema, properties)?;
        segment.write(batch)?;
        let (temp, rows) = (self.whole(segment)?, RowsBySource::new());
        let side_rows = Some(batch.clone());
        self.publisher.publish(Publication {
            temp,
            event: None,
            side_rows,
            rows,
            due_ns: None,
            is_only,
            is_again,
        })
    }
}

fn is_empty(dir: &Path) -> Result<bool> {
    Ok(list_segments(dir)?.is_empty())
}
