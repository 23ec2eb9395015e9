//! `analyze verify`: what is sound, what is not, and what of format 1 can be told.

use std::fs;
use std::process::Command;

use fixtures::format2;
use schemas::trace::log::{Commit, LOG_FILE, Log};

use super::Bench;

#[test]
fn every_fixture_is_sound() {
    let names = fixtures::synthetic_names().unwrap();
    let names: Vec<&str> = names.iter().map(String::as_str).filter(|name| *name != "newer").collect();
    let bench = Bench::with(&names);
    let traces: Vec<String> = names.iter().map(|name| format!("{name}.trace")).collect();
    let words: Vec<&str> = ["verify"].into_iter().chain(traces.iter().map(String::as_str)).collect();
    let run = bench.analyze(&words);
    assert_eq!((run.code, run.err.as_str()), (0, ""), "{}", run.out);
    assert_eq!(run.out.lines().count(), names.len(), "{}", run.out);
    let gaps = run.out.lines().find(|line| line.starts_with("gaps.trace")).unwrap();
    let (begin, end) =
        ("gaps.trace: 3 files, ", " bytes, 1001 rows: every CRC fits and every page can be read");
    assert!(gaps.starts_with(begin) && gaps.ends_with(end), "{gaps}");
}

#[test]
fn each_file_that_is_damaged_has_a_line() {
    let bench = Bench::with(&["gaps", "kmem"]);
    for file in ["packets/000000.parquet", "packets/000002.parquet"] {
        let path = bench.path("gaps.trace").join(file);
        let mut bytes = fs::read(&path).unwrap();
        bytes[77] ^= 4;
        fs::write(path, bytes).unwrap();
    }
    let run = bench.analyze(&["verify", "gaps.trace", "kmem.trace", "--threads", "2"]);
    assert_eq!((run.code, run.err.as_str()), (1, ""));
    let lines: Vec<&str> = run.out.lines().collect();
    assert_eq!(lines.len(), 4, "{}", run.out);
    for (line, file) in lines.iter().zip(["000000", "000002"]) {
        let begin = format!("gaps.trace/packets/{file}.parquet: its bytes from 0 to ");
        assert!(
            line.starts_with(&begin) && line.ends_with(" do not fit their CRC in the log: copy it again"),
            "{line}"
        );
    }
    assert!(lines[2].starts_with("gaps.trace: 2 problems in 3 files, "), "{}", lines[2]);
    assert!(lines[3].starts_with("kmem.trace: ") && lines[3].contains(": every CRC fits"), "{}", lines[3]);
}

/// Change what the log says of the first file of packets, with CRCs that fit.
fn rewritten(change: impl FnOnce(&mut Commit)) -> String {
    let bench = Bench::with(&["gaps"]);
    let dir = bench.path("gaps.trace");
    let mut commit = Log::parse(&fs::read(dir.join(LOG_FILE)).unwrap()).commits.remove(0);
    change(&mut commit);
    format2::write_log(&dir, &[commit]).unwrap();
    let run = bench.analyze(&["verify", "gaps.trace"]);
    assert_eq!(run.code, 1, "{}", run.out);
    run.out
}

#[test]
fn what_the_log_says_is_compared_with_the_rows() {
    let told = rewritten(|commit| commit.add[0].sources[0].2 += 1);
    assert!(
        told.contains("packets/000000.parquet: it has other rows of a probe and CPU than the log says"),
        "{told}"
    );
    let told = rewritten(|commit| commit.add[1].rows -= 1);
    assert!(told.contains("packets/000001.parquet: it has "), "{told}");
    let bench = Bench::with(&["late"]);
    let dir = bench.path("late.trace");
    let mut commit = Log::parse(&fs::read(dir.join(LOG_FILE)).unwrap()).commits.remove(0);
    commit.add.iter_mut().for_each(|segment| segment.late = false);
    format2::write_log(&dir, &[commit]).unwrap();
    let run = bench.analyze(&["verify", "late.trace"]);
    assert!(run.code == 1 && run.out.contains("and neither is marked as late: report this"), "{}", run.out);
}

#[test]
fn rows_are_compared_with_what_was_counted() {
    let bench = Bench::with(&[]);
    let trace = bench.path("joins.trace");
    let from = fixtures::root().join("captured/joins.trace");
    assert!(Command::new("cp").arg("-r").arg(from).arg(&trace).status().unwrap().success());
    fs::copy(trace.join("netns_joins/000000.parquet"), trace.join("netns_joins/999999.parquet"))
        .unwrap_or_else(|_| {
            let file = fs::read_dir(trace.join("netns_joins")).unwrap().next().unwrap().unwrap().path();
            fs::copy(file, trace.join("netns_joins/999999.parquet")).unwrap()
        });
    let old = bench.analyze(&["verify", "joins.trace"]);
    assert!(old.code == 1 && old.out.contains("are not of this trace"), "{}", old.out);
    format2::convert(&trace).unwrap();
    let mut commit = Log::parse(&fs::read(trace.join(LOG_FILE)).unwrap()).commits.remove(0);
    commit.add.iter_mut().for_each(|segment| segment.late = true);
    format2::write_log(&trace, &[commit]).unwrap();
    let new = bench.analyze(&["verify", "joins.trace"]);
    assert!(
        new.code == 1 && new.out.contains("rows, and ") && new.out.contains("were recorded"),
        "{}",
        new.out
    );
}

#[test]
fn of_format_1_it_says_what_can_be_read() {
    let bench = Bench::old(&["gaps"]);
    let run = bench.analyze(&["verify", "gaps.trace"]);
    assert_eq!((run.code, run.err.as_str()), (0, ""));
    assert!(
        run.out.ends_with(" bytes, 1001 rows: every page can be read (format 1 has no CRCs)\n"),
        "{}",
        run.out
    );
    let path = bench.path("gaps.trace/packets/000001.parquet");
    let mut bytes = fs::read(&path).unwrap();
    bytes[4..200].fill(0xff);
    fs::write(&path, bytes).unwrap();
    let run = bench.analyze(&["verify", "gaps.trace"]);
    assert!(run.code == 1 && run.out.starts_with("gaps.trace/packets/000001.parquet: "), "{}", run.out);
}

#[test]
fn what_is_no_trace_cannot_be_verified() {
    let bench = Bench::with(&["newer"]);
    bench.refused(
        &["verify", "nothing"],
        "analyze: cannot open trace 'nothing': No such file or directory (os error 2)",
    );
    bench.refused(
        &["verify", "newer.trace"],
        "analyze: newer.trace/trace.json has format version 99, this program knows up to 2: use a newer one",
    );
    let run = bench.analyze(&["verify", "--help"]);
    assert!(run.code == 0 && run.out.contains("\n  analyze verify run.trace\n"), "{}", run.out);
}
