//! Raw records of one event as they come from the rings in; chunks of records behind the watermark out.
//!
//! Records are copied once, into one buffer per probe and CPU. A cut takes every record older than the watermark;
//! since no cut takes a record older than the cut before, what the cuts give is sorted across chunks. A record that
//! comes behind the last cut is late: it goes into buffers of its own.

use std::sync::{Arc, Mutex, PoisonError};

use super::merge::{Buffer, Chunk, bytes_at, seq, ts_ns};
use crate::source::ProbeId;

/// Bytes of the buffers kept for reuse.
const POOL_BYTES: usize = 16 << 20;

#[derive(Default)]
struct Free {
    buffers: Vec<Vec<u8>>,
    bytes: usize,
}

/// Buffers that go round between the drain and the encoder.
#[derive(Clone, Default)]
pub struct Pool(Arc<Mutex<Free>>);

impl Pool {
    fn take(&self) -> Vec<u8> {
        let mut free = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let buffer = free.buffers.pop().unwrap_or_default();
        free.bytes -= buffer.capacity();
        buffer
    }

    /// Give the buffers of a written chunk back.
    pub fn put_back(&self, chunk: Chunk) {
        let mut free = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for mut buffer in chunk.buffers {
            let bytes = buffer.bytes.capacity();
            if free.bytes + bytes <= POOL_BYTES {
                buffer.bytes.clear();
                free.bytes += bytes;
                free.buffers.push(buffer.bytes);
            }
        }
    }
}

#[derive(Default)]
struct Lane {
    buffer: Buffer,
    last: (u64, u32),
}

impl Lane {
    fn push(&mut self, record: &[u8]) {
        let key = (ts_ns(record), seq(record));
        let (last_ts, last_seq) = self.last;
        let steps_back = key.0 < last_ts || (key.0 == last_ts && (key.1.wrapping_sub(last_seq) as i32) < 0);
        if steps_back && !self.buffer.bytes.is_empty() {
            self.buffer.breaks.push(self.buffer.bytes.len());
        }
        self.last = key;
        self.buffer.bytes.extend_from_slice(record);
    }

    /// Time of the first record of each run, which is its oldest.
    fn starts(&self) -> impl Iterator<Item = u64> + '_ {
        let Buffer { bytes, breaks, .. } = &self.buffer;
        let starts = [0].into_iter().chain(breaks.iter().copied());
        starts.filter(|&at| at < bytes.len()).map(|at| ts_ns(&bytes[at..]))
    }

    /// Take the records before `watermark` (all for `None`).
    fn cut(&mut self, watermark: Option<u64>, record_size: usize, pool: &Pool) -> Option<Buffer> {
        if self.buffer.bytes.is_empty() {
            return None;
        }
        // While the watermark stands still, to find that out must not cost a copy of all that is waiting.
        if watermark.is_some_and(|watermark| self.starts().all(|start| start >= watermark)) {
            return None;
        }
        // The next one will be as large: growing step by step would touch all of it twice.
        let mut bytes = pool.take();
        bytes.reserve(self.buffer.bytes.len());
        let fresh = Buffer { bytes, breaks: Vec::new(), ..self.buffer };
        let mut taken = std::mem::replace(&mut self.buffer, fresh);
        let Some(watermark) = watermark else { return Some(taken) };
        let before = |bytes: &[u8]| ts_ns(bytes) < watermark;
        if taken.breaks.is_empty() && before(&taken.bytes[taken.bytes.len() - record_size..]) {
            return Some(taken);
        }
        let all = std::mem::replace(&mut taken.bytes, pool.take());
        let mut start = 0;
        for end in std::mem::take(&mut taken.breaks).into_iter().chain([all.len()]) {
            let run = &all[start..end];
            let (mut low, mut high) = (0, run.len() / record_size);
            while low < high {
                let middle = (low + high) / 2;
                if before(&run[middle * record_size..]) { low = middle + 1 } else { high = middle }
            }
            let (head, tail) = run.split_at(low * record_size);
            append_run(&mut taken, head);
            append_run(&mut self.buffer, tail);
            start = end;
        }
        // What is left may end with an older run than the one last fed.
        if let Some(at) = self.buffer.bytes.len().checked_sub(record_size) {
            let record = &self.buffer.bytes[at..];
            self.last = (ts_ns(record), seq(record));
        }
        (!taken.bytes.is_empty()).then_some(taken)
    }
}

fn append_run(buffer: &mut Buffer, run: &[u8]) {
    if !run.is_empty() && !buffer.bytes.is_empty() {
        buffer.breaks.push(buffer.bytes.len());
    }
    buffer.bytes.extend_from_slice(run);
}

struct Source {
    on_time: Lane,
    late: Lane,
    fed: u64,
    handed: u64,
    late_total: u64,
}

/// What one probe and CPU has fed so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fed {
    /// Which probe.
    pub probe: ProbeId,
    /// Which CPU.
    pub cpu: u16,
    /// Events, of those in late records too: one for each record, or as many as it says.
    pub rows: u64,
    /// Of these, those that were cut.
    pub handed: u64,
    /// Late ones.
    pub late: u64,
}

/// How many events the records in `bytes` stand for: each for one, or for as many as it says at `count_at`.
pub fn events(bytes: &[u8], record_size: usize, count_at: Option<usize>) -> u64 {
    let Some(at) = count_at else { return (bytes.len() / record_size) as u64 };
    let counts = bytes.chunks_exact(record_size).map(|record| u64::from_ne_bytes(bytes_at(record, at)));
    counts.fold(0, u64::wrapping_add)
}

