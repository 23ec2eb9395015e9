//! Small segments merged: what a reader sees meanwhile, and what remains when that stops half-way.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::common::*;
use crate::held::held;
use crate::kills::assert_only_named;
use arrow_array::cast::AsArray;
use arrow_array::types::UInt64Type;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use recorder::pipeline::TraceWriter;
use recorder::store::compaction::compact;
use recorder::store::recovery::recover;

#[test]
fn a_compaction_stopped_at_any_segment_shows_each_row_once_and_can_be_done_again() {
    let expected: Vec<u64> = (0..1000).collect();
    for stop in 1..=10 {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("run.trace");
        small_segments(&dir, 1000, 100);
        assert_eq!(segments(&dir, "tick").len(), 10);
        let stopped = compact(&dir, &mut |table, done| {
            assert_eq!(values(&dir, "tick"), expected, "after {done} of {table}");
            anyhow::ensure!(table != "tick" || done < stop, "stopped");
            Ok(())
        });
        assert!(stopped.is_err());
        assert_eq!(values(&dir, "tick"), expected, "stopped at {stop}");
        compact(&dir, &mut |_, _| Ok(())).unwrap();
        assert_eq!(values(&dir, "tick"), expected, "compacted again after {stop}");
        assert_eq!(segments(&dir, "tick").len(), 1);
        assert_only_named(&dir);
    }
}

/// What a compaction leaves that dies after its commit, or before it: files that the log does not name.
#[test]
fn files_that_no_commit_names_go_when_the_trace_is_tidied_up() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("run.trace");
    small_segments(&dir, 1000, 100);
    let tick = segments(&dir, "tick");
    std::fs::copy(&tick[0], dir.join("tick/000099.parquet")).unwrap();
    std::fs::write(dir.join("tick/.100.tmp"), "half").unwrap();
    std::fs::write(dir.join("tick/notes.txt"), "of somebody else").unwrap();
    assert_eq!(values(&dir, "tick"), (0..1000).collect::<Vec<u64>>());
    let line = recover(&dir).unwrap().unwrap();
    assert!(line.ends_with("2 unfinished files removed"), "{line}");
    let there = listed(&dir, "tick");
    assert_eq!(there.len(), tick.len() + 1, "{there:?}");
    assert!(dir.join("tick/notes.txt").exists());
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

/// Column `value` as a reader sees it that reads the log and opens what it names; `None` if a file was gone by then.
fn read_once(dir: &Path) -> Option<Vec<u64>> {
    let mut values = Vec::new();
    for (_, file) in held(dir, "tick")? {
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
    println!("{reads} times read, {again} times a file was gone and the log was to be read again");
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
