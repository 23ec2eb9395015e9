//! What a recording says about what is missing in it, against what the workload did.

use std::fs;
use std::path::Path;

use nix::sched::{CpuSet, sched_getaffinity};
use nix::unistd::Pid;

use crate::sandbox::{Sandbox, Table, counts, wait_for};

/// Rows of table losses for `event` and `reason`, added up.
fn lost(trace: &Path, event: &str, reason: &str) -> i128 {
    let table = Table::read(trace, "losses");
    let (events, reasons, count) = (table.text("event"), table.text("reason"), table.integers("count"));
    let own = |i: &usize| events[*i] == event && reasons[*i] == reason;
    (0..table.len()).filter(own).map(|i| count[i].expect("known")).sum()
}

/// Numbers of `seq` that are not there, per probe and cpu, before the last one that is.
fn gaps(trace: &Path, event: &str) -> i128 {
    let table = Table::read(trace, event);
    let (probe, cpu, seq) = (table.text("probe"), table.text("cpu"), table.integers("seq"));
    let mut last = std::collections::BTreeMap::new();
    let mut gaps = 0;
    for i in 0..table.len() {
        let next = last.entry((&probe[i], &cpu[i])).or_insert(0);
        let seq = seq[i].unwrap();
        assert!(seq >= *next, "row {i} of {event} is out of order");
        gaps += seq - *next;
        *next = seq + 1;
    }
    gaps
}

const FLOOD: i128 = 20_000;
const RARE: i128 = 25;

#[test]
fn while_the_recorder_is_stopped_a_flood_is_lost_to_the_last_event_counted_and_a_rare_event_is_not_lost() {
    let sandbox = Sandbox::for_recording();
    // A last call on each processor, when there is room again: no loss is behind the last row.
    let cpus = sched_getaffinity(Pid::from_raw(0)).unwrap();
    let cpus: Vec<String> =
        (0..CpuSet::count()).filter(|cpu| cpus.is_set(*cpu).unwrap()).map(|cpu| cpu.to_string()).collect();
    let script = format!(
        "while [ ! -e go ]; do sleep 0.05; done
        i=0; while [ $i -lt {FLOOD} ]; do cd .; i=$((i+1)); [ $((i % {})) -ne 0 ] || kill -0 $$; done
        touch done; while [ ! -e end ]; do sleep 0.05; done
        for cpu in {}; do taskset -c $cpu sh -c 'cd .'; done",
        FLOOD / RARE,
        cpus.join(" ")
    );
    let args = [
        "record",
        "flood=syscall:chdir{ filename:ustring[500], retval }",
        "rare=syscall:kill{ sig, retval }",
        "--buffer-size",
        "64K",
        "--fail-on-loss",
        "-o",
        "t",
        "--",
        "sh",
        "-c",
        &script,
    ];
    let mut recorder = sandbox.start(&args);
    recorder.signal(libc::SIGSTOP);
    fs::write(sandbox.path("go"), "").unwrap();
    wait_for("the flood", || sandbox.path("done").exists());
    recorder.signal(libc::SIGCONT);
    wait_for("the warning", || recorder.stderr().contains(" events are lost so far (ring_full): "));
    fs::write(sandbox.path("end"), "").unwrap();
    assert_eq!(recorder.wait(), Some(1), "{}", recorder.stderr());
    let trace = sandbox.path("t");
    let (seen, recorded, missing) = counts(&trace, "flood");
    assert_eq!(seen, FLOOD + cpus.len() as i128);
    assert!(missing > FLOOD / 2, "{recorded} recorded, {missing} lost: nothing was tested");
    assert_eq!(Table::read(&trace, "flood").len() as i128, recorded);
    assert_eq!(lost(&trace, "flood", "ring_full"), missing);
    assert_eq!(gaps(&trace, "flood"), missing);
    assert_eq!(counts(&trace, "rare"), (RARE, RARE, 0));
    assert_eq!((Table::read(&trace, "rare").len() as i128, gaps(&trace, "rare")), (RARE, 0));
}

#[test]
fn a_sample_has_weights_says_what_it_left_out_and_is_no_failure() {
    let sandbox = Sandbox::for_recording();
    let args = ["record", "syscall:chdir", "--sample", "10", "--fail-on-loss", "-o", "t", "--", "sh", "-c"];
    let script = "i=0; while [ $i -lt 1005 ]; do cd .; i=$((i+1)); done";
    let text = sandbox.expect(0, &[&args[..], &[script]].concat());
    let trace = sandbox.path("t");
    let (seen, recorded, left_out) = counts(&trace, "chdir");
    assert_eq!((seen, lost(&trace, "chdir", "sampled")), (1005, left_out));
    let table = Table::read(&trace, "chdir");
    assert_eq!((table.len() as i128, table.count("weight", "10") as i128), (recorded, recorded));
    let cpus = Table::read(&trace, "counts").len() as i128;
    assert!((1005..1005 + 10 * cpus).contains(&(10 * recorded)), "{recorded} of 1005");
    assert!(text.err.contains(&format!("chdir: {left_out} left out (sampled)")), "{}", text.err);
    // What is recorded with every trace is complete.
    assert_eq!(counts(&trace, "processes").2, 0);
}

#[test]
fn cut_strings_are_counted_and_are_no_missing_events() {
    let sandbox = Sandbox::for_recording();
    let script = "for d in / /usr /usr/bin /usr/lib /usr; do cd $d; done";
    let args =
        ["record", "c=syscall:chdir{ filename:ustring[4] }", "--fail-on-loss", "-o", "t", "--", "sh", "-c"];
    sandbox.expect(0, &[&args[..], &[script]].concat());
    let trace = sandbox.path("t");
    assert_eq!(counts(&trace, "c"), (5, 5, 0));
    assert_eq!(lost(&trace, "c", "string_cut"), 2);
    assert_eq!(Table::read(&trace, "c").text("filename"), ["/", "/usr", "/usr", "/usr", "/usr"]);
}

