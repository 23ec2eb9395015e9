//! A recorder that keeps only so much, killed at random instants: retention, merges while recording, ids that are
//! retired and come again, snapshots.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::common::*;
use crate::keep_child::*;
use crate::kills::*;
use crate::world::*;
use arrow_array::RecordBatch;
use recorder::pipeline::recover::recover;
use recorder::pipeline::{Options, read_meta};
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

/// Another for each kill. `trace.json` is written before old rows are removed.
const AIMS: [Aim; 4] =
    [Aim::Anything, Aim::Within(".compact-"), Aim::Within(".freeze-"), Aim::Within(".trace.json")];

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
fn doing(dir: &Path) -> HashSet<String> {
    let mut doing = HashSet::new();
    for name in names(dir) {
        if let Some(table) = name.strip_prefix(".compact-") {
            doing.insert(format!("exchanging {table}"));
            doing.insert("exchanging".to_owned());
        } else if name.ends_with("-tidy.tmp") {
            doing.insert("merging or retiring".to_owned());
        } else if name.ends_with(".whole") {
            doing.insert("publishing".to_owned());
        } else if name.starts_with(".trace.json") {
            doing.insert("describing".to_owned());
        } else if name.starts_with(".freeze-") {
            doing.insert("freezing".to_owned());
        }
    }
    let kept_from_ns = read_meta(dir).unwrap().kept_from_ns.unwrap_or(i64::MIN);
    let is_gone =
        |path: &Path| read_segment(path).iter().all(|batch| times(batch).iter().all(|ts| *ts < kept_from_ns));
    // Of table counts the first one may be what was carried over; its old segments are the last to go.
    let old = |table: &str| segments(dir, table).iter().filter(|path| is_gone(path)).count();
    if old("tick") > 0 || old("counts") > 1 {
        doing.insert("removing".to_owned());
    }
    let again = ["stacks", "symbols", "cgroups"].into_iter().any(|table| {
        let ids = |path: &Path| {
            let ids = |batch: &RecordBatch| numbers(batch, batch.schema().field(0).name());
            read_segment(path).iter().flat_map(ids).collect::<HashSet<u64>>()
        };
        let known: HashSet<u64> = segments(dir, table).iter().flat_map(|path| ids(path)).collect();
        let prefix = format!(".{table}-");
        let whole =
            names(dir).into_iter().filter(|name| name.starts_with(&prefix) && name.ends_with(".whole"));
        whole.into_iter().any(|name| ids(&dir.join(name)).intersection(&known).next().is_some())
    });
    if again {
        doing.insert("writing ids again".to_owned());
    }
    doing
}

#[test]
fn killed_at_random_instants_it_leaves_what_it_keeps_with_all_that_it_names() {
    let mut random = Random::new("lives of flight recorders");
    let lives: Vec<u64> = (0..KILLS).map(|_| random.next(MOST_LIFE_MS * 2)).collect();
    let hits = Mutex::new(BTreeMap::<String, u32>::new());
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
                assert_eq!(read_meta(&path).unwrap().state, State::Closed);
                look(&path);
                assert_counts_balance(&path);
                *hits.lock().unwrap().entry("snapshots".to_owned()).or_default() += 1;
            }
        }
    });
    let hits = hits.into_inner().unwrap();
    println!("{KILLS} kills in {:.1} s while: {hits:?}", began.elapsed().as_secs_f64());
    for what in
        ["exchanging", "merging or retiring", "publishing", "freezing", "removing", "writing ids again"]
    {
        assert!(hits.get(what).is_some_and(|hits| *hits > 0), "no kill came while {what}: {hits:?}");
    }
}

/// What a recorder leaves that dies after it has written ids again, and before it has removed their older rows.
#[test]
fn ids_that_are_written_again_are_there_once_after_tidying_up() {
    let temp = fast_dir();
    let dir = temp.path().join("run.trace");
    record(&dir, None, 10);
    let json = std::fs::read_to_string(dir.join("trace.json")).unwrap();
    assert!(json.contains("\"kept_from_ns\""));
    std::fs::write(dir.join("trace.json"), json.replace("\"state\": \"closed\"", "\"state\": \"open\""))
        .unwrap();
    let tables = ["stacks", "symbols", "cgroups"];
    let rows = tables.map(|table| read_table(&dir, table).num_rows());
    for table in tables {
        let [only] = &segments(&dir, table)[..] else { panic!("merged at the end") };
        for number in [100, 101] {
            std::fs::copy(only, dir.join(format!(".{table}-{number}.whole"))).unwrap();
        }
    }
    look(&dir);
    assert_tidied_up(&dir);
    look(&dir);
    assert_eq!(tables.map(|table| read_table(&dir, table).num_rows()), rows);
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
