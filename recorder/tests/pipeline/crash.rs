//! What remains of a trace when the disk is full or the directory goes away; who may read it.

use std::time::{Duration, Instant};

use crate::common::*;
use arrow_array::cast::AsArray;
use recorder::pipeline::{End, Options, RecordBuilder, TraceWriter};
use recorder::store::compaction::compact;
use recorder::store::recovery::recover;

#[test]
fn a_full_disk_ends_the_recording_and_what_was_written_stays() {
    if !nix::unistd::geteuid().is_root() {
        return as_root_of_a_namespace("crash::a_full_disk_ends_the_recording_and_what_was_written_stays");
    }
    let temp = tempfile::tempdir().unwrap();
    let disk = SmallDisk::mount(temp.path(), "1m");
    let dir = temp.path().join("run.trace");
    let layout = layout("noise", &[("value", "u64"), ("other", "u64")]);
    let options = Options { segment_age: Duration::from_millis(100), ..replay_options() };
    let mut writer = TraceWriter::create(&dir, meta(vec![layout.clone()], 0), options).unwrap();
    writer.add_probe(probe(0, "noise")).unwrap();
    let mut random = 88172645463325252u64;
    let started = Instant::now();
    let mut fed = 0u64;
    let error = 'feed: loop {
        for _ in 0..1000 {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            let record = RecordBuilder::new(&layout, fed * 10_000).seq(fed as u32);
            let record = record.set_u64("value", random).set_u64("other", random.wrapping_mul(77));
            writer.feed(0, 0, &record.build()).unwrap();
            fed += 1;
        }
        if let Err(error) = writer.tick(fed * 10_000, &mut || Ok(vec![])) {
            break 'feed error;
        }
        assert!(started.elapsed() < Duration::from_secs(60), "the disk did not fill");
    };
    let message = format!("{error:#}");
    assert!(message.contains("noise") && message.contains("No space left on device"), "{message}");
    let summary = writer.close(End::default()).unwrap();
    assert!(summary.failure.is_some());
    let totals = &summary.events["noise"];
    let batches: Vec<_> = segments(&dir, "noise").iter().flat_map(|path| read_segment(path)).collect();
    let rows: u64 = batches.iter().map(|b| b.num_rows() as u64).sum();
    assert!(rows > 0);
    assert_eq!((totals.recorded, totals.lost, totals.seen), (rows, fed - rows, fed));
    assert_eq!(totals.reasons["disk"], fed - rows);
    let losses = read_table(&dir, "losses");
    let reasons = arrow_cast_text(losses.column_by_name("reason").unwrap());
    assert!(reasons.as_string::<i32>().iter().all(|reason| reason == Some("disk")));
    let counts =
        losses.column_by_name("count").unwrap().as_primitive::<arrow_array::types::Int64Type>().clone();
    assert_eq!(counts.values().iter().sum::<i64>() as u64, fed - rows);
    assert_eq!(recover(&dir).unwrap(), None, "no temporary file is left");
    drop(disk);
}

#[test]
fn a_trace_of_a_later_format_or_with_tables_elsewhere_is_refused() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("run.trace");
    small_segments(&dir, 10, 10);
    let path = dir.join("trace.json");
    let json = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, json.replace("\"format_version\": 2", "\"format_version\": 99")).unwrap();
    let error = compact(&dir, &mut |_, _| Ok(())).unwrap_err().to_string();
    assert!(error.ends_with("has format version 99, this program knows up to 2: use a newer one"), "{error}");
    std::fs::write(&path, &json).unwrap();
    let mut meta = read_meta(&dir);
    meta.events[0].event = "../tick".to_owned();
    std::fs::write(&path, meta.to_text().unwrap()).unwrap();
    let error = format!("{:#}", compact(&dir, &mut |_, _| Ok(())).unwrap_err());
    assert!(error.contains("event name '../tick' "), "{error}");
}

#[test]
fn a_removed_output_directory_ends_the_recording_with_a_clear_message() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("run.trace");
    let layout = layout("tick", &[("value", "u64")]);
    let mut writer = TraceWriter::create(&dir, meta(vec![layout.clone()], 0), replay_options()).unwrap();
    writer.add_probe(probe(0, "tick")).unwrap();
    std::fs::remove_dir_all(&dir).unwrap();
    let started = Instant::now();
    let mut now_ns = 0;
    let error = loop {
        now_ns += 100_000_000;
        writer.feed(0, 0, &RecordBuilder::new(&layout, now_ns).build()).unwrap();
        if let Err(error) = writer.tick(now_ns + 1, &mut || Ok(vec![])) {
            break format!("{error:#}");
        }
        assert!(started.elapsed() < Duration::from_secs(20), "nobody noticed");
        std::thread::sleep(Duration::from_millis(1));
    };
    assert!(error.contains("No such file or directory") && error.contains("run.trace' is gone"), "{error}");
    let summary = writer.close(End::default()).unwrap();
    let error = format!("{:#}", summary.failure.unwrap());
    assert!(error.contains("No such file or directory") && error.contains("run.trace' is gone"), "{error}");
    assert!(!dir.exists());
}
