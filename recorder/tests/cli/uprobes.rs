//! Uprobes see exactly the calls that a program makes: the program of `programs/calls.c` says how many these are.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::sandbox::{LIMIT, Sandbox, Table, counts, record, wait_for};

const PROGRAMS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cli/programs");

/// Run a tool that builds programs.
fn tool(name: &str, sandbox: &Sandbox, args: &[&str]) {
    let done = Command::new(name).args(args).current_dir(sandbox.path("")).output().unwrap();
    assert!(done.status.success(), "{name} {args:?}: {}", String::from_utf8_lossy(&done.stderr));
}

/// The compiler that links Rust programs as well. Other programs are in `programs/`.
pub fn cc(sandbox: &Sandbox, args: &[&str]) {
    let programs = format!("-I{PROGRAMS}");
    let mut all = vec!["-O1", "-g0", &programs];
    all.extend(args);
    tool("cc", sandbox, &all);
}

/// The path of a source in `programs/`.
pub fn source(name: &str) -> String {
    format!("{PROGRAMS}/{name}")
}

/// `libturn.so` and `calls`, built with `extra`.
pub fn build(sandbox: &Sandbox, extra: &[&str]) {
    fs::write(
        sandbox.path("map"),
        "V1 { local: nothing; };\nV2 { global: plain; plain_too; shared_number; chosen; half; } V1;\n",
    )
    .unwrap();
    let library = source("versions.c");
    cc(sandbox, &["-shared", "-fPIC", "-Wl,--version-script=map", "-o", "libturn.so", &library]);
    let sources = [source("calls.c"), source("twice_here.c"), source("twice_there.c")];
    let mut args = vec!["-fno-builtin", "-rdynamic", "-o", "calls", &sources[0], &sources[1], &sources[2]];
    args.extend(["./libturn.so", "-Wl,-rpath,$ORIGIN"]);
    args.extend(extra);
    cc(sandbox, &args);
}

/// The rows of each probe when `calls` runs.
fn rows(sandbox: &Sandbox, probes: &[&str]) -> Vec<usize> {
    let named: Vec<String> = probes.iter().enumerate().map(|(i, probe)| format!("e{i}={probe}")).collect();
    let args: Vec<&str> = named.iter().map(String::as_str).collect();
    let _ = fs::remove_dir_all(sandbox.path("t"));
    record(sandbox, 0, &args, "exec ./calls");
    let trace = sandbox.path("t");
    let rows = |i| {
        let event = format!("e{i}");
        let (seen, recorded, lost) = counts(&trace, &event);
        let there = trace.join(&event).is_dir();
        let rows = if there { Table::read(&trace, &event).len() } else { 0 };
        assert_eq!((seen, recorded, lost), (rows as i128, rows as i128, 0), "{event}");
        rows
    };
    (0..probes.len()).map(rows).collect()
}

#[test]
fn the_default_version_is_taken_and_another_one_if_it_is_named() {
    let sandbox = Sandbox::for_recording();
    build(&sandbox, &[]);
    let probes = [
        "uprobe:libc.so.6:pthread_kill{}",
        "uprobe:./libturn.so:turn{ i=$arg1:s32 }",
        "uprobe:./libturn.so:turn@V1{}",
        "uprobe:./libturn.so:turn@@V2{}",
        "uprobe:./libturn.so:turn@*{}",
        "uretprobe:./libturn.so:turn{ i=$arg1:s32, r=retval:s32 }",
    ];
    assert_eq!(rows(&sandbox, &probes), [100, 11, 7, 11, 18, 11]);
    let returned = Table::read(&sandbox.path("t"), "e5");
    let (of, to) = (returned.integers("i"), returned.integers("r"));
    assert_eq!(of, (0..11).map(Some).collect::<Vec<_>>());
    assert_eq!(to, (2..13).map(Some).collect::<Vec<_>>(), "turn@@V2 adds two");
    // What was probed, and what was not, is in the trace.
    let probes = Table::read(&sandbox.path("t"), "probes");
    let row = probes.text("event").iter().position(|event| event == "e1").unwrap();
    let library = sandbox.path("libturn.so").canonicalize().unwrap();
    assert_eq!(probes.text("target")[row], format!("{}:turn@@V2", library.display()));
    assert!(probes.text("reason")[row].contains("turn@V1"), "{}", probes.text("reason")[row]);
    assert!(probes.text("program")[row].contains("file offset 0x"), "{}", probes.text("program")[row]);
}

