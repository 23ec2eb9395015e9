//! A recorder killed at random instants: what the trace has then, and after it was tidied up.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::common::*;
use crate::crash_child::*;
use crate::kills::*;
use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use schemas::trace::{SIDE_TABLES, State};

const KILLS: usize = 200;
/// The latter half of the kills comes while something else wants every processor.
const KILLS_UNDER_LOAD: usize = KILLS / 2;
const AT_A_TIME: usize = 8;
const MOST_LIFE_MS: u64 = 3000;
/// What the recorder promises: `--segment-age`.
const MOST_MISSING_NS: u64 = 1_000_000_000;

/// Tables, and for how many rows that are fed each has one.
const TABLES: [(&str, u64); 2] = [("tick", 1), ("rare", RARE_EVERY)];

/// How much of the end is missing (ns) where one for `every` row that was fed should be among `rows`.
fn missing(dir: &Path, killed_ns: u64, every: u64, rows: &[u64]) -> u64 {
    assert!(rows.iter().copied().eq(0..rows.len() as u64), "a row is missing or doubled");
    let missing = fed(dir).into_iter().find(|(fed, _)| fed.div_ceil(every) > rows.len() as u64);
    missing.map_or(0, |(_, ts_ns)| killed_ns.saturating_sub(ts_ns))
}

/// Fail unless the trace opens and is whole as far as it goes, and, if all is to be there (`None`: whatever there is),
/// has what was fed more than a second before `killed_ns`. The result is how much of the end is missing, in ns.
fn judge(dir: &Path, killed_ns: u64, most_missing_ns: Option<u64>) -> u64 {
    let meta = read_meta(dir);
    for table in meta.events.iter().map(|e| e.event.as_str()).chain(SIDE_TABLES.iter().map(|t| t.name)) {
        for path in segments(dir, table) {
            read_segment(&path);
        }
    }
    let mut missing_ns = 0;
    for (table, every) in TABLES {
        assert_files_do_not_overlap(dir, table);
        missing_ns = missing_ns.max(missing(dir, killed_ns, every, &values(dir, table)));
    }
    assert!(most_missing_ns.is_none_or(|most| missing_ns <= most), "the last {missing_ns} ns are missing");
    let batches = |table| segments(dir, table).into_iter().flat_map(|path| read_segment(&path));
    let ids = |batch: &arrow_array::RecordBatch, name| -> Vec<i64> {
        batch.column_by_name(name).unwrap().as_primitive::<Int64Type>().values().to_vec()
    };
    let known: HashSet<i64> = batches("stacks").flat_map(|batch| ids(&batch, "stack_id")).collect();
    for batch in batches("tick") {
        assert!(ids(&batch, "stack").iter().all(|id| known.contains(id)), "a stack is missing");
    }
    missing_ns
}

/// Fail unless the trace is tidied up, which is told once if its recorder died, and keeps its rows.
fn tidy_up(dir: &Path) {
    let before = values(dir, "tick");
    assert_tidied_up(dir);
    let after = values(dir, "tick");
    assert_eq!(after.len(), before.len());
    assert!(after == before, "other rows");
    assert!(segments(dir, "tick").len() <= 1);
}

/// Threads that do nothing as fast as they can, until dropped.
struct Hog<'a>(&'a AtomicBool);

impl Drop for Hog<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

#[test]
fn killed_at_random_instants_it_leaves_all_but_the_last_second() {
    let mut random = Random::new("lives");
    let lives: Vec<u64> = (0..KILLS).map(|_| random.next(MOST_LIFE_MS)).collect();
    let temp = tempfile::tempdir().unwrap();
    for (load, kills) in [("idle", 0..KILLS - KILLS_UNDER_LOAD), ("busy", KILLS - KILLS_UNDER_LOAD..KILLS)] {
        let worst_ns = AtomicU64::new(0);
        let is_busy = AtomicBool::new(load == "busy");
        let began = Instant::now();
        std::thread::scope(|scope| {
            for _ in 0..std::thread::available_parallelism().unwrap().get() {
                scope.spawn(|| {
                    while is_busy.load(Ordering::Relaxed) {
                        std::hint::spin_loop()
                    }
                });
            }
            let _hog = Hog(&is_busy);
            in_parallel(AT_A_TIME, &lives[kills.clone()], |life_ms| {
                let dir = tempfile::tempdir_in(&temp).unwrap();
                let dir = dir.path().join("run.trace");
                let recording = Recording::start(&dir, &Plan::default());
                std::thread::sleep(Duration::from_millis(life_ms));
                let killed_ns = recording.kill();
                // At once, and whatever the disk has been doing.
                let missing_ns = judge(&dir, killed_ns, Some(MOST_MISSING_NS));
                worst_ns.fetch_max(missing_ns, Ordering::Relaxed);
                tidy_up(&dir);
                assert_eq!(judge(&dir, killed_ns, Some(MOST_MISSING_NS)), missing_ns);
            });
        });
        println!(
            "{load}: {} kills in {:.1} s, at worst {} ms were missing",
            kills.len(),
            began.elapsed().as_secs_f64(),
            worst_ns.into_inner() / 1_000_000,
        );
    }
}

