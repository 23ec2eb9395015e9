//! A watermark that stands still: a record that the kernel has begun and not finished, or a snapshot that takes its time.

use std::collections::VecDeque;
use std::path::Path;

use crate::common::*;
use anyhow::Result;
use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use recorder::pipeline::{End, Options, RecordBuilder, TraceWriter};
use recorder::source::{EventSource, ProbeCounters, ProbeId};
use schemas::column::Layout;
use schemas::wire::{Counters, lost};

const MS: u64 = 1_000_000;
const FLOOD: ProbeId = 0;
const RARE: ProbeId = 1;
const STAGED_BYTES: usize = 256 << 10;
/// Records that a ring has room for.
const RING_ROOM: usize = 1000;
const FLOOD_PER_MS: u64 = 100;

/// A ring of one probe, as the engine has it.
struct Lane {
    layout: Layout,
    ring: VecDeque<Vec<u8>>,
    floor_ns: u64,
    is_paused: bool,
    counters: Counters,
    seq: u32,
}

impl Lane {
    fn new(event: &str) -> Self {
        let layout = layout(event, &[("value", "u64")]);
        let (ring, counters) = (VecDeque::new(), Counters::default());
        Self { layout, ring, floor_ns: 0, is_paused: false, counters, seq: 0 }
    }

    fn fire(&mut self, ts_ns: u64) {
        self.counters.fired += 1;
        self.seq += 1;
        if self.ring.len() == RING_ROOM {
            self.counters.lost[lost::RING_FULL] += 1;
        } else {
            self.counters.recorded += 1;
            self.ring.push_back(RecordBuilder::new(&self.layout, ts_ns).seq(self.seq).build());
        }
    }
}

/// A flood and a rare event, each with a ring.
struct Rings {
    lanes: [Lane; 2],
    now_ns: u64,
    /// No watermark is later.
    stalled_ns: u64,
    beyond_ns: u64,
}

impl EventSource for Rings {
    fn drain(&mut self, visit: &mut dyn FnMut(ProbeId, u16, &[u8])) -> Result<u64> {
        let (start_ns, mut watermark_ns) = (self.now_ns, self.now_ns + MS);
        self.now_ns += MS;
        (0..FLOOD_PER_MS).for_each(|i| self.lanes[0].fire(start_ns + i * (MS / FLOOD_PER_MS)));
        if start_ns.is_multiple_of(10 * MS) {
            self.lanes[1].fire(start_ns);
        }
        for (probe, lane) in self.lanes.iter_mut().enumerate() {
            if lane.is_paused && lane.floor_ns > self.beyond_ns {
                watermark_ns = watermark_ns.min(lane.floor_ns);
                continue;
            }
            lane.ring.drain(..).for_each(|record| visit(probe as ProbeId, 0, &record));
            lane.floor_ns = self.now_ns;
        }
        Ok(watermark_ns.min(self.stalled_ns))
    }

    fn pause(&mut self, lanes: &[(ProbeId, u16)], watermark_ns: u64) {
        for (probe, lane) in self.lanes.iter_mut().enumerate() {
            lane.is_paused = lanes.contains(&(probe as ProbeId, 0));
        }
        self.beyond_ns = watermark_ns;
    }

    fn counters(&mut self) -> Result<Vec<ProbeCounters>> {
        let counters = |(probe, lane): (usize, &Lane)| ProbeCounters {
            probe: probe as ProbeId,
            per_cpu: vec![lane.counters],
            ..ProbeCounters::default()
        };
        Ok(self.lanes.iter().enumerate().map(counters).collect())
    }

    fn finished(&self) -> bool {
        false
    }
}

/// A recording of both in `dir`.
fn begin(dir: &Path, staged_bytes: usize) -> (TraceWriter, Rings) {
    let lanes = [Lane::new("flood"), Lane::new("rare")];
    let layouts = lanes.iter().map(|lane| lane.layout.clone()).collect();
    let options = Options { staged_bytes, ..replay_options() };
    let mut writer = TraceWriter::create(dir, meta(layouts, 0), options).unwrap();
    writer.add_probe(probe(FLOOD, "flood")).unwrap();
    writer.add_probe(probe(RARE, "rare")).unwrap();
    (writer, Rings { lanes, now_ns: 1000 * MS, stalled_ns: u64::MAX, beyond_ns: 0 })
}

