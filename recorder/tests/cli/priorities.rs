//! Threads that encode, publish and merge give way; the one that drains does not, and nothing is lost for it.

use std::fs;
use std::process::Command;

use crate::process::threads;
use crate::sandbox::{Running, Sandbox, counts, wait_for};

const OTHER: i32 = libc::SCHED_OTHER;
const BATCH: i32 = libc::SCHED_BATCH;
const IDLE: i32 = libc::SCHED_IDLE;
/// The threads that give way.
const GIVE_WAY: [&str; 3] = ["encode", "publish", "compact"];

/// Wait until each thread that gives way has that policy and nice value, all at the same time.
fn wait_for_level(running: &Running, is_right: impl Fn(i32, i32) -> bool) {
    wait_for("threads to give way", || {
        let threads = threads(running.child.id());
        let of = |name: &str| {
            threads.iter().find(|(its, ..)| its == name).map(|(_, policy, nice)| (*policy, *nice))
        };
        GIVE_WAY.iter().all(|name| of(name).is_some_and(|(policy, nice)| is_right(policy, nice)))
    });
}

/// Says what the command has, then that it has said so; waits for `go`, and makes 100 directories.
const SCRIPT: &str = "cat /proc/self/stat > stat; grep nice /proc/self/limits > limits; : > said; while [ ! -e go ]; do sleep 0.05; \
                      done; i=0; while [ $i -lt 100 ]; do mkdir d$i; i=$((i+1)); done";

/// Start `words... recorder record mkdirs` with that command.
fn start(sandbox: &Sandbox, words: &[&str]) -> Running {
    let recorder =
        sandbox.command(&["record", "mkdirs", "--fail-on-loss", "-o", "t", "--", "sh", "-c", SCRIPT]);
    let Some((program, options)) = words.split_first() else { return sandbox.start_command(recorder) };
    let mut command = Command::new(program);
    command.args(options).arg(recorder.get_program()).args(recorder.get_args());
    command.current_dir(sandbox.path(""));
    sandbox.start_command(command)
}

/// Let the command go: all that it did is in the trace.
fn end(sandbox: &Sandbox, mut running: Running) {
    fs::write(sandbox.path("go"), "").unwrap();
    assert_eq!(running.wait(), Some(0), "{}", running.stderr());
    assert_eq!(counts(&sandbox.path("t"), "mkdirs"), (100, 100, 0));
}

#[test]
fn threads_that_write_run_when_nobody_else_does_and_the_drain_and_the_command_as_ever() {
    let sandbox = Sandbox::for_recording();
    let running = start(&sandbox, &[]);
    wait_for_level(&running, |policy, _| policy == IDLE);
    let drain = threads(running.child.id()).into_iter().find(|(name, ..)| name == "recorder");
    let own = threads(std::process::id()).first().map(|(_, policy, nice)| (*policy, *nice));
    assert_eq!(drain.map(|(_, policy, nice)| (policy, nice)), own);
    wait_for("the command to say what it has", || sandbox.path("said").exists());
    let limits = fs::read_to_string("/proc/self/limits").unwrap();
    let limit = fs::read_to_string(sandbox.path("limits")).unwrap();
    assert!(limits.contains(&limit), "the command has a limit of its own: {limit}");
    let stat = fs::read_to_string(sandbox.path("stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    assert_eq!(
        Some((fields[41 - 3].parse().unwrap(), fields[19 - 3].parse().unwrap())),
        own,
        "of the command"
    );
    end(&sandbox, running);
}

#[test]
fn a_recorder_that_was_started_nice_stays_so_and_one_with_a_policy_keeps_it() {
    let sandbox = Sandbox::for_recording();
    let running = start(&sandbox, &["nice", "-n", "7"]);
    wait_for_level(&running, |policy, nice| policy == IDLE && nice >= 7);
    let drain = threads(running.child.id()).into_iter().find(|(name, ..)| name == "recorder");
    assert_eq!(drain, Some(("recorder".to_owned(), OTHER, 7)));
    end(&sandbox, running);
    let sandbox = Sandbox::for_recording();
    let running = start(&sandbox, &["chrt", "--batch", "0"]);
    wait_for_level(&running, |policy, nice| policy == BATCH && nice == 0);
    assert!(threads(running.child.id()).iter().all(|(_, policy, _)| *policy == BATCH));
    end(&sandbox, running);
}

/// While the reader of what is printed takes nothing, what is to be written waits: it is urgent when it has waited for a
/// part of the segment age, though it is little.
#[test]
fn what_waits_makes_threads_run_like_any_other() {
    let sandbox = Sandbox::for_recording();
    let script = "while [ ! -e go ]; do dd if=/dev/zero of=/dev/null bs=1 count=20000 2>/dev/null; done";
    let calls = "calls=tp:raw_syscalls:sys_enter";
    // Nobody reads standard output.
    let mut running = sandbox.start(&["record", calls, "--print", "-o", "t", "--", "sh", "-c", script]);
    wait_for_level(&running, |policy, nice| policy == OTHER && nice == 0);
    fs::write(sandbox.path("go"), "").unwrap();
    assert_eq!(running.wait(), Some(0), "{}", running.stderr());
}
