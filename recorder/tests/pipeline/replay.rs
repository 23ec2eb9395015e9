//! What goes into the pipeline is kept; its replay gives the same trace, and no file makes it panic.

use std::fs::File;
use std::path::Path;

use crate::common::*;
use arrow_array::RecordBatch;
use recorder::pipeline::{End, FrameFile, FramePlace, Options, RecordBuilder, TraceWriter, replay};
use recorder::source::ProbeCounters;
use schemas::column::Layout;
use schemas::frames::Frame;
use schemas::frames::block::{BlockReader, BlockWriter, Codec};
use schemas::wire::Counters;

fn counters(n: u64) -> Vec<ProbeCounters> {
    let counters = |n: u64| Counters { fired: n, recorded: n, ..Counters::default() };
    vec![ProbeCounters {
        probe: 0,
        per_cpu: vec![counters(n * 2 / 3), counters(n / 3)],
        recursion_misses: None,
        kprobe_misses: Some(2),
        sample_misses: 0,
        unfollowed: 0,
    }]
}

fn tick() -> Layout {
    layout("tick", &[("value", "u64"), ("where", "sym"), ("stack", "kstack[4]"), ("name", "string[20]")])
}

/// A recording of 30 records in ten drains, a second each, two late ones among them; a snapshot's cut in the middle.
fn record(dir: &Path, options: Options) {
    let layout = tick();
    let mut writer = TraceWriter::create(dir, meta(vec![layout.clone()], 5), options).unwrap();
    writer.keep_symbols("0000000000001000 t first\n0000000000002000 t second\t[module]\n");
    writer.add_probe(probe(0, "tick")).unwrap();
    for drain in 0..10u64 {
        for i in 0..3 {
            let ts_ns = if (drain, i) == (7, 2) { 5 } else { drain * 1_000_000_000 + i };
            let record = RecordBuilder::new(&layout, ts_ns)
                .seq((drain * 3 + i) as u32)
                .set_u64("value", ts_ns * 3)
                .set_u64("where", 0x1000 + i * 0x800)
                .set_stack("stack", &[0x1010, 0x2020 + drain])
                .set_text("name", format!("name {}", drain % 3))
                .build();
            writer.feed(0, (i % 2) as u16, &record).unwrap();
        }
        let watermark_ns = drain * 1_000_000_000 + 999_999_999;
        writer.tick(watermark_ns, &mut || Ok(counters(drain * 3 + 3))).unwrap();
    }
    let summary =
        writer.close(End { counters: counters(30), command_exit_code: Some(7), ..End::default() }).unwrap();
    // Two calls that a kprobe missed were seen too.
    assert_eq!((summary.events["tick"].seen, summary.events["tick"].recorded), (32, 30));
    assert!(summary.failure.is_none() && summary.not_kept.is_none(), "{summary:?}");
}

/// The frames of that recording, and its rows by table.
fn frames() -> (Vec<u8>, Vec<RecordBatch>) {
    let temp = fast_dir();
    let path = temp.path().join("frames");
    let place = FramePlace { file: File::create_new(&path).unwrap(), shown: "frames".to_owned() };
    let dir = temp.path().join("live.trace");
    let names = schemas_names();
    record(&dir, Options { frames: Some(place), symbolizer: names, ..replay_options() });
    (std::fs::read(&path).unwrap(), tables(&dir))
}

/// What the file says about names, for the recording.
fn schemas_names() -> recorder::pipeline::Symbolizer {
    use recorder::pipeline::Symbol;
    Box::new(|address| {
        let symbol = |name: &str, start: u64, module: Option<&str>| Symbol {
            name: name.to_owned(),
            offset_bytes: (address - start) as i64,
            module: module.map(str::to_owned),
        };
        match address {
            0..0x1000 => None,
            0x1000..0x2000 => Some(symbol("first", 0x1000, None)),
            _ => Some(symbol("second", 0x2000, Some("module"))),
        }
    })
}

fn tables(dir: &Path) -> Vec<RecordBatch> {
    ["tick", "counts", "losses", "probes", "stacks", "symbols"].map(|table| read_table(dir, table)).to_vec()
}

/// Replay `bytes` into `dir`, if that is possible.
fn replayed(bytes: &[u8], dir: &Path) -> anyhow::Result<Option<String>> {
    let mut file = FrameFile::new(bytes)?;
    let options = Options { symbolizer: file.symbolizer(), ..replay_options() };
    let mut writer = TraceWriter::create(dir, file.meta().clone(), options)?;
    let replayed = replay(&mut file, &mut writer, &mut |_, _| Ok(()))?;
    let summary = writer.close(replayed.end)?;
    match summary.failure {
        Some(error) => Err(anyhow::anyhow!("{error:#}")),
        None => Ok(replayed.torn),
    }
}

