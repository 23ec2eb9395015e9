//! What keeps a recording in bounds cannot be done: that is told, and nothing is lost.

use std::fs;
use std::sync::{Arc, Mutex};

use crate::common::*;
use crate::world::*;
use recorder::pipeline::{End, Limits, Options, SnapshotName, TraceWriter};
use recorder::source::EventSource;
use recorder::store::recovery::recover;
use schemas::trace::{Frozen, FrozenBy, State};

#[test]
fn a_merge_that_fails_is_told_at_once_and_tried_again() {
    let temp = fast_dir();
    let dir = temp.path().join("run.trace");
    let told = Arc::new(Mutex::new(Vec::new()));
    let warnings = told.clone();
    let options = Options {
        compact_at_close: false,
        warn: Box::new(move |text| warnings.lock().unwrap().push(text.to_owned())),
        ..Options::default()
    };
    let mut world = World::new(S / 10, 10, 5 * S);
    let mut writer = world.writer(&dir, options);
    world.run(&mut writer, 10, |_, _| {});
    writer.get_ready();
    // Somebody damages one of those that are to be merged.
    let damaged = segments(&dir, "tick")[3].clone();
    let whole = fs::read(&damaged).unwrap();
    fs::write(&damaged, &whole[..whole.len() - 1]).unwrap();
    world.run(&mut writer, 250, |_, _| {});
    writer.get_ready();
    let warnings = told.lock().unwrap().clone();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(
        warnings[0].starts_with("small segments are not merged for 5 minutes")
            && warnings[0].contains(damaged.file_name().unwrap().to_str().unwrap()),
        "{warnings:?}"
    );
    assert!(segments(&dir, "tick").len() > 240);
    fs::write(&damaged, &whole).unwrap();
    world.run(&mut writer, 400, |_, _| {});
    writer.get_ready();
    assert!(segments(&dir, "tick").len() < 400, "{} segments", segments(&dir, "tick").len());
    let end = End { counters: world.counters().unwrap(), ..End::default() };
    assert_eq!(writer.close(end).unwrap().not_compacted, None);
    assert_eq!(told.lock().unwrap().len(), 1);
    assert_eq!(look(&dir).values.len() as u64, world.ticks());
    assert_counts_balance(&dir);
}

/// Let `world` run until writing fails, and close the trace.
fn until_it_fails(world: &mut World, mut writer: TraceWriter) -> String {
    while writer.pump(world).is_ok() {
        assert!(world.now_ns < 1000 * S, "nothing failed");
        world.lose(1);
    }
    let end = End { counters: world.counters().unwrap(), ..End::default() };
    format!("{:#}", writer.close(end).unwrap().failure.unwrap())
}

#[test]
fn a_trace_that_cannot_say_what_it_lost_is_not_closed() {
    let temp = fast_dir();
    let dir = temp.path().join("run.trace");
    let mut world = World::new(S / 10, 10, 5 * S);
    let mut writer = world.writer(&dir, Options::default());
    world.run(&mut writer, 5, |_, _| {});
    writer.get_ready();
    let away = temp.path().join("losses");
    fs::rename(dir.join("losses"), &away).unwrap();
    let failure = until_it_fails(&mut world, writer);
    assert!(failure.contains("losses"), "{failure}");
    assert_eq!(read_meta(&dir).state, State::Open);
    fs::rename(&away, dir.join("losses")).unwrap();
    let line = recover(&dir).unwrap();
    assert_eq!(read_meta(&dir).state, State::Recovered, "{line:?}");
    look(&dir);
}