#[test]
fn all_functions_of_one_name_are_probed_and_all_names_of_one_function_are_told() {
    for extra in [&["-pie"][..], &["-no-pie"], &["-Wl,-z,separate-code"], &["-Wl,-z,noseparate-code"]] {
        let sandbox = Sandbox::for_recording();
        build(&sandbox, extra);
        let probes = [
            "uprobe:./calls:twice{}",
            "uprobe:calls:f{}",
            "uretprobe:./calls:twice{ r=retval:s32 }",
            "uprobe:./libturn.so:plain{}",
            "uprobe:./calls:exported{}",
        ];
        // SAFETY: no other thread reads or sets the variable: it is that of the recorder.
        let path = format!("{}:{}", sandbox.path("").display(), std::env::var("PATH").unwrap());
        let named: Vec<String> =
            probes.iter().enumerate().map(|(i, probe)| format!("e{i}={probe}")).collect();
        let mut args = vec!["record"];
        args.extend(named.iter().map(String::as_str));
        args.extend(["-o", "t", "--", "./calls"]);
        let done = sandbox.command(&args).env("PATH", path).output().unwrap();
        assert_eq!(done.status.code(), Some(0), "{}", String::from_utf8_lossy(&done.stderr));
        let trace = sandbox.path("t");
        let rows: Vec<usize> = (0..5).map(|i| Table::read(&trace, &format!("e{i}")).len()).collect();
        assert_eq!(rows, [8, 9, 8, 6, 6], "{extra:?}");
        let mut returned = Table::read(&trace, "e2").integers("r");
        returned.sort();
        let truth: Vec<_> = [0, 0, 2, 2, 4, 4, 6, 8].map(Some).into();
        assert_eq!(returned, truth);
        let probes = Table::read(&trace, "probes");
        let row = probes.text("event").iter().position(|event| event == "e3").unwrap();
        assert!(probes.text("reason")[row].contains("plain_too"), "{}", probes.text("reason")[row]);
    }
}

#[test]
fn of_an_indirect_function_the_implementation_that_the_loader_chose_is_probed() {
    let sandbox = Sandbox::for_recording();
    build(&sandbox, &[]);
    // Hardly anything calls it, and nothing with that many bytes.
    assert_eq!(rows(&sandbox, &["uprobe:libc:stpncpy{ n=$arg3 } if (u64)$arg3 == 4242"]), [13]);
    let text = sandbox.expect(2, &["record", "uprobe:./libturn.so:chosen{}", "-o", "u"]).err;
    assert!(text.contains("IFUNC") && text.contains("0xOFFSET"), "{text}");
    let text = sandbox.expect(0, &["record", "--explain", "uprobe:./libturn.so:half{}"]).out;
    assert!(text.contains("half.constprop.0 of half, whose calls are not recorded"), "{text}");
    // On x86-64 the kernel provides it (vDSO).
    let text = sandbox.expect(2, &["record", "uprobe:libc:gettimeofday{}", "-o", "u"]).err;
    assert!(text.contains("IFUNC") && text.contains("vDSO"), "{text}");
}

#[test]
fn what_is_listed_is_accepted_and_is_the_same_place() {
    let sandbox = Sandbox::for_recording();
    build(&sandbox, &[]);
    let listed = sandbox.expect(0, &["list", "uprobe:./libturn.so:*turn*"]).out;
    let words: Vec<&str> = listed.lines().filter_map(|line| line.split_whitespace().next()).collect();
    let library = sandbox.path("libturn.so").canonicalize().unwrap();
    let path = library.display();
    let truth = ["turn@@V2", "turn@V1", "turn_new", "turn_old"].map(|name| format!("uprobe:{path}:{name}"));
    assert_eq!(words, truth, "{listed}");
    let probes: Vec<String> = words[..2].iter().map(|word| format!("{word}{{}}")).collect();
    assert_eq!(rows(&sandbox, &[&probes[0], &probes[1]]), [11, 7]);
    // By the offset that the list shows.
    let offset = listed.lines().next().unwrap().split_whitespace().nth(1).unwrap().trim_end_matches(',');
    assert_eq!(rows(&sandbox, &[&format!("uprobe:./libturn.so:{offset}{{}}")]), [11]);
    assert!(sandbox.expect(0, &["list", "uprobe:libc:pthread_k*"]).out.contains("pthread_kill@@GLIBC_2.34"));
    let described = sandbox.expect(0, &["describe", "uprobe:./libturn.so:turn"]).out;
    assert!(described.contains("turn@@V2") && described.contains("file offset 0x"), "{described}");
}

