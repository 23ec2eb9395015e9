//! What the recorder may do, whom the trace belongs to, and what it says when it may not.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::process::{may_raise, of_threads};
use crate::sandbox::{HUNDRED, Sandbox, Table, Text, counts, meta, wait_for};

/// A user without an entry in any list of users.
const USER: u32 = 12_345;
const DAC_READ_SEARCH: u32 = 2;
const KILL: u32 = 5;
const NICE: u32 = 23;
const SYSLOG: u32 = 34;
const PERFMON: u32 = 38;
const BPF: u32 = 39;
/// Highest number that a capability can have.
const LAST: u32 = 63;

fn sandbox_of_user() -> Sandbox {
    let sandbox = Sandbox::for_recording();
    chown(sandbox.path(""), Some(USER), Some(USER)).unwrap();
    sandbox
}

fn done(result: i64) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Run the recorder as [`USER`] with exactly these capabilities, in all sets.
fn run_with(sandbox: &Sandbox, capabilities: &'static [u32], args: &[&str]) -> (Option<i32>, Text) {
    // The way to the program may be closed to the user; a descriptor of it is not.
    let program = File::open(env!("CARGO_BIN_EXE_recorder")).unwrap();
    let mut command = Command::new(format!("/proc/self/fd/{}", program.as_raw_fd()));
    command.args(args).current_dir(sandbox.path(""));
    let become_user = move || {
        let mask = capabilities.iter().fold(0_u64, |mask, capability| mask | 1 << capability);
        let (low, high) = (mask as u32, (mask >> 32) as u32);
        let header: [u32; 2] = [0x2008_0522, 0];
        let sets: [u32; 6] = [low, low, low, high, high, high];
        // SAFETY: system calls on plain numbers and local arrays of the length that version 3 has.
        unsafe {
            for capability in (0..=LAST).filter(|capability| !capabilities.contains(capability)) {
                if libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) != 0 {
                    break;
                }
            }
            done(libc::prctl(libc::PR_SET_KEEPCAPS, 1, 0, 0, 0).into())?;
            done(libc::setgroups(0, std::ptr::null()).into())?;
            done(libc::setresgid(USER, USER, USER).into())?;
            done(libc::setresuid(USER, USER, USER).into())?;
            done(libc::syscall(libc::SYS_capset, header.as_ptr(), sets.as_ptr()))?;
            for capability in capabilities {
                done(
                    libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_RAISE, *capability, 0, 0).into(),
                )?;
            }
        }
        Ok(())
    };
    // SAFETY: only system calls happen between fork and exec.
    let output = unsafe { command.pre_exec(become_user) }.output().unwrap();
    (output.status.code(), Text::of(&output))
}

