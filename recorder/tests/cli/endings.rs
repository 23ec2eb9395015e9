//! Every way to end: the command, a time, a signal, a reader that goes away, kill -9.

use std::fs;
use std::io::Read;
use std::time::Instant;

use crate::sandbox::{Sandbox, Table, meta, record, wait_for};

#[test]
fn the_exit_code_of_the_command_is_passed_on() {
    let sandbox = Sandbox::for_recording();
    record(&sandbox, 7, &["mkdirs"], "exit 7");
    assert_eq!(meta(&sandbox.path("t"))["command_exit_code"], 7);
}

#[test]
fn a_command_that_a_signal_ended_counts_from_128() {
    let sandbox = Sandbox::for_recording();
    record(&sandbox, 128 + 9, &["mkdirs"], "kill -9 $$");
    assert_eq!(meta(&sandbox.path("t"))["state"], "closed");
}

#[test]
fn the_command_gets_ordinary_signals_and_its_own_standard_streams() {
    let sandbox = Sandbox::for_recording();
    let script = "trap 'echo got it; exit 3' TERM; kill -TERM $$; exit 4";
    let text = sandbox.expect(3, &["record", "mkdirs", "-o", "t", "--", "sh", "-c", script]);
    assert_eq!(text.out, "got it\n");
}

#[test]
fn the_duration_ends_the_recording_and_a_command_that_still_runs() {
    let sandbox = Sandbox::for_recording();
    let start = Instant::now();
    sandbox.expect(128 + 15, &["record", "mkdirs", "-o", "t", "-d", "300ms", "--", "sleep", "600"]);
    sandbox.expect(0, &["record", "mkdirs", "-o", "u", "-d", "300ms", "-p", &std::process::id().to_string()]);
    assert!(start.elapsed().as_secs() < 60);
    for trace in ["t", "u"] {
        let meta = meta(&sandbox.path(trace));
        assert_eq!(meta["state"], "closed");
        let length_ns = meta["end_ns"].as_i64().unwrap() - meta["start_ns"].as_i64().unwrap();
        assert!(length_ns >= 300_000_000, "{length_ns}");
    }
}

#[test]
fn signals_end_a_recording_well_and_reach_the_command() {
    for (signal, name) in [(libc::SIGTERM, "TERM"), (libc::SIGINT, "INT"), (libc::SIGHUP, "HUP")] {
        let sandbox = Sandbox::for_recording();
        let script = format!("trap 'mkdir after; exit 5' {name}; mkdir before; while :; do sleep 0.01; done");
        let mut running = sandbox.start(&["record", "mkdirs", "-o", "t", "--", "sh", "-c", &script]);
        wait_for("the first directory", || sandbox.path("before").exists());
        running.signal(signal);
        assert_eq!(running.wait(), Some(5), "{name}: {}", running.stderr());
        let table = Table::read(&sandbox.path("t"), "mkdirs");
        assert_eq!(table.text("path"), ["before", "after"], "{name}");
        assert_eq!(meta(&sandbox.path("t"))["state"], "closed");
    }
}

#[test]
fn a_signal_ends_a_recording_without_command() {
    let sandbox = Sandbox::for_recording();
    let own = std::process::id().to_string();
    let mut running = sandbox.start(&["record", "mkdirs", "-o", "t", "-p", &own]);
    fs::create_dir(sandbox.path("made-by-the-test")).unwrap();
    running.signal(libc::SIGTERM);
    assert_eq!(running.wait(), Some(0), "{}", running.stderr());
    let paths = Table::read(&sandbox.path("t"), "mkdirs").text("path");
    assert_eq!(paths.iter().filter(|path| path.ends_with("/made-by-the-test")).count(), 1, "{paths:?}");
}

#[test]
fn kill_9_leaves_a_trace_that_can_be_read_and_tidied_up() {
    let sandbox = Sandbox::for_recording();
    let script = "i=0; while [ $i -lt 100000 ]; do mkdir d$i; rmdir d$i; echo $i > last; i=$((i+1)); done";
    let mut running = sandbox.start(&["record", "mkdirs", "-o", "t", "--", "sh", "-c", script]);
    let last =
        || fs::read_to_string(sandbox.path("last")).ok().and_then(|text| text.trim().parse::<usize>().ok());
    let trace = sandbox.path("t");
    wait_for("the first segment", || {
        fs::read_dir(trace.join("mkdirs"))
            .unwrap()
            .flatten()
            .any(|e| e.path().extension().is_some_and(|x| x == "parquet"))
    });
    let shell: i32 = Table::read(&trace, "processes").text("pid")[0].parse().unwrap();
    std::thread::sleep(std::time::Duration::from_millis(1200));
    let made_early = last().unwrap();
    std::thread::sleep(std::time::Duration::from_millis(1500));
    running.signal(libc::SIGKILL);
    running.wait();
    // SAFETY: ends the shell that the recorder has started for this test, if it still runs.
    unsafe { libc::kill(shell, libc::SIGKILL) };
    assert_eq!(meta(&trace)["state"], "open");
    let rows = Table::read(&trace, "mkdirs").len();
    assert!(rows >= made_early, "{rows} rows, but {made_early} were made more than a second before the end");
    let told = sandbox.expect(0, &["compact", "t"]).err;
    assert_eq!(meta(&trace)["state"], "recovered", "{told}");
    assert_eq!(Table::read(&trace, "mkdirs").len(), rows);
}

#[test]
fn a_reader_that_goes_away_ends_the_recording_as_a_success() {
    let sandbox = Sandbox::for_recording();
    let own = std::process::id().to_string();
    let mut running = sandbox.start(&["record", "mkdirs", "-o", "t", "--print", "-p", &own]);
    let mut byte = [0];
    fs::create_dir(sandbox.path("first")).unwrap();
    let mut out = running.child.stdout.take().unwrap();
    out.read_exact(&mut byte).unwrap();
    drop(out);
    let mut i = 0;
    wait_for("the recorder to end", || {
        fs::create_dir(sandbox.path(&format!("more{i}"))).unwrap();
        i += 1;
        running.child.try_wait().unwrap().is_some()
    });
    assert_eq!(running.wait(), Some(0), "{}", running.stderr());
    assert_eq!(meta(&sandbox.path("t"))["state"], "closed");
}