#[test]
fn names_that_were_taken_out_of_a_program_are_found_in_its_debug_file() {
    let sandbox = Sandbox::for_recording();
    build(&sandbox, &[]);
    let place = sandbox.path("").display().to_string();
    tool("objcopy", &sandbox, &["--only-keep-debug", "calls", "calls.debug"]);
    tool("strip", &sandbox, &["calls"]);
    let text = sandbox.expect(2, &["record", "uprobe:./calls:twice{}", "-o", "u"]).err;
    assert!(text.contains("stripped") && text.contains("no function twice"), "{text}");
    tool("objcopy", &sandbox, &["--add-gnu-debuglink=calls.debug", "calls"]);
    assert_eq!(rows(&sandbox, &["uprobe:./calls:twice{}"]), [8], "{place}");
    // One of another build is not believed.
    fs::remove_file(sandbox.path("calls.debug")).unwrap();
    let other = Sandbox::new();
    build(&other, &["-O0"]);
    fs::copy(other.path("calls"), sandbox.path("calls.debug")).unwrap();
    let text = sandbox.expect(2, &["record", "uprobe:./calls:twice{}", "-o", "u"]).err;
    assert!(text.contains("no function twice"), "{text}");
}

/// `alone` in a root of its own, stopped before it begins.
fn in_a_root(sandbox: &Sandbox) -> (PathBuf, std::process::Child) {
    let root = sandbox.path("root");
    fs::create_dir_all(root.join("bin")).unwrap();
    cc(
        sandbox,
        &[
            "-static",
            "-nostdlib",
            "-ffreestanding",
            "-fno-stack-protector",
            "-o",
            "root/bin/alone",
            &source("alone.c"),
        ],
    );
    // In there, the link leads to the program; outside it would lead to another one, or nowhere.
    symlink("/bin/alone", root.join("link")).unwrap();
    let script = "read go; exec chroot root /bin/alone abcdefgh";
    let mut shell = Command::new("sh");
    let child =
        shell.args(["-c", script]).current_dir(sandbox.path("")).stdin(Stdio::piped()).spawn().unwrap();
    (root, child)
}

#[test]
fn a_program_in_the_root_of_another_process_is_found_there() {
    let sandbox = Sandbox::for_recording();
    let (root, mut child) = in_a_root(&sandbox);
    // A process whose root it is.
    let python = "import os, sys, time\nos.chroot('root')\nprint('there', flush=True)\ntime.sleep(600)";
    let mut holder = Command::new("python3")
        .args(["-c", python])
        .current_dir(sandbox.path(""))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let inside = format!("/proc/{}/root", holder.id());
    wait_for("the process to have its root", || {
        Path::new(&inside).read_link().is_ok_and(|link| link == root.canonicalize().unwrap())
    });
    let probes = [
        format!("a=uprobe:{inside}/bin/alone:hello{{ i=$arg1 }}"),
        format!("b=uprobe:{inside}/link:hello{{ i=$arg1 }}"),
    ];
    let mut running = sandbox.start(&["record", &probes[0], &probes[1], "-o", "t"]);
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
    running.signal(libc::SIGINT);
    assert_eq!(running.wait_soon(), Some(0), "{} {LIMIT:?}", running.stderr());
    holder.kill().unwrap();
    holder.wait().unwrap();
    for event in ["a", "b"] {
        let rows = Table::read(&sandbox.path("t"), event).integers("i");
        assert_eq!(rows, (0..8).map(Some).collect::<Vec<_>>(), "{event}");
    }
}