#[test]
fn killed_while_it_closes_and_merges_it_loses_nothing_that_was_due() {
    let mut random = Random::new("kills during close");
    let temp = tempfile::tempdir().unwrap();
    let (rows, kills) = (8000, 40);
    let plan = Plan { rows: Some(rows), segment_age_ms: Some(20) };
    let whole_us = {
        let mut recording = Recording::start(&temp.path().join("whole.trace"), &plan);
        recording.wait_for("closing");
        let began = Instant::now();
        recording.wait();
        began.elapsed().as_micros() as u64
    };
    // Several at a time take longer.
    let lives: Vec<u64> = (0..kills).map(|_| random.next(whole_us * 3)).collect();
    let states = Mutex::new(BTreeMap::<String, u32>::new());
    in_parallel(AT_A_TIME, &lives, |life_us| {
        let dir = tempfile::tempdir_in(&temp).unwrap();
        let dir = dir.path().join("run.trace");
        let mut recording = Recording::start(&dir, &plan);
        recording.wait_for("closing");
        std::thread::sleep(Duration::from_micros(life_us));
        judge(&dir, recording.kill(), None);
        let state = read_meta(&dir).state;
        assert!(state == State::Open || values(&dir, "tick").len() as u64 == rows);
        let merged = if segments(&dir, "tick").len() == 1 { "merged" } else { "not merged" };
        *states.lock().unwrap().entry(format!("{state:?}, {merged}")).or_default() += 1;
        tidy_up(&dir);
    });
    let states = states.into_inner().unwrap();
    println!("killed while: {states:?}");
}

#[test]
fn recorder_compact_killed_at_random_instants_loses_nothing() {
    let mut random = Random::new("kills during compact");
    let temp = tempfile::tempdir().unwrap();
    let (rows, per_file, kills) = (20_000, 500, 40);
    let expected: Vec<u64> = (0..rows).collect();
    let begin = |dir: &Path| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_recorder"));
        command.arg("compact").arg(dir).stderr(Stdio::null()).spawn().unwrap()
    };
    let whole = temp.path().join("whole.trace");
    small_segments(&whole, rows, per_file);
    let began = Instant::now();
    assert!(begin(&whole).wait().unwrap().success());
    let whole_us = began.elapsed().as_micros() as u64;
    let lives: Vec<u64> = (0..kills).map(|_| random.next(whole_us * 3)).collect();
    let (unfinished, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
    in_parallel(AT_A_TIME, &lives, |life_us| {
        let dir = tempfile::tempdir_in(&temp).unwrap();
        let dir = dir.path().join("run.trace");
        small_segments(&dir, rows, per_file);
        let mut child = begin(&dir);
        std::thread::sleep(Duration::from_micros(life_us));
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(values(&dir, "tick"), expected);
        unfinished.fetch_add(usize::from(!left_over(&dir).is_empty()), Ordering::Relaxed);
        done.fetch_add(usize::from(segments(&dir, "tick").len() == 1), Ordering::Relaxed);
        tidy_up(&dir);
        assert_eq!(segments(&dir, "tick").len(), 1);
    });
    let (unfinished, done) = (unfinished.into_inner(), done.into_inner());
    println!("{kills} kills: {unfinished} left something unfinished, {done} came after the table was merged");
    assert!(unfinished > 0, "the kills miss it");
}
