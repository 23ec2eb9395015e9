//! Recording natively: exact counts against what the workload itself knows, and every way to end.

use std::fs;
use std::io::Read;
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::sandbox::{Sandbox, Table, counts, meta, wait_for};

/// Makes 100 directories, each in a process of its own, then fails to make one of them again.
const HUNDRED: &str =
    "i=0; while [ $i -lt 100 ]; do mkdir d$i; i=$((i+1)); done; mkdir d0 2>/dev/null; exit 0";

/// Records and summary of `recorder record ARGS -o t -- sh -c SCRIPT`, which exits with `code`.
fn record(sandbox: &Sandbox, code: i32, args: &[&str], script: &str) -> String {
    let mut all = vec!["record"];
    all.extend(args);
    all.extend(["-o", "t", "--", "sh", "-c", script]);
    sandbox.expect(code, &all).err
}

#[test]
fn every_mkdir_of_a_command_and_its_children_is_recorded_with_its_result() {
    let sandbox = Sandbox::for_recording();
    let summary = record(&sandbox, 0, &["mkdirs"], HUNDRED);
    let table = Table::read(&sandbox.path("t"), "mkdirs");
    assert_eq!(table.len(), 101, "{summary}");
    assert_eq!(table.count("ret", "0"), 100);
    assert_eq!(table.count("ret", "-17"), 1);
    assert_eq!(table.count("syscall", "mkdir"), 101);
    assert_eq!(table.count("path", "d42"), 1);
    assert_eq!(table.count("comm", "mkdir"), 101);
    assert_eq!(counts(&sandbox.path("t"), "mkdirs"), (101, 101, 0));
    let meta = meta(&sandbox.path("t"));
    assert_eq!((meta["state"].as_str(), meta["command_exit_code"].as_i64()), (Some("closed"), Some(0)));
    let line = summary.lines().find(|line| line.trim_start().starts_with("mkdirs ")).unwrap();
    assert_eq!(
        line.split_whitespace().take(4).collect::<Vec<_>>(),
        ["mkdirs", "101", "101", "0"],
        "{summary}"
    );
}

#[test]
fn processes_come_with_every_trace_and_have_exact_counts() {
    let sandbox = Sandbox::for_recording();
    record(&sandbox, 0, &["mkdirs"], HUNDRED);
    let table = Table::read(&sandbox.path("t"), "processes");
    // The shell was forked before the recording began: it is the snapshot.
    assert_eq!(table.count("ev", "snapshot"), 1);
    assert_eq!(table.count("ev", "fork"), 101);
    assert_eq!(table.count("ev", "exec"), 102);
    assert_eq!(table.count("ev", "exit"), 102);
    let started = table.integers("start_boottime_ns");
    assert!(started.iter().all(|ns| ns.is_some_and(|ns| ns > 0)), "{started:?}");
}

#[test]
fn the_time_of_rows_is_the_time_of_day_and_rows_are_sorted() {
    let sandbox = Sandbox::for_recording();
    let now =
        || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() as i128;
    let before = now();
    record(&sandbox, 0, &["mkdirs", "processes"], HUNDRED);
    let after = now();
    for name in ["mkdirs", "processes"] {
        let ts: Vec<i128> =
            Table::read(&sandbox.path("t"), name).integers("ts").into_iter().flatten().collect();
        assert!(ts.is_sorted(), "{name}");
        assert!(ts[0] > before && *ts.last().unwrap() < after, "{name}: {before} {ts:?} {after}");
    }
}

