//! A disk that is full, fails, or loses the trace: the recorder ends soon, with one line, and what was written stays.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

use crate::sandbox::{Running, Sandbox, Table, meta, wait_for};

/// Longest time from the failure to the end.
const SOON: Duration = Duration::from_secs(20);
/// More calls of write than any disk here has room for.
const WRITES: [&str; 6] = ["dd", "if=/dev/zero", "of=/dev/null", "bs=1", "count=200000000", "status=none"];

/// Mounts of this thread, and of the programs it starts, are its own from now on.
fn mount_privately() {
    unshare(CloneFlags::CLONE_NEWNS).expect("a mount namespace");
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>).unwrap();
}

fn run(program: &str, args: &[&str]) {
    let output = Command::new(program).args(args).output().unwrap();
    assert!(output.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// An ext4 of that size in a file of the sandbox, mounted at its `disk`.
fn mount_ext4(sandbox: &Sandbox, bytes: u64) {
    let (image, disk) = (sandbox.path("image"), sandbox.path("disk"));
    File::create(&image).unwrap().set_len(bytes).unwrap();
    fs::create_dir(&disk).unwrap();
    let (image, disk) = (image.to_str().unwrap(), disk.to_str().unwrap());
    run("mkfs.ext4", &["-q", "-F", image]);
    run("mount", &["-o", "loop,errors=remount-ro", image, disk]);
}

/// Start to record a flood into `disk/t`.
fn flood(sandbox: &Sandbox) -> Running {
    let mut args = vec!["record", "writes=syscall:write{ fd, count }", "-o", "disk/t", "--"];
    args.extend(WRITES);
    sandbox.start(&args)
}

/// Fail unless it ended, within bounded time, with 2 and one line about what failed that has all of `parts`.
fn ended(running: &mut Running, parts: &[&str]) -> String {
    let began = Instant::now();
    assert_eq!(running.wait(), Some(2), "{}", running.stderr());
    assert!(began.elapsed() < SOON, "it took {:?}", began.elapsed());
    let said = running.stderr();
    let lines: Vec<&str> = said.lines().filter(|line| line.contains("os error")).collect();
    assert_eq!(lines.len(), 1, "one line: {said}");
    for part in parts {
        assert!(lines[0].contains(part), "'{part}' is not in: {said}");
    }
    said
}

/// Fail unless what was published is there and what was not is counted.
fn counted(trace: &Path) {
    let counts = Table::read(trace, "counts");
    let own = |column: &str| -> i128 {
        let of_event = counts.text("event").into_iter().zip(counts.integers(column));
        of_event.filter(|(event, _)| event == "writes").map(|(_, count)| count.unwrap()).sum()
    };
    let (seen, recorded, lost) = (own("seen"), own("recorded"), own("lost"));
    assert_eq!(seen, recorded + lost);
    assert_eq!(Table::read(trace, "writes").len() as i128, recorded, "of {seen}, {lost} lost");
    let losses = Table::read(trace, "losses");
    let of_disk = losses.text("reason").into_iter().zip(losses.integers("count"));
    let of_disk: i128 = of_disk.filter(|(reason, _)| reason == "disk").filter_map(|(_, count)| count).sum();
    assert!(
        recorded > 0 && of_disk > 0 && of_disk <= lost,
        "{recorded} recorded, {lost} lost, {of_disk} to the disk"
    );
    assert_eq!(meta(trace)["state"], "closed");
}

#[test]
fn a_full_tmpfs_ends_the_recording() {
    let sandbox = Sandbox::for_recording();
    mount_privately();
    let disk = sandbox.path("disk");
    fs::create_dir(&disk).unwrap();
    mount(Some("tmpfs"), &disk, Some("tmpfs"), MsFlags::empty(), Some("size=1m")).unwrap();
    let mut running = flood(&sandbox);
    ended(
        &mut running,
        &["No space left on device", "what was written stays in '", "disk/t'", "free space, or write to"],
    );
    counted(&disk.join("t"));
}

#[test]
fn a_full_ext4_ends_the_recording() {
    let sandbox = Sandbox::for_recording();
    mount_privately();
    mount_ext4(&sandbox, 4 << 20);
    let mut running = flood(&sandbox);
    ended(
        &mut running,
        &["No space left on device", "what was written stays in '", "disk/t'", "free space, or write to"],
    );
    counted(&sandbox.path("disk/t"));
}

#[test]
fn a_file_system_that_turns_read_only_ends_the_recording() {
    let sandbox = Sandbox::for_recording();
    mount_privately();
    mount_ext4(&sandbox, 64 << 20);
    let mut running = flood(&sandbox);
    let trace = sandbox.path("disk/t");
    wait_for("a segment", || Table::read(&trace, "writes").len() > 0);
    // As after an error of the disk.
    let device = Command::new("findmnt").args(["-no", "SOURCE"]).arg(sandbox.path("disk")).output().unwrap();
    let device = String::from_utf8(device.stdout).unwrap();
    let name = device.trim().rsplit('/').next().unwrap();
    fs::write(format!("/sys/fs/ext4/{name}/trigger_fs_error"), "1").unwrap();
    let said =
        ended(&mut running, &["Read-only file system", "what was written stays in '", "disk/t'", "dmesg"]);
    assert!(said.contains("lost (disk)"), "{said}");
    assert!(Table::read(&trace, "writes").len() > 0);
    assert_eq!(meta(&trace)["state"], "open");
}

#[test]
fn a_trace_that_is_removed_ends_the_recording() {
    let sandbox = Sandbox::for_recording();
    fs::create_dir(sandbox.path("disk")).unwrap();
    let mut running = flood(&sandbox);
    let trace = sandbox.path("disk/t");
    // All at once: it may end at the first file that is gone.
    fs::rename(&trace, sandbox.path("gone")).unwrap();
    fs::remove_dir_all(sandbox.path("gone")).unwrap();
    ended(&mut running, &["No such file or directory", "disk/t' is gone", "removed"]);
    assert!(!trace.exists());
}

#[test]
fn a_table_that_is_removed_ends_the_recording_and_the_others_stay() {
    let sandbox = Sandbox::for_recording();
    fs::create_dir(sandbox.path("disk")).unwrap();
    let mut running = flood(&sandbox);
    let trace = sandbox.path("disk/t");
    wait_for("a segment of processes", || Table::read(&trace, "processes").len() > 0);
    wait_for("the table to go", || fs::remove_dir_all(trace.join("writes")).is_ok());
    ended(&mut running, &["No such file or directory", "what was written stays in '", "disk/t'", "removed"]);
    assert!(Table::read(&trace, "processes").len() > 0);
    let losses = Table::read(&trace, "losses");
    assert!(losses.count("reason", "disk") > 0, "{:?}", losses.text("reason"));
}
