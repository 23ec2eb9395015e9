//! A tee keeps the frames of a source; their replay gives the same records, watermarks, counters and trace.

use std::collections::VecDeque;

use crate::common::*;
use anyhow::Result;
use recorder::pipeline::replay::FrameHeader;
use recorder::pipeline::{End, FrameFile, RecordBuilder, Tee, TraceWriter};
use recorder::source::{EventSource, ProbeCounters, ProbeId};
use schemas::wire::Counters;

/// Records by probe and cpu, and the watermark after them.
type Drain = (Vec<(ProbeId, u16, Vec<u8>)>, u64);

/// A source of prepared drains.
struct Prepared(VecDeque<Drain>);

impl EventSource for Prepared {
    fn drain(&mut self, visit: &mut dyn FnMut(ProbeId, u16, &[u8])) -> Result<u64> {
        let (records, watermark) = self.0.pop_front().unwrap_or((vec![], u64::MAX));
        records.iter().for_each(|(probe, cpu, record)| visit(*probe, *cpu, record));
        Ok(watermark)
    }

    fn counters(&mut self) -> Result<Vec<ProbeCounters>> {
        let counters = |n: u64| Counters { fired: n, recorded: n, ..Counters::default() };
        Ok(vec![ProbeCounters {
            probe: 0,
            per_cpu: vec![counters(20), counters(10)],
            recursion_misses: None,
            kprobe_misses: Some(2),
            unfollowed: 0,
        }])
    }

    fn finished(&self) -> bool {
        self.0.is_empty()
    }
}

fn run(
    source: &mut dyn EventSource,
    header: &FrameHeader,
    dir: &std::path::Path,
) -> arrow_array::RecordBatch {
    let mut writer = TraceWriter::create(dir, header.meta.clone(), replay_options()).unwrap();
    header.probes.iter().for_each(|row| writer.add_probe(row.clone()).unwrap());
    while !source.finished() {
        let watermark =
            source.drain(&mut |probe, cpu, record| writer.feed(probe, cpu, record).unwrap()).unwrap();
        writer.tick(watermark, &mut || Ok(vec![])).unwrap();
    }
    let counters = source.counters().unwrap();
    let summary = writer.close(End { counters, ..End::default() }).unwrap();
    // Two calls that a kprobe missed were seen too.
    assert_eq!((summary.events["tick"].seen, summary.events["tick"].recorded), (32, 30));
    read_table(dir, "tick")
}

fn frames() -> (Vec<u8>, arrow_array::RecordBatch) {
    let temp = tempfile::tempdir().unwrap();
    let layout = layout("tick", &[("value", "u64")]);
    let header = FrameHeader { meta: meta(vec![layout.clone()], 5), probes: vec![probe(0, "tick")] };
    let record = |ts: u64| RecordBuilder::new(&layout, ts).seq(ts as u32).set_u64("value", ts * 3).build();
    let drains = (0..10u64)
        .map(|d| ((0..3).map(|i| (0, (i % 2) as u16, record(d * 10 + i))).collect(), d * 10 + 9))
        .collect();
    let mut tee = Tee::new(Prepared(drains), Vec::new(), &header).unwrap();
    let live = run(&mut tee, &header, &temp.path().join("live.trace"));
    assert_eq!(live.num_rows(), 30);
    (tee.finish().unwrap().1, live)
}

#[test]
fn a_replay_gives_the_same_trace_as_the_live_source() {
    let temp = tempfile::tempdir().unwrap();
    let (bytes, live) = frames();
    let path = temp.path().join("run.frames");
    std::fs::write(&path, &bytes).unwrap();
    let mut file = FrameFile::open(&path).unwrap();
    let header = file.header().clone();
    let replayed = run(&mut file, &header, &temp.path().join("replay.trace"));
    assert_eq!(replayed, live);
    let counters = file.counters().unwrap();
    assert_eq!(counters.len(), 1);
    assert_eq!((counters[0].recursion_misses, counters[0].kprobe_misses), (None, Some(2)));
    assert_eq!(counters[0].per_cpu[0].fired, 20);
}

#[test]
fn a_damaged_frame_file_is_an_error_never_a_panic() {
    let (bytes, _) = frames();
    for cut in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged.truncate(cut);
        if let Ok(mut file) = FrameFile::new(&damaged[..]) {
            while let (Ok(_), false) = (file.drain(&mut |_, _, _| {}), file.finished()) {}
        }
        damaged = bytes.clone();
        damaged[cut] ^= 0xa5;
        if let Ok(mut file) = FrameFile::new(&damaged[..]) {
            while let (Ok(_), false) = (file.drain(&mut |_, _, _| {}), file.finished()) {}
        }
    }
    let error = FrameFile::new(&b"PAR1...."[..]).err().unwrap().to_string();
    assert_eq!(error, "not a frame file: it does not begin with ktapefr2");
}
