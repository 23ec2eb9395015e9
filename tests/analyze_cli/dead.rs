//! What a recorder that died has left: a log whose last commits the disk may not have.

use std::fs;
use std::path::PathBuf;

use fixtures::format2;
use schemas::trace::State;
use schemas::trace::log::{Commit, LOG_FILE, Segment, Status};

use super::{Bench, Run};

/// A trace whose recorder died: three commits with a file each, of which the disk is known to have the first.
fn dead(boot_id: &str) -> Bench {
    let bench = Bench::with(&["gaps"]);
    let dir = bench.path("gaps.trace");
    let (mut meta, _) = format2::describe(&dir).unwrap();
    meta.boot_id = boot_id.to_owned();
    let commits: Vec<Commit> = format2::segments(&dir, &meta)
        .unwrap()
        .into_iter()
        .map(|segment| Commit {
            until_ns: segment.ts.map(|ts| ts.1),
            add: vec![segment],
            ..Commit::default()
        })
        .collect();
    let begin = Commit { status: Some(Status::default()), durable: Some(1), ..Commit::default() };
    format2::write(&dir, &meta, &[&[begin], commits.as_slice()].concat()).unwrap();
    bench
}

fn this_boot() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap().trim().to_owned()
}

const OTHER_BOOT: &str = "00000000-0000-0000-0000-000000000001";

fn count(bench: &Bench) -> Run {
    bench.analyze(&["sql", "gaps.trace", "SELECT count(*) AS n FROM packets", "-F", "csv"])
}

fn rows(run: &Run) -> u32 {
    run.out.lines().last().unwrap().parse().unwrap()
}

fn last_file(bench: &Bench) -> PathBuf {
    bench.path("gaps.trace/packets/000002.parquet")
}

#[test]
fn segments_that_waited_for_the_disk_when_the_recorder_died_are_there() {
    let bench = dead(&this_boot());
    let run = count(&bench);
    assert_eq!((run.code, run.out.as_str()), (1, "n\n1001\n"));
    assert!(run.err.starts_with("analyze: loss: counted until +0.001s; what was lost"), "{}", run.err);
    assert_eq!(run.err.lines().count(), 2, "{}", run.err);
    let page = bench.analyze(&["gaps.trace"]);
    let state = "  state     open: the recorder died, up to a second may be missing at the end\n";
    assert!(page.code == 1 && page.out.contains(state), "{}", page.out);
}

#[test]
fn after_a_power_off_they_are_there_as_long_as_they_are_whole() {
    let bench = dead(OTHER_BOOT);
    assert_eq!(rows(&count(&bench)), 1001);
    // The disk has a part of the last one only, or zeros in it, or nothing.
    let whole = fs::read(last_file(&bench)).unwrap();
    let mut zeros = whole.clone();
    zeros[20..60].fill(0);
    for left in [Some(whole[..100].to_vec()), Some(zeros), Some(Vec::new()), None] {
        match left {
            Some(bytes) => fs::write(last_file(&bench), bytes).unwrap(),
            None => fs::remove_file(last_file(&bench)).unwrap(),
        }
        let run = count(&bench);
        assert!(run.code == 1 && rows(&run) > 300 && rows(&run) < 1001, "{} {}", run.code, run.out);
        let warning = "analyze: warning: gaps.trace: 1 segments are left out that waited for the disk when that \
                       machine stopped: `recorder compact` drops them\n";
        assert!(run.err.starts_with(warning), "{}", run.err);
        let verified = bench.analyze(&["verify", "gaps.trace"]);
        assert!(verified.code == 1 && verified.out.contains("waited for the disk"), "{}", verified.out);
    }
}

#[test]
fn what_the_disk_had_is_not_forgotten() {
    let bench = dead(OTHER_BOOT);
    fs::write(bench.path("gaps.trace/packets/000000.parquet"), "no Parquet").unwrap();
    let run = count(&bench);
    let named = "gaps.trace/packets/000000.parquet: it has 10 bytes, and the log says ";
    assert!(run.code == 1 && run.err.contains(named), "{}", run.err);
}

