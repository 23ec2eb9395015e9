//! Small segments merged: what a reader sees meanwhile, and what remains when that stops half-way.

use crate::common::*;
use recorder::pipeline::TraceWriter;
use recorder::pipeline::compact::{Step, compact, compact_table};

#[test]
fn a_compaction_stopped_at_any_step_shows_each_row_once_and_can_be_done_again() {
    let expected: Vec<u64> = (0..1000).collect();
    for step in [Step::Begun, Step::FileMade, Step::Built, Step::Exchanged] {
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
        compact(&dir).unwrap();
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
    compact(&dir).unwrap();
    assert_eq!(segments(&dir, "tick").len(), 1);
    assert_eq!(values(&dir, "tick"), (0..300_000).collect::<Vec<u64>>());
    let done = compact(&dir).unwrap();
    assert_eq!(done.segments_before, done.segments_after, "nothing to do");
}

#[test]
fn a_trace_being_written_cannot_be_compacted() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("run.trace");
    let writer = TraceWriter::create(&dir, meta(vec![], 0), replay_options()).unwrap();
    let error = compact(&dir).unwrap_err().to_string();
    assert!(error.ends_with("is being written by another recorder: wait until it ends"), "{error}");
    writer.abandon().unwrap();
}