#[test]
fn a_replay_gives_the_same_trace_as_the_recording() {
    let (bytes, live) = frames();
    let temp = fast_dir();
    let dir = temp.path().join("replay.trace");
    assert_eq!(replayed(&bytes, &dir).unwrap(), None);
    let again = tables(&dir);
    assert_eq!(again[0].num_rows(), 30);
    for (one, other) in live.iter().zip(&again) {
        assert_eq!(one, other);
    }
    let meta = read_meta(&dir);
    assert_eq!((meta.command_exit_code, meta.end_ns), (Some(7), Some(9_999_999_999 + 5)));
}

/// All frames of a file, each as its bytes.
fn split(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut blocks = BlockReader::new(bytes).unwrap();
    let (mut frames, mut block) = (Vec::new(), Vec::new());
    while blocks.next(&mut block).unwrap().is_ok() {
        let mut rest = &block[..];
        while !rest.is_empty() {
            let before = rest;
            Frame::read(&mut rest).unwrap();
            frames.push(before[..before.len() - rest.len()].to_vec());
        }
    }
    frames
}

fn join(frames: &[Vec<u8>]) -> Vec<u8> {
    let mut writer = BlockWriter::new(Vec::new(), Codec::Plain).unwrap();
    writer.write(&frames[0]).unwrap();
    writer.write(&frames[1..].concat()).unwrap();
    writer.finish().unwrap()
}

/// Checksums tell an accident; whoever makes a file on purpose makes them right.
#[test]
fn frames_that_no_recorder_writes_are_an_error_or_a_trace_never_a_panic() {
    let (bytes, _) = frames();
    let whole = split(&bytes);
    let temp = fast_dir();
    let mut random = 88_172_645_463_325_252u64;
    let mut below = |n: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        (random % n as u64) as usize
    };
    let (mut refused, mut made) = (0, 0);
    for round in 0..150 {
        let mut frames = whole.clone();
        for _ in 0..=below(3) {
            let (at, other) = (below(frames.len()), below(frames.len()));
            match below(5) {
                0 => frames.swap(at, other),
                1 => frames[at] = frames[other].clone(),
                2 => drop(frames.remove(at)),
                // Behind kind and length.
                _ if frames[at].len() > 5 => {
                    let byte = 5 + below(frames[at].len() - 5);
                    frames[at][byte] = [0, 0xff, 0x80, b'9', b'}', 1][below(6)];
                }
                _ => {}
            }
        }
        let dir = temp.path().join(format!("{round}.trace"));
        match replayed(&join(&frames), &dir) {
            Ok(_) => made += 1,
            Err(error) => {
                let text = format!("{error:#}");
                assert!(!text.contains("died") && !text.contains("panic"), "round {round}: {text}");
                refused += 1;
            }
        }
        // It is not there if the header was refused.
        let _ = std::fs::remove_dir_all(&dir);
    }
    assert!(refused > 20 && made > 20, "{refused} refused, {made} made");
}

#[test]
fn counters_that_fall_or_are_impossible_and_records_of_nobody_are_refused() {
    let (bytes, _) = frames();
    let whole = split(&bytes);
    let temp = fast_dir();
    let refused = |frame: Frame<'_>, why: &str| {
        let mut frames = whole.clone();
        let mut bytes = Vec::new();
        frame.write(&mut bytes).unwrap();
        frames.insert(frames.len() - 1, bytes);
        let error = replayed(&join(&frames), &temp.path().join("t")).unwrap_err();
        let _ = std::fs::remove_dir_all(temp.path().join("t"));
        assert!(format!("{error:#}").contains(why), "{error:#}");
    };
    let [fallen] = &counters(3)[..] else { panic!("one probe") };
    refused(Frame::Counters(fallen.clone()), "has counted less than before");
    let [huge] = &counters(u64::MAX / 8)[..] else { panic!("one probe") };
    refused(Frame::Counters(huge.clone()), "are impossible");
    refused(Frame::Record { probe: 0, cpu: 9, record: &[0; 64] }, "a record is of cpu 9");
    refused(Frame::Record { probe: 3, cpu: 0, record: &[0; 64] }, "unknown probe 3");
    refused(Frame::Record { probe: 0, cpu: 0, record: &[0; 64] }, "a record has 64 bytes");
    refused(Frame::Symbols("0 t f"), "behind other frames");
}
