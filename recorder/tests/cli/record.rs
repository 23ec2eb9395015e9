//! Recording natively: exact counts against what the workload itself knows.

use std::fs;

use crate::sandbox::{HUNDRED, Sandbox, Table, counts, meta, record};

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
    // It reads its own counters before and after a system call that is recorded too, until both are the same: then
    // nothing came in between.
    let script = "\
import os, time
def counted():
    with open('/proc/self/status') as status:
        return sum(int(line.split()[1]) for line in status if 'ctxt_switches:' in line)
def mark():
    tries = 0
    while True:
        before = counted()
        os.chdir('.')
        tries += 1
        if counted() == before:
            return before, tries
first, _ = mark()
for _ in range(50): time.sleep(0.002)
print(first, *mark(), file=open('counted', 'w'))
";
    let script = format!("exec python3 -c \"{script}\"");
    record(&sandbox, 0, &["switches", "moves=syscall:chdir{ retval }"], &script);
    let trace = sandbox.path("t");
    let moves = Table::read(&trace, "moves");
    // What is called python3 may be a script that changes its directory too.
    let (times, pid) = (moves.integers("ts"), moves.text("pid").pop().unwrap());
    let switches = Table::read(&trace, "switches");
    let (ts, prev) = (switches.integers("ts"), switches.text("prev_tid"));
    let text = fs::read_to_string(sandbox.path("counted")).unwrap();
    let numbers: Vec<usize> = text.split_whitespace().map(|number| number.parse().unwrap()).collect();
    let [first, last, tries] = numbers[..] else { panic!("{text:?}") };
    assert!(last - first >= 50, "{text:?}");
    let (since, until) = (times[times.len() - 1 - tries], times[times.len() - 1]);
    let own = ts.iter().zip(&prev).filter(|(ts, prev)| **prev == pid && since < **ts && **ts < until);
    assert_eq!(own.count(), last - first, "marks at {times:?}");
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
