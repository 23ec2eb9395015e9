//! A recording that keeps only so much: what is there holds together at any instant, and no more is there.

use std::path::Path;
use std::time::Duration;

use crate::common::*;
use crate::world::*;
use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Array, RecordBatch};
use recorder::pipeline::{End, Limits, Options, SnapshotName};
use recorder::source::EventSource;
use schemas::trace::{Frozen, FrozenBy, State};

fn max_age(seconds: u64) -> Options {
    let limits = Limits { max_age_ns: Some((seconds * S) as i64), ..Limits::default() };
    Options { limits, ..Options::default() }
}

fn end(world: &mut World) -> End {
    End { counters: world.counters().unwrap(), ..End::default() }
}

/// Fail unless the trace in `dir`, which may be open, says once of each probe that the kernel cannot tell.
fn assert_unknown_is_said(dir: &Path) {
    let rows = read_open_table(dir, "losses");
    assert_eq!(rows.column_by_name("count").unwrap().null_count(), rows.num_rows(), "nothing was lost");
    assert_eq!(rows.num_rows(), 2, "once for each probe");
    for probe in [0, 1] {
        // The first second of that world, which begins at 10 s.
        let intervals = intervals(&rows, probe);
        assert!(matches!(intervals[..], [(0, ts)] if ts <= 12 * S as i64), "probe {probe}: {intervals:?}");
    }
}

#[test]
fn only_the_last_seconds_stay_with_all_that_they_name() {
    let temp = fast_dir();
    let dir = temp.path().join("run.trace");
    let mut world = World::new(S / 10, 40, 3 * S);
    let mut writer = world.writer(&dir, max_age(20));
    let mut looks = 0;
    for _ in 0..30 {
        world.run(&mut writer, 7, |_, _| {});
        let look = look(&dir);
        looks += usize::from(look.kept_from_ns.is_some());
        assert_unknown_is_said(&dir);
    }
    assert!(looks > 3, "{looks} times old rows were gone");
    let summary = writer.close(end(&mut world)).unwrap();
    let look = look(&dir);
    let kept_from_ns = look.kept_from_ns.unwrap();
    assert_eq!(summary.kept_from_ns, Some(kept_from_ns));
    let age_ns = world.now_ns as i64 - kept_from_ns;
    // A merged segment more, and the time between two looks.
    assert!((20 * S as i64..26 * S as i64).contains(&age_ns), "{age_ns} ns are kept");
    assert_eq!(*look.values.last().unwrap(), world.ticks() - 1);
    let before = look.times.iter().filter(|ts| **ts < kept_from_ns).count();
    assert!(look.times.len() - before >= 200 * 40, "{} rows since then", look.times.len() - before);
    assert_counts_balance(&dir);
    assert_unknown_is_said(&dir);
    for probe in [0, 1] {
        let told = intervals(&read_table(&dir, "counts"), probe);
        assert_follow(&told, told[0].0);
        assert!(told[0].0 <= kept_from_ns, "rows since {kept_from_ns} are told of from {:?} on", told[0]);
    }
    assert_eq!(read_meta(&dir).state, State::Closed);
    // Of the ids that were ever there, only a part is left.
    let stacks = read_table(&dir, "stacks").num_rows() as u64;
    assert!(stacks < world.ticks() / 2, "{stacks} stacks of {} ticks", world.ticks());
}

#[test]
fn losses_stay_as_long_as_rows_of_their_time() {
    let temp = fast_dir();
    let dir = temp.path().join("run.trace");
    let mut world = World::new(S / 10, 40, 3 * S);
    let mut writer = world.writer(&dir, max_age(100));
    let mut looks = 0;
    for second in 0..250 {
        world.lose(1);
        world.run(&mut writer, 1, |_, _| {});
        if second % 10 != 9 {
            continue;
        }
        writer.get_ready();
        let look = look(&dir);
        looks += usize::from(look.kept_from_ns.is_some());
        let losses = read_open_table(&dir, "losses");
        let counts = losses.column_by_name("count").unwrap();
        let known = arrow_select::filter::filter_record_batch(
            &losses,
            &(0..losses.num_rows()).map(|row| Some(counts.is_valid(row))).collect(),
        );
        let known = intervals(&known.unwrap(), 0);
        // One a second, while an interval can be shorter.
        let first_ns = look.times[0];
        assert!(
            known[0].0 <= first_ns + S as i64,
            "{:?} is the first loss, rows begin at {first_ns}",
            known[0]
        );
        assert!(known.len() <= 130, "{} losses", known.len());
        let told = intervals(&read_open_table(&dir, "counts"), 0);
        assert!(told.last() >= known.last() && told[0].0 <= known[0].0, "{told:?}");
    }
    assert!(looks > 10, "{looks} times old rows were gone");
    writer.close(end(&mut world)).unwrap();
    let (counts, losses) = (read_table(&dir, "counts"), read_table(&dir, "losses"));
    let sum = |rows: &RecordBatch, name: &str| {
        rows.column_by_name(name).unwrap().as_primitive::<Int64Type>().iter().flatten().sum::<i64>()
    };
    assert_eq!(sum(&counts, "lost"), sum(&losses, "count"));
    assert!(sum(&counts, "lost") > 0);
}

