//! What is recorded if not everything is wanted.

use std::fs;
use std::process::Command;

use crate::sandbox::{HUNDRED, Sandbox, Table, record};

#[test]
fn a_pid_filter_takes_in_children_that_were_there_before() {
    let sandbox = Sandbox::for_recording();
    let mut shell = Command::new("sh")
        .args(["-c", "sh -c 'while [ ! -e go ]; do sleep 0.01; done; mkdir by-grandchild'; exit 0"])
        .current_dir(sandbox.path(""))
        .spawn()
        .unwrap();
    let mut running = sandbox.start(&["record", "mkdirs", "-o", "t", "-p", &shell.id().to_string()]);
    fs::write(sandbox.path("go"), "").unwrap();
    shell.wait().unwrap();
    running.signal(libc::SIGINT);
    assert_eq!(running.wait(), Some(0), "{}", running.stderr());
    assert_eq!(Table::read(&sandbox.path("t"), "mkdirs").text("path"), ["by-grandchild"]);
}

#[test]
fn names_filter_threads() {
    let sandbox = Sandbox::for_recording();
    record(&sandbox, 0, &["execs=tp:sched:sched_process_exit", "--comm", "mkdir"], HUNDRED);
    let table = Table::read(&sandbox.path("t"), "execs");
    assert_eq!((table.len(), table.count("comm", "mkdir")), (101, 101));
}

#[test]
fn events_in_interrupts_come_with_a_warning_when_processes_are_filtered() {
    let sandbox = Sandbox::for_recording();
    // A namespace that nobody is in.
    let told = record(&sandbox, 0, &["packets", "--netns", "4294967295"], "exit 0");
    assert!(told.contains("warning: packets happen in interrupts"), "{told}");
    assert_eq!(Table::read(&sandbox.path("t"), "packets").len(), 0);
}
