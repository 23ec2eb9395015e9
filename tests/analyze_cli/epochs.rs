//! Traces of several epochs: what is written anew in each is there once, in SQL and for functions.

use std::fs;
use std::path::Path;

use fixtures::format2;
use schemas::trace::log::{Commit, Segment, Status};

use super::Bench;

/// Fixture kmem in two epochs: the dictionaries are there twice, in the second time with what is newer.
fn trace(bench: &Bench) {
    let dir = bench.path("kmem.trace");
    let status = format2::describe(&dir).unwrap().1;
    let (meta, _) = format2::describe(&dir).unwrap();
    let mut add = format2::segments(&dir, &meta).unwrap();
    let again: Vec<Segment> = add
        .iter()
        .filter(|segment| ["stacks", "symbols"].contains(&segment.table.as_str()))
        .map(|segment| {
            let again = Segment { number: 7, epoch: 5, ..segment.clone() };
            fs::copy(dir.join(segment.path()), dir.join(again.path())).unwrap();
            again
        })
        .collect();
    assert_eq!(again.len(), 2, "both are in the fixture");
    add.extend(again);
    write(&dir, add, status);
}

fn write(dir: &Path, add: Vec<Segment>, status: Status) {
    format2::write_log(dir, &[Commit { add, status: Some(status), ..Commit::default() }]).unwrap();
}

const ASKED: [&str; 6] = [
    "SELECT count(*) FROM stacks",
    "SELECT count(*), count(DISTINCT addr) FROM symbols",
    "SELECT * FROM stacks ORDER BY stack_id",
    "SELECT * FROM symbols ORDER BY addr",
    "SELECT name, count(*) FROM kmem JOIN symbols ON addr = call_site GROUP BY name ORDER BY name",
    "SELECT DISTINCT symbol(call_site) AS site, stack_text(kstack) AS stack FROM kmem ORDER BY site, stack",
];

#[test]
fn what_each_epoch_tells_anew_is_there_once() {
    let (one, two) = (Bench::with(&["kmem"]), Bench::with(&["kmem"]));
    trace(&two);
    for query in ASKED {
        for format in ["table", "json"] {
            let [before, after] =
                [&one, &two].map(|bench| bench.analyze(&["sql", "kmem.trace", query, "-F", format]));
            assert_eq!((before.code, after.code, &after.err), (0, 0, &before.err), "{query}");
            assert_eq!(after.out, before.out, "{query}");
        }
    }
    for words in [&["leaks", "kmem.trace"][..], &["kmem.trace"]] {
        let [before, after] = [&one, &two].map(|bench| bench.analyze(words).out);
        assert_eq!(before, after);
    }
    let verified = two.analyze(&["verify", "kmem.trace"]);
    assert_eq!((verified.code, verified.err.as_str()), (0, ""), "{}", verified.out);
}

#[test]
fn it_is_there_once_for_each_of_several_traces() {
    let bench = Bench::with(&["kmem"]);
    trace(&bench);
    fixtures::build("kmem", &bench.path("one.trace")).unwrap();
    let query = "SELECT count(*) AS n FROM symbols GROUP BY trace";
    let run = bench.analyze(&["sql", "kmem.trace", "one.trace", query, "-F", "csv"]);
    let counts: Vec<&str> = run.out.lines().skip(1).collect();
    assert!(counts.len() == 2 && counts[0] == counts[1], "{} {}", run.out, run.err);
    let run = bench.analyze(&["leaks", "kmem.trace", "one.trace", "-F", "csv"]);
    let of = |trace: &str| -> Vec<String> {
        let lines = run.out.lines().filter(|line| line.starts_with(trace));
        lines.map(|line| line[trace.len()..].to_owned()).collect()
    };
    assert_eq!(of("kmem.trace"), of("one.trace"), "{}", run.err);
    assert!(!of("kmem.trace").is_empty(), "{}", run.err);
}

#[test]
fn of_two_rows_with_one_id_the_newest_wins() {
    let bench = Bench::with(&["who"]);
    let dir = bench.path("who.trace");
    let (meta, status) = format2::describe(&dir).unwrap();
    let mut add = format2::segments(&dir, &meta).unwrap();
    let first = add.iter().position(|segment| segment.table == "cgroups").unwrap();
    let query = "SELECT count(*) AS n, min(path) AS path FROM cgroups";
    let ask = |query: &str| bench.analyze(&["sql", "who.trace", query, "-F", "csv"]).out;
    let before = ask(query);
    // The same ids under other paths.
    let text = fs::read_to_string(fixtures::root().join("synthetic/who/cgroups.csv")).unwrap();
    let other = text.replace(" /", " /zzz/");
    let schema = schemas::trace::SIDE_TABLES.iter().find(|table| table.name == "cgroups").unwrap().schema;
    let batch = fixtures::table::read(&other, &std::sync::Arc::new(schema())).unwrap().remove(&0).unwrap();
    // A merged file of an old epoch can have a larger number than those of a new one.
    fixtures::synthetic::write_segment(&dir.join("cgroups/000003.parquet"), &batch.schema(), &batch).unwrap();
    let newer = format2::segments(&dir, &meta).unwrap();
    let newer = newer.iter().find(|segment| segment.path() == "cgroups/000003.parquet").unwrap().clone();
    fs::rename(dir.join("cgroups/000000.parquet"), dir.join("cgroups/000009.parquet")).unwrap();
    add[first].number = 9;
    add.push(Segment { epoch: 2, ..newer });
    write(&dir, add, status);
    let after = ask(query);
    assert_ne!(after, before);
    let rows = |text: &str| text.lines().nth(1).unwrap().split(',').next().unwrap().to_owned();
    assert_eq!(rows(&after), rows(&before));
    assert!(after.contains("/zzz/"), "{after}");
}

#[test]
fn rows_that_a_later_epoch_carries_on_count_in_the_oldest_one_only() {
    let bench = Bench::with(&["who"]);
    let dir = bench.path("who.trace");
    let (meta, status) = format2::describe(&dir).unwrap();
    let count =
        || bench.analyze(&["sql", "who.trace", "SELECT count(*) AS n FROM processes", "-F", "csv"]).out;
    let before = count();
    let mut add = format2::segments(&dir, &meta).unwrap();
    let processes = add.iter().find(|segment| segment.table == "processes").unwrap().clone();
    let carried = Segment { number: 1, epoch: 1, carried: true, ..processes.clone() };
    fs::copy(dir.join(processes.path()), dir.join(carried.path())).unwrap();
    add.push(carried);
    write(&dir, add.clone(), status.clone());
    assert_eq!(count(), before);
    // Once the first epoch is gone they are what there is.
    add.retain(|segment| segment.epoch == 1);
    write(&dir, add, status);
    assert_eq!(count(), before);
}