#[test]
fn a_line_that_the_recorder_did_not_finish_is_left_out() {
    let bench = dead(&this_boot());
    let path = bench.path("gaps.trace").join(LOG_FILE);
    let whole = fs::read(&path).unwrap();
    let last = whole[..whole.len() - 1].iter().rposition(|byte| *byte == b'\n').unwrap() + 1;
    for cut in [last + 1, whole.len() - 10, whole.len() - 1] {
        fs::write(&path, &whole[..cut]).unwrap();
        let run = count(&bench);
        assert!(run.code == 1 && rows(&run) < 1001, "{}", run.out);
        let warning =
            "warning: gaps.trace/log.jsonl: line 4 was not written to its end: what it adds is left out";
        assert!(run.err.contains(warning), "{}", run.err);
    }
    // A recorder that lives is just writing it.
    let dir = fs::File::open(bench.path("gaps.trace")).unwrap();
    dir.lock().unwrap();
    let run = count(&bench);
    assert!(run.code == 0 && !run.err.contains("warning"), "{}", run.err);
}

#[test]
fn a_damaged_line_is_named_and_nothing_behind_it_counts() {
    let bench = dead(&this_boot());
    let path = bench.path("gaps.trace").join(LOG_FILE);
    let mut text = fs::read_to_string(&path).unwrap();
    let place = text.match_indices("\"rows\":").nth(1).unwrap().0;
    text.replace_range(place..place + 7, "\"raws\":");
    fs::write(&path, text).unwrap();
    let run = count(&bench);
    assert!(run.code == 1 && rows(&run) < 700, "{}", run.out);
    let warning = "analyze: warning: gaps.trace/log.jsonl: line 3 is damaged: it does not fit its CRC; what it and later \
                   lines add is left out: copy it again\n";
    assert!(run.err.starts_with(warning), "{}", run.err);
}

#[test]
fn a_log_without_a_whole_line_is_no_empty_trace() {
    let bench = Bench::with(&["gaps"]);
    let path = bench.path("gaps.trace").join(LOG_FILE);
    let whole = fs::read(&path).unwrap();
    for (cut, why) in
        [(0, "log.jsonl is empty, and there are files"), (50, "line 1 was not written to its end")]
    {
        fs::write(&path, &whole[..cut]).unwrap();
        let run = bench.analyze(&["sql", "gaps.trace", "SELECT count(*) FROM stacks"]);
        assert!(run.code == 1 && run.err.contains(why), "{} {}", run.code, run.err);
    }
    let mut damaged = whole.clone();
    damaged[9] ^= 1;
    fs::write(&path, damaged).unwrap();
    let run = bench.analyze(&["gaps.trace"]);
    assert!(run.code == 2 && run.err.contains("log.jsonl is damaged: "), "{}", run.err);
    fs::remove_file(&path).unwrap();
    let run = bench.analyze(&["gaps.trace"]);
    assert!(run.code == 2 && run.err.contains("cannot read gaps.trace/log.jsonl"), "{}", run.err);
}

#[test]
fn a_recorder_that_died_while_it_closed_has_lost_nothing() {
    let bench = dead(&this_boot());
    let dir = bench.path("gaps.trace");
    let (meta, status) = format2::describe(&dir).unwrap();
    let add: Vec<Segment> = format2::segments(&dir, &meta).unwrap();
    let end_ns = add.iter().filter_map(|segment| segment.ts).map(|ts| ts.1).max();
    let status = Status { state: State::Open, end_ns, ..status };
    let commit = Commit { add, until_ns: end_ns, status: Some(status), ..Commit::default() };
    format2::write_log(&dir, &[commit]).unwrap();
    let run = count(&bench);
    assert_eq!((run.code, run.out.as_str(), run.err.as_str()), (0, "n\n1001\n", ""));
    let page = bench.analyze(&["gaps.trace"]);
    let state = "  state     open: the recorder died while it merged small segments, all rows are there\n";
    assert!(page.code == 0 && page.out.contains(state), "{} {}", page.out, page.err);
}