#[test]
fn a_trace_does_not_grow_beyond_its_size() {
    let temp = fast_dir();
    let dir = temp.path().join("run.trace");
    let most = 8 << 20;
    let limits = Limits { max_bytes: Some(most), ..Limits::default() };
    let mut world = World::new(S / 10, 200, 3 * S);
    let mut writer = world.writer(&dir, Options { limits, ..Options::default() });
    let mut largest = 0;
    world.run(&mut writer, 300, |writer, now_ns| {
        if now_ns % S == 0 {
            // Without a wait, time would run ahead of what writes.
            writer.get_ready();
        }
        largest = largest.max(disk_bytes(&dir));
    });
    assert!(largest > most / 2, "{largest} bytes: the limit is not tested");
    // Made-up time does not wait for what rewrites.
    assert!(largest <= most + most / 30, "{largest} bytes on disk");
    writer.close(end(&mut world)).unwrap();
    assert!(look(&dir).kept_from_ns.is_some());
    assert_counts_balance(&dir);
    assert_unknown_is_said(&dir);
}

#[test]
fn small_segments_are_merged_while_recording() {
    let temp = fast_dir();
    let dir = temp.path().join("run.trace");
    let mut world = World::new(S / 10, 10, 5 * S);
    let mut writer = world.writer(&dir, Options { compact_at_close: false, ..Options::default() });
    let mut most = 0;
    world.run(&mut writer, 1000, |_, now_ns| {
        if now_ns % (100 * S) == 0 {
            let look = look(&dir);
            assert!(look.values.first().is_none_or(|first| *first == 0), "nothing goes without a limit");
            most = ["tick", "counts", "stacks"].iter().map(|t| segments(&dir, t).len()).max().unwrap();
        }
    });
    writer.close(end(&mut world)).unwrap();
    assert!(most < 400, "{most} segments");
    let look = look(&dir);
    assert_eq!((look.values.len() as u64, look.kept_from_ns), (world.ticks(), None));
    assert_files_do_not_overlap(&dir, "tick");
    assert_counts_balance(&dir);
    assert!(segments(&dir, "tick").len() < 400, "of 1400 segments {}", segments(&dir, "tick").len());
}

#[test]
fn a_snapshot_is_a_closed_trace_of_everything_so_far() {
    let temp = fast_dir();
    let dir = temp.path().join("run.trace");
    let mut world = World::new(S / 10, 40, 3 * S);
    let mut writer = world.writer(&dir, max_age(20));
    world.run(&mut writer, 60, |_, _| {});
    let why = Frozen { by: FrozenBy::Command, text: None, event: None, from: "run.trace".into() };
    let to = SnapshotName { path: temp.path().join("one.trace"), is_exact: true };
    let (ticks, now_ns) = (world.ticks(), world.now_ns);
    let answer = writer.freeze(to.clone(), why.clone(), &mut || world.counters()).unwrap();
    world.run(&mut writer, 60, |_, _| {});
    assert_eq!(answer.recv_timeout(Duration::from_secs(30)).unwrap().unwrap(), to.path);
    let answer = writer.freeze(to.clone(), why.clone(), &mut || world.counters()).unwrap();
    let error = answer.recv_timeout(Duration::from_secs(30)).unwrap().unwrap_err();
    assert!(format!("{error:#}").ends_with("exists already: choose another name"), "{error:#}");
    let to = SnapshotName { is_exact: false, ..to };
    let answer = writer.freeze(to, why.clone(), &mut || world.counters()).unwrap();
    let second = answer.recv_timeout(Duration::from_secs(30)).unwrap().unwrap();
    assert_eq!(second, temp.path().join("one-2.trace"));
    writer.close(end(&mut world)).unwrap();

    let first = temp.path().join("one.trace");
    let look = look(&first);
    assert_eq!(*look.values.last().unwrap(), ticks - 1, "everything that was fed is there");
    assert_counts_balance(&first);
    assert_counts_balance(&second);
    assert_counts_balance(&dir);
    let meta = read_meta(&first);
    assert_eq!((meta.state, meta.end_ns, meta.frozen), (State::Closed, Some(now_ns as i64), Some(why)));
    let kept_ns = meta.kept_from_ns.unwrap();
    assert!(kept_ns < now_ns as i64 - 20 * S as i64);
    for dir in [&first, &second, &dir] {
        assert_unknown_is_said(dir);
        for probe in [0, 1] {
            let told = intervals(&read_table(dir, "counts"), probe);
            assert_follow(&told, told[0].0);
        }
    }
    let left: Vec<_> = std::fs::read_dir(temp.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| !name.to_string_lossy().starts_with('.')), "{left:?}");
    for table in schemas::trace::SIDE_TABLES.iter().map(|t| t.name).chain(["tick", "processes"]) {
        assert!(!segments(&first, table).is_empty(), "table {table} has no file");
    }
}
