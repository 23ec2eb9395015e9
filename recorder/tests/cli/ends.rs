//! How processes end: with their last thread, whichever it is, as their parent sees it. The truth is what the parent in
//! programs/ends.c got from waitpid(2), gettid(2) and /proc.

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::sandbox::{Sandbox, Table, meta, wait_for};

const NS_PER_TICK: i128 = 10_000_000;

/// A row of table processes, or of another one that has its columns.
struct Rows(HashMap<String, Vec<String>>);

impl Rows {
    fn read(sandbox: &Sandbox, table: &str, columns: &[&str]) -> Self {
        let table = Table::read(&sandbox.path("t"), table);
        Self(columns.iter().map(|name| ((*name).to_owned(), table.text(name))).collect())
    }

    fn of_processes(sandbox: &Sandbox) -> Self {
        let columns = ["ev", "pid", "tid", "ctx", "comm", "exit_code", "start_boottime_ns", "filename"];
        Self::read(sandbox, "processes", &columns)
    }

    fn get(&self, row: usize, name: &str) -> &str {
        &self.0[name][row]
    }

    /// Rows with these values.
    fn with(&self, wanted: &[(&str, &str)]) -> Vec<usize> {
        let rows = 0..self.0.values().next().unwrap().len();
        rows.filter(|row| wanted.iter().all(|(name, value)| self.get(*row, name) == *value)).collect()
    }

    fn only(&self, wanted: &[(&str, &str)]) -> usize {
        let rows = self.with(wanted);
        assert_eq!(rows.len(), 1, "{wanted:?}: {rows:?}");
        rows[0]
    }
}

/// The program, compiled with what Rust programs are linked with.
fn program(sandbox: &Sandbox) -> PathBuf {
    let path = sandbox.path("ends");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cli/programs/ends.c");
    let compiled = Command::new("cc").args(["-O1", "-pthread", "-o"]).arg(&path).arg(source).status();
    assert!(compiled.expect("this test needs cc").success());
    path
}

/// A line of what the program tells of a case.
struct Case {
    name: String,
    pid: String,
    status: String,
    start_ticks: i128,
    tid: String,
}

fn cases(text: &str) -> Vec<Case> {
    let case = |line: &str| {
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        let [name, pid, status, start, tid] = words.try_into().unwrap();
        Case { name, pid, status, start_ticks: start.parse().unwrap(), tid }
    };
    text.lines().map(case).collect()
}

#[test]
fn a_process_ends_once_with_its_last_thread_and_the_code_that_its_parent_gets() {
    let sandbox = Sandbox::for_recording();
    let ends = program(&sandbox);
    let names =
        "plain last_exits last_leaves other_exits last_killed last_aborts executes last_executes named";
    let mut all: Vec<&str> = names.split(' ').collect();
    // Threads that end at the same instant.
    all.extend(["together"; 20]);
    let executions = "executions=syscall:execve{ filename, retval }";
    let mut args = vec!["record", "processes", executions, "-o", "t", "--", ends.to_str().unwrap()];
    args.extend(&all);
    let told = cases(&sandbox.expect(0, &args).out);
    assert_eq!(told.len(), all.len());
    let rows = Rows::of_processes(&sandbox);
    let calls = Rows::read(&sandbox, "executions", &["pid", "tid", "filename", "retval"]);
    for Case { name, pid, status, start_ticks, tid } in told {
        let exit = rows.only(&[("ev", "exit"), ("pid", &pid)]);
        assert_eq!((rows.get(exit, "exit_code"), rows.get(exit, "ctx")), (status.as_str(), "task"), "{name}");
        let born = rows.only(&[("ev", "fork"), ("pid", &pid)]);
        let start = rows.get(exit, "start_boottime_ns");
        assert_eq!(rows.get(born, "start_boottime_ns"), start, "{name}");
        assert_eq!(start.parse::<i128>().unwrap() / NS_PER_TICK, start_ticks, "{name}");
        if name.starts_with("last_") && name != "last_executes" {
            assert_eq!(rows.get(exit, "tid"), tid, "{name}: the last thread");
        }
        // A thread that executes a program takes the number of its process.
        let executed = rows.with(&[("ev", "exec"), ("pid", &pid), ("tid", &pid), ("filename", "/bin/sh")]);
        let called = calls.with(&[("pid", &pid), ("tid", &pid), ("filename", "/bin/sh"), ("retval", "0")]);
        let is_executed = usize::from(name.ends_with("executes"));
        assert_eq!((executed.len(), called.len()), (is_executed, is_executed), "{name}");
        if is_executed == 1 {
            assert_ne!(tid, pid);
        }
        if name == "named" {
            // The name of another thread is none of its process.
            let names = rows.with(&[("ev", "rename"), ("pid", &pid)]);
            let names: Vec<&str> = names.into_iter().map(|row| rows.get(row, "comm")).collect();
            assert_eq!((names, rows.get(exit, "comm")), (vec!["main_one", "by_file"], "by_file"));
        }
    }
}

#[test]
fn a_process_whose_main_thread_has_ended_is_known_and_followed_to_its_end() {
    let sandbox = Sandbox::for_recording();
    let ends = program(&sandbox);
    let mut holder =
        Command::new(&ends).arg("hold").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut pid = String::new();
    BufReader::new(holder.stdout.take().unwrap()).read_line(&mut pid).unwrap();
    let pid = pid.trim().to_owned();
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    assert!(stat.contains(") Z "), "its main thread has not ended: {stat}");
    let start_ticks: i128 =
        stat.rsplit(')').next().unwrap().split_whitespace().nth(19).unwrap().parse().unwrap();
    let mut running = sandbox.start(&["record", "processes", "-o", "t", "-p", &pid]);
    drop(holder.stdin.take());
    assert_eq!(holder.wait().unwrap().code(), Some(5));
    // Whoever follows nobody any more may end by itself.
    if running.child.try_wait().unwrap().is_none() {
        running.signal(libc::SIGINT);
    }
    running.wait();
    let rows = Rows::of_processes(&sandbox);
    let there = rows.only(&[("ev", "snapshot"), ("pid", &pid)]);
    let exit = rows.only(&[("ev", "exit"), ("pid", &pid)]);
    assert_eq!(rows.get(there, "filename"), ends.canonicalize().unwrap().to_str().unwrap());
    assert_eq!((rows.get(there, "comm"), rows.get(there, "ctx")), ("ends", "NULL"));
    assert_eq!(rows.get(exit, "exit_code"), "1280");
    let start = rows.get(there, "start_boottime_ns");
    assert_eq!(start, rows.get(exit, "start_boottime_ns"));
    assert_eq!(start.parse::<i128>().unwrap() / NS_PER_TICK, start_ticks);
}

#[test]
fn a_trigger_on_exit_codes_minds_the_process() {
    let sandbox = Sandbox::for_recording();
    let ends = program(&sandbox);
    let args = ["record", "processes", "--trigger", "exit!=0", "-o", "t.trace", "--", ends.to_str().unwrap()];
    let told = cases(&sandbox.expect(0, &[&args[..], &["last_exits"]].concat()).out);
    let snapshot = || sandbox.files().into_iter().find(|name| name.contains("-snapshot-"));
    wait_for("the snapshot", || snapshot().is_some());
    let event = meta(&sandbox.path(&snapshot().unwrap()))["frozen"]["event"].clone();
    assert_eq!(event["exit_code"].as_i64(), Some(7 << 8));
    assert_eq!(event["pid"].to_string(), told[0].pid);
}
