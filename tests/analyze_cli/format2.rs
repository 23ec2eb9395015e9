//! Traces with a log: the same answers as in format 1, and what is said of files that are not what the log says.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use fixtures::format2;
use schemas::trace::log::{Commit, LOG_FILE, Log, Segment};

use super::Bench;

/// What is asked of each trace: its page, and all rows of all tables.
fn answers(bench: &Bench, trace: &str) -> [(i32, String, String); 2] {
    let page = bench.analyze(&[trace]);
    let tables = page.out.lines().skip_while(|line| !line.starts_with("  table ")).skip(1);
    let tables =
        tables.take_while(|line| line.starts_with("  ")).filter_map(|line| line.split_whitespace().next());
    let query = |table| format!("SELECT * FROM {table} ORDER BY ALL; SELECT count(*) FROM {table};\n");
    let queries: Vec<String> = tables.map(query).collect();
    assert!(queries.len() >= 7, "{}", page.out);
    let rows = bench.analyze_from(&["shell", trace, "-F", "ndjson"], &queries.concat());
    [page, rows].map(|run| (run.code, run.out, run.err))
}

#[test]
fn every_fixture_has_the_same_answers_in_both_formats() {
    let names = fixtures::synthetic_names().unwrap();
    let names: Vec<&str> = names.iter().map(String::as_str).filter(|name| *name != "newer").collect();
    assert!(names.len() > 15);
    let (one, two) = (Bench::old(&names), Bench::with(&names));
    for name in names {
        let trace = format!("{name}.trace");
        assert_eq!(answers(&two, &trace), answers(&one, &trace), "{name}");
    }
}

#[test]
fn captured_traces_have_the_same_answers_in_format_2_and_are_sound() {
    let (one, two) = (Bench::with(&[]), Bench::with(&[]));
    for name in ["joins", "kmem", "listens", "mkdirs", "packets", "switches"] {
        let trace = format!("{name}.trace");
        for bench in [&one, &two] {
            let from = fixtures::root().join("captured").join(&trace);
            assert!(
                Command::new("cp").arg("-r").arg(from).arg(bench.path(&trace)).status().unwrap().success()
            );
        }
        format2::convert(&two.path(&trace)).unwrap();
        assert_eq!(answers(&two, &trace), answers(&one, &trace), "{name}");
        for (bench, end) in [(&one, "(format 1 has no CRCs)\n"), (&two, "rows are as many as were counted\n")]
        {
            let run = bench.analyze(&["verify", &trace]);
            assert_eq!((run.code, run.err.as_str()), (0, ""), "{}", run.out);
            assert!(run.out.ends_with(end), "{}", run.out);
        }
    }
}

const COUNT: [&str; 5] = ["sql", "gaps.trace", "SELECT count(*) AS n FROM packets", "-F", "csv"];

#[test]
fn a_file_that_is_missing_or_has_another_size_is_left_out_with_a_warning() {
    let bench = Bench::with(&["gaps"]);
    let second = bench.path("gaps.trace/packets/000001.parquet");
    let sound = fs::read(&second).unwrap();
    let warned = |why: &str| {
        let run = bench.analyze(&COUNT);
        assert_eq!((run.code, run.out.as_str()), (1, "n\n601\n"), "{}", run.err);
        let warning = format!("analyze: warning: gaps.trace/packets/000001.parquet: {why}");
        assert!(run.err.starts_with(&warning) && run.err.lines().count() == 1, "{}", run.err);
        let run = bench.analyze(&["verify", "gaps.trace"]);
        assert!(run.code == 1 && run.out.contains(why), "{}", run.out);
        let page = bench.analyze(&["gaps.trace"]);
        assert!(!page.out.contains("every event that the probes saw is there"), "{}", page.out);
    };
    fs::remove_file(&second).unwrap();
    warned("it is missing; its rows are left out: copy it again");
    fs::write(&second, &sound[1..]).unwrap();
    warned(&format!(
        "it has {} bytes, and the log says {}; its rows are left out",
        sound.len() - 1,
        sound.len()
    ));
    fs::remove_file(&second).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", &second).unwrap();
    warned("not a regular file; its rows are left out");
    fs::remove_dir_all(bench.path("gaps.trace/packets")).unwrap();
    fs::write(bench.path("gaps.trace/packets"), "").unwrap();
    let run = bench.analyze(&COUNT);
    assert!(run.code == 1 && run.err.contains("gaps.trace/packets is not a directory"), "{}", run.err);
}

