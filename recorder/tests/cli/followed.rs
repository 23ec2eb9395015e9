//! A recording of processes that run already ends with the last of them, their children included, and not before.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::sandbox::{Running, Sandbox, Table};
use crate::uprobes::{cc, source};

/// A shell that waits for a line before it runs `script`.
fn held(sandbox: &Sandbox, script: &str) -> Child {
    let script = format!("read go; {script}");
    let mut shell = Command::new("sh");
    shell.args(["-c", &script]).current_dir(sandbox.path("")).stdin(Stdio::piped()).spawn().unwrap()
}

fn start(sandbox: &Sandbox, processes: &[&Child]) -> Running {
    let pids: Vec<String> = processes.iter().map(|child| child.id().to_string()).collect();
    let mut args = vec!["record", "mkdirs", "-o", "t"];
    args.extend(pids.iter().flat_map(|pid| ["-p", pid]));
    sandbox.start(&args)
}

fn assert_ended(sandbox: &Sandbox, running: &mut Running, rows: usize) {
    assert_eq!(running.wait(), Some(0), "{}", running.stderr());
    let told = running.stderr();
    assert!(told.contains("recorder: every followed process has ended\n"), "{told}");
    assert_eq!(Table::read(&sandbox.path("t"), "mkdirs").len(), rows, "{told}");
}

#[test]
fn it_ends_with_the_last_of_several_processes_and_their_children() {
    let sandbox = Sandbox::for_recording();
    let mut first = held(&sandbox, "mkdir a b");
    // The shell ends at once; its child's child works on.
    let mut second = held(&sandbox, "(sh -c 'sleep 2; mkdir c; sleep 1; mkdir d e') & exit 0");
    let mut running = start(&sandbox, &[&first, &second]);
    for child in [&mut first, &mut second] {
        drop(child.stdin.take());
        child.wait().unwrap();
    }
    assert_ended(&sandbox, &mut running, 5);
}

#[test]
fn a_process_that_nobody_waits_for_has_ended() {
    let sandbox = Sandbox::for_recording();
    let mut child = held(&sandbox, "mkdir a");
    let mut running = start(&sandbox, &[&child]);
    drop(child.stdin.take());
    // It stays a zombie until this test waits for it.
    assert_ended(&sandbox, &mut running, 1);
    child.wait().unwrap();
}

#[test]
fn a_process_lives_as_long_as_one_of_its_threads() {
    let sandbox = Sandbox::for_recording();
    cc(&sandbox, &["-pthread", "-o", "leaderless", &source("leaderless.c")]);
    let mut program = Command::new(sandbox.path("leaderless"));
    let mut child = program.current_dir(sandbox.path("")).stdin(Stdio::piped()).spawn().unwrap();
    let stat = format!("/proc/{}/stat", child.id());
    crate::sandbox::wait_for("the first thread to end", || {
        std::fs::read_to_string(&stat).unwrap().contains(") Z ")
    });
    let mut running = start(&sandbox, &[&child]);
    // Longer than the recorder takes to look.
    std::thread::sleep(Duration::from_millis(300));
    assert!(running.child.try_wait().unwrap().is_none(), "{}", running.stderr());
    drop(child.stdin.take());
    assert_ended(&sandbox, &mut running, 3);
    assert_eq!(child.wait().unwrap().code(), Some(7));
}

#[test]
fn without_pid_the_end_of_a_process_ends_nothing() {
    let sandbox = Sandbox::for_recording();
    let mut child = held(&sandbox, "mkdir a");
    let mut running = sandbox.start(&["record", "mkdirs", "--comm", "mkdir", "-o", "t"]);
    drop(child.stdin.take());
    child.wait().unwrap();
    std::thread::sleep(Duration::from_millis(300));
    assert!(running.child.try_wait().unwrap().is_none(), "{}", running.stderr());
    running.signal(libc::SIGINT);
    assert_eq!(running.wait(), Some(0));
    assert!(!running.stderr().contains("every followed process"), "{}", running.stderr());
}
