//! `recorder compact`, and the merging at the end of a recording, ended by signals.

use std::path::Path;

use crate::sandbox::{Sandbox, Table, meta, wait_for};

fn segments(trace: &Path, table: &str) -> usize {
    let names = std::fs::read_dir(trace.join(table)).unwrap();
    names.filter(|name| name.as_ref().unwrap().path().extension().is_some_and(|it| it == "parquet")).count()
}

/// A trace of many segments in `t`, whose recorder was killed.
fn many_segments(sandbox: &Sandbox) {
    let script = "while :; do mkdir d; rmdir d; done";
    let mut running =
        sandbox.start(&["record", "mkdirs", "--segment-age", "100ms", "-o", "t", "--", "sh", "-c", script]);
    let trace = sandbox.path("t");
    wait_for("segments", || segments(&trace, "mkdirs") > 30);
    let shell: i32 = Table::read(&trace, "processes").text("pid")[0].parse().unwrap();
    running.signal(libc::SIGKILL);
    running.wait();
    // SAFETY: ends the shell that the recorder has started for this test.
    unsafe { libc::kill(shell, libc::SIGKILL) };
}

#[test]
fn a_signal_ends_compact_and_leaves_the_trace_right() {
    let sandbox = Sandbox::for_recording();
    many_segments(&sandbox);
    let trace = sandbox.path("t");
    // The first look publishes what waited for the disk.
    let mut stopped = 0;
    let mut rows = None;
    for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP] {
        let child = sandbox.command(&["compact", "t"]).stderr(std::process::Stdio::piped()).spawn().unwrap();
        // Blocked until it looks for it, or fatal before it has begun: the trace is right either way.
        std::thread::sleep(std::time::Duration::from_millis(15));
        // SAFETY: sends a signal to a child of ours that has not been waited for.
        unsafe { libc::kill(child.id() as i32, signal) };
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        if said.contains("came; they are as they were") {
            assert_eq!(output.status.code(), Some(2), "{said}");
            stopped += 1;
        }
        let now = Table::read(&trace, "mkdirs").len();
        assert!(rows.is_none_or(|rows| rows <= now), "{rows:?} rows before, {now} now: {said}");
        rows = Some(now);
    }
    println!("{stopped} of 3 were stopped");
    sandbox.expect(0, &["compact", "t"]);
    assert!(Some(Table::read(&trace, "mkdirs").len()) >= rows);
    assert_eq!(segments(&trace, "mkdirs"), 1);
    assert_eq!(meta(&trace)["state"], "recovered");
}

#[test]
fn a_second_signal_leaves_the_small_segments() {
    let sandbox = Sandbox::for_recording();
    let own = std::process::id().to_string();
    let mut running = sandbox.start(&["record", "mkdirs", "--segment-age", "100ms", "-o", "t", "-p", &own]);
    let trace = sandbox.path("t");
    let mut made = 0;
    wait_for("segments", || {
        std::fs::create_dir(sandbox.path(&format!("d{made}"))).unwrap();
        made += 1;
        segments(&trace, "mkdirs") > 20
    });
    running.signal(libc::SIGTERM);
    running.signal(libc::SIGINT);
    assert_eq!(running.wait(), Some(0), "{}", running.stderr());
    let said = running.stderr();
    assert!(said.contains("small segments were not merged") && said.contains("there was no time"), "{said}");
    assert_eq!(meta(&trace)["state"], "closed");
    assert!(segments(&trace, "mkdirs") > 20);
    let rows = Table::read(&trace, "mkdirs").len();
    assert!(rows >= made, "{rows} rows, {made} made");
    sandbox.expect(0, &["compact", "t"]);
    assert_eq!((segments(&trace, "mkdirs"), Table::read(&trace, "mkdirs").len()), (1, rows));
}
