//! A recorder that keeps only so much, killed at random instants: retention, merges while recording, ids that are
//! retired and come again, snapshots.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::common::*;
use crate::keep_child::*;
use crate::kills::*;
use crate::world::*;
use recorder::pipeline::{Limits, Options};
use recorder::store::recovery::recover;
use schemas::trace::State;

const KILLS: usize = 64;
const AT_A_TIME: usize = 4;
const MOST_LIFE_MS: u64 = 400;
/// Longest wait for what a kill is aimed at.
const PATIENCE: Duration = Duration::from_secs(5);
/// Every other recording has this limit too.
const MAX_BYTES: u64 = 1 << 20;
/// Time (made up) that may be missing at the end: a segment, a step, and what the queue holds.
const MOST_MISSING_NS: u64 = S;

fn ts_ns(value: u64) -> i64 {
    World::ts_ns(STEP_NS, TICKS_PER_STEP, value) as i64
}

/// Fail unless the trace of a recorder that died holds together and has every row since `kept_from_ns`.
fn judge(dir: &Path) -> Look {
    let look = look(dir);
    let (first, last) = (look.values[0], *look.values.last().unwrap());
    assert!(look.values.iter().zip(&look.times).all(|(value, ts)| ts_ns(*value) == *ts));
    let kept_from_ns = look.kept_from_ns.unwrap();
    assert!(first == 0 || ts_ns(first - 1) < kept_from_ns, "rows since {kept_from_ns} are missing");
    assert!(last < fed(dir));
    look
}

/// When a recorder is killed: at any time, or, as that is short, when it does something that has begun by the time a
/// file or directory of that name is there.
#[derive(Clone, Copy)]
enum Aim {
    Anything,
    Within(&'static str),
}

/// Another for each kill.
const AIMS: [Aim; 2] = [Aim::Anything, Aim::Within(".freeze-")];

/// Wait until it is time to kill. `life` is a random number below 2 * [`MOST_LIFE_MS`].
fn take_aim(dir: &Path, aim: Aim, life: u64) {
    let prefix = match aim {
        Aim::Anything => return std::thread::sleep(Duration::from_millis(life / 2)),
        Aim::Within(prefix) => prefix,
    };
    let began = Instant::now();
    let is_there = || names(dir).iter().any(|name| name.starts_with(prefix));
    while !is_there() && began.elapsed() < PATIENCE {
        // Not in the way of whom it watches.
        std::thread::sleep(Duration::from_micros(20));
    }
    std::thread::sleep(Duration::from_micros(life / 4));
}

fn names(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).into_iter().flatten();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// What the recorder was doing when it was killed, as far as the directory tells.
fn doing(dir: &Path) -> HashSet<&'static str> {
    let mut doing = HashSet::new();
    if names(dir).iter().any(|name| name.starts_with(".freeze-")) {
        doing.insert("freezing");
    }
    let description = description(dir);
    let log = description.log.as_ref().unwrap();
    let removed: HashSet<PathBuf> =
        log.commits.iter().flat_map(|commit| &commit.remove).map(|name| dir.join(name.path())).collect();
    let named: HashSet<PathBuf> =
        description.contents.segments.keys().map(|name| dir.join(name.path())).collect();
    for table in ["tick", "processes", "counts", "stacks", "symbols", "cgroups", "clock"] {
        for path in listed(dir, table) {
            if path.file_name().unwrap().to_string_lossy().starts_with('.') {
                doing.insert("writing");
            } else if removed.contains(&path) {
                doing.insert("removing");
            } else if !named.contains(&path) {
                doing.insert("committing");
            }
        }
    }
    if log.commits.last().is_some_and(|last| last.durable.is_none()) {
        doing.insert("waiting for the disk");
    }
    if description.contents.segments.values().any(|segment| segment.level > 0) {
        doing.insert("after a merge");
    }
    doing
}