#[test]
fn switches_are_those_that_the_kernel_counted_for_the_process() {
    let sandbox = Sandbox::for_recording();
    // The shell reads its own counters between two system calls that are recorded too.
    let script = "\
        show() { while read -r name value; do case $name in *ctxt_switches:) echo $value;; esac; done < /proc/$$/status; }
        cd /; show > $OLDPWD/a; i=0; while [ $i -lt 50 ]; do sleep 0.002; i=$((i+1)); done; show > $OLDPWD/b; cd /";
    record(&sandbox, 0, &["switches", "marks=syscall:chdir{ retval }"], script);
    let trace = sandbox.path("t");
    let marks = Table::read(&trace, "marks");
    let (times, pid) = (marks.integers("ts"), marks.text("pid")[0].clone());
    assert_eq!(times.len(), 2);
    let switches = Table::read(&trace, "switches");
    let (ts, prev) = (switches.integers("ts"), switches.text("prev_tid"));
    let recorded =
        ts.iter().zip(&prev).filter(|(ts, prev)| **prev == pid && times[0] < **ts && **ts < times[1]).count();
    let read = |name: &str| -> usize {
        fs::read_to_string(sandbox.path(name))
            .unwrap()
            .lines()
            .map(|line| line.parse::<usize>().unwrap())
            .sum()
    };
    let counted = read("b") - read("a");
    assert!(counted >= 50, "{counted}");
    // Between a mark and a reading of the counters the shell can be made to wait once or twice.
    assert!(recorded.abs_diff(counted) <= 4, "recorded {recorded}, counted {counted}");
    let (seen, recorded, lost) = counts(&trace, "switches");
    assert_eq!((seen, lost), (recorded, 0));
}

#[test]
fn inline_probes_give_typed_tables() {
    let sandbox = Sandbox::for_recording();
    let args = [
        "execs=tp:sched:sched_process_exec{ child=p->tgid, name=bprm->filename:string }",
        "tp:sched:sched_process_exit",
        "big=syscall:mkdir{ pathname:ustring, mode, retval } if retval < 0",
    ];
    record(&sandbox, 0, &args, HUNDRED);
    let trace = sandbox.path("t");
    let execs = Table::read(&trace, "execs");
    assert_eq!(execs.len(), 102);
    assert_eq!(execs.text("child"), execs.text("pid"));
    assert_eq!(execs.text("name").iter().filter(|name| name.ends_with("/mkdir")).count(), 101);
    assert_eq!(Table::read(&trace, "sched_process_exit").len(), 102);
    let big = Table::read(&trace, "big");
    assert_eq!(
        (big.len(), big.text("pathname"), big.text("retval")),
        (1, vec!["d0".into()], vec!["-17".into()])
    );
}

#[test]
fn an_event_file_gives_a_table_named_after_it() {
    let sandbox = Sandbox::for_recording();
    let text = "summary = \"a directory is made\"\n[[source]]\n[[source.probe]]\non = \"syscall:mkdir\"\n\
                [[column]]\nname = \"bits\"\ntype = \"x16\"\ndoc = \"mode\"\nexpr = \"mode\"\n";
    fs::write(sandbox.path("dirs.toml"), text).unwrap();
    record(&sandbox, 0, &["--events", "dirs.toml"], "mkdir -m 700 a b; exit 0");
    assert_eq!(Table::read(&sandbox.path("t"), "dirs").text("bits"), ["448", "448"]);
}

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
    std::thread::sleep(std::time::Duration::from_millis(1200));
    let made_early = last().unwrap();
    std::thread::sleep(std::time::Duration::from_millis(1500));
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
fn printed_json_has_the_rows_of_the_table() {
    let sandbox = Sandbox::for_recording();
    let out =
        sandbox.expect(0, &["record", "mkdirs", "--print=ndjson", "-o", "t", "--", "sh", "-c", HUNDRED]).out;
    let rows: Vec<serde_json::Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let printed: Vec<&str> = rows.iter().map(|row| row["path"].as_str().unwrap()).collect();
    assert_eq!(printed, Table::read(&sandbox.path("t"), "mkdirs").text("path"));
    assert!(rows.iter().all(|row| row["event"] == "mkdirs" && row["pid"].is_u64() && row["ret"].is_i64()));
}

