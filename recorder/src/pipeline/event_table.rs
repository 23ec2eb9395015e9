//! Chunks of an event in; what is known of its rows that are not committed out.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use anyhow::Result;
use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use schemas::column::Layout;
use schemas::trace::Meta;

use super::alive::sources;
use super::count_rows::side_schema;
use super::decode::Decoder;
use super::merge::{Chunk, SeqCounter};
use super::segment::{Segment, writer_properties};
use super::staging::events;
use crate::source::ProbeId;
use crate::store::NewSegment;

/// An event, as the encoder sees it.
pub struct EventTable {
    /// Its name.
    pub name: String,
    /// Its directory.
    pub dir: PathBuf,
    /// Of its records.
    pub decoder: Decoder,
    /// By source.
    pub counters: Vec<SeqCounter>,
    /// The segment that is being written.
    pub open: Option<Segment>,
    /// Its number and epoch.
    pub number: (u64, u64),
    /// Rows in `open`, or on their way into it; of an aggregated event, the events that they stand for.
    pub unpublished: HashMap<(ProbeId, u16), u64>,
    /// Of the last segment; `None`: nothing is known yet.
    pub bytes_per_row: Option<u64>,
    record_bytes: u64,
    /// Where a record says how many events it stands for, if that may be other than one.
    count_at: Option<usize>,
}

impl EventTable {
    /// A table without rows in the trace `dir`. Fails if a layout or the zstd level makes no sense.
    pub fn new(dir: &Path, layout: &Layout, utc_minus_boottime_ns: i64, zstd_level: i32) -> Result<Self> {
        let decoder = Decoder::new(layout, utc_minus_boottime_ns)?;
        writer_properties(decoder.schema(), zstd_level, false)?;
        Ok(Self {
            name: layout.event.clone(),
            dir: dir.join(&layout.event),
            decoder,
            counters: Vec::new(),
            open: None,
            number: (0, 0),
            unpublished: HashMap::new(),
            bytes_per_row: None,
            record_bytes: layout.record_size.into(),
            count_at: layout.count_at(),
        })
    }

    /// What a segment of so many rows takes, as far as that is known.
    pub fn expected_bytes(&self, rows: u64) -> u64 {
        rows * self.bytes_per_row.unwrap_or(self.record_bytes)
    }

    /// The rows of `chunk` are on their way into the open segment, or, if they are counted [batch by
    /// batch](Self::count_batch), into several.
    pub fn count(&mut self, chunk: &Chunk, is_by_batch: bool) {
        for buffer in chunk.buffers.iter().filter(|_| !is_by_batch) {
            let events = events(&buffer.bytes, chunk.record_size, self.count_at);
            *self.unpublished.entry((buffer.probe, buffer.cpu)).or_default() += events;
        }
        let sources = chunk.buffers.iter().map(|buffer| buffer.source + 1).max().unwrap_or(0);
        if sources > self.counters.len() {
            self.counters.resize(sources, SeqCounter::default());
        }
    }

    /// The rows of `batch` are in the open segment.
    pub fn count_batch(&mut self, batch: &RecordBatch) -> Result<()> {
        for (source, rows) in sources(batch, self.count_at.is_some())? {
            *self.unpublished.entry(source).or_default() += rows;
        }
        Ok(())
    }

    /// The rows that are not committed will not be.
    pub fn forget(&mut self) {
        self.open = None;
        self.unpublished.clear();
    }
}

/// A segment without rows for `table` of the trace `dir`; `schema` is that of an event.
pub fn empty_segment(
    dir: &Path,
    schema: Option<SchemaRef>,
    table: &str,
    (number, epoch): (u64, u64),
) -> Result<NewSegment> {
    let schema = schema.map_or_else(|| side_schema(table), Ok)?;
    let properties = writer_properties(&schema, 1, false)?;
    let segment = Segment::create(&dir.join(table), &number.to_string(), &schema, properties)?;
    Ok(NewSegment::new(segment.finish()?, table, number, epoch))
}

/// The schema of event `table`, if it is one.
pub fn event_schema(meta: &Meta, table: &str) -> Option<SchemaRef> {
    let layout = meta.events.iter().find(|layout| layout.event == table)?;
    Some(layout.schema().into())
}