/// Records of one event that are not yet on their way to the disk.
pub struct Staging {
    record_size: usize,
    count_at: Option<usize>,
    sources: Vec<Source>,
    /// No record before this boot time (ns) may go into an ordinary segment any more.
    pub cut_until_ns: u64,
    /// Boot time (ns) of the first record staged since the last cut.
    pub first_ns: Option<u64>,
    /// Bytes staged, late ones not counted.
    pub bytes: usize,
    /// Watermark at the first late record since the last late cut.
    pub late_since_ns: Option<u64>,
    /// Bytes of late records.
    pub late_bytes: usize,
    pool: Pool,
}

impl Staging {
    /// Nothing staged yet.
    pub fn new(record_size: usize, pool: Pool) -> Self {
        Self {
            record_size,
            count_at: None,
            sources: Vec::new(),
            cut_until_ns: 0,
            first_ns: None,
            bytes: 0,
            late_since_ns: None,
            late_bytes: 0,
            pool,
        }
    }

    /// Of records that stand for as many events as they say at `count_at`.
    pub fn counting(self, count_at: Option<usize>) -> Self {
        Self { count_at, ..self }
    }

    /// A new probe and CPU; the result is its number.
    pub fn add_source(&mut self, probe: ProbeId, cpu: u16) -> usize {
        let source = self.sources.len();
        let lane =
            || Lane { buffer: Buffer { probe, cpu, source, ..Buffer::default() }, last: Default::default() };
        self.sources.push(Source { on_time: lane(), late: lane(), fed: 0, handed: 0, late_total: 0 });
        source
    }

    /// Keep a copy of `record`, whose length was checked.
    pub fn push(&mut self, source: usize, record: &[u8]) {
        let source = &mut self.sources[source];
        source.fed += events(record, self.record_size, self.count_at);
        let ts = ts_ns(record);
        if ts < self.cut_until_ns {
            source.late.push(record);
            source.late_total += 1;
            self.late_since_ns.get_or_insert(self.cut_until_ns);
            self.late_bytes += record.len();
        } else {
            source.on_time.push(record);
            self.bytes += record.len();
            if self.first_ns.is_none_or(|first| ts < first) {
                self.first_ns = Some(ts);
            }
        }
    }

    /// Everything before `watermark_ns`, or everything (`None`).
    pub fn cut(&mut self, watermark_ns: Option<u64>) -> Chunk {
        self.cut_until_ns = watermark_ns.unwrap_or(u64::MAX).max(self.cut_until_ns);
        let Self { sources, record_size, count_at, pool, .. } = self;
        let cut = |source: &mut Source| {
            let buffer = source.on_time.cut(watermark_ns, *record_size, pool)?;
            source.handed += events(&buffer.bytes, *record_size, *count_at);
            Some(buffer)
        };
        let buffers: Vec<Buffer> = sources.iter_mut().filter_map(cut).collect();
        let chunk = Chunk { buffers, record_size: *record_size };
        self.bytes -= chunk.bytes();
        self.first_ns = sources.iter().flat_map(|s| s.on_time.starts()).min();
        chunk
    }

    /// All late records.
    pub fn cut_late(&mut self) -> Chunk {
        self.late_since_ns = None;
        self.late_bytes = 0;
        let Self { sources, record_size, count_at, pool, .. } = self;
        let cut = |source: &mut Source| {
            let buffer = source.late.cut(None, *record_size, pool)?;
            source.handed += events(&buffer.bytes, *record_size, *count_at);
            Some(buffer)
        };
        let buffers = sources.iter_mut().filter_map(cut).collect();
        Chunk { buffers, record_size: *record_size }
    }

    /// Bytes staged of each probe and CPU, late ones not counted.
    pub fn lanes(&self) -> impl Iterator<Item = ((ProbeId, u16), usize)> + '_ {
        self.sources.iter().map(|s| {
            let Buffer { probe, cpu, bytes, .. } = &s.on_time.buffer;
            ((*probe, *cpu), bytes.len())
        })
    }

    /// What each probe and CPU has fed.
    pub fn fed(&self) -> impl Iterator<Item = Fed> + '_ {
        self.sources.iter().map(|s| Fed {
            probe: s.on_time.buffer.probe,
            cpu: s.on_time.buffer.cpu,
            rows: s.fed,
            handed: s.handed,
            late: s.late_total,
        })
    }
}

#[cfg(test)]
mod tests {
    use schemas::column::Layout;

    use super::*;
    use schemas::record::RecordBuilder;

    #[test]
    fn while_the_watermark_stands_still_what_waits_is_not_copied() {
        let layout = Layout::new("event", "", vec![], |_| false).0;
        let record = |ts_ns| RecordBuilder::new(&layout, ts_ns).build();
        let size = layout.record_size as usize;
        let mut staging = Staging::new(size, Pool::default());
        let (large, small) = (staging.add_source(0, 0), staging.add_source(0, 1));
        (1000..20_000).for_each(|ts_ns| staging.push(large, &record(ts_ns)));
        // A run of its own.
        staging.push(large, &record(1000));
        staging.push(small, &record(500));
        let place = |staging: &Staging| staging.sources[large].on_time.buffer.bytes.as_ptr();
        let before = place(&staging);
        for (watermark_ns, rows) in [(500, 0), (1000, 1), (1000, 0)] {
            assert_eq!(staging.cut(Some(watermark_ns)).bytes(), rows * size, "before {watermark_ns}");
            assert_eq!(place(&staging), before, "the large lane was copied");
        }
        assert_eq!(staging.first_ns, Some(1000));
        assert_eq!(staging.cut(Some(1001)).bytes(), 2 * size, "of both runs");
        assert_eq!(staging.lanes().collect::<Vec<_>>(), [((0, 0), 18_999 * size), ((0, 1), 0)]);
    }
}
