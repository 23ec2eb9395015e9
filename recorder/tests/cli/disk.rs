//! A disk that is full, fails, or loses the trace: the recorder ends soon, with one line, and what was written stays.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::statvfs::statvfs;
use schemas::trace::LOSS_REASONS;

use crate::limits::Writer;
use crate::sandbox::{Running, Sandbox, Table, meta, reopen, wait_for};

/// Longest time from the failure to the end.
const SOON: Duration = Duration::from_secs(20);
/// Room that a flood fills soon.
const NEARLY_FULL_BYTES: u64 = 128 << 10;
/// More calls of write than any disk here has room for.
const WRITES: [&str; 6] = ["dd", "if=/dev/zero", "of=/dev/null", "bs=1", "count=200000000", "status=none"];

/// Less than a segment of a fast [`Writer`] takes, more than anything else.
const MOST_FILE_BYTES: u64 = 256 << 10;

/// Mounts of this thread, and of the programs it starts, are its own from now on.
pub fn mount_privately() {
    unshare(CloneFlags::CLONE_NEWNS).expect("a mount namespace");
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>).unwrap();
}

/// A tmpfs of that size at `name` of the sandbox.
pub fn mount_tmpfs(sandbox: &Sandbox, name: &str, size: &str) -> PathBuf {
    let disk = sandbox.path(name);
    fs::create_dir(&disk).unwrap();
    let size = format!("size={size}");
    mount(Some("tmpfs"), &disk, Some("tmpfs"), MsFlags::empty(), Some(size.as_str())).unwrap();
    disk
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

/// A btrfs with a quota of 2 MiB, mounted at `disk` of the sandbox: on it even root runs out of quota. The image is
/// an empty file of 110 MiB after `mkfs.btrfs -m single -d single`, mounted once to switch quotas on
/// (`btrfs quota enable`) and to set the limit (`btrfs qgroup limit 2M`).
fn mount_with_quota(sandbox: &Sandbox) {
    let (image, disk) = (sandbox.path("image"), sandbox.path("disk"));
    let packed = include_bytes!("quota/btrfs.img.zst");
    zstd::stream::copy_decode(&packed[..], File::create(&image).unwrap()).unwrap();
    fs::create_dir(&disk).unwrap();
    run("mount", &["-o", "loop", image.to_str().unwrap(), disk.to_str().unwrap()]);
}

/// Start to record a flood into `disk/t`.
fn flood(sandbox: &Sandbox) -> Running {
    let mut args = vec!["record", "writes=syscall:write{ fd, count }", "-o", "disk/t", "--"];
    args.extend(WRITES);
    sandbox.start(&args)
}

/// Wait until `disk` is nearly full, which takes as long as the flood does.
fn until_full(running: &mut Running, disk: &Path) {
    wait_for("the disk to be full", || {
        let room = statvfs(disk).unwrap();
        room.blocks_available() * room.fragment_size() < NEARLY_FULL_BYTES
            || running.child.try_wait().unwrap().is_some()
    });
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
    // The COMMAND was told to end, and had the time for it.
    assert!(!said.contains("still runs"), "{said}");
    said
}

/// Let `call` fail with `errno` in the program that `command` starts.
fn refuse(command: &mut Command, call: libc::c_long, errno: i32) {
    let step = |code: u32, jt: u8, jf: u8, k: u32| libc::sock_filter { code: code as u16, jt, jf, k };
    let back = libc::BPF_RET | libc::BPF_K;
    let filter = [
        // The number of the system call comes first in what the filter sees.
        step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, call as u32),
        step(back, 0, 0, libc::SECCOMP_RET_ERRNO | errno as u32),
        step(back, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let install = move || {
        let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_ptr().cast_mut() };
        // SAFETY: the kernel reads the filter, which lives as long as this closure.
        match unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) } {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        }
    };
    // SAFETY: one system call between fork and exec.
    unsafe { command.pre_exec(install) };
}

