//! What is recorded if not everything is wanted.

use std::fs;
use std::process::Command;

use crate::cgroups::{Cgroup, cgroup2_mount};
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
fn a_cgroup_is_recorded_with_those_that_are_made_below_it_later() {
    let sandbox = Sandbox::for_recording();
    let root = cgroup2_mount();
    let top = Cgroup::make(root.join(format!("ktape-test-{}", std::process::id())));
    let name = top.0.file_name().unwrap().to_str().unwrap();
    let mut running = sandbox.start(&["record", "mkdirs", "-o", "t", "--cgroup", name]);
    let below = Cgroup::make(top.0.join("later"));
    let deeper = Cgroup::make(below.0.join("deeper"));
    for (cgroup, made) in [(&root, "outside"), (&top.0, "in-it"), (&below.0, "below"), (&deeper.0, "deeper")]
    {
        let script = format!("echo $$ > {}/cgroup.procs && mkdir {made}", cgroup.display());
        let status = Command::new("sh").args(["-c", &script]).current_dir(sandbox.path("")).status().unwrap();
        assert!(status.success(), "{made}");
    }
    running.signal(libc::SIGINT);
    assert_eq!(running.wait(), Some(0), "{}", running.stderr());
    let table = Table::read(&sandbox.path("t"), "mkdirs");
    assert_eq!(table.text("path"), ["in-it", "below", "deeper"], "{}", running.stderr());
}

#[test]
fn events_in_interrupts_come_with_a_warning_when_processes_are_filtered() {
    let sandbox = Sandbox::for_recording();
    // A namespace that nobody is in.
    let told = record(&sandbox, 0, &["packets", "--netns", "4294967295"], "exit 0");
    assert!(told.contains("warning: packets happen in interrupts"), "{told}");
    assert_eq!(Table::read(&sandbox.path("t"), "packets").len(), 0);
}
