//! Runs of raw records of one event, one or more per probe and CPU, in; rows sorted by (ts, cpu, seq), a batch at a
//! time, out.
//!
//! Rings give records in time order except where an interrupt came between a probe's clock reading and its
//! reservation. Each such step back begins a new run, so a heap over the runs sorts everything at the price of the
//! disorder that is really there. Records are not moved: a row is where its record lies.

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
    /// Boot time (ns) of the oldest record, if there is one.
    pub fn first_ns(&self) -> Option<u64> {
        let first = |buffer: &Buffer| {
            let starts = [0].into_iter().chain(buffer.breaks.iter().copied());
            starts
                .filter(|start| *start < buffer.bytes.len())
                .map(|start| ts_ns(&buffer.bytes[start..]))
                .min()
        };
        self.buffers.iter().filter_map(first).min()
    }

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

/// Sorted raw rows, which stay where they are, and what the records themselves do not say.
#[derive(Debug, Default)]
pub struct Rows<'a> {
    /// The records.
    pub records: Vec<&'a [u8]>,
    /// CPU of each.
    pub cpu: Vec<u16>,
    /// Probe of each.
    pub probe: Vec<ProbeId>,
    /// Sequence number of each, extended to 64 bits.
    pub seq: Vec<u64>,
}

impl Rows<'_> {
    /// Number of rows.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Are there none?
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    fn clear(&mut self) {
        let Self { records, cpu, probe, seq } = self;
        records.clear();
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

struct Run<'a> {
    buffer: &'a Buffer,
    /// Not yet taken, never empty.
    records: &'a [u8],
    /// Of the first of them.
    ts_ns: u64,
}

impl Run<'_> {
    /// Order of rows: time, then cpu, then sequence.
    fn is_before(&self, other: &Self) -> bool {
        let detail = |run: &Self| (run.buffer.cpu, seq(run.records));
        self.ts_ns < other.ts_ns || (self.ts_ns == other.ts_ns && detail(self) < detail(other))
    }
}

/// A merge in progress.
pub struct Merge<'a> {
    record_size: usize,
    runs: Vec<Run<'a>>,
    /// Runs that are not used up, as a heap: none is before its parent `(i - 1) / 2`.
    heap: Vec<u32>,
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
                    let records = &buffer.bytes[at..end];
                    runs.push(Run { buffer, records, ts_ns: ts_ns(records) });
                    at = end;
                }
            }
        }
        let mut merge = Self { record_size, heap: (0..runs.len() as u32).collect(), runs };
        for parent in (0..merge.heap.len() / 2).rev() {
            merge.sift_down(parent);
        }
        merge
    }

    /// Put the next rows, at most `most`, into `rows`. `counters` has one entry per source. False at the end.
    pub fn next(&mut self, most: usize, counters: &mut [SeqCounter], rows: &mut Rows<'a>) -> bool {
        rows.clear();
        while rows.len() < most && !self.heap.is_empty() {
            self.take_burst(most, counters, rows);
        }
        !rows.is_empty()
    }

    /// Take records of the run that is before all others, as long as it is: events of one cpu come in bursts, and
    /// only the change to another run costs a search.
    fn take_burst(&mut self, most: usize, counters: &mut [SeqCounter], rows: &mut Rows<'a>) {
        let Self { record_size, runs, heap } = self;
        let first = heap[0] as usize;
        let second = match heap[1..] {
            [] => None,
            [one] => Some(one),
            [left, right, ..] if runs[right as usize].is_before(&runs[left as usize]) => Some(right),
            [left, ..] => Some(left),
        };
        let Buffer { cpu, probe, source, .. } = *runs[first].buffer;
        loop {
            let run = &mut runs[first];
            let (record, rest) = run.records.split_at(*record_size);
            rows.records.push(record);
            rows.cpu.push(cpu);
            rows.probe.push(probe);
            rows.seq.push(counters[source].extend(seq(record)));
            run.records = rest;
            if rest.is_empty() {
                heap.swap_remove(0);
                break;
            }
            run.ts_ns = ts_ns(rest);
            let is_behind = second.is_some_and(|second| !runs[first].is_before(&runs[second as usize]));
            if is_behind || rows.records.len() == most {
                break;
            }
        }
        self.sift_down(0);
    }

    /// Put the run at `at` where it belongs below.
    fn sift_down(&mut self, mut at: usize) {
        let Self { runs, heap, .. } = self;
        let Some(&run) = heap.get(at) else { return };
        loop {
            let child = match heap.get(2 * at + 1..) {
                None | Some([]) => break,
                Some(&[left, right, ..]) if runs[right as usize].is_before(&runs[left as usize]) => {
                    2 * at + 2
                }
                _ => 2 * at + 1,
            };
            if !runs[heap[child] as usize].is_before(&runs[run as usize]) {
                break;
            }
            heap[at] = heap[child];
            at = child;
        }
        heap[at] = run;
    }
}