#[test]
fn a_retention_that_stops_half_way_says_what_is_gone() {
    let temp = fast_dir();
    let dir = temp.path().join("run.trace");
    let mut world = World::new(S / 10, 10, 5 * S);
    let limits = Limits { max_age_ns: Some(20 * S as i64), ..Limits::default() };
    let mut writer = world.writer(&dir, Options { limits, ..Options::default() });
    world.run(&mut writer, 15, |_, _| {});
    writer.get_ready();
    // Somebody else has something else in the place of what is about to be removed.
    let ours = segments(&dir, "tick");
    fs::remove_file(&ours[0]).unwrap();
    fs::create_dir(&ours[0]).unwrap();
    let failure = until_it_fails(&mut world, writer);
    assert!(failure.contains("cannot remove"), "{failure}");
    assert!(!ours[1].exists());
    // It was said before it was done, and what is left is whole.
    let kept_from_ns = read_meta(&dir).kept_from_ns;
    assert!(kept_from_ns.is_some_and(|ns| ns > 10 * S as i64), "{kept_from_ns:?}");
    look(&dir);
    recover(&dir).unwrap();
    assert_eq!(read_meta(&dir).kept_from_ns, kept_from_ns);
    look(&dir);
}

#[test]
fn what_is_left_of_a_snapshot_is_in_the_trace_and_goes() {
    let temp = fast_dir();
    let dir = temp.path().join("run.trace");
    let mut world = World::new(S / 10, 10, 5 * S);
    let mut writer = world.writer(&dir, Options::default());
    world.run(&mut writer, 5, |_, _| {});
    // As a recorder leaves it that died; nobody else makes a directory here.
    let left = dir.join(".freeze-1.tmp/tick");
    fs::create_dir_all(&left).unwrap();
    fs::write(left.join("000000.parquet"), "").unwrap();
    let why = Frozen { by: FrozenBy::Command, text: None, event: None, from: "run.trace".into() };
    let to = SnapshotName { path: temp.path().join("one.trace"), is_exact: true };
    let answer = writer.freeze(to.clone(), why.clone(), &mut || world.counters()).unwrap();
    let error = format!("{:#}", answer.recv().unwrap().unwrap_err());
    assert!(error.contains("one.trace") && error.contains("File exists"), "{error}");
    assert!(left.exists(), "what it did not make it does not remove");
    let answer = writer.freeze(to.clone(), why, &mut || world.counters()).unwrap();
    assert_eq!(answer.recv().unwrap().unwrap(), to.path);
    let end = End { counters: world.counters().unwrap(), ..End::default() };
    writer.close(end).unwrap();
    let line = recover(&dir).unwrap().unwrap();
    assert!(line.ends_with("1 unfinished files removed"), "{line}");
    assert!(!dir.join(".freeze-1.tmp").exists());
    let names: Vec<_> = fs::read_dir(temp.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), 2, "{names:?}");
    assert_eq!(look(&to.path).values.len(), 500);
}

#[test]
fn a_snapshot_on_another_file_system_is_copied() {
    let (temp, other) = (fast_dir(), tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap());
    use std::os::unix::fs::MetadataExt;
    let device = |dir: &tempfile::TempDir| dir.path().metadata().unwrap().dev();
    assert_ne!(device(&temp), device(&other), "this test needs /dev/shm to be another file system");
    let dir = temp.path().join("run.trace");
    let mut world = World::new(S / 10, 10, 5 * S);
    let mut writer = world.writer(&dir, Options::default());
    world.run(&mut writer, 5, |_, _| {});
    // Of a recorder that died; numbers of processes are below 2^22.
    fs::create_dir(other.path().join(".ktape-freeze-5000000-1.tmp")).unwrap();
    let why = Frozen { by: FrozenBy::Command, text: None, event: None, from: "run.trace".into() };
    let to = SnapshotName { path: other.path().join("one.trace"), is_exact: true };
    let answer = writer.freeze(to.clone(), why, &mut || world.counters()).unwrap();
    assert_eq!(answer.recv().unwrap().unwrap(), to.path);
    assert_eq!(fs::read_dir(other.path()).unwrap().count(), 1, "nothing is left over");
    assert_eq!(look(&to.path).values.len(), 500);
    assert_counts_balance(&to.path);
    writer.close(End { counters: world.counters().unwrap(), ..End::default() }).unwrap();
}