/// Numbers of the summary: seen, recorded, lost of `writes`, and those lost by reason.
fn summary(said: &str) -> ([i128; 3], Vec<(String, i128)>) {
    let line = said
        .lines()
        .find_map(|line| line.strip_prefix("recorder:   writes ").or(line.strip_prefix("  writes ")));
    let mut numbers = line.unwrap_or_else(|| panic!("no summary: {said}")).split_whitespace();
    let numbers = std::array::from_fn(|_| numbers.next().unwrap().parse().unwrap());
    let reason = |line: &str| {
        let (count, rest) = line.split_once("writes: ")?.1.split_once(" lost (")?;
        Some((rest.split_once(')')?.0.to_owned(), count.parse().unwrap()))
    };
    (numbers, said.lines().filter_map(reason).collect())
}

/// Fail unless what was published is there and what was not is counted: in the trace, and in what was `said`.
fn counted(trace: &Path, said: &str) {
    let counts = Table::read(trace, "counts");
    let own = |column: &str| -> i128 {
        let of_event = counts.text("event").into_iter().zip(counts.integers(column));
        of_event.filter(|(event, _)| event == "writes").map(|(_, count)| count.unwrap()).sum()
    };
    let (seen, recorded, lost) = (own("seen"), own("recorded"), own("lost"));
    assert_eq!(seen, recorded + lost);
    assert_eq!(Table::read(trace, "writes").len() as i128, recorded, "of {seen}, {lost} lost: {said}");
    let losses = Table::read(trace, "losses");
    let mut by_reason = BTreeMap::new();
    for i in (0..losses.len()).filter(|i| losses.text("event")[*i] == "writes") {
        *by_reason.entry(losses.text("reason")[i].clone()).or_insert(0) +=
            losses.integers("count")[i].unwrap();
    }
    by_reason.retain(|reason, _| LOSS_REASONS.iter().any(|known| known.name == reason && known.loses_event));
    assert!(recorded > 0 && by_reason.get("disk").is_some_and(|count| *count > 0), "{by_reason:?}");
    assert_eq!(by_reason.values().sum::<i128>(), lost, "{by_reason:?}");
    let (numbers, told) = summary(said);
    assert_eq!((numbers, told.into_iter().collect()), ([seen, recorded, lost], by_reason));
    assert_eq!(meta(trace)["state"], "closed");
}

#[test]
fn a_full_tmpfs_ends_the_recording() {
    let sandbox = Sandbox::for_recording();
    mount_privately();
    // Room for a first segment, also of a second and more.
    let disk = mount_tmpfs(&sandbox, "disk", "4m");
    let mut running = flood(&sandbox);
    until_full(&mut running, &disk);
    let said = ended(
        &mut running,
        &["No space left on device", "what was written stays in '", "disk/t'", "free space, or write to"],
    );
    counted(&disk.join("t"), &said);
}

#[test]
fn a_full_ext4_ends_the_recording() {
    let sandbox = Sandbox::for_recording();
    mount_privately();
    mount_ext4(&sandbox, 4 << 20);
    let mut running = flood(&sandbox);
    until_full(&mut running, &sandbox.path("disk"));
    let said = ended(
        &mut running,
        &["No space left on device", "what was written stays in '", "disk/t'", "free space, or write to"],
    );
    counted(&sandbox.path("disk/t"), &said);
}

#[test]
fn a_quota_that_is_used_up_ends_the_recording() {
    let sandbox = Sandbox::for_recording();
    mount_privately();
    mount_with_quota(&sandbox);
    // So that the rest is soon used up, also on a busy machine.
    fs::write(sandbox.path("disk/fill"), vec![1; 256 << 10]).unwrap();
    let mut running = flood(&sandbox);
    let said = ended(
        &mut running,
        &["Disk quota exceeded", "what was written stays in '", "disk/t'", "free space, or write to"],
    );
    let trace = sandbox.path("disk/t");
    if meta(&trace)["state"] == "closed" {
        return counted(&trace, &said);
    }
    // btrfs may want more room for the last counts than it was given back. Then the trace says that they are missing,
    // and the summary has them.
    assert_eq!(meta(&trace)["state"], "open", "{said}");
    let ([seen, recorded, lost], by_reason) = summary(&said);
    assert_eq!((seen, recorded), (recorded + lost, Table::read(&trace, "writes").len() as i128), "{said}");
    assert!(by_reason.iter().any(|(reason, count)| reason == "disk" && *count > 0), "{said}");
}