#[test]
fn printing_can_do_without_a_trace() {
    let sandbox = Sandbox::for_recording();
    let out = sandbox.expect(0, &["record", "mkdirs", "--print", "-o", "none", "--", "mkdir", "one"]).out;
    assert_eq!(out.lines().count(), 1, "{out}");
    assert!(out.contains(" mkdirs ") && out.contains("path=one") && out.contains("ret=0"), "{out}");
    assert_eq!(sandbox.files(), ["one"]);
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

#[test]
fn sockets_that_listen_already_are_in_the_trace_as_snapshot() {
    let sandbox = Sandbox::for_recording();
    let sockets = [TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("[::1]:0").unwrap()];
    let own = std::process::id().to_string();
    sandbox.expect(0, &["record", "listens", "-o", "t", "-d", "200ms", "-p", &own]);
    let table = Table::read(&sandbox.path("t"), "listens");
    let rows: Vec<_> = table.text("ev").into_iter().zip(table.text("pid")).zip(table.text("port")).collect();
    for socket in sockets {
        let port = socket.local_addr().unwrap().port().to_string();
        let expected = (("snapshot".to_owned(), own.clone()), port);
        assert_eq!(rows.iter().filter(|row| **row == expected).count(), 1, "{expected:?} in {rows:?}");
    }
    let probes = Table::read(&sandbox.path("t"), "probes");
    assert_eq!(probes.count("kind", "snapshot"), 2);
}

#[test]
fn the_first_listen_of_a_child_is_recorded() {
    let sandbox = Sandbox::for_recording();
    let script =
        "import socket; s=socket.socket(); s.bind(('127.0.0.1', 0)); s.listen(7); print(s.getsockname()[1])";
    let Ok(python) = Command::new("python3").arg("-V").stdout(Stdio::null()).status() else {
        panic!("this test needs python3");
    };
    assert!(python.success());
    let port = sandbox.expect(0, &["record", "listens", "-o", "t", "--", "python3", "-c", script]).out;
    let table = Table::read(&sandbox.path("t"), "listens");
    let listens: Vec<usize> = (0..table.len()).filter(|i| table.text("ev")[*i] == "listen").collect();
    assert_eq!(listens.len(), 1);
    assert_eq!(table.text("port")[listens[0]], port.trim());
    assert_eq!(table.text("backlog")[listens[0]], "7");
    assert_eq!(table.text("addr")[listens[0]], "127.0.0.1");
}

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
fn losses_are_counted_and_can_fail_the_run() {
    let sandbox = Sandbox::for_recording();
    // Rings of one page per CPU at most, and more switches than fit.
    let script = "i=0; while [ $i -lt 3000 ]; do : $(:); i=$((i+1)); done";
    let args = [
        "record",
        "switches",
        "writes=syscall:write{ fd, count }",
        "opens=syscall:openat{ filename:ustring[510] }",
    ];
    let mut all = args.to_vec();
    all.extend(["--buffer-size", "64K", "--fail-on-loss", "-o", "t", "--", "sh", "-c", script]);
    let output = sandbox.run(&all);
    let err = String::from_utf8(output.stderr).unwrap();
    let lost: i128 =
        ["switches", "writes", "opens", "processes"].map(|e| counts(&sandbox.path("t"), e).2).iter().sum();
    assert_eq!(output.status.code(), Some(i32::from(lost > 0)), "{lost} lost\n{err}");
    assert_eq!(err.contains("ring_full"), lost > 0, "{err}");
}

#[test]
fn a_trace_says_how_it_was_made() {
    let sandbox = Sandbox::for_recording();
    record(&sandbox, 0, &["mkdirs"], "exit 0");
    let meta = meta(&sandbox.path("t"));
    assert_eq!(meta["command_line"][1], "record");
    assert!(meta["utc_minus_boottime_ns"].as_i64().unwrap() > 0);
    let probes = Table::read(&sandbox.path("t"), "probes");
    let attached = probes.text("attached").iter().filter(|text| *text == "true").count();
    assert!(attached >= 6, "mkdir, mkdirat and processes with its snapshot: {:?}", probes.text("source"));
}

/// Listens in a network namespace of its own, says which, and ends when its standard input does.
const LISTENER: &str = "import os, socket, sys
s = socket.socket(socket.AF_INET6); s.bind(('::', 7777)); s.listen(9)
print(os.stat('/proc/self/ns/net').st_ino, flush=True); sys.stdin.read()";

#[test]
fn listeners_of_other_namespaces_have_the_inode_of_theirs() {
    let sandbox = Sandbox::for_recording();
    let args = ["record", "listens", "-o", "t", "--", "unshare", "-n", "python3", "-c", LISTENER];
    let netns = sandbox.expect(0, &args).out.trim().to_owned();
    let table = Table::read(&sandbox.path("t"), "listens");
    assert_eq!(table.text("netns")[0], netns);
    assert_eq!((table.text("addr")[0].as_str(), table.text("port")[0].as_str()), ("::", "7777"));

    let mut child = Command::new("unshare")
        .args(["-n", "python3", "-c", LISTENER])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(child.stdout.take().unwrap()), &mut line)
        .unwrap();
    let pid = child.id().to_string();
    for (trace, netns, expected) in [("a", line.trim(), 1), ("b", "4294967295", 0)] {
        sandbox.expect(0, &["record", "listens", "-o", trace, "-d", "100ms", "-p", &pid, "--netns", netns]);
        let table = Table::read(&sandbox.path(trace), "listens");
        assert_eq!(table.len(), expected, "--netns {netns}");
        if expected == 1 {
            assert_eq!(
                (table.text("netns"), table.text("backlog")),
                (vec![netns.to_owned()], vec!["9".to_owned()])
            );
            assert_eq!(
                (table.text("pid"), table.text("ev")),
                (vec![pid.clone()], vec!["snapshot".to_owned()])
            );
        }
    }
    drop(child.stdin.take());
    child.wait().unwrap();
}