/// The most that is staged meanwhile, bytes.
fn run(writer: &mut TraceWriter, rings: &mut Rings, ms: u64) -> usize {
    let mut most = 0;
    for _ in 0..ms {
        writer.pump(rings).unwrap();
        most = most.max(writer.waiting_bytes());
    }
    most
}

#[test]
fn what_waits_for_a_watermark_is_bounded_and_a_rare_event_beside_a_flood_is_not_lost() {
    let temp = fast_dir();
    let dir = temp.path().join("run.trace");
    let (mut writer, mut rings) = begin(&dir, STAGED_BYTES);
    let record_bytes = rings.lanes[0].layout.record_size as usize;
    let full = |rings: &Rings| rings.lanes[0].counters.lost[lost::RING_FULL];
    run(&mut writer, &mut rings, 3000);
    assert_eq!(full(&rings), 0);
    rings.stalled_ns = rings.now_ns;
    let most = run(&mut writer, &mut rings, 1500);
    let stalled_bytes = 1500 * FLOOD_PER_MS as usize * record_bytes;
    let bound = STAGED_BYTES + RING_ROOM * record_bytes;
    assert!(most > STAGED_BYTES && most <= bound && bound < stalled_bytes / 2, "{most} bytes were staged");
    let while_stalled = full(&rings);
    assert!(while_stalled > 0, "the flood was not held back");
    rings.stalled_ns = u64::MAX;
    run(&mut writer, &mut rings, 2);
    let after = full(&rings);
    run(&mut writer, &mut rings, 3000);
    assert_eq!(full(&rings), after, "it goes on as before");

    let counters = rings.counters().unwrap();
    // What fired in the last drain was drained in it.
    let summary = writer.close(End { counters, ..End::default() }).unwrap();
    let totals = |event: &str| {
        let totals = &summary.events[event];
        (totals.fired, totals.recorded, totals.lost)
    };
    assert_eq!(totals("flood"), (7502 * FLOOD_PER_MS, 7502 * FLOOD_PER_MS - after, after));
    assert_eq!(summary.events["flood"].reasons["ring_full"], after);
    assert_eq!(read_table(&dir, "flood").num_rows() as u64, 7502 * FLOOD_PER_MS - after);
    assert_eq!(totals("rare"), (751, 751, 0));
    assert_eq!(read_table(&dir, "rare").num_rows(), 751);
    assert_sorted(&read_table(&dir, "flood"));
    assert_follow(&intervals(&read_table(&dir, "counts"), FLOOD), 0);
}

#[test]
fn what_the_kernel_recorded_and_never_came_out_of_a_ring_is_taken_back_at_the_end() {
    let temp = fast_dir();
    let dir = temp.path().join("run.trace");
    let (mut writer, mut rings) = begin(&dir, Options::default().staged_bytes);
    run(&mut writer, &mut rings, 1500);
    rings.pause(&[(FLOOD, 0)], 0);
    let mut feed = |probe: ProbeId, cpu: u16, record: &[u8]| writer.feed(probe, cpu, record).unwrap();
    rings.drain(&mut feed).unwrap();
    let counters = rings.counters().unwrap();
    let summary = writer.close(End { counters, ..End::default() }).unwrap();
    let flood = &summary.events["flood"];
    assert_eq!((flood.seen, flood.recorded, flood.lost), (150_100, 150_000, FLOOD_PER_MS));
    assert_eq!(flood.reasons["unread"], FLOOD_PER_MS);
    assert!(flood.has_loss());
    assert_eq!(read_table(&dir, "flood").num_rows(), 150_000);
    let counts = read_table(&dir, "counts");
    let recorded = counts.column_by_name("recorded").unwrap().as_primitive::<Int64Type>();
    let rows = read_table(&dir, "rare").num_rows() as i64 + 150_000;
    assert_eq!(recorded.values().iter().sum::<i64>(), rows);
}