#[test]
fn a_limit_of_file_sizes_ends_the_recording_rather_than_the_recorder() {
    let sandbox = Sandbox::for_recording();
    fs::create_dir(sandbox.path("disk")).unwrap();
    fs::write(sandbox.path("slow"), "").unwrap();
    let writer = Writer::start(&sandbox);
    let own = writer.args("disk/t");
    let mut args: Vec<&str> = own.iter().map(String::as_str).collect();
    args.extend(["--segment-age", "3s"]);
    let mut running = sandbox.start_command(limited(sandbox.command(&args)));
    let trace = sandbox.path("disk/t");
    wait_for("a segment", || Table::read(&trace, "writes").len() > 0);
    fs::remove_file(sandbox.path("slow")).unwrap();
    let said =
        ended(&mut running, &["File too large", "what was written stays in '", "disk/t'", "ulimit -f"]);
    counted(&sandbox.path("disk/t"), &said);
}

#[test]
fn a_command_is_ended_by_a_limit_of_file_sizes_as_it_would_be_without_the_recorder() {
    let sandbox = Sandbox::for_recording();
    let script = "dd if=/dev/zero of=large bs=1M count=4 status=none";
    let args = ["record", "mkdirs", "-o", "t", "--", "sh", "-c", script];
    let output = limited(sandbox.command(&args)).output().unwrap();
    assert_eq!(output.status.code(), Some(128 + libc::SIGXFSZ), "{output:?}");
    assert_eq!(meta(&sandbox.path("t"))["state"], "closed");
}

/// With files of at most [`MOST_FILE_BYTES`].
fn limited(mut command: Command) -> Command {
    let limit = libc::rlimit { rlim_cur: MOST_FILE_BYTES, rlim_max: MOST_FILE_BYTES };
    // SAFETY: setrlimit(2) reads a structure that lives as long as the closure.
    unsafe {
        command.pre_exec(move || match libc::setrlimit(libc::RLIMIT_FSIZE, &raw const limit) {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        })
    };
    command
}

