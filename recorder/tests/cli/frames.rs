//! Frames that are kept, and the trace that is made of them.

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use arrow_array::RecordBatch;
use arrow_select::concat::concat_batches;

use crate::counting::grouped;
use crate::sandbox::{HUNDRED, Sandbox, Table, Text, counts, meta, record};

/// A user without any rights.
const NOBODY: u32 = 65534;

/// All rows of a table, if it has any.
fn rows(trace: &Path, table: &str) -> Option<RecordBatch> {
    let batches = Table::read(trace, table).0;
    let schema = batches.first()?.schema();
    Some(concat_batches(&schema, &batches).unwrap())
}

/// What table counts or losses adds up to.
fn added_up(trace: &Path, table: &str) -> BTreeMap<Vec<String>, Vec<i128>> {
    let (keys, values): (&[&str], &[&str]) = match table {
        "counts" => (&["event", "probe", "cpu"], &["fired", "filtered", "seen", "recorded", "lost"]),
        _ => (&["event", "probe", "cpu", "reason"], &["count"]),
    };
    let sums = grouped(&Table::read(trace, table), keys, values);
    // The first says how many rows there were.
    sums.into_iter().map(|(key, sums)| (key, sums[1..].to_vec())).collect()
}

/// Fails unless both traces have the same rows in the same order in every table, and tell the same of themselves. Into how many
/// intervals counts are divided is up to the disk: while it is slow, a recording commits earlier (pipeline/pace.rs).
fn assert_same(one: &Path, other: &Path) {
    let mut tables = Vec::new();
    for entry in fs::read_dir(one).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            tables.push(entry.file_name().into_string().unwrap());
        }
    }
    assert!(tables.len() > 7, "{tables:?}");
    for table in tables {
        if ["counts", "losses"].contains(&table.as_str()) {
            assert_eq!(added_up(one, &table), added_up(other, &table), "{table}");
            continue;
        }
        let (one, other) = (rows(one, &table), rows(other, &table));
        assert_eq!(one.is_some(), other.is_some(), "rows of {table}");
        let Some((one, other)) = one.zip(other) else { continue };
        assert_eq!(one.num_rows(), other.num_rows(), "rows of {table}");
        for (field, (one, other)) in
            one.schema().fields().iter().zip(one.columns().iter().zip(other.columns()))
        {
            assert_eq!(one, other, "column {} of {table}", field.name());
        }
    }
    assert_eq!(meta(one), meta(other));
}

#[test]
fn a_replay_without_rights_makes_the_trace_that_was_recorded_row_for_row() {
    let sandbox = Sandbox::for_recording();
    let keep = ["kmem", "mkdirs", "--stacks", "both", "--buffer-size", "64K", "--keep-frames", "f"];
    // Reads much in little time, so that something is lost too.
    let script = format!("find /usr/lib /usr/share -type f >/dev/null; ({HUNDRED}); exit 3");
    record(&sandbox, 3, &keep, &script);
    let recorded = counts(&sandbox.path("t"), "kmem");
    assert!(recorded.1 > 1000, "{recorded:?}");
    assert!(Table::read(&sandbox.path("t"), "stacks").len() > 10);
    for name in ["", "f"] {
        let path = sandbox.path(name);
        chown(&path, Some(NOBODY), Some(NOBODY)).unwrap();
    }
    // The way to the program may be closed to that user; a descriptor of it is not.
    let program = fs::File::open(env!("CARGO_BIN_EXE_recorder")).unwrap();
    let mut replay = Command::new(format!("/proc/self/fd/{}", program.as_raw_fd()));
    replay.args(["record", "--from-frames", "f", "-o", "again.trace"]).current_dir(sandbox.path(""));
    let output = replay.uid(NOBODY).gid(NOBODY).output().unwrap();
    let text = Text::of(&output);
    assert_eq!(output.status.code(), Some(0), "{text:?}");
    assert!(text.err.starts_with("recorder: replayed in "), "{text:?}");
    assert_same(&sandbox.path("t"), &sandbox.path("again.trace"));
}

