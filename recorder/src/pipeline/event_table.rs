//! Chunks of an event in; what is known of its rows that are not published out.

use std::collections::{HashMap, VecDeque};
use std::path::{Path, PathBuf};

use anyhow::Result;
use schemas::column::Layout;

use super::decode::Decoder;
use super::merge::{Chunk, SeqCounter};
use super::progress::RowsBySource;
use super::segment::{Segment, writer_properties};
use crate::source::ProbeId;

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
    /// Rows in `open`, or on their way into it.
    pub unpublished: RowsBySource,
    /// Boot time (ns) of the first of them.
    pub open_since_ns: Option<u64>,
}

impl EventTable {
    /// A table without rows in `dir`. Fails if a layout or the zstd level makes no sense.
    pub fn new(dir: &Path, layout: &Layout, utc_minus_boottime_ns: i64, zstd_level: i32) -> Result<Self> {
        let decoder = Decoder::new(layout, utc_minus_boottime_ns)?;
        writer_properties(decoder.schema(), zstd_level, false)?;
        Ok(Self {
            name: layout.event.clone(),
            dir: dir.join(&layout.event),
            decoder,
            counters: Vec::new(),
            open: None,
            unpublished: HashMap::new(),
            open_since_ns: None,
        })
    }

    /// The rows of `chunk` are on their way into the open segment.
    pub fn count(&mut self, chunk: &Chunk) {
        for (source, rows) in rows_of(chunk) {
            *self.unpublished.entry(source).or_default() += rows;
        }
        self.open_since_ns = self.open_since_ns.into_iter().chain(chunk.first_ns()).min();
        let sources = chunk.buffers.iter().map(|buffer| buffer.source + 1).max().unwrap_or(0);
        if sources > self.counters.len() {
            self.counters.resize(sources, SeqCounter::default());
        }
    }
}

/// Segments of events that the publisher has got.
#[derive(Default)]
pub struct OnTheirWay {
    handed_over: u64,
    /// Those that it had not published lately: their number and the boot time (ns) of their first row.
    waiting: VecDeque<(u64, u64)>,
}

impl OnTheirWay {
    /// One more, with rows since boot time `first_ns`.
    pub fn push(&mut self, first_ns: Option<u64>) {
        self.handed_over += 1;
        self.waiting.extend(first_ns.map(|first_ns| (self.handed_over, first_ns)));
    }

    /// Boot time (ns) of the oldest row that is not published, once so many segments are `published`.
    pub fn oldest_ns(&mut self, published: u64) -> Option<u64> {
        while self.waiting.front().is_some_and(|(number, _)| *number <= published) {
            self.waiting.pop_front();
        }
        self.waiting.iter().map(|(_, first_ns)| *first_ns).min()
    }
}

/// Rows of a chunk, by probe and CPU.
pub fn rows_of(chunk: &Chunk) -> impl Iterator<Item = ((ProbeId, u16), u64)> + '_ {
    let rows = |bytes: &[u8]| (bytes.len() / chunk.record_size) as u64;
    chunk.buffers.iter().map(move |buffer| ((buffer.probe, buffer.cpu), rows(&buffer.bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_on_their_way_until_their_segment_is_published() {
        let mut segments = OnTheirWay::default();
        [Some(7), None, Some(5), Some(9)].into_iter().for_each(|first_ns| segments.push(first_ns));
        assert_eq!([segments.oldest_ns(0), segments.oldest_ns(2)], [Some(5), Some(5)]);
        assert_eq!([segments.oldest_ns(3), segments.oldest_ns(4)], [Some(9), None]);
    }
}