#[test]
fn a_file_system_that_turns_read_only_ends_the_recording() {
    let sandbox = Sandbox::for_recording();
    mount_privately();
    mount_ext4(&sandbox, 64 << 20);
    let mut running = flood(&sandbox);
    let trace = sandbox.path("disk/t");
    wait_for("a segment", || Table::read(&trace, "writes").len() > 0);
    // A sync that is under way would say "Input/output error" instead, which is as true.
    running.signal(libc::SIGSTOP);
    wait_for("every thread to stop", || {
        let tasks = fs::read_dir(format!("/proc/{}/task", running.child.id())).unwrap();
        let states =
            tasks.map(|task| fs::read_to_string(task.unwrap().path().join("stat")).unwrap_or_default());
        states.into_iter().all(|stat| stat.contains(") T "))
    });
    // As after an error of the disk.
    let device = Command::new("findmnt").args(["-no", "SOURCE"]).arg(sandbox.path("disk")).output().unwrap();
    let device = String::from_utf8(device.stdout).unwrap();
    let name = device.trim().rsplit('/').next().unwrap();
    fs::write(format!("/sys/fs/ext4/{name}/trigger_fs_error"), "1").unwrap();
    running.signal(libc::SIGCONT);
    let said =
        ended(&mut running, &["Read-only file system", "what was written stays in '", "disk/t'", "dmesg"]);
    // Table counts cannot be written any more, but what is said is right.
    let ([seen, recorded, lost], by_reason) = summary(&said);
    assert_eq!((seen, Table::read(&trace, "writes").len() as i128), (recorded + lost, recorded), "{said}");
    assert!(by_reason.iter().any(|(reason, count)| reason == "disk" && *count > 0), "{said}");
    assert_eq!(by_reason.iter().map(|(_, count)| count).sum::<i128>(), lost, "{said}");
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
    // A file may come into it meanwhile.
    wait_for("the trace to go", || {
        fs::remove_dir_all(sandbox.path("gone")).is_ok() || !sandbox.path("gone").exists()
    });
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

#[test]
fn a_command_has_its_time_to_end_when_the_disk_fails() {
    let sandbox = Sandbox::for_recording();
    mount_privately();
    let disk = sandbox.path("disk");
    fs::create_dir(&disk).unwrap();
    mount(Some("tmpfs"), &disk, Some("tmpfs"), MsFlags::empty(), Some("size=1m")).unwrap();
    let script = format!(
        "{} & flood=$!; trap 'kill $flood; sleep 0.5; echo ended > told; exit 3' TERM; while :; do wait; done",
        WRITES.join(" ")
    );
    let writes = "writes=syscall:write{ fd, count }";
    let mut running = sandbox.start(&["record", writes, "-o", "disk/t", "--", "sh", "-c", &script]);
    until_full(&mut running, &disk);
    ended(&mut running, &["No space left on device"]);
    assert_eq!(fs::read_to_string(sandbox.path("told")).unwrap(), "ended\n");
    assert_eq!(meta(&disk.join("t"))["command_exit_code"], 3);
}

/// Thaws a file system.
struct Frozen(PathBuf);

impl Frozen {
    fn freeze(path: PathBuf) -> Self {
        run("fsfreeze", &["-f", path.to_str().unwrap()]);
        Self(path)
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        let _ = Command::new("fsfreeze").arg("-u").arg(&self.0).status();
    }
}

#[test]
fn a_disk_that_does_not_answer_is_given_up_and_what_is_missing_is_told() {
    let sandbox = Sandbox::for_recording();
    mount_privately();
    mount_ext4(&sandbox, 256 << 20);
    let mut running = flood(&sandbox);
    let trace = sandbox.path("disk/t");
    wait_for("a segment", || Table::read(&trace, "writes").len() > 0);
    let frozen = Frozen::freeze(sandbox.path("disk"));
    // Long enough for the flood to fill what the recorder can hold.
    std::thread::sleep(Duration::from_secs(3));
    running.signal(libc::SIGTERM);
    std::thread::sleep(Duration::from_millis(300));
    running.signal(libc::SIGTERM);
    let began = Instant::now();
    wait_for("the recorder to give up", || running.stderr().contains(" has not taken everything after "));
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    // Only now can the threads end that wait for the disk.
    drop(frozen);
    assert_eq!(running.wait(), Some(2), "{}", running.stderr());
    let said = running.stderr();
    let line = said.lines().find(|line| line.contains("has not taken everything")).unwrap();
    let numbers: Vec<u64> = line.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    let [_, missing, seen] = numbers[..] else { panic!("{line}") };
    assert!(missing > 0 && missing < seen, "{line}");
    assert!(line.contains("'recorder compact ") && line.contains("disk/t'"), "{line}");
    sandbox.expect(0, &["compact", "disk/t"]);
    assert_eq!(meta(&trace)["state"], "recovered");
    let rows = |table| Table::read(&trace, table).len();
    let rows = rows("writes") + rows("processes") + rows("cgroup_changes");
    assert!(rows as u64 >= seen - missing, "{rows} rows: {line}");
}

#[test]
fn what_a_failing_disk_says_is_no_reader_that_went_away() {
    let sandbox = Sandbox::for_recording();
    sandbox.expect(0, &["record", "mkdirs", "-o", "t", "--", "mkdir", "a"]);
    // A recorder that died: there is something to write.
    reopen(&sandbox.path("t"));
    let forms: [&[&str]; 2] = [&["compact", "t"], &["record", "mkdirs", "-o", "u", "-d", "1"]];
    for (errno, text) in [(libc::EIO, "Input/output error"), (libc::EPIPE, "Broken pipe")] {
        for form in forms {
            let mut command = sandbox.command(form);
            refuse(&mut command, libc::SYS_fsync, errno);
            // A device, as a terminal is one.
            let output = command.stdout(Stdio::null()).output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(
                output.status.code() == Some(2) && said.contains(text),
                "{form:?}: {:?} {said}",
                output.status
            );
            assert!(!sandbox.path("u").exists());
        }
    }
}