#[test]
fn kernel_stacks_have_the_names_of_functions() {
    let sandbox = Sandbox::for_recording();
    record(
        &sandbox,
        0,
        &["execs=tp:sched:sched_process_exec{ child=p->tgid }", "--stacks", "kernel"],
        "mkdir a; exit 0",
    );
    let trace = sandbox.path("t");
    let ids = Table::read(&trace, "execs").text("kstack");
    let known = Table::read(&trace, "stacks").text("stack_id");
    assert!(!ids.is_empty() && ids.iter().all(|id| known.contains(id)), "{ids:?} {known:?}");
    let names = Table::read(&trace, "symbols").text("name");
    assert!(names.iter().any(|name| name.contains("execve")), "{names:?}");
}

#[test]
fn a_source_that_is_missing_is_told_and_fails_only_if_that_is_asked_for() {
    let sandbox = Sandbox::for_recording();
    let text = "summary = \"s\"\n[[source]]\nname = \"there\"\n[[source.probe]]\non = \"syscall:mkdir\"\n\
                [[source]]\nname = \"gone\"\n[[source.probe]]\non = \"fn:no_such_function_here\"\n\
                [[column]]\nname = \"who\"\ntype = \"u32\"\ndoc = \"d\"\nexpr = \"$pid\"\n";
    fs::write(sandbox.path("half.toml"), text).unwrap();
    let told = record(&sandbox, 0, &["half.toml"], "mkdir a; exit 0");
    assert!(told.contains("warning: event half, source gone is not observed: "), "{told}");
    assert!(told.contains("no_such_function_here"), "{told}");
    let probes = Table::read(&sandbox.path("t"), "probes");
    assert_eq!(probes.text("attached").len(), probes.text("reason").len());
    assert!(probes.count("source", "gone") >= 1);
    assert_eq!(Table::read(&sandbox.path("t"), "half").len(), 1);
    let told = sandbox.expect(2, &["record", "half.toml", "--require", "-o", "u", "--", "mkdir", "b"]).err;
    assert!(told.contains("gone") && told.contains("no_such_function_here"), "{told}");
    assert!(!sandbox.path("u").exists() && !sandbox.path("b").exists());
}

#[test]
fn events_in_interrupts_come_with_a_warning_when_processes_are_filtered() {
    let sandbox = Sandbox::for_recording();
    // A namespace that nobody is in.
    let told = record(&sandbox, 0, &["packets", "--netns", "4294967295"], "exit 0");
    assert!(told.contains("warning: packets happen in interrupts"), "{told}");
    assert_eq!(Table::read(&sandbox.path("t"), "packets").len(), 0);
}
