//! What cannot be done is said in one line, with exit code 2, and leaves nothing behind.

use std::os::unix::process::CommandExt;

use crate::sandbox::Sandbox;

/// Run with arguments that are wrong; gives the one line.
fn refused(sandbox: &Sandbox, args: &[&str]) -> String {
    let before = sandbox.files();
    let text = sandbox.expect(2, args);
    assert_eq!(text.out, "");
    assert_eq!(text.err.lines().count(), 1, "one line: {}", text.err);
    assert!(text.err.starts_with("recorder: "), "{}", text.err);
    assert_eq!(sandbox.files(), before, "something was left behind");
    text.err
}

fn refused_with(args: &[&str], parts: &[&str]) {
    let line = refused(&Sandbox::new(), args);
    for part in parts {
        assert!(line.contains(part), "'{part}' is not in: {line}");
    }
}

#[test]
fn without_an_event_it_says_how_to_name_one() {
    refused_with(&["record"], &["no event given", "recorder list"]);
}

#[test]
fn an_unknown_event_gets_the_nearest_name() {
    refused_with(&["record", "mkdir"], &["there is no event 'mkdir'", "did you mean mkdirs?"]);
    refused_with(&["record", "zz*"], &["no event matches 'zz*'", "listens"]);
}

#[test]
fn an_inline_probe_that_cannot_be_read_is_shown_with_the_reason() {
    let text = Sandbox::new().expect(2, &["record", "kprob:vfs_read"]).err;
    assert_eq!(
        text,
        "recorder: there is no probe kind 'kprob': did you mean kprobe?\n  kprob:vfs_read\n  ^^^^^\n"
    );
}

#[test]
fn an_event_file_that_is_not_there_is_named() {
    refused_with(&["record", "./none.toml"], &["cannot read event file ./none.toml", "No such file"]);
    refused_with(&["record", "--events", "none.toml"], &["event file none.toml does not exist"]);
}

#[test]
fn options_out_of_range_are_refused_with_what_is_possible() {
    refused_with(&["record", "mkdirs", "-d", "soon"], &["--duration", "not a time"]);
    refused_with(&["record", "mkdirs", "-d", "110000000000000d"], &["--duration", "36525d is the most"]);
    refused_with(&["record", "mkdirs", "--buffer-size", "4X"], &["--buffer-size", "use K, M or G"]);
    refused_with(&["record", "mkdirs", "--segment-age", "1ms"], &["--segment-age", "100ms"]);
    refused_with(&["record", "mkdirs", "--comm", "longer-than-fifteen"], &["--comm", "15 bytes"]);
    refused_with(&["record", "mkdirs", "-p", "4194999"], &["--pid 4194999", "no such process"]);
    refused_with(&["record", "mkdirs", "--netns", "nowhere"], &["--netns nowhere", "ip netns list"]);
    refused_with(&["record", "mkdirs", "--cgroup", "nowhere"], &["--cgroup nowhere"]);
    refused_with(&["record", "mkdirs", "-o", "none"], &["-o none", "--print"]);
    refused_with(&["record", "mkdirs", "--print=xml"], &["--print", "text, ndjson"]);
    refused_with(&["remember"], &["unrecognized subcommand 'remember'", "--help"]);
}

#[test]
fn an_output_that_exists_is_kept() {
    let sandbox = Sandbox::new();
    std::fs::create_dir(sandbox.path("there")).unwrap();
    let line = refused(&sandbox, &["record", "mkdirs", "-o", "there"]);
    assert!(line.contains("output there exists: remove it, or choose another name"), "{line}");
}

#[test]
fn a_command_that_is_not_there_leaves_no_trace() {
    refused_with(&["record", "mkdirs", "--", "no-such-command"], &["command not found: no-such-command"]);
}

#[test]
fn without_a_path_no_program_is_taken_from_the_current_directory() {
    use std::os::unix::fs::PermissionsExt;
    let sandbox = Sandbox::new();
    let program = sandbox.path("some-program");
    std::fs::write(&program, "#!/bin/sh\n").unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = sandbox.command(&["record", "mkdirs", "-o", "t", "--", "some-program"]);
    let output = command.env_remove("PATH").output().unwrap();
    let line = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{line}");
    assert!(line.contains("command not found: some-program"), "{line}");
}

#[test]
fn a_process_that_has_ended_is_not_followed() {
    let sandbox = Sandbox::for_recording();
    let mut child = std::process::Command::new("true").spawn().unwrap();
    let pid = child.id().to_string();
    // Ended and not waited for: its number is still there.
    crate::sandbox::wait_for("it to end", || {
        std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap().contains(") Z ")
    });
    let line = refused(&sandbox, &["record", "mkdirs", "-o", "t", "-d", "1", "-p", &pid]);
    child.wait().unwrap();
    assert!(line.contains(&pid) && line.contains("--pid"), "{line}");
}

#[test]
fn a_command_that_cannot_be_executed_leaves_no_trace() {
    use std::os::unix::fs::PermissionsExt;
    let sandbox = Sandbox::for_recording();
    let program = sandbox.path("program");
    std::fs::write(&program, "\x7fELF, but not really").unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let before = sandbox.files();
    let text = sandbox.expect(2, &["record", "mkdirs", "-o", "t", "--", "./program"]);
    assert!(text.err.contains("cannot run './program': it is no program for this machine"), "{}", text.err);
    assert!(text.err.contains("or run 'sh ./program'"), "{}", text.err);
    assert_eq!(sandbox.files(), before);
}

#[test]
fn an_output_that_cannot_be_made_is_named() {
    let sandbox = Sandbox::for_recording();
    let line = refused(&sandbox, &["record", "mkdirs", "-o", "/proc/t", "-d", "1"]);
    assert!(line.contains("/proc/t"), "{line}");
    let line = refused(&sandbox, &["record", "mkdirs", "-o", "no/such/place", "-d", "1"]);
    assert!(line.contains("no/such/place"), "{line}");
}

#[test]
fn an_unknown_member_is_named_with_its_type() {
    let sandbox = Sandbox::for_recording();
    let text = sandbox.expect(2, &["record", "x=tp:sched:sched_process_exec{ p->tgit }", "-o", "t"]);
    assert!(text.err.contains("tgit") && text.err.contains("task_struct"), "{}", text.err);
    assert!(text.err.contains("tgid"), "what is near: {}", text.err);
    assert_eq!(sandbox.files(), Vec::<String>::new());
}

#[test]
fn an_unknown_tracepoint_is_an_error() {
    let sandbox = Sandbox::for_recording();
    let text = sandbox.expect(2, &["record", "tp:sched:sched_process_exek", "-o", "t"]);
    assert!(text.err.contains("sched_process_exek"), "{}", text.err);
    assert_eq!(sandbox.files(), Vec::<String>::new());
}

#[test]
fn without_privileges_it_says_which_and_what_to_do() {
    const CAPABILITIES: [i32; 3] = [21, 38, 39];
    let sandbox = Sandbox::for_recording();
    let mut command = sandbox.command(&["record", "mkdirs", "-o", "t", "-d", "1"]);
    // SAFETY: prctl is safe to call between fork and exec.
    unsafe {
        command.pre_exec(|| {
            for capability in CAPABILITIES {
                if libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) != 0 {
                    return Err(std::io::Error::last_os_error());
                }
            }
            Ok(())
        });
    }
    let output = command.output().unwrap();
    let line = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{line}");
    assert!(line.contains("CAP_BPF and CAP_PERFMON") && line.contains("sudo"), "{line}");
    assert_eq!(line.lines().count(), 1, "{line}");
    assert_eq!(sandbox.files(), Vec::<String>::new());
}