/// Everything in a trace belongs to `uid` alone.
fn assert_private(trace: &Path, uid: u32) -> usize {
    let mut todo = vec![trace.to_owned()];
    let mut files = 0;
    while let Some(path) = todo.pop() {
        // A temporary file may go while we look.
        let Ok(metadata) = path.symlink_metadata() else { continue };
        let expected = if metadata.is_dir() { 0o700 } else { 0o600 };
        assert_eq!(
            (metadata.uid(), metadata.gid(), metadata.mode() & 0o7777),
            (uid, uid, expected),
            "{}",
            path.display()
        );
        files += usize::from(metadata.is_file());
        if metadata.is_dir() {
            todo.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
    }
    files
}

#[test]
fn two_capabilities_record_tracepoints_and_the_rest_is_told() {
    let sandbox = sandbox_of_user();
    let args = ["record", "processes", "mkdirs", "-o", "t", "--", "sh", "-c", HUNDRED];
    let (code, text) = run_with(&sandbox, &[BPF, PERFMON], &args);
    assert_eq!(code, Some(0), "{text:?}");
    let told = "warning: event mkdirs is not recorded: it cannot be observed on this kernel";
    assert!(text.err.contains(told) && text.err.contains("CAP_DAC_READ_SEARCH"), "{}", text.err);
    let trace = sandbox.path("t");
    let table = Table::read(&trace, "processes");
    assert_eq!(
        (table.count("ev", "fork"), table.count("ev", "exec"), table.count("ev", "exit")),
        (101, 102, 102)
    );
    assert_eq!(counts(&trace, "processes").2, 0);
    assert_eq!(Table::read(&trace, "probes").count("event", "mkdirs"), 1);
    assert_eq!(meta(&trace)["state"], "closed");
    assert_private(&trace, USER);
}

#[test]
fn the_capability_that_is_named_is_the_one_that_helps() {
    let sandbox = sandbox_of_user();
    let args = ["record", "mkdirs", "-o", "t", "--", "sh", "-c", HUNDRED];
    let (code, text) = run_with(&sandbox, &[BPF, PERFMON], &args);
    assert_eq!(code, Some(2), "{text:?}");
    assert!(text.err.contains("CAP_DAC_READ_SEARCH") && !sandbox.path("t").exists(), "{}", text.err);
    let (code, text) = run_with(&sandbox, &[BPF, PERFMON, DAC_READ_SEARCH], &args);
    assert_eq!(code, Some(0), "{text:?}");
    assert_eq!(Table::read(&sandbox.path("t"), "mkdirs").len(), 101);
    assert_eq!(counts(&sandbox.path("t"), "mkdirs"), (101, 101, 0));
}

#[test]
fn what_the_snapshot_may_not_see_is_told() {
    let sandbox = sandbox_of_user();
    let own = std::process::id().to_string();
    let args = ["record", "processes", "-o", "t", "-d", "200ms", "-p", &own];
    let (code, text) = run_with(&sandbox, &[BPF, PERFMON], &args);
    assert_eq!(code, Some(0), "{text:?}");
    let told = |text: &str| text.contains("are not in the snapshot: that needs CAP_SYS_PTRACE");
    assert!(told(&text.err), "{}", text.err);
    let table = Table::read(&sandbox.path("t"), "processes");
    let row = table.text("pid").iter().position(|pid| *pid == own).unwrap();
    assert_eq!(table.text("netns")[row], "NULL");
    let text = sandbox.expect(0, &["record", "processes", "-o", "u", "-d", "200ms", "-p", &own]);
    assert!(!told(&text.err), "{}", text.err);
}

#[test]
fn stacks_without_names_are_told_once() {
    let told =
        |text: &Text| text.err.matches("warning: kernel addresses have no names in the trace: ").count();
    let forms: [(&'static [u32], &[&str], usize); 4] = [
        (&[BPF, PERFMON], &["processes", "--stacks", "kernel"], 1),
        (&[BPF, PERFMON], &["processes", "--stacks", "user"], 0),
        (&[BPF, PERFMON], &["w=raw_tp:sched_switch{ f=next->sched_class:sym }"], 1),
        (&[BPF, PERFMON, SYSLOG], &["processes", "--stacks", "kernel"], 0),
    ];
    for (capabilities, what, times) in forms {
        let sandbox = sandbox_of_user();
        let mut args = vec!["record"];
        args.extend(what);
        args.extend(["-o", "t", "--", "true"]);
        let (code, text) = run_with(&sandbox, capabilities, &args);
        assert_eq!((code, told(&text)), (Some(0), times), "{what:?} {text:?}");
        assert!(times == 0 || text.err.contains("CAP_SYSLOG"), "{text:?}");
    }
}

#[test]
fn in_a_user_namespace_it_says_that_capabilities_do_not_count() {
    let sandbox = Sandbox::for_recording();
    for args in [&["doctor"][..], &["record", "mkdirs", "-o", "t", "-d", "1"]] {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", env!("CARGO_BIN_EXE_recorder")]).args(args);
        let output = command.current_dir(sandbox.path("")).output().unwrap();
        let text = Text::of(&output);
        assert_eq!(output.status.code(), Some(2), "{text:?}");
        assert!(text.err.contains("user namespace") && text.err.contains("run it outside"), "{text:?}");
        assert!(args[0] != "doctor" || text.out.contains("user namespace"), "{text:?}");
        assert!(!text.out.contains("setcap"), "it would not help: {text:?}");
    }
    assert_eq!(sandbox.files(), Vec::<String>::new());
}

#[test]
fn doctor_says_what_each_capability_is_for_and_how_to_get_it() {
    let sandbox = sandbox_of_user();
    let (code, text) = run_with(&sandbox, &[BPF, PERFMON], &["doctor"]);
    assert_eq!(code, Some(0), "{text:?}");
    for part in [
        "CAP_BPF              yes      to load programs",
        "CAP_SYSLOG           no       to see kernel addresses; without it frames of kernel stacks have no names",
        "sudo setcap cap_bpf,cap_perfmon,",
        "AmbientCapabilities=CAP_BPF CAP_PERFMON ",
        "CAP_DAC_READ_SEARCH (MISSING; to read tracefs)",
        "CAP_SYS_ADMIN (MISSING; for other network namespaces in the snapshot)",
    ] {
        assert!(text.out.contains(part), "'{part}' is not in {}", text.out);
    }
    let (code, text) = run_with(&sandbox, &[], &["doctor"]);
    assert_eq!(code, Some(2), "{text:?}");
    assert!(text.out.contains("CAP_PERFMON          MISSING  to attach probes"), "{}", text.out);
    assert!(text.out.contains("sudo setcap ") && text.err.contains("CAP_BPF and CAP_PERFMON"), "{text:?}");
}

#[test]
fn every_thread_has_given_up_what_recording_does_not_need() {
    let sandbox = Sandbox::for_recording();
    let script = "grep -E '^(CapEff|NoNewPrivs)' /proc/self/status > rights; while [ ! -e go ]; do sleep 0.01; done; \
                  mkdir a";
    let args = [
        "record",
        "mkdirs",
        "--stacks",
        "kernel",
        "--segment-age",
        "100ms",
        "-o",
        "t",
        "--",
        "sh",
        "-c",
        script,
    ];
    let mut running = sandbox.start(&args);
    wait_for("the command to run", || sandbox.path("rights").exists());
    // Long enough for several segments.
    std::thread::sleep(Duration::from_millis(1200));
    let pid = running.child.id();
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        let threads = of_threads(pid, set);
        assert!(threads.len() >= 2, "{threads:?}");
        for (name, value) in threads {
            let is_main = name == "recorder" && set != "CapInh" && set != "CapAmb" && set != "CapBnd";
            let kept = if is_main { 1 << KILL } else { 0 };
            // The thread that raises others needs a right where the limit of nice values does not allow it.
            let is_raiser = name == "priority" && matches!(set, "CapEff" | "CapPrm") && !may_raise(pid);
            let kept = if is_raiser { 1 << NICE } else { kept };
            assert_eq!(u64::from_str_radix(&value, 16).unwrap(), kept, "{set} of {name}");
        }
    }
    assert!(of_threads(pid, "NoNewPrivs").iter().all(|(_, value)| value == "1"));
    fs::write(sandbox.path("go"), "").unwrap();
    assert_eq!(running.wait(), Some(0), "{}", running.stderr());
    let trace = sandbox.path("t");
    assert_eq!(counts(&trace, "mkdirs"), (1, 1, 0));
    // kallsyms was opened before; the system call itself is on no stack, its tracepoint is behind it.
    let names = Table::read(&trace, "symbols").text("name");
    assert!(names.iter().any(|name| name.starts_with("do_syscall")), "{names:?}");
    let segments = fs::read_dir(trace.join("counts")).unwrap().count();
    assert_eq!((segments, meta(&trace)["state"].as_str()), (1, Some("closed")), "it is compacted");
    // The command has what the user had.
    let own = fs::read_to_string("/proc/self/status").unwrap();
    let rights = fs::read_to_string(sandbox.path("rights")).unwrap();
    assert_eq!(rights.lines().count(), 2);
    assert!(rights.lines().all(|line| own.lines().any(|other| other == line)), "{rights}\n{own}");
}

#[test]
fn without_a_command_nothing_at_all_is_kept() {
    let sandbox = Sandbox::for_recording();
    let mut running = sandbox.start(&["record", "mkdirs", "-o", "t", "-p", &std::process::id().to_string()]);
    let threads = of_threads(running.child.id(), "CapPrm");
    // But for what raises the recorder's own threads, where no limit allows it.
    let raiser = if may_raise(running.child.id()) { 0 } else { 1 << NICE };
    let kept = |name: &str| if name == "priority" { raiser } else { 0 };
    let is_right = |(name, value): &(String, String)| u64::from_str_radix(value, 16).unwrap() == kept(name);
    assert!(threads.len() >= 2 && threads.iter().all(is_right), "{threads:?}");
    running.signal(libc::SIGTERM);
    assert_eq!(running.wait(), Some(0), "{}", running.stderr());
}

/// A recorder under sudo, of a command that waits for the file `go`.
fn start_under_sudo(sandbox: &Sandbox, trace: &str) -> crate::sandbox::Running {
    let id = USER.to_string();
    let script = "id -u > id; mkdir a; while [ ! -e go ]; do sleep 0.01; done; mkdir b";
    let args = [
        "record",
        "mkdirs",
        "--stacks",
        "kernel",
        "--segment-age",
        "100ms",
        "-o",
        trace,
        "--",
        "sh",
        "-c",
        script,
    ];
    let mut command = sandbox.command(&args);
    command.env("SUDO_UID", &id).env("SUDO_GID", &id);
    let running = sandbox.start_command(command);
    wait_for("the command to run", || sandbox.path("a").exists());
    wait_for("files", || assert_private(&sandbox.path(trace), USER) > 10);
    running
}

#[test]
fn under_sudo_the_trace_belongs_to_the_user_at_any_time() {
    let sandbox = sandbox_of_user();
    let mut running = start_under_sudo(&sandbox, "t");
    let trace = sandbox.path("t");
    assert!(assert_private(&trace, USER) > 10);
    for (name, ids) in
        of_threads(running.child.id(), "Uid").into_iter().chain(of_threads(running.child.id(), "Gid"))
    {
        assert!(ids.split('\t').all(|id| id == USER.to_string()), "{name}: {ids}");
    }
    fs::write(sandbox.path("go"), "").unwrap();
    assert_eq!(running.wait(), Some(0), "{}", running.stderr());
    assert!(assert_private(&trace, USER) > 8);
    assert_eq!(Table::read(&trace, "mkdirs").text("path"), ["a", "b"]);
    assert!(!Table::read(&trace, "symbols").text("name").is_empty());
    assert_eq!(fs::read_dir(trace.join("counts")).unwrap().count(), 1, "it is compacted");
    // The command ran as root.
    assert_eq!(fs::read_to_string(sandbox.path("id")).unwrap(), "0\n");
}

#[test]
fn a_place_that_the_user_may_not_write_to_has_no_snapshots_and_that_is_told_at_the_start() {
    // The directory is root's.
    let sandbox = Sandbox::for_recording();
    let id = USER.to_string();
    let run = |args: &[&str]| {
        let mut command = sandbox.command(args);
        command.env("SUDO_UID", &id).env("SUDO_GID", &id);
        let output = command.output().unwrap();
        (output.status.code(), Text::of(&output).err)
    };
    let told = format!("snapshots cannot be made in '{}': user {USER} may not", sandbox.path("").display());
    let told = told.replace("/':", "':");
    let (code, said) = run(&["record", "mkdirs", "-o", "t", "--trigger", "mkdirs", "--", "mkdir", "a"]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains(&told) && said.contains("record to a directory of that user (-o)"), "{said}");
    assert_eq!(sandbox.files(), Vec::<String>::new(), "neither trace nor command");
    let (code, said) = run(&["record", "mkdirs", "-o", "t", "--", "mkdir", "a"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains(&format!("warning: {told}")), "{said}");
    assert_eq!(Table::read(&sandbox.path("t"), "mkdirs").len(), 1);
}

#[test]
fn compacting_as_root_leaves_a_trace_to_its_owner() {
    let sandbox = sandbox_of_user();
    let mut running = start_under_sudo(&sandbox, "t");
    // The first rows of the initial state, with which there is something to compact.
    wait_for("a segment", || Table::read(&sandbox.path("t"), "processes").len() > 0);
    running.signal(libc::SIGKILL);
    running.wait();
    fs::write(sandbox.path("go"), "").unwrap();
    let told = sandbox.expect(0, &["compact", "t"]).err;
    // The description, the log, and a file of each table that had rows so soon.
    assert!(assert_private(&sandbox.path("t"), USER) > 5);
    assert_eq!(meta(&sandbox.path("t"))["state"], "recovered", "{told}");
}

#[test]
fn a_closed_way_to_the_trace_is_walked_with_one_capability_more() {
    let sandbox = sandbox_of_user();
    let closed = sandbox.path("closed");
    fs::create_dir(&closed).unwrap();
    fs::set_permissions(&closed, Permissions::from_mode(0o700)).unwrap();
    let mut running = start_under_sudo(&sandbox, "closed/t");
    for (name, value) in of_threads(running.child.id(), "CapEff") {
        // The threads that count signals and set priorities write nothing.
        let writes = !["signals", "priority"].contains(&name.as_str());
        let kept = if writes { 1 << DAC_READ_SEARCH } else { 0 };
        assert_eq!(u64::from_str_radix(&value, 16).unwrap() & !(1 << KILL | 1 << NICE), kept, "{name}");
    }
    fs::write(sandbox.path("go"), "").unwrap();
    assert_eq!(running.wait(), Some(0), "{}", running.stderr());
    assert!(assert_private(&closed.join("t"), USER) > 8);
}

#[test]
fn a_command_that_became_another_user_is_told_to_end() {
    let sandbox = Sandbox::for_recording();
    let script = format!("import os; os.setuid({USER}); os.execvp('sleep', ['sleep', '600'])");
    let args = ["record", "mkdirs", "-o", "t", "-d", "500ms", "--", "python3", "-c", &script];
    sandbox.expect(128 + 15, &args);
}

#[test]
fn a_trace_that_nobody_wants_is_where_nobody_can_guess() {
    let sandbox = Sandbox::for_recording();
    let place = sandbox.path("tmp");
    fs::create_dir(&place).unwrap();
    let script = "until [ -e go ]; do sleep 0.05; done";
    let mut command =
        sandbox.command(&["record", "mkdirs", "--print", "-o", "none", "--", "sh", "-c", script]);
    command.env("TMPDIR", &place);
    let mut running = sandbox.start_command(command);
    let names: Vec<String> =
        fs::read_dir(&place).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    let random = names[0].strip_prefix("recorder-").unwrap();
    assert!(names.len() == 1 && random.len() == 6 && !random.contains("XX"), "{names:?}");
    assert!(!random.contains(&running.child.id().to_string()), "{names:?}");
    assert_private(&place.join(&names[0]), 0);
    fs::write(sandbox.path("go"), "").unwrap();
    assert_eq!(running.wait(), Some(0), "{}", running.stderr());
    assert_eq!(fs::read_dir(&place).unwrap().count(), 0);
}
