//! Every way to end: the command, a time, a signal, a reader that goes away, kill -9.

use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::sandbox::{LIMIT, Sandbox, Table, meta, record, wait_for};

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
    std::thread::sleep(Duration::from_millis(1200));
    let made_early = last().unwrap();
    std::thread::sleep(Duration::from_millis(1500));
    running.signal(libc::SIGKILL);
    running.wait();
    // SAFETY: ends the shell that the recorder has started for this test, if it still runs.
    unsafe { libc::kill(shell, libc::SIGKILL) };
    assert_eq!(meta(&trace)["state"], "open");
    let published = Table::read(&trace, "mkdirs").len();
    let told = sandbox.expect(0, &["compact", "t"]).err;
    assert_eq!(meta(&trace)["state"], "recovered", "{told}");
    assert_eq!(told.lines().filter(|line| line.contains("the recorder died")).count(), 1, "{told}");
    let rows = Table::read(&trace, "mkdirs").len();
    assert!(rows >= published, "{rows} rows, {published} before");
    assert!(rows >= made_early, "{rows} rows, but {made_early} were made more than a second before the end");
    let told = sandbox.expect(0, &["compact", "t"]).err;
    assert!(!told.contains("the recorder died"), "told once: {told}");
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

/// That many tracepoints, an event each.
fn many_probes(count: usize) -> Vec<String> {
    let mut names = Vec::new();
    for category in ["ext4", "jbd2", "block", "writeback", "sched", "timer", "net", "tcp", "kmem", "vmscan"] {
        for entry in fs::read_dir(format!("/sys/kernel/tracing/events/{category}")).unwrap().flatten() {
            if entry.path().is_dir() {
                names.push(format!("raw_tp:{}{{ who=$pid }}", entry.file_name().to_str().unwrap()));
            }
        }
    }
    names.sort();
    names.dedup();
    assert!(names.len() >= count, "{}", names.len());
    names.truncate(count);
    names
}

/// A process that does nothing for ten minutes, to be recorded.
struct Sleeper(std::process::Child);