#[test]
fn files_that_the_log_does_not_name_do_not_count() {
    let bench = Bench::with(&["gaps"]);
    let (first, more) = ("gaps.trace/packets/000000.parquet", "gaps.trace/packets/000017.parquet");
    fs::copy(bench.path(first), bench.path(more)).unwrap();
    let run = bench.analyze(&COUNT);
    assert_eq!((run.code, run.out.as_str(), run.err.as_str()), (0, "n\n1001\n", ""));
    let run = bench.analyze(&["verify", "gaps.trace"]);
    assert_eq!(run.code, 1);
    let problem = format!("{more}: the log does not name it");
    assert!(run.out.starts_with(&problem) && run.out.contains("1 problems in 3 files"), "{}", run.out);
}

#[test]
fn damage_within_a_file_is_found_by_whoever_reads_it() {
    let bench = Bench::with(&["gaps"]);
    let path = bench.path("gaps.trace/packets/000001.parquet");
    let sound = fs::read(&path).unwrap();
    // In a page, in the footer, and in its length.
    for at in [150, sound.len() - 100, sound.len() - 7] {
        let mut damaged = sound.clone();
        damaged[at] ^= 1;
        fs::write(&path, damaged).unwrap();
        // Who asks nothing of it need not know: the log says how many rows it has.
        assert_eq!(bench.analyze(&COUNT).code, 0);
        let run = bench.analyze(&["sql", "gaps.trace", "SELECT min(ns(ts) % 7) FROM packets"]);
        assert_eq!((run.code, run.out.as_str()), (2, ""));
        let expected = format!(
            "analyze: DIR/gaps.trace/packets/000001.parquet is damaged: its bytes from 0 to {} do not fit their CRC in the \
             log; `analyze verify TRACE` names all such files: copy them again, or move them out of the trace to ask the \
             rest\n",
            sound.len()
        );
        assert_eq!(run.err, expected);
    }
    fs::remove_file(&path).unwrap();
    assert_eq!(bench.analyze(&COUNT).code, 1, "moved out of the trace");
}

#[test]
fn a_part_of_a_large_file_is_read_although_another_part_is_damaged() {
    let bench = Bench::with(&["gaps"]);
    let dir = bench.path("gaps.trace");
    let (meta, status) = format2::describe(&dir).unwrap();
    // Bytes in the middle that nobody needs make it large.
    let path = dir.join("packets/000000.parquet");
    let add = format2::segments(&dir, &meta).unwrap();
    grow(&path);
    let large = format2::segments(&dir, &meta).unwrap();
    let first = large.iter().position(|segment| segment.path() == "packets/000000.parquet").unwrap();
    assert_eq!(large[first].blocks.len(), 4);
    assert_eq!((large[first].rows, large.len()), (add[first].rows, add.len()));
    format2::write_log(&dir, &[Commit { add: large, status: Some(status), ..Commit::default() }]).unwrap();
    let query = ["sql", "gaps.trace", "SELECT count(DISTINCT ts) AS n FROM packets", "-F", "csv"];
    let mut bytes = fs::read(&path).unwrap();
    let end = bytes.len();
    for (at, is_read) in [(end / 2, false), (40, true), (end - 20, true)] {
        bytes[at] ^= 1;
        fs::write(&path, &bytes).unwrap();
        let run = bench.analyze(&query);
        assert_eq!(run.code, if is_read { 2 } else { 0 }, "{at}: {}", run.err);
        let verified = bench.analyze(&["verify", "gaps.trace"]);
        assert!(verified.code == 1 && verified.out.contains("do not fit their CRC"), "{}", verified.out);
        bytes[at] ^= 1;
    }
}

/// Put 3 MiB of zeros between the pages and the footer of a Parquet file.
fn grow(path: &Path) {
    let bytes = fs::read(path).unwrap();
    let end = bytes.len() - 8;
    let length = u32::from_le_bytes(bytes[end..end + 4].try_into().unwrap()) as usize;
    let (pages, footer) = bytes.split_at(end - length);
    // What tells of pages (the page index) stays where it is.
    fs::write(path, [pages, &vec![0; 3 << 20], footer].concat()).unwrap();
}