#[test]
fn killed_at_random_instants_it_leaves_what_it_keeps_with_all_that_it_names() {
    let mut random = Random::new("lives of flight recorders");
    let lives: Vec<u64> = (0..KILLS).map(|_| random.next(MOST_LIFE_MS * 2)).collect();
    let hits = Mutex::new(BTreeMap::<&str, u32>::new());
    let began = Instant::now();
    let temp = fast_dir();
    in_parallel(AT_A_TIME, &lives, |life| {
        let around = tempfile::tempdir_in(&temp).unwrap();
        let dir = around.path().join("run.trace");
        let recording = start(&dir, (life % 2 == 1).then_some(MAX_BYTES));
        take_aim(&dir, AIMS[life as usize / 2 % AIMS.len()], life);
        recording.kill();
        for what in doing(&dir) {
            *hits.lock().unwrap().entry(what).or_default() += 1;
        }
        let before = judge(&dir);
        assert_tidied_up(&dir);
        let after = judge(&dir);
        assert_eq!(after.values[0], before.values[0], "tidying up removes no rows");
        let (last, fed) = (*after.values.last().unwrap(), fed(&dir));
        let missing_ns = (ts_ns(fed - 1) - ts_ns(last)) as u64;
        assert!(missing_ns <= MOST_MISSING_NS, "{missing_ns} ns are missing at the end");
        assert_counts_balance(&dir);
        for entry in std::fs::read_dir(around.path()).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if name.starts_with("snapshot-") {
                assert_eq!(read_meta(&path).state, State::Closed);
                look(&path);
                assert_counts_balance(&path);
                *hits.lock().unwrap().entry("after a snapshot").or_default() += 1;
            }
        }
    });
    let hits = hits.into_inner().unwrap();
    println!("{KILLS} kills in {:.1} s while: {hits:?}", began.elapsed().as_secs_f64());
    for what in ["writing", "waiting for the disk", "removing", "freezing", "after a snapshot"] {
        assert!(hits.get(what).is_some_and(|hits| *hits > 0), "no kill came while {what}: {hits:?}");
    }
}

/// Of a killed recorder each epoch has the ids that its rows name; after tidying up each is there once.
#[test]
fn ids_of_several_epochs_are_there_once_after_tidying_up() {
    let temp = fast_dir();
    let dir = temp.path().join("run.trace");
    let limits = Limits { max_age_ns: Some(20 * S as i64), ..Limits::default() };
    let mut world = World::new(S / 10, 10, 5 * S);
    let mut writer = world.writer(&dir, Options { limits, ..Options::default() });
    world.run(&mut writer, 60, |_, _| {});
    writer.get_ready();
    drop(writer);
    let ids =
        |table: &str| numbers(&read_table(&dir, table), if table == "stacks" { "stack_id" } else { "addr" });
    let distinct = |ids: Vec<u64>| ids.into_iter().collect::<HashSet<u64>>();
    let before = ["stacks", "symbols"].map(ids);
    assert!(before.iter().any(|all| distinct(all.clone()).len() < all.len()), "no id came again: {before:?}");
    let values = look(&dir).values;
    assert_counts_balance(&dir);
    assert_tidied_up(&dir);
    assert_eq!(look(&dir).values, values);
    assert_counts_balance(&dir);
    for (table, before) in ["stacks", "symbols"].into_iter().zip(before) {
        let after = ids(table);
        assert_eq!(distinct(after.clone()).len(), after.len(), "{table}");
        assert_eq!(distinct(after), distinct(before), "{table}");
    }
}

#[test]
fn what_a_dead_recorder_left_of_a_snapshot_goes_when_its_trace_is_tidied_up() {
    let temp = fast_dir();
    let dir = temp.path().join("run.trace");
    let mut world = World::new(S / 10, 10, S);
    let mut writer = world.writer(&dir, Options::default());
    world.run(&mut writer, 2, |_, _| {});
    let half_made = dir.join(".freeze-7.tmp");
    std::fs::create_dir_all(half_made.join("tick")).unwrap();
    std::fs::write(half_made.join("tick/000000.parquet"), "").unwrap();
    drop(writer);
    let said = recover(&dir).unwrap().unwrap();
    assert!(said.contains("unfinished files removed"), "{said}");
    assert!(!half_made.exists());
}
