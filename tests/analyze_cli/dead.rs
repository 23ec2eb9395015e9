//! What a recorder that died has left: segments beside their table that waited for the disk.

use std::fs;

use super::{Bench, Run};

const COUNT: &str = "SELECT count(*) AS n FROM packets";

/// A trace whose recorder died: of three segments the last has not got its name.
fn dead(boot_id: &str) -> Bench {
    let bench = Bench::with(&["gaps"]);
    let json = bench.path("gaps.trace/trace.json");
    let text = fs::read_to_string(&json).unwrap();
    let text = text.replace("\"state\": \"closed\"", "\"state\": \"open\"");
    fs::write(&json, text.replace("00000000-0000-0000-0000-000000000000", boot_id)).unwrap();
    fs::rename(bench.path("gaps.trace/packets/000002.parquet"), bench.path("gaps.trace/.packets-17.whole"))
        .unwrap();
    bench
}

fn this_boot() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap().trim().to_owned()
}

fn count(bench: &Bench) -> Run {
    bench.analyze(&["sql", "gaps.trace", COUNT, "-F", "csv"])
}

#[test]
fn segments_that_waited_for_the_disk_when_the_recorder_died_are_there() {
    let run = count(&dead(&this_boot()));
    assert_eq!((run.code, run.out.as_str()), (1, "n\n1001\n"));
    assert!(run.err.starts_with("analyze: loss: counted until +0.000s; what was lost"), "{}", run.err);
    assert_eq!(run.err.lines().count(), 2, "{}", run.err);
}

#[test]
fn they_are_left_out_once_the_machine_was_started_again() {
    let run = count(&dead("00000000-0000-0000-0000-000000000001"));
    let rows: u32 = run.out.lines().last().unwrap().parse().unwrap();
    assert!(rows < 1001 && run.code == 1, "{rows} {}", run.code);
    assert!(
        run.err.starts_with(
            "analyze: warning: gaps.trace: 1 segments are left out that waited for the disk when that machine \
             stopped: `recorder compact` drops them\n"
        ),
        "{}",
        run.err
    );
}

#[test]
fn a_damaged_one_is_named() {
    let bench = dead(&this_boot());
    fs::write(bench.path("gaps.trace/.packets-18.whole"), "no Parquet").unwrap();
    let run = count(&bench);
    assert_eq!((run.code, run.out.as_str()), (1, "n\n1001\n"));
    assert!(run.err.contains("gaps.trace/.packets-18.whole: damaged or not a Parquet file"), "{}", run.err);
}
