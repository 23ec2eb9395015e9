//! The flight recorder on this kernel: what stays, what is frozen, and by whom.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::sandbox::{LIMIT, Sandbox, Table, counts, meta, wait_for};

/// A process that makes a directory every few milliseconds, until it is dropped.
pub struct Load(std::process::Child);

impl Load {
    pub fn start(sandbox: &Sandbox) -> Self {
        let script = "i=0; while [ $i -lt 20000 ]; do mkdir d; rmdir d; i=$((i + 1)); sleep 0.01; done";
        let child = Command::new("sh").args(["-c", script]).current_dir(sandbox.path("")).spawn();
        Self(child.unwrap())
    }

    pub fn pid(&self) -> String {
        self.0.id().to_string()
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn snapshots(sandbox: &Sandbox) -> Vec<PathBuf> {
    let mut names: Vec<String> =
        sandbox.files().into_iter().filter(|name| name.contains("-snapshot-")).collect();
    names.sort();
    names.iter().map(|name| sandbox.path(name)).collect()
}

/// Fail unless the trace is closed and its counts are those of its rows.
pub fn assert_whole(trace: &Path, events: &[&str]) -> serde_json::Value {
    let meta = meta(trace);
    assert_eq!(meta["state"], "closed");
    for event in events {
        let (seen, recorded, lost) = counts(trace, event);
        assert_eq!((seen, recorded), (recorded + lost, Table::read(trace, event).len() as i128), "{event}");
    }
    meta
}

#[test]
fn a_signal_and_a_command_keep_what_is_there_while_recording_goes_on() {
    let sandbox = Sandbox::for_recording();
    let load = Load::start(&sandbox);
    let mut running = sandbox.start(&["record", "mkdirs", "-p", &load.pid(), "-o", "run.trace"]);
    wait_for("rows", || Table::read(&sandbox.path("run.trace"), "mkdirs").len() > 10);
    let said = sandbox.expect(0, &["snapshot", "run.trace"]);
    let first = PathBuf::from(said.out.trim_end());
    assert_eq!(snapshots(&sandbox), std::slice::from_ref(&first));
    let rows = Table::read(&first, "mkdirs").len();
    assert!(rows > 10, "{rows} rows");
    let frozen = assert_whole(&first, &["mkdirs", "processes"])["frozen"].clone();
    assert_eq!(frozen["by"], "command");
    assert!(frozen["from"].as_str().unwrap().ends_with("/run.trace"), "{frozen}");

    running.signal(libc::SIGUSR1);
    wait_for("a second snapshot", || snapshots(&sandbox).len() == 2);
    wait_for("a word about it", || running.stderr().contains("(SIGUSR1)"));
    let second = snapshots(&sandbox).into_iter().find(|path| *path != first).unwrap();
    assert_eq!(assert_whole(&second, &["mkdirs", "processes"])["frozen"]["text"], "SIGUSR1");
    assert!(Table::read(&second, "mkdirs").len() > rows);

    let other = sandbox.path("other");
    assert_eq!(
        sandbox.expect(0, &["snapshot", "run.trace", "-o", "other"]).out.trim_end(),
        other.to_str().unwrap()
    );
    let error = sandbox.expect(2, &["snapshot", "run.trace", "-o", "other"]).err;
    assert!(error.contains("other' exists already: choose another name"), "{error}");
    let error = sandbox.expect(2, &["snapshot", "run.trace", "-o", "no/where"]).err;
    assert!(error.contains("No such file or directory"), "{error}");

    running.signal(libc::SIGINT);
    assert_eq!(running.wait(), Some(0), "{}", running.stderr());
    let trace = sandbox.path("run.trace");
    assert_whole(&trace, &["mkdirs", "processes"]);
    assert!(Table::read(&trace, "mkdirs").len() > Table::read(&second, "mkdirs").len());
    let hidden: Vec<_> = fs::read_dir(&trace).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(hidden.iter().all(|name| !name.to_string_lossy().starts_with('.')), "{hidden:?}");
    let error = sandbox.expect(2, &["snapshot", "run.trace"]).err;
    assert!(error.contains("is not being recorded"), "{error}");
}

#[test]
fn a_snapshot_to_another_disk_does_not_hold_up_the_end() {
    let sandbox = Sandbox::for_recording();
    let other = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let device = |path: &Path| path.metadata().unwrap().dev();
    assert_ne!(device(other.path()), device(&sandbox.path("")), "/dev/shm is to be another file system");
    let trace = sandbox.path("run.trace");
    let copy = other.path().join("one.trace");
    let load = Load::start(&sandbox);
    let mut running = sandbox.start(&["record", "mkdirs", "-p", &load.pid(), "-o", "run.trace"]);
    let segment = trace.join("mkdirs/000000.parquet");
    wait_for("a segment", || segment.exists());
    let segment = fs::OpenOptions::new().write(true).open(segment).unwrap();
    let bytes = segment.metadata().unwrap().len();
    // A hole, so large that nobody waits until it is copied.
    segment.set_len(256 << 30).unwrap();
    let mut ask = sandbox.command(&["snapshot", "run.trace", "-o", copy.to_str().unwrap()]);
    let asked = ask.stderr(Stdio::piped()).spawn().unwrap();
    wait_for("a copy", || fs::read_dir(other.path()).unwrap().count() == 1);
    running.signal(libc::SIGTERM);
    std::thread::sleep(Duration::from_millis(300));
    let start = Instant::now();
    running.signal(libc::SIGTERM);
    assert_eq!(running.wait(), Some(0), "{}", running.stderr());
    assert!(start.elapsed() < LIMIT, "{:?}", start.elapsed());
    let asked = asked.wait_with_output().unwrap();
    let error = String::from_utf8(asked.stderr).unwrap();
    assert!(asked.status.code() == Some(2) && error.contains("it takes too long"), "{error}");
    assert_eq!(fs::read_dir(other.path()).unwrap().count(), 0, "nothing is left over");
    segment.set_len(bytes).unwrap();
    assert_whole(&trace, &["mkdirs", "processes"]);
}

#[test]
fn a_snapshot_of_a_trace_whose_recorder_died_says_so() {
    let sandbox = Sandbox::for_recording();
    let load = Load::start(&sandbox);
    let mut running = sandbox.start(&["record", "mkdirs", "-p", &load.pid(), "-o", "run.trace"]);
    running.child.kill().unwrap();
    running.wait();
    let error = sandbox.expect(2, &["snapshot", "run.trace"]).err;
    assert!(error.contains("its recorder died") && error.contains("recorder compact run.trace"), "{error}");
    sandbox.expect(0, &["compact", "run.trace"]);
    assert!(!sandbox.path("run.trace/.control.tmp").exists(), "the socket is tidied up");
    let error = sandbox.expect(2, &["snapshot", "."]).err;
    assert!(error.contains("is not a trace"), "{error}");
}

#[test]
fn a_trigger_freezes_the_event_that_set_it_off_and_records_no_row_of_its_own() {
    let sandbox = Sandbox::for_recording();
    let script = "mkdir plain; mkdir trap; mkdir trap; mkdir after; sleep 0.5";
    let args =
        ["record", "mkdirs", "-o", "run.trace", "--trigger", "mkdirs: mode == 511", "--", "sh", "-c", script];
    let text = sandbox.expect(0, &args).err;
    let found = snapshots(&sandbox);
    assert_eq!(found.len(), 1, "{text}");
    assert!(
        text.contains("(mkdirs: mode == 511)")
            && text.contains("that made no snapshot (--trigger-gap, --max-snapshots): 3\n"),
        "{text}"
    );
    let frozen = assert_whole(&found[0], &["mkdirs", "processes"])["frozen"].clone();
    assert_eq!(
        (frozen["by"].as_str(), frozen["text"].as_str()),
        (Some("trigger"), Some("mkdirs: mode == 511"))
    );
    assert_eq!(frozen["event"]["comm"], "mkdir", "{frozen}");
    let paths = Table::read(&found[0], "mkdirs").text("path");
    assert!(paths.iter().any(|path| path == "plain"), "{paths:?}");
    let trace = sandbox.path("run.trace");
    assert_whole(&trace, &["mkdirs", "processes"]);
    assert_eq!(Table::read(&trace, "mkdirs").len(), 4);
}

#[test]
fn a_trigger_on_exit_codes_and_one_on_an_event_that_is_not_recorded() {
    let sandbox = Sandbox::for_recording();
    let args = [
        "record",
        "mkdirs",
        "-o",
        "exit.trace",
        "--trigger",
        "exit!=0",
        "--",
        "sh",
        "-c",
        "true; mkdir a; exit 3",
    ];
    sandbox.expect(3, &args);
    let found = snapshots(&sandbox);
    assert_eq!(found.len(), 1);
    let frozen = assert_whole(&found[0], &["mkdirs", "processes"])["frozen"].clone();
    assert_eq!(
        (frozen["event"]["ev"].as_str(), frozen["event"]["exit_code"].as_i64()),
        (Some("exit"), Some(768))
    );
    assert_eq!(Table::read(&found[0], "processes").count("ev", "exit"), 2, "mkdir, and the one with code 3");
    fs::remove_dir_all(&found[0]).unwrap();

    let args = [
        "record",
        "mkdirs",
        "-o",
        "other.trace",
        "--trigger",
        "syscall:rmdir{ pathname:ustring, retval } if retval == 0",
        "--trigger-gap",
        "1ms",
        "--max-snapshots",
        "1",
        "--",
        "sh",
        "-c",
        "mkdir x; rmdir none; rmdir x; until ls -d other-snapshot-* >out 2>&1; do sleep 0.05; done; mkdir x; rmdir x; sleep 0.3",
    ];
    let text = sandbox.expect(0, &args).err;
    assert_eq!(snapshots(&sandbox).len(), 1, "{text}");
    assert!(text.contains("makes no more snapshots for now: there are 1 of the last hour"), "{text}");
    let frozen = assert_whole(&snapshots(&sandbox)[0], &["mkdirs"])["frozen"].clone();
    assert_eq!(frozen["event"]["pathname"], "x", "{frozen}");
}

#[test]
fn wrong_triggers_and_limits_are_told_before_anything_is_made() {
    let sandbox = Sandbox::for_recording();
    for (args, part) in [
        (&["--trigger", "mkdirs: mood == 1"][..], "mood"),
        (&["--trigger", "mkdir: mode == 1"], "did you mean mkdirs?"),
        (&["--trigger", "fn:no_such_function"], "no_such_function"),
        (&["--trigger", "kmem: kind == 'free' && kind == 'alloc'"], "no event meets its condition"),
        (&["--comm", "sh", "--trigger", "kmem: kind == 'free'"], "only where an object ends"),
        (&["--max-age", "1s"], "--max-age must be at least twice --segment-age"),
        (&["--max-size", "1M"], "--max-size must be at least 4M"),
        (&["--max-snapshots", "0"], "'--max-snapshots <N>': 0 is not in 1.."),
        (&["--max-age", "1m", "-o", "none", "--print"], "-o none keeps no trace"),
    ] {
        let args: Vec<&str> = ["record", "mkdirs"].iter().chain(args).copied().collect();
        let error = sandbox.expect(2, &args).err;
        assert!(error.contains(part), "{args:?}: {error}");
    }
    assert_eq!(sandbox.files(), Vec::<String>::new());
}

/// Ids of the stacks that rows name, and of those in table stacks; `None` if a file that was listed went meanwhile.
fn stacks(trace: &Path) -> Option<(HashSet<String>, HashSet<String>)> {
    let before = meta(trace)["kept_from_ns"].clone();
    let ids = |table: &str, column: &str| -> Option<HashSet<String>> {
        Some(Table::read_if_there(trace, table)?.text(column).into_iter().filter(|id| id != "NULL").collect())
    };
    let found = (ids("mkdirs", "kstack")?, ids("stacks", "stack_id")?);
    (meta(trace)["kept_from_ns"] == before).then_some(found)
}

#[test]
fn a_recorder_that_keeps_a_few_seconds_can_be_read_at_any_time() {
    let sandbox = Sandbox::for_recording();
    let load = Load::start(&sandbox);
    let args =
        ["record", "mkdirs", "-p", &load.pid(), "-o", "run.trace", "--stacks", "kernel", "--max-age", "5s"];
    let mut running = sandbox.start(&args);
    let trace = sandbox.path("run.trace");
    let started = Instant::now();
    let (mut kept, mut looks) = (0, 0);
    while started.elapsed() < Duration::from_secs(20) || looks <= 50 {
        assert_eq!(running.child.try_wait().unwrap(), None, "{}", running.stderr());
        if meta(&trace)["kept_from_ns"].is_i64() {
            kept += 1;
        }
        let Some((used, known)) = stacks(&trace) else { continue };
        looks += 1;
        let missing: Vec<_> = used.difference(&known).collect();
        assert!(missing.is_empty(), "look {looks}: stacks {missing:?} are missing");
    }
    assert!(kept > 3, "old rows were gone at {kept} looks");
    // Once more, so that nothing that held the recorder up for a moment is taken for rows that stay.
    let before = meta(&trace)["kept_from_ns"].clone();
    wait_for("old rows to go", || meta(&trace)["kept_from_ns"] != before);
    running.signal(libc::SIGTERM);
    assert_eq!(running.wait(), Some(0), "{}", running.stderr());
    let meta = assert_whole(&trace, &["mkdirs", "processes"]);
    let span_ns = meta["end_ns"].as_i64().unwrap() - meta["kept_from_ns"].as_i64().unwrap();
    assert!((4_000_000_000..9_000_000_000).contains(&span_ns), "{span_ns} ns are kept");
}