#[test]
fn frames_are_replayed_from_standard_input_into_a_trace_named_by_its_events() {
    let sandbox = Sandbox::for_recording();
    record(&sandbox, 0, &["mkdirs", "--keep-frames", "f"], HUNDRED);
    let frames = fs::File::open(sandbox.path("f")).unwrap();
    assert_eq!(frames.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let mut replay = sandbox.command(&["record", "--from-frames", "-"]);
    let text = Text::of(&replay.stdin(Stdio::from(frames)).output().unwrap());
    let made = sandbox.files().into_iter().find(|name| name.starts_with("mkdirs-"));
    assert_same(&sandbox.path("t"), &sandbox.path(&made.unwrap_or_else(|| panic!("{text:?}"))));
}

#[test]
fn a_torn_file_is_replayed_up_to_the_tear_and_counts_are_those_of_its_rows() {
    let sandbox = Sandbox::for_recording();
    // In more than one block: each second begins a new one.
    let script = format!("({HUNDRED}); sleep 2.5; mkdir after");
    record(&sandbox, 0, &["mkdirs", "--keep-frames", "f"], &script);
    let whole = fs::read(sandbox.path("f")).unwrap();
    let mut keep = whole.len() - 10;
    // Where blocks end depends on when the kernel's rings were read: what is torn off grows until a row is in it.
    for attempt in 0.. {
        fs::write(sandbox.path("torn"), &whole[..keep]).unwrap();
        let name = format!("torn{attempt}.trace");
        let text = sandbox.expect(0, &["record", "--from-frames", "torn", "-o", &name]).err;
        assert!(text.contains("warning: the frames in 'torn' are not whole ("), "{text}");
        let torn = sandbox.path(&name);
        let rows = Table::read(&torn, "mkdirs").len();
        assert!((101..=102).contains(&rows), "{rows} rows");
        let counted = i128::try_from(rows).unwrap();
        assert_eq!(counts(&torn, "mkdirs"), (counted, counted, 0));
        assert_eq!(meta(&torn)["state"].as_str(), Some("recovered"));
        if rows == 101 {
            break;
        }
        keep -= 40;
    }
    sandbox.expect(1, &["record", "--from-frames", "torn", "-o", "again", "--fail-on-loss"]);
    // Damage in the middle is a tear too, and nothing behind it is taken for whole.
    let mut bad = whole;
    let middle = bad.len() / 2;
    bad[middle] ^= 0x10;
    fs::write(sandbox.path("bad"), &bad).unwrap();
    let text = sandbox.expect(0, &["record", "--from-frames", "bad", "-o", "bad.trace"]).err;
    assert!(text.contains("the checksum of a block is wrong at byte "), "{text}");
}

#[test]
fn what_cannot_be_replayed_or_kept_is_an_error_that_says_why() {
    let sandbox = Sandbox::new();
    fs::write(sandbox.path("text"), "no frames at all").unwrap();
    let error = |args: &[&str]| sandbox.expect(2, &[&["record"], args].concat()).err;
    let text = error(&["--from-frames", "text"]);
    assert_eq!(
        text,
        "recorder: cannot replay 'text': it does not begin as a frame file does ('recorder record --keep-frames' makes one)\n"
    );
    assert!(error(&["--from-frames", "none"]).starts_with("recorder: cannot open 'none': No such file"));
    assert!(error(&["mkdirs", "--from-frames", "text"]).contains("cannot be used with"));
    assert!(error(&["--from-frames", "text", "--", "true"]).contains("cannot be used with"));
    let text = error(&["--from-frames", "text", "-o", "none"]);
    assert!(text.contains("-o none makes no trace of --from-frames"), "{text}");
    assert_eq!(sandbox.files(), ["text"]);
}

#[test]
fn frames_are_not_written_over_a_file() {
    let sandbox = Sandbox::for_recording();
    fs::write(sandbox.path("f"), "mine").unwrap();
    let text = sandbox.expect(2, &["record", "mkdirs", "--keep-frames", "f", "-o", "t", "--", "true"]).err;
    assert!(text.contains("--keep-frames: cannot write to 'f': it exists"), "{text}");
    assert_eq!(fs::read(sandbox.path("f")).unwrap(), b"mine");
    assert_eq!(sandbox.files(), ["f"]);
}

#[test]
fn frames_that_find_no_room_end_early_and_the_trace_is_whole() {
    let sandbox = Sandbox::for_recording();
    let text = record(&sandbox, 2, &["mkdirs", "--keep-frames", "/dev/full"], HUNDRED);
    assert!(text.contains("frames in '/dev/full' end early"), "{text}");
    assert_eq!(Table::read(&sandbox.path("t"), "mkdirs").len(), 101);
    assert_eq!(meta(&sandbox.path("t"))["state"].as_str(), Some("closed"));
}
