//! Small segments merged: what a reader sees meanwhile, and what remains when that stops half-way.

use std::fs::File;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::common::*;
use arrow_array::cast::AsArray;
use arrow_array::types::UInt64Type;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use recorder::pipeline::TraceWriter;
use recorder::pipeline::compact::{Step, compact, compact_table};

#[test]
fn a_compaction_stopped_at_any_step_shows_each_row_once_and_can_be_done_again() {
    let expected: Vec<u64> = (0..1000).collect();
    for step in [Step::Begun, Step::Merged, Step::FileMade, Step::Built, Step::Exchanged] {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("run.trace");
        small_segments(&dir, 1000, 100);
        assert_eq!(segments(&dir, "tick").len(), 10);
        let mut was_there = false;
        let stopped = compact_table(&dir, "tick", Default::default(), &mut |at| {
            was_there |= at == step;
            assert_eq!(values(&dir, "tick"), expected, "during {at:?}");
            if at == step { Err(anyhow::anyhow!("stopped")) } else { Ok(()) }
        });
        assert!(was_there && stopped.is_err());
        assert_eq!(values(&dir, "tick"), expected, "stopped at {step:?}");
        compact(&dir, &mut |_, _| Ok(())).unwrap();
        assert_eq!(values(&dir, "tick"), expected, "compacted again after {step:?}");
        assert_eq!(segments(&dir, "tick").len(), 1);
        let left: Vec<_> = std::fs::read_dir(&dir).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert!(left.iter().all(|name| !name.to_string_lossy().starts_with('.')), "{left:?}");
    }
}

#[test]
fn large_row_groups_are_spliced_and_small_ones_are_joined() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("run.trace");
    small_segments(&dir, 300_000, 90_000);
    assert_eq!(segments(&dir, "tick").len(), 4);
    compact(&dir, &mut |_, _| Ok(())).unwrap();
    assert_eq!(segments(&dir, "tick").len(), 1);
    assert_eq!(values(&dir, "tick"), (0..300_000).collect::<Vec<u64>>());
    let done = compact(&dir, &mut |_, _| Ok(())).unwrap();
    assert_eq!(done.segments_before, done.segments_after, "nothing to do");
}

#[test]
fn a_trace_being_written_cannot_be_compacted() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("run.trace");
    let writer = TraceWriter::create(&dir, meta(vec![], 0), replay_options()).unwrap();
    let error = compact(&dir, &mut |_, _| Ok(())).unwrap_err().to_string();
    assert!(error.ends_with("is being written by another recorder: wait until it ends"), "{error}");
    writer.abandon().unwrap();
}

/// Column `value` as a reader sees it that lists the table and opens what it found; `None` if a file was gone by then.
fn read_once(dir: &Path) -> Option<Vec<u64>> {
    let paths = segments(dir, "tick");
    let files: Option<Vec<File>> = paths.iter().map(|path| File::open(path).ok()).collect();
    let mut values = Vec::new();
    for file in files.filter(|files| !files.is_empty())? {
        for batch in ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap() {
            let batch = batch.unwrap();
            let column = batch.column_by_name("value").unwrap().as_primitive::<UInt64Type>().clone();
            values.extend_from_slice(column.values());
        }
    }
    Some(values)
}

#[test]
fn who_reads_during_a_compaction_sees_each_row_once() {
    let temp = tempfile::tempdir().unwrap();
    let expected: Vec<u64> = (0..4000).collect();
    let (mut reads, mut again) = (0, 0);
    for round in 0..20 {
        let dir = temp.path().join(format!("{round}.trace"));
        small_segments(&dir, 4000, 200);
        let is_done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let (mut reads, mut again) = (0, 0);
                while !is_done.load(Ordering::Relaxed) {
                    match read_once(&dir) {
                        Some(values) => assert!(values == expected, "round {round}: {} rows", values.len()),
                        None => again += 1,
                    }
                    reads += 1;
                }
                (reads, again)
            });
            compact(&dir, &mut |_, _| Ok(())).unwrap();
            is_done.store(true, Ordering::Relaxed);
            let (more, more_again) = reader.join().unwrap();
            (reads, again) = (reads + more, again + more_again);
        });
        assert_eq!(read_once(&dir).unwrap(), expected);
        assert_eq!(segments(&dir, "tick").len(), 1);
    }
    println!("{reads} times read, {again} times a file was gone and the table was to be listed again");
    assert!(reads >= 20, "{reads}");
}

#[test]
fn a_compaction_that_is_stopped_leaves_the_table_as_it_was() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("run.trace");
    small_segments(&dir, 1000, 100);
    let before = segments(&dir, "tick");
    let stopped = compact(&dir, &mut |table, segments| {
        anyhow::ensure!(table != "tick" || segments < 5, "enough");
        Ok(())
    });
    assert!(format!("{:#}", stopped.unwrap_err()).ends_with("'tick': enough"));
    assert_eq!(segments(&dir, "tick"), before);
    let names =
        std::fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert_eq!(names.filter(|name| name.starts_with('.')).count(), 0);
}

#[test]
fn without_room_for_the_new_files_the_segments_stay_and_that_is_said() {
    if !nix::unistd::geteuid().is_root() {
        return as_root_of_a_namespace(
            "crash_compact::without_room_for_the_new_files_the_segments_stay_and_that_is_said",
        );
    }
    let temp = tempfile::tempdir().unwrap();
    let _disk = SmallDisk::mount(temp.path(), "2m");
    let dir = temp.path().join("run.trace");
    small_segments(&dir, 4000, 100);
    let before = segments(&dir, "tick");
    // All but a few pages.
    let disk = nix::sys::statvfs::statvfs(&dir).unwrap();
    let fill = (disk.blocks_available() - 8) * disk.fragment_size();
    std::fs::write(temp.path().join("fill"), vec![1; fill as usize]).unwrap();
    let error = format!("{:#}", compact(&dir, &mut |_, _| Ok(())).unwrap_err());
    assert!(error.contains("'tick'") && error.contains("KiB are free: free space"), "{error}");
    assert_eq!(segments(&dir, "tick"), before);
    assert_eq!(values(&dir, "tick"), (0..4000).collect::<Vec<u64>>());
    std::fs::remove_file(temp.path().join("fill")).unwrap();
    compact(&dir, &mut |_, _| Ok(())).unwrap();
    assert_eq!(segments(&dir, "tick").len(), 1);
}
