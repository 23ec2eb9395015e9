//! A snapshot on another file system than the recording, where nothing can be linked.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use crate::disk::{mount_privately, mount_tmpfs};
use crate::flight::{Load, assert_whole};
use crate::sandbox::{Sandbox, Table, meta, wait_for};

/// Modes of everything in `path`, with itself; files and directories.
fn modes(path: &Path) -> (Vec<u32>, Vec<u32>) {
    let here = fs::symlink_metadata(path).unwrap();
    let mode = here.mode() & 0o7777;
    if !here.is_dir() {
        return (vec![mode], vec![]);
    }
    let (mut files, mut dirs) = (vec![], vec![mode]);
    for entry in fs::read_dir(path).unwrap() {
        let (more_files, more_dirs) = modes(&entry.unwrap().path());
        files.extend(more_files);
        dirs.extend(more_dirs);
    }
    (files, dirs)
}

#[test]
fn a_snapshot_on_another_file_system_is_a_private_copy_and_recording_goes_on() {
    let sandbox = Sandbox::for_recording();
    mount_privately();
    let other = mount_tmpfs(&sandbox, "other", "64m");
    let load = Load::start(&sandbox);
    let args = ["record", "mkdirs", "-p", &load.pid(), "-o", "run.trace", "--stacks", "kernel"];
    let mut running = sandbox.start(&args);
    wait_for("rows", || Table::read(&sandbox.path("run.trace"), "mkdirs").len() > 10);
    let copy = other.join("copy.trace");
    let said = sandbox.expect(0, &["snapshot", "run.trace", "-o", "other/copy.trace"]);
    assert_eq!(said.out.trim_end(), copy.to_str().unwrap());

    let trace = sandbox.path("run.trace");
    assert_ne!(fs::metadata(&copy).unwrap().dev(), fs::metadata(&trace).unwrap().dev());
    assert_eq!(assert_whole(&copy, &["mkdirs", "processes"])["frozen"]["by"], "command");
    let (files, dirs) = modes(&copy);
    assert!(files.len() > 8 && files.iter().all(|mode| *mode == 0o600), "{files:?}");
    assert!(dirs.len() > 8 && dirs.iter().all(|mode| *mode == 0o700), "{dirs:?}");
    let names: Vec<_> = fs::read_dir(&other).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["copy.trace"], "nothing half-made is left");
    let frozen = Table::read(&copy, "mkdirs");
    let (used, known) = (frozen.text("kstack"), Table::read(&copy, "stacks").text("stack_id"));
    assert!(used.iter().all(|id| known.contains(id)), "stacks are missing");
    assert!(frozen.len() > 10, "{} rows", frozen.len());

    let times = frozen.integers("ts");
    wait_for("more rows", || Table::read(&trace, "mkdirs").len() > frozen.len() + 10);
    running.signal(libc::SIGINT);
    assert_eq!(running.wait(), Some(0), "{}", running.stderr());
    assert_whole(&trace, &["mkdirs", "processes"]);
    assert!(Table::read(&trace, "mkdirs").integers("ts").starts_with(&times), "the copy is how it began");
}

#[test]
fn a_snapshot_for_which_there_is_no_room_is_told_and_recording_goes_on() {
    let sandbox = Sandbox::for_recording();
    mount_privately();
    let other = mount_tmpfs(&sandbox, "other", "32k");
    let load = Load::start(&sandbox);
    let mut running = sandbox.start(&["record", "mkdirs", "-p", &load.pid(), "-o", "run.trace"]);
    std::thread::sleep(Duration::from_millis(1500));
    let error = sandbox.expect(2, &["snapshot", "run.trace", "-o", "other/copy.trace"]).err;
    assert!(error.contains("No space left on device"), "{error}");
    assert_eq!(fs::read_dir(&other).unwrap().count(), 0, "nothing half-made is left");
    running.signal(libc::SIGINT);
    assert_eq!(running.wait(), Some(0), "{}", running.stderr());
    assert_eq!(meta(&sandbox.path("run.trace"))["state"], "closed");
}