#[test]
fn opening_reads_no_file_however_many_there_are() {
    const FILES: u64 = 10_000;
    let bench = Bench::with(&["mkdirs"]);
    let dir = bench.path("mkdirs.trace");
    let (meta, status) = format2::describe(&dir).unwrap();
    let [segment] = format2::segments(&dir, &meta).unwrap().try_into().unwrap();
    let path = dir.join(segment.path());
    // No Parquet at all, of the same size.
    fs::write(&path, vec![b'x'; segment.bytes as usize]).unwrap();
    let add: Vec<Segment> = (0..FILES).map(|number| Segment { number, ..segment.clone() }).collect();
    for segment in &add[1..] {
        fs::hard_link(&path, dir.join(segment.path())).unwrap();
    }
    format2::write_log(&dir, &[Commit { add, status: Some(status), ..Commit::default() }]).unwrap();
    let run = bench.analyze(&["mkdirs.trace"]);
    assert_eq!((run.code, run.err.as_str()), (0, ""));
    let rows = segment.rows * FILES;
    assert!(run.out.contains(&format!("\n  mkdirs {rows:>20} ")), "{}", run.out);
    let run = bench.analyze(&["sql", "mkdirs.trace", "SELECT count(*) AS n FROM mkdirs", "-F", "csv"]);
    assert_eq!((run.code, run.out), (0, format!("n\n{rows}\n")));
    let run = bench.analyze(&["sql", "mkdirs.trace", "SELECT max(mode) FROM mkdirs"]);
    assert!(run.code == 2 && run.err.contains("do not fit their CRC"), "{}", run.err);
}

#[test]
fn trace_json_with_one_damaged_byte_is_refused() {
    let bench = Bench::with(&["mkdirs"]);
    let path = bench.path("mkdirs.trace/trace.json");
    let text = fs::read_to_string(&path).unwrap();
    for (from, to) in
        [("alpha", "alphb"), ("\"cpus\": 2", "\"cpus\": 3"), ("\"crc\"", "\"crd\""), ("2,\n", "1,\n")]
    {
        assert!(text.contains(from));
        fs::write(&path, text.replacen(from, to, 1)).unwrap();
        let run = bench.analyze(&["mkdirs.trace"]);
        let begin = "analyze: mkdirs.trace/trace.json is damaged: restore it from a copy, or record again: ";
        assert!(run.code == 2 && run.err.starts_with(begin), "{to}: {}", run.err);
    }
}

/// A recorder writes a segment, commits, and merges two of them, over and over; each answer is that after one commit.
#[test]
fn a_trace_that_changes_is_seen_as_it_was_after_one_commit() {
    let bench = Bench::with(&["gaps"]);
    let dir = bench.path("gaps.trace");
    let (meta, mut status) = format2::describe(&dir).unwrap();
    status.state = schemas::trace::State::Open;
    let segments = format2::segments(&dir, &meta).unwrap();
    let log = dir.join(LOG_FILE);
    let begin = Commit { status: Some(status), ..Commit::default() };
    format2::write_log(&dir, &[begin]).unwrap();
    let held = File::open(&dir).unwrap();
    held.lock().unwrap();
    let is_done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        // All rows are always there: each commit removes a file and adds a copy of it under another number.
        let writer = scope.spawn(|| {
            let mut file = File::options().append(true).open(&log).unwrap();
            let mut commits = 1;
            let mut commit = |commit: Commit| {
                file.write_all(Commit { n: commits, ..commit }.line().unwrap().as_bytes()).unwrap();
                commits += 1;
            };
            commit(Commit { add: segments.clone(), ..Commit::default() });
            let mut now = segments.clone();
            let mut number = 100;
            while !is_done.load(std::sync::atomic::Ordering::Relaxed) {
                let old = now.remove(0);
                let new = Segment { number, ..old.clone() };
                number += 1;
                fs::copy(dir.join(old.path()), dir.join(new.path())).unwrap();
                now.push(new.clone());
                let remove = vec![old.name()];
                commit(Commit { add: vec![new], remove, ..Commit::default() });
                fs::remove_file(dir.join(old.path())).unwrap();
                std::thread::sleep(Duration::from_millis(3));
            }
            number
        });
        let query = "SELECT count(*) AS n, count(DISTINCT ts) AS times FROM packets";
        let mut answered = 0;
        for _ in 0..20 {
            let run = bench.analyze(&["sql", "gaps.trace", query, "-F", "csv"]);
            if run.code == 2 {
                assert!(run.err.contains("changes faster than it can be read"), "{}", run.err);
                continue;
            }
            assert!(["n,times\n1001,1001\n", "n,times\n0,0\n"].contains(&run.out.as_str()), "{}", run.out);
            assert!(!run.err.contains("warning"), "{}", run.err);
            answered += usize::from(run.out.contains("1001"));
        }
        is_done.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(answered > 5, "{answered} answers");
        assert!(writer.join().unwrap() > 120, "it changed all the time");
    });
    assert!(Log::parse(&fs::read(&log).unwrap()).commits.len() > 20);
}