#[test]
fn values_that_cannot_be_read_are_counted_and_are_no_missing_events() {
    let sandbox = Sandbox::for_recording();
    // Nothing is at address 8, and 0 is no address.
    let script = "import ctypes
libc = ctypes.CDLL(None)
for path in [8, b'/nowhere', 8, 0, 8]:
    libc.rmdir(ctypes.c_char_p(path) if isinstance(path, bytes) else ctypes.c_void_p(path))";
    let args = ["record", "r=syscall:rmdir{ pathname:ustring[9] }", "--fail-on-loss", "-o", "t", "--"];
    let text = sandbox.expect(0, &[&args[..], &["python3", "-c", script]].concat());
    let trace = sandbox.path("t");
    assert_eq!(counts(&trace, "r"), (5, 5, 0));
    assert_eq!(lost(&trace, "r", "fetch_fault"), 3);
    let table = Table::read(&trace, "r");
    assert_eq!(table.text("pathname"), ["NULL", "/nowhere", "NULL", "NULL", "NULL"]);
    let faults: Vec<bool> = table.integers("faults").into_iter().map(|faults| faults != Some(0)).collect();
    assert_eq!(faults, [true, false, true, false, true]);
    assert!(text.err.contains("r: 3 incomplete (fetch_fault): "), "{}", text.err);
}

#[test]
fn what_the_kernel_cannot_tell_is_said_from_the_first_counts_on() {
    let sandbox = Sandbox::for_recording();
    let own = std::env::current_exe().unwrap();
    let probe = format!("u=uretprobe:{}:main{{ retval }}", own.display());
    let mut recorder = sandbox.start(&["record", &probe, "-o", "t"]);
    let trace = sandbox.path("t");
    let is_there = || Table::read_if_there(&trace, "losses").is_some_and(|losses| losses.len() > 0);
    wait_for("the first row of losses", is_there);
    let open = Table::read(&trace, "losses");
    recorder.signal(libc::SIGTERM);
    assert_eq!(recorder.wait(), Some(0), "{}", recorder.stderr());
    let unknown = "u: unknown how many lost (kprobe_missed): ";
    assert!(recorder.stderr().contains(unknown), "{}", recorder.stderr());
    let closed = Table::read(&trace, "losses");
    for losses in [open, closed] {
        let own: Vec<usize> = (0..losses.len()).filter(|row| losses.text("event")[*row] == "u").collect();
        let [row] = own[..] else { panic!("{own:?}") };
        assert_eq!(
            (losses.text("reason")[row].as_str(), losses.integers("count")[row]),
            ("kprobe_missed", None)
        );
        let since = losses.integers("since_ts")[row];
        assert_eq!(since, Table::read(&trace, "probes").integers("attached_ts")[0], "from the start on");
    }
}

#[test]
fn what_a_command_freed_in_other_contexts_is_not_outstanding() {
    let sandbox = Sandbox::for_recording();
    // Each process leaves behind objects that the kernel frees later, in whichever process runs then.
    let script = "i=0; while [ $i -lt 100 ]; do /bin/true; i=$((i+1)); done; sleep 1";
    sandbox.expect(0, &["record", "kmem", "-o", "t", "--", "sh", "-c", script]);
    let trace = sandbox.path("t");
    let table = Table::read(&trace, "kmem");
    let (kinds, caches, ptrs) = (table.text("kind"), table.text("cache"), table.text("ptr"));
    let (pids, followed) = (table.text("pid"), Table::read(&trace, "processes").text("pid"));
    let mut live = std::collections::HashMap::new();
    let (mut begun, mut elsewhere) = (0, 0);
    for i in 0..table.len() {
        if kinds[i] == "alloc" {
            assert!(followed.contains(&pids[i]), "process {} is none of ours", pids[i]);
            live.insert(&ptrs[i], &caches[i]);
            begun += i32::from(caches[i] == "task_struct");
        } else {
            assert!(live.remove(&ptrs[i]).is_some(), "row {i} frees what was not allocated");
            elsewhere += i32::from(!followed.contains(&pids[i]));
        }
    }
    assert!(begun >= 100 && elsewhere > 0, "{begun} tasks, {elsewhere} frees in other processes");
    let left = live.into_values().filter(|cache| *cache == "task_struct").count();
    // The kernel keeps two stacks of tasks per cpu for the next fork, and with them perhaps a task.
    assert!(left <= 3, "{left} of {begun} tasks look leaked");
}

#[test]
fn probes_that_are_worse_than_the_one_that_is_used_are_not_listed() {
    let sandbox = Sandbox::for_recording();
    sandbox.expect(0, &["record", "listens", "kmem", "switches", "-o", "t", "--", "true"]);
    let table = Table::read(&sandbox.path("t"), "probes");
    let (event, source, attached) = (table.text("event"), table.text("source"), table.text("attached"));
    let kind = table.text("kind");
    // What no probe sees is no probe.
    let probes: Vec<usize> = (0..table.len()).filter(|i| kind[*i] != "not observed").collect();
    let mut used = 0;
    for (&before, &row) in probes.iter().zip(&probes[1..]) {
        let same = event[row] == event[before] && source[row] == source[before];
        assert!(
            !same || attached[before] == "false" || attached[row] == "true",
            "row {row} is worse than row {before}"
        );
        used += usize::from(same && attached[row] == "true");
    }
    assert!(used > 0, "no probe has another beside it, so nothing was tested");
}
