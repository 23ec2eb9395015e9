//! Runs of raw records of one event, one or more per probe and CPU, in; rows sorted by (ts, cpu, seq), a batch at a
//! time, out.
//!
//! Rings give records in time order except where an interrupt came between a probe's clock reading and its
//! reservation. Each such step back begins a new run, so a heap over the runs sorts everything at the price of the
//! disorder that is really there.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;

use crate::source::ProbeId;

/// Records of one probe and CPU in ring order.
#[derive(Debug, Default)]
pub struct Buffer {
    /// Which probe.
    pub probe: ProbeId,
    /// Which CPU.
    pub cpu: u16,
    /// Number of this probe and CPU within the event.
    pub source: usize,
    /// Whole records.
    pub bytes: Vec<u8>,
    /// Byte offsets at which time goes back (the first run begins at 0).
    pub breaks: Vec<usize>,
}

/// Records of one event, all of which may be written.
#[derive(Debug, Default)]
pub struct Chunk {
    /// By probe and CPU.
    pub buffers: Vec<Buffer>,
    /// Bytes of a record.
    pub record_size: usize,
}

impl Chunk {
    /// Boot time (ns) of the youngest record.
    pub fn last_ns(&self) -> u64 {
        let last = |buffer: &Buffer| {
            let ends = buffer.breaks.iter().copied().chain([buffer.bytes.len()]);
            let starts = ends.filter_map(|end| end.checked_sub(self.record_size));
            starts.map(|start| ts_ns(&buffer.bytes[start..])).max()
        };
        self.buffers.iter().filter_map(last).max().unwrap_or(0)
    }

    /// Bytes of all records.
    pub fn bytes(&self) -> usize {
        self.buffers.iter().map(|b| b.bytes.len()).sum()
    }
}

/// Sorted raw rows and what the records themselves do not say.
#[derive(Debug, Default)]
pub struct Rows {
    /// Records, one after the other.
    pub bytes: Vec<u8>,
    /// CPU of each.
    pub cpu: Vec<u16>,
    /// Probe of each.
    pub probe: Vec<ProbeId>,
    /// Sequence number of each, extended to 64 bits.
    pub seq: Vec<u64>,
}

impl Rows {
    /// Number of rows.
    pub fn len(&self) -> usize {
        self.cpu.len()
    }

    /// Are there none?
    pub fn is_empty(&self) -> bool {
        self.cpu.is_empty()
    }

    fn clear(&mut self) {
        let Self { bytes, cpu, probe, seq } = self;
        bytes.clear();
        cpu.clear();
        probe.clear();
        seq.clear();
    }
}

/// Time of a record.
pub fn ts_ns(record: &[u8]) -> u64 {
    u64::from_ne_bytes(bytes_at(record, 0))
}

/// Sequence number of a record, as the kernel counts it.
pub fn seq(record: &[u8]) -> u32 {
    u32::from_ne_bytes(bytes_at(record, 16))
}

/// `N` bytes at `offset`; the caller has checked the length of the record.
pub fn bytes_at<const N: usize>(record: &[u8], offset: usize) -> [u8; N] {
    let mut bytes = [0; N];
    bytes.copy_from_slice(&record[offset..offset + N]);
    bytes
}

/// Where the sequence of a probe and CPU stands: extends 32 bits to 64 across the wrap, small steps back included.
#[derive(Clone, Copy, Debug, Default)]
pub struct SeqCounter(Option<u64>);

impl SeqCounter {
    /// The 64-bit number of `seq`.
    pub fn extend(&mut self, seq: u32) -> u64 {
        let extended = match self.0 {
            None => u64::from(seq),
            Some(last) => {
                let step = seq.wrapping_sub(last as u32) as i32;
                last.checked_add_signed(i64::from(step)).unwrap_or(u64::from(seq))
            }
        };
        self.0 = Some(extended);
        extended
    }
}

/// Order of rows: time, then cpu, then sequence; then probe and run, so that it is total.
type Key = (u64, u16, u32, ProbeId, usize);

struct Run<'a> {
    buffer: &'a Buffer,
    at: usize,
    end: usize,
}

/// A merge in progress.
pub struct Merge<'a> {
    record_size: usize,
    runs: Vec<Run<'a>>,
    heap: BinaryHeap<Reverse<Key>>,
}

impl<'a> Merge<'a> {
    /// Begin to merge `chunk`.
    pub fn new(chunk: &'a Chunk) -> Self {
        let record_size = chunk.record_size;
        let mut runs = Vec::new();
        for buffer in &chunk.buffers {
            let whole = buffer.bytes.len() / record_size * record_size;
            let mut at = 0;
            for &end in buffer.breaks.iter().chain([&whole]) {
                if end > at {
                    runs.push(Run { buffer, at, end });
                    at = end;
                }
            }
        }
        let heap = runs.iter().enumerate().map(|(i, run)| Reverse(run.key(i))).collect();
        Self { record_size, runs, heap }
    }

    /// Put the next rows, at most `most`, into `rows`. `counters` has one entry per source. False at the end.
    pub fn next(&mut self, most: usize, counters: &mut [SeqCounter], rows: &mut Rows) -> bool {
        rows.clear();
        while rows.len() < most {
            // Changing the top in place costs two comparisons while records of one cpu come in a burst.
            let Some(mut top) = self.heap.peek_mut() else { break };
            let index = top.0.4;
            let run = &mut self.runs[index];
            let record = &run.buffer.bytes[run.at..run.at + self.record_size];
            rows.bytes.extend_from_slice(record);
            rows.cpu.push(run.buffer.cpu);
            rows.probe.push(run.buffer.probe);
            rows.seq.push(counters[run.buffer.source].extend(seq(record)));
            run.at += self.record_size;
            if run.at < run.end {
                top.0 = run.key(index);
            } else {
                PeekMut::pop(top);
            }
        }
        !rows.is_empty()
    }
}

impl Run<'_> {
    fn key(&self, index: usize) -> Key {
        let record = &self.buffer.bytes[self.at..];
        (ts_ns(record), self.buffer.cpu, seq(record), self.buffer.probe, index)
    }
}