impl Sleeper {
    fn start() -> Self {
        Self(Command::new("sleep").arg("600").spawn().unwrap())
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn is_alive(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with(" Z"))
}

#[test]
fn a_second_signal_does_not_wait_for_the_command_and_a_third_for_nothing() {
    for signals in [2, 3] {
        let sandbox = Sandbox::for_recording();
        let script = "trap '' TERM INT; echo $$ > pid; while [ -e pid ]; do sleep 0.05; done";
        let mut running = sandbox.start(&["record", "mkdirs", "-o", "t", "--", "sh", "-c", script]);
        wait_for("the command to run", || sandbox.path("pid").exists());
        running.signal(libc::SIGTERM);
        std::thread::sleep(Duration::from_millis(300));
        assert!(running.child.try_wait().unwrap().is_none(), "it waits for the command");
        let start = Instant::now();
        for _ in 1..signals {
            running.signal(libc::SIGTERM);
            std::thread::sleep(Duration::from_millis(200));
        }
        let code = running.wait();
        assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
        let state = meta(&sandbox.path("t"))["state"].as_str().unwrap().to_owned();
        if signals == 2 {
            assert_eq!((code, state.as_str()), (Some(0), "closed"));
            assert!(running.stderr().contains("the command still runs, as process"), "{}", running.stderr());
        } else {
            // It was ended by the signal, or had just ended.
            assert!(code.is_none() || state == "closed", "{code:?} {state}");
        }
        // Also if this is not reached, the command ends with its directory.
        fs::remove_file(sandbox.path("pid")).unwrap();
    }
}

#[test]
fn after_a_second_signal_small_segments_are_not_merged() {
    let sandbox = Sandbox::for_recording();
    let own = std::process::id().to_string();
    let args = ["record", "mkdirs", "--segment-age", "100ms", "-o", "t", "-p", &own];
    let mut running = sandbox.start(&args);
    for i in 0..10 {
        fs::create_dir(sandbox.path(&format!("d{i}"))).unwrap();
        std::thread::sleep(Duration::from_millis(100));
    }
    running.signal(libc::SIGTERM);
    running.signal(libc::SIGINT);
    assert_eq!(running.wait_soon(), Some(0), "{}", running.stderr());
    let told = running.stderr();
    assert!(
        told.contains("small segments were not merged: ") && told.contains("there was no time"),
        "{told}"
    );
    assert_eq!(meta(&sandbox.path("t"))["state"], "closed");
    let segments = || fs::read_dir(sandbox.path("t/mkdirs")).unwrap().count();
    let (before, rows) = (segments(), Table::read(&sandbox.path("t"), "mkdirs").len());
    assert!(before > 1 && rows >= 10, "{before} {rows}");
    sandbox.expect(0, &["compact", "t"]);
    assert_eq!((segments(), Table::read(&sandbox.path("t"), "mkdirs").len()), (1, rows));
}

#[test]
fn a_command_that_does_not_listen_is_given_up_after_its_grace() {
    let sandbox = Sandbox::for_recording();
    let script = "trap '' TERM; echo $$ > pid; while [ -e pid ]; do sleep 0.05; done";
    let mut running = sandbox.start(&["record", "mkdirs", "-o", "t", "--", "sh", "-c", script]);
    wait_for("the command to run", || sandbox.path("pid").exists());
    let start = Instant::now();
    running.signal(libc::SIGTERM);
    assert_eq!(running.wait(), Some(0), "{}", running.stderr());
    let took = start.elapsed();
    assert!(took >= Duration::from_secs(5) && took < Duration::from_secs(5) + LIMIT, "{took:?}");
    assert!(running.stderr().contains("the command still runs, as process"), "{}", running.stderr());
    // Also if this is not reached, the command ends with its directory.
    fs::remove_file(sandbox.path("pid")).unwrap();
}

#[test]
fn a_recorder_with_many_probes_ends_soon() {
    let sandbox = Sandbox::for_recording();
    let sleeper = Sleeper::start();
    let (pid, probes) = (sleeper.0.id().to_string(), many_probes(200));
    let mut args = vec!["record", "-o", "t", "-p", &pid];
    args.extend(probes.iter().map(String::as_str));
    let mut running = sandbox.start(&args);
    running.signal(libc::SIGTERM);
    assert_eq!(running.wait_soon(), Some(0), "{}", running.stderr());
    assert_eq!(meta(&sandbox.path("t"))["state"], "closed");
}

#[test]
fn a_signal_at_any_instant_of_the_start_ends_it_soon_and_cleanly() {
    let sleeper = Sleeper::start();
    let (pid, probes) = (sleeper.0.id().to_string(), many_probes(100));
    for i in 0..12 {
        let sandbox = Sandbox::for_recording();
        let mut args = vec!["record", "-o", "t", "-p", &pid];
        args.extend(probes.iter().map(String::as_str));
        let mut running = sandbox.spawn(sandbox.command(&args));
        // Before the signals are blocked it is a program like any other.
        std::thread::sleep(Duration::from_millis(40));
        wait_for("the directory", || sandbox.path("t").exists());
        std::thread::sleep(Duration::from_millis(i * 60));
        running.signal(libc::SIGINT);
        let code = running.wait_soon();
        let text = running.stderr();
        if text.contains("recorder: recording ") {
            assert_eq!(code, Some(0), "{text}");
            assert_eq!(meta(&sandbox.path("t"))["state"], "closed");
        } else {
            assert_eq!(code, Some(2), "{text}");
            assert!(text.contains("ended by a signal before the recording began"), "{text}");
            assert!(!sandbox.path("t").exists());
        }
    }
}

#[test]
fn the_death_of_the_parent_ends_nothing_but_the_command_does() {
    // Orphans become children of this process, so that their end can be seen.
    // SAFETY: plain numbers.
    assert_eq!(unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) }, 0);
    let sandbox = Sandbox::for_recording();
    let script = format!(
        "{} record mkdirs -o t -- sh -c 'while [ ! -e go ]; do sleep 0.01; done; mkdir late' 2> stderr & wait",
        env!("CARGO_BIN_EXE_recorder")
    );
    let mut parent = Command::new("sh").args(["-c", &script]).current_dir(sandbox.path("")).spawn().unwrap();
    wait_for("the recorder to record", || {
        fs::read_to_string(sandbox.path("stderr")).unwrap_or_default().contains("recording mkdirs")
    });
    let recorder = meta(&sandbox.path("t"))["recorder_pid"].as_u64().unwrap();
    parent.kill().unwrap();
    parent.wait().unwrap();
    std::thread::sleep(Duration::from_millis(300));
    assert!(is_alive(u32::try_from(recorder).unwrap()));
    fs::write(sandbox.path("go"), "").unwrap();
    let pid = nix::unistd::Pid::from_raw(i32::try_from(recorder).unwrap());
    assert_eq!(
        nix::sys::wait::waitpid(pid, None).unwrap(),
        nix::sys::wait::WaitStatus::Exited(pid, 0),
        "{}",
        fs::read_to_string(sandbox.path("stderr")).unwrap()
    );
    assert_eq!(Table::read(&sandbox.path("t"), "mkdirs").text("path"), ["late"]);
    assert_eq!(meta(&sandbox.path("t"))["state"], "closed");
}

#[test]
fn nothing_is_left_of_a_command_that_was_not_run() {
    let sandbox = Sandbox::for_recording();
    let text = "summary = \"s\"\n[[source]]\n[[source.probe]]\non = \"syscall:mkdir\"\n[[source]]\nname = \"gone\"\n\
                [[source.probe]]\non = \"fentry:no_such_function\"\n[[column]]\nname = \"who\"\ntype = \"u32\"\n\
                doc = \"d\"\nexpr = \"$pid\"\n";
    fs::write(sandbox.path("half.toml"), text).unwrap();
    sandbox.expect(2, &["record", "half.toml", "--require", "-o", "t", "--", "sleep", "600"]);
    let is_left = |pid: &str| {
        let cwd = fs::read_link(Path::new("/proc").join(pid).join("cwd"));
        cwd.is_ok_and(|cwd| cwd == sandbox.path("").canonicalize().unwrap())
    };
    let pids = fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert_eq!(pids.filter(|pid| is_left(pid)).collect::<Vec<_>>(), Vec::<String>::new());
}
