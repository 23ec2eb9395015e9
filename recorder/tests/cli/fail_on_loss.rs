//! Losses are counted, told while they happen, and can fail the run.

use std::fs;

use crate::sandbox::{Sandbox, counts, wait_for};

/// More than fit into a ring of 64 KiB.
const STORM: usize = 5000;

fn stop(pid: u32) {
    // SAFETY: sends a signal to a child of ours that has not been waited for.
    assert_eq!(unsafe { libc::kill(pid as i32, libc::SIGSTOP) }, 0);
    wait_for("the recorder to stop", || {
        fs::read_to_string(format!("/proc/{pid}/stat")).unwrap().contains(") T ")
    });
}

fn go_on(pid: u32) {
    // SAFETY: as above.
    assert_eq!(unsafe { libc::kill(pid as i32, libc::SIGCONT) }, 0);
}

/// Make more events than fit while the recorder `pid`, which records this process, is stopped.
pub fn lose_some(sandbox: &Sandbox, pid: u32) {
    let dir = sandbox.path("storm");
    fs::create_dir(&dir).unwrap();
    stop(pid);
    for _ in 0..STORM {
        assert!(fs::create_dir(&dir).is_err());
    }
    go_on(pid);
}

/// More rings than the budget has room for are told too.
fn is_of_rings(line: &str) -> bool {
    line.contains("warning: the ring buffers take ")
        && line.contains("more than the 64.0 KiB of --buffer-size")
}

#[test]
fn without_a_terminal_losses_are_told_once_when_they_begin() {
    let sandbox = Sandbox::for_recording();
    let own = std::process::id().to_string();
    let args = ["record", "mkdirs", "--buffer-size", "64K", "-o", "t", "-p", &own];
    let mut running = sandbox.start(&args);
    let told =
        |text: &str| text.lines().filter(|line| line.contains("warning: ") && !is_of_rings(line)).count();
    assert!(running.stderr().lines().any(is_of_rings), "{}", running.stderr());
    assert_eq!(told(&running.stderr()), 0, "{}", running.stderr());
    lose_some(&sandbox, running.child.id());
    wait_for("the warning", || running.stderr().contains(" events are lost so far (ring_full): "));
    fs::remove_dir(sandbox.path("storm")).unwrap();
    lose_some(&sandbox, running.child.id());
    std::thread::sleep(std::time::Duration::from_millis(1500));
    running.signal(libc::SIGTERM);
    assert_eq!(running.wait(), Some(0), "only --fail-on-loss makes losses a failure");
    let text = running.stderr();
    assert_eq!(told(&text), 1, "{text}");
    assert!(text.contains("raise --buffer-size"), "{text}");
    let (seen, recorded, lost) = counts(&sandbox.path("t"), "mkdirs");
    assert!(lost > 0 && text.contains(&format!("mkdirs: {lost} lost (ring_full): ")), "{lost}: {text}");
    // Other tests of this process make directories too.
    assert!(seen >= 2 * STORM as i128 && recorded > 0, "{seen} {recorded} {lost}");
}

#[test]
fn missing_events_fail_the_run_if_that_is_asked_for() {
    let sandbox = Sandbox::for_recording();
    let own = std::process::id().to_string();
    let args = ["record", "mkdirs", "--buffer-size", "64K", "--fail-on-loss", "-o", "t", "-p", &own];
    let mut running = sandbox.start(&args);
    lose_some(&sandbox, running.child.id());
    running.signal(libc::SIGTERM);
    assert_eq!(running.wait(), Some(1), "{}", running.stderr());
}

#[test]
fn a_trigger_that_may_have_been_missed_is_told_and_fails_the_run_if_that_is_asked_for() {
    let sandbox = Sandbox::for_recording();
    let own = std::process::id().to_string();
    let args = ["record", "listens", "--trigger", "mkdirs", "--max-snapshots", "1", "--buffer-size", "64K"];
    let mut running = sandbox.start(&[&args[..], &["--fail-on-loss", "-o", "t", "-p", &own]].concat());
    let missed = "warning: trigger 'mkdirs' was missed, ";
    lose_some(&sandbox, running.child.id());
    wait_for("the warning", || running.stderr().contains(missed));
    running.signal(libc::SIGTERM);
    assert_eq!(running.wait(), Some(1), "{}", running.stderr());
    let said = running.stderr();
    assert_eq!(said.matches(missed).count(), 2, "while recording and in the end: {said}");
    let times = said.rsplit(missed).next().unwrap().split(' ').next().unwrap();
    let times: usize = times.parse().unwrap_or_else(|_| panic!("no number: {said}"));
    // Other tests of this process make directories too.
    assert!((STORM / 2..10 * STORM).contains(&times), "{times} of {STORM}: {said}");
    assert_eq!(counts(&sandbox.path("t"), "listens").2, 0, "nothing else was lost");
}

#[test]
fn the_failure_of_the_command_goes_before_that_of_the_recording() {
    for (command_code, code) in [(0, 1), (7, 7)] {
        let sandbox = Sandbox::for_recording();
        let script = format!(
            "import os, sys, time
while not os.path.exists('go'): time.sleep(0.01)
for i in range({STORM}):
    try: os.mkdir('go')
    except OSError: pass
open('done', 'w').close()
while not os.path.exists('end'): time.sleep(0.01)
sys.exit({command_code})"
        );
        let args = [
            "record",
            "mkdirs",
            "--buffer-size",
            "64K",
            "--fail-on-loss",
            "-o",
            "t",
            "--",
            "python3",
            "-c",
            &script,
        ];
        let mut running = sandbox.start(&args);
        stop(running.child.id());
        fs::write(sandbox.path("go"), "").unwrap();
        wait_for("the storm", || sandbox.path("done").exists());
        go_on(running.child.id());
        fs::write(sandbox.path("end"), "").unwrap();
        assert_eq!(running.wait(), Some(code), "{}", running.stderr());
        let (seen, recorded, lost) = counts(&sandbox.path("t"), "mkdirs");
        assert_eq!((seen, recorded + lost), (STORM as i128, STORM as i128));
        assert!(lost > 0);
    }
}

#[test]
fn incomplete_events_are_told_but_are_no_loss() {
    let sandbox = Sandbox::for_recording();
    let cut = "m=syscall:mkdir{ pathname:ustring[8] }";
    let args = ["record", cut, "--fail-on-loss", "-o", "t", "--", "mkdir", "a-name-longer-than-eight"];
    let text = sandbox.expect(0, &args);
    assert!(text.err.contains("m: 1 incomplete (string_cut): "), "{}", text.err);
    assert_eq!(counts(&sandbox.path("t"), "m"), (1, 1, 0));
}

#[test]
fn what_no_probe_sees_is_no_loss_but_is_named_and_required_if_that_is_asked_for() {
    let sandbox = Sandbox::for_recording();
    let calls = "o=syscall:openat{ retval }";
    // io_uring opens files below the system call: no kernel shows that here.
    let way = "openat by io_uring (IORING_OP_OPENAT)";
    let text = sandbox.expect(0, &["record", calls, "--fail-on-loss", "-o", "t", "--", "true"]);
    assert!(text.err.contains("  o: not observed: ") && text.err.contains(way), "{}", text.err);
    let text = sandbox.expect(2, &["record", calls, "--require", "-o", "u", "--", "true"]);
    assert!(text.err.contains(&format!("event o: not observed: {way}")), "{}", text.err);
    assert!(!sandbox.path("u").exists());
}
