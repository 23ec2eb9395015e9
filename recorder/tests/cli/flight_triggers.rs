//! What sets a trigger off, what does not, and that none takes anything from another.

use std::fs;
use std::path::PathBuf;

use crate::sandbox::{Sandbox, Table, counts, meta};

fn snapshots(sandbox: &Sandbox) -> Vec<PathBuf> {
    let names = sandbox.files().into_iter().filter(|name| name.contains("-snapshot-"));
    names.map(|name| sandbox.path(&name)).collect()
}

/// What the triggers of the snapshots are, sorted.
fn texts(sandbox: &Sandbox) -> Vec<String> {
    let text = |path: &PathBuf| meta(path)["frozen"]["text"].as_str().unwrap().to_owned();
    let mut texts: Vec<String> = snapshots(sandbox).iter().map(text).collect();
    texts.sort();
    texts
}

/// `recorder record ARGS -o run.trace -- sh -c SCRIPT`, which ends well; what it says.
fn record(sandbox: &Sandbox, args: &[&str], script: &str) -> String {
    let mut all = vec!["record"];
    all.extend(args);
    all.extend(["-o", "run.trace", "--", "sh", "-c", script]);
    sandbox.expect(0, &all).err
}

#[test]
fn every_source_of_an_event_that_nests_sets_a_trigger_off() {
    let sandbox = Sandbox::for_recording();
    // Not the first source; names of files are allocated like that. The second trigger comes after one that nests.
    let nests = "kmem: via == 'cache' && bytes_alloc == 4096";
    let script = "mkdir a; sleep 0.3; mkdir b; mkdir c";
    let text = record(&sandbox, &["mkdirs", "--trigger", nests, "--trigger", "mkdirs"], script);
    assert_eq!(texts(&sandbox), [nests, "mkdirs"], "{text}");
    assert!(!text.contains("attached already"), "{text}");
    let trace = sandbox.path("run.trace");
    assert_eq!(counts(&trace, "mkdirs"), (3, 3, 0));
    assert_eq!(counts(&trace, "processes").1, Table::read(&trace, "processes").len() as i128);
    // Each has a number of its own, rows of triggers are none of the trace.
    let mut probes: Vec<_> = Table::read(&trace, "probes").integers("probe").into_iter().flatten().collect();
    let all = probes.len();
    probes.sort();
    probes.dedup();
    assert_eq!(probes.len(), all);
}

#[test]
fn a_source_of_a_trigger_that_is_not_observed_is_told() {
    let sandbox = Sandbox::for_recording();
    let source = |name: &str, on: &str| {
        format!("[[source]]\nname = \"{name}\"\n[[source.probe]]\non = \"{on}\"\nset = {{ n = \"1\" }}\n")
    };
    let column = "[[column]]\nname = \"n\"\ntype = \"u32\"\ndoc = \"one\"\n";
    let both = [source("one", "tp:sched:sched_process_exit"), source("two", "fn:no_such_function")].concat();
    fs::write(sandbox.path("both_ways.toml"), format!("summary = \"a test\"\n{both}{column}")).unwrap();
    let text = record(&sandbox, &["mkdirs", "--trigger", "./both_ways.toml: n == 1"], "mkdir a");
    let told = "warning: --trigger './both_ways.toml: n == 1', source two is not observed: ";
    assert!(text.contains(told) && text.contains("no_such_function"), "{text}");
    assert_eq!(texts(&sandbox), ["./both_ways.toml: n == 1"]);
}

#[test]
fn what_is_not_recorded_does_not_set_a_trigger_off() {
    let sandbox = Sandbox::for_recording();
    let by_python = "python3 -c 'import os; os.mkdir(\"a\")'";
    let args = ["mkdirs", "--comm", "mkdir", "--trigger", "mkdirs"];
    let text = record(&sandbox, &args, by_python);
    assert_eq!(snapshots(&sandbox), Vec::<PathBuf>::new(), "{text}");
    assert!(!text.contains("made no snapshot"), "{text}");
    fs::remove_dir_all(sandbox.path("run.trace")).unwrap();
    let text = record(&sandbox, &args, &format!("{by_python}x; mkdir b"));
    assert_eq!(texts(&sandbox), ["mkdirs"], "{text}");
}

#[test]
fn a_frequent_trigger_takes_nothing_from_a_rare_one() {
    let sandbox = Sandbox::for_recording();
    let rare = "syscall:rmdir{ pathname:ustring, retval } if retval == 0";
    // The gap between the first two is over, however late they are looked at.
    let script = "mkdir d0; until ls -d *-snapshot-* >out 2>&1; do sleep 0.05; done
        i=1; while [ $i -lt 60 ]; do mkdir d$i; i=$((i+1)); done; rmdir d0; sleep 0.3";
    let text = record(
        &sandbox,
        &["mkdirs", "--trigger", "mkdirs", "--trigger", rare, "--trigger-gap", "1ms", "--max-snapshots", "2"],
        script,
    );
    assert_eq!(texts(&sandbox), ["mkdirs", "mkdirs", rare], "{text}");
    assert_eq!(text.matches("makes no more snapshots for now").count(), 1, "{text}");
    assert!(
        text.contains("triggers set off that made no snapshot (--trigger-gap, --max-snapshots): 58\n"),
        "{text}"
    );
}

#[test]
fn what_is_asked_for_in_the_last_moment_is_made_though_others_are_being_made() {
    let sandbox = Sandbox::for_recording();
    let mut args = vec!["mkdirs"];
    // Each has a budget of its own.
    for _ in 0..24 {
        args.extend(["--trigger", "mkdirs"]);
    }
    let text = record(&sandbox, &args, "mkdir a");
    assert_eq!(snapshots(&sandbox).len(), 24, "{text}");
    assert!(!text.contains("was missed") && !text.contains("not made"), "{text}");
    for snapshot in snapshots(&sandbox) {
        assert_eq!((Table::read(&snapshot, "mkdirs").len(), counts(&snapshot, "mkdirs")), (1, (1, 1, 0)));
    }
}
