//! `recorder compact` ended by signals.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

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

/// Let `signal` be there already when the program begins, so that its first look finds it.
fn pend(command: &mut Command, signal: i32) {
    // SAFETY: only system calls happen between fork and exec; what is blocked and waits stays so.
    unsafe {
        command.pre_exec(move || {
            let mut mask = std::mem::zeroed();
            libc::sigemptyset(&raw mut mask);
            libc::sigaddset(&raw mut mask, signal);
            libc::sigprocmask(libc::SIG_BLOCK, &raw const mask, std::ptr::null_mut());
            libc::kill(libc::getpid(), signal);
            Ok(())
        })
    };
}

#[test]
fn a_signal_ends_compact_and_leaves_the_trace_right() {
    let sandbox = Sandbox::for_recording();
    many_segments(&sandbox);
    let trace = sandbox.path("t");
    let mut rows = None;
    // At the first look first, as long as there is something to be done.
    for is_pending in [true, false] {
        for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP] {
            let mut command = sandbox.command(&["compact", "t"]);
            if is_pending {
                pend(&mut command, signal);
            }
            let child = command.stderr(std::process::Stdio::piped()).spawn().unwrap();
            // At some instant: blocked until it looks for it, or fatal before it has begun. The trace is right either way.
            std::thread::sleep(std::time::Duration::from_millis(15));
            // SAFETY: sends a signal to a child of ours that has not been waited for.
            unsafe { libc::kill(child.id() as i32, if is_pending { 0 } else { signal }) };
            let output = child.wait_with_output().unwrap();
            let said = String::from_utf8(output.stderr).unwrap();
            if is_pending {
                assert!(said.contains("came; nothing is lost"), "{said}");
                assert_eq!(output.status.code(), Some(2), "{said}");
                assert!(segments(&trace, "mkdirs") > 30);
            }
            let now = Table::read(&trace, "mkdirs").len();
            assert!(rows.is_none_or(|rows| rows <= now), "{rows:?} rows before, {now} now: {said}");
            rows = Some(now);
        }
    }
    sandbox.expect(0, &["compact", "t"]);
    assert!(Some(Table::read(&trace, "mkdirs").len()) >= rows);
    assert_eq!(segments(&trace, "mkdirs"), 1);
    assert_eq!(meta(&trace)["state"], "recovered");
}

#[test]
fn more_segments_are_compacted_than_files_may_be_open_to_begin_with() {
    let sandbox = Sandbox::for_recording();
    many_segments(&sandbox);
    let trace = sandbox.path("t");
    let mut command = sandbox.command(&["compact", "t"]);
    let limit = || Ok(setrlimit(Resource::RLIMIT_NOFILE, 24, getrlimit(Resource::RLIMIT_NOFILE)?.1)?);
    // SAFETY: only system calls happen between fork and exec.
    let output = unsafe { command.pre_exec(limit) }.output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(segments(&trace, "mkdirs"), 1);
}
