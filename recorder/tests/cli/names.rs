//! Whose a column is, and text that is not UTF-8.

use std::fs;

use crate::sandbox::{Sandbox, Table, record};

/// The shell says who it is and whom it kills.
const KILL: &str = "echo $$ > me; sleep 77 & v=$!; echo $v > victim; sleep 1; kill -9 $v; wait; exit 0";

#[test]
fn a_row_has_the_sender_and_the_victim_each_under_its_own_name() {
    let sandbox = Sandbox::for_recording();
    let output = sandbox.run(&[
        "record",
        "kills=tp:signal:signal_generate if sig == 9",
        "few=tp:signal:signal_generate{ comm_, sig, comm } if sig == 9 && comm_ == 'sleep' && comm == 'sh'",
        "calls=syscall:kill{ pid_, sig } if pid_ != pid && sig == 9",
        "wrong=tp:signal:signal_generate{ sig } if sig == 9 && comm == 'sleep'",
        "-o",
        "t",
        "--",
        "sh",
        "-c",
        KILL,
    ]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    // The truth is what the shell wrote down.
    let number = |name: &str| fs::read_to_string(sandbox.path(name)).unwrap().trim().parse::<i128>().unwrap();
    let (me, victim) = (number("me"), number("victim"));
    for event in ["kills", "few", "calls"] {
        let table = Table::read(&sandbox.path("t"), event);
        assert_eq!(
            (table.integers("pid"), table.text("comm")),
            (vec![Some(me)], vec!["sh".into()]),
            "{event}"
        );
    }
    let kills = Table::read(&sandbox.path("t"), "kills");
    assert_eq!((kills.integers("pid_"), kills.text("comm_")), (vec![Some(victim)], vec!["sleep".into()]));
    assert_eq!(Table::read(&sandbox.path("t"), "few").text("comm_"), ["sleep"]);
    assert_eq!(Table::read(&sandbox.path("t"), "calls").integers("pid_"), [Some(victim)]);
    assert_eq!(Table::read(&sandbox.path("t"), "wrong").len(), 0, "the victim sends no signal");
}

#[test]
fn a_name_that_is_taken_is_refused_with_the_name_to_use() {
    let sandbox = Sandbox::for_recording();
    for (probe, hint) in [
        ("tp:signal:signal_generate{ pid }", "a field or argument of that name is pid_"),
        ("syscall:kill{ pid, sig }", "a field or argument of that name is pid_"),
        ("syscall:kill{ comm=sig }", "write comm_=expression"),
        ("syscall:kill{ sig, Sig=sig }", "columns sig and Sig, which are one name in SQL"),
        ("tp:sched:sched_switch{ cpu }", "a field or argument of that name is cpu_"),
    ] {
        let text = sandbox.expect(2, &["record", "--explain", probe]);
        assert!(text.err.contains(hint), "{probe}: {}", text.err);
    }
    let explained = sandbox.expect(0, &["record", "--explain", "tp:signal:signal_generate"]).out;
    assert!(
        explained.contains(" comm_ char[16] = ") && explained.contains(" comm char[16] = "),
        "{explained}"
    );
}

#[test]
fn names_that_are_not_utf8_stay_apart() {
    let sandbox = Sandbox::for_recording();
    let script = r#"python3 -c '
import os
for name in [b"\xff", b"\xfe", b"\\xff", b"\\x", b"caf\xc3\xa9"]:
    os.mkdir(name)
with open("/proc/self/comm", "wb") as comm:
    comm.write(b"n\xff")
os.mkdir(b"last")
'"#;
    let probes = [
        "mkdirs",
        r"byte=syscall:mkdir{ pathname } if pathname == '\xff'",
        r"backslash=syscall:mkdir{ pathname } if pathname == '\x5cxff'",
        r"named=syscall:mkdir{ pathname } if comm == 'n\xff'",
    ];
    record(&sandbox, 0, &probes, script);
    // The truth is what the directory lists, byte by byte.
    use std::os::unix::ffi::OsStrExt;
    let mut listed: Vec<Vec<u8>> = fs::read_dir(sandbox.path(""))
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.file_type().unwrap().is_dir() && entry.file_name() != "t")
        .map(|entry| entry.file_name().as_bytes().to_vec())
        .collect();
    listed.sort();
    let table = |event: &str, column: &str| Table::read(&sandbox.path("t"), event).text(column);
    let paths = table("mkdirs", "path");
    assert_eq!(paths, [r"\xff", r"\xfe", r"\x5cxff", r"\x", "café", "last"]);
    let mut recorded: Vec<Vec<u8>> =
        paths.iter().map(|path| schemas::text::unescape(path).into_owned()).collect();
    recorded.sort();
    assert_eq!(recorded, listed);
    assert_eq!(table("byte", "pathname"), [r"\xff"]);
    assert_eq!(table("backslash", "pathname"), [r"\x5cxff"]);
    assert_eq!(
        (table("named", "pathname"), table("named", "comm")),
        (vec!["last".into()], vec![r"n\xff".into()])
    );
}
