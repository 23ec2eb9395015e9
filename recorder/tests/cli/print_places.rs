//! `--print` to a file, a pipe or a descriptor, apart from what the command writes.

use std::fs::{self, File};
use std::io::Read;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use crate::sandbox::{Sandbox, Table, Text};

/// The command writes lines of its own to standard output.
const CHATTY: &str = "for d in a b c; do mkdir $d; echo made $d; done";
const WRITTEN: &str = "made a\nmade b\nmade c\n";

fn paths(lines: &str) -> Vec<String> {
    let rows = lines.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    rows.map(|row| row["path"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn into_a_file_of_its_own_which_is_new_and_private() {
    let sandbox = Sandbox::for_recording();
    let args = ["record", "mkdirs", "--print=ndjson:made.json", "-o", "t", "--", "sh", "-c", CHATTY];
    let text = sandbox.expect(0, &args);
    assert_eq!(text.out, WRITTEN);
    assert!(!text.err.contains("keeps them apart"), "{}", text.err);
    let file = sandbox.path("made.json");
    assert_eq!(paths(&fs::read_to_string(&file).unwrap()), ["a", "b", "c"]);
    assert_eq!(
        paths(&fs::read_to_string(&file).unwrap()),
        Table::read(&sandbox.path("t"), "mkdirs").text("path")
    );
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    // What is there stays as it is.
    let before = fs::read(&file).unwrap();
    let args = ["record", "mkdirs", "--print=ndjson:made.json", "-o", "u", "--", "true"];
    let text = sandbox.expect(2, &args).err;
    assert!(text.contains("'made.json'") && text.contains("it exists"), "{text}");
    assert_eq!(fs::read(&file).unwrap(), before);
    symlink("elsewhere", sandbox.path("link")).unwrap();
    let text = sandbox.expect(2, &["record", "mkdirs", "--print=text:link", "-o", "u", "--", "true"]).err;
    assert!(text.contains("symbolic link"), "{text}");
    assert!(!sandbox.path("elsewhere").exists() && !sandbox.path("u").exists());
}

#[test]
fn what_fails_to_begin_leaves_no_file_behind() {
    let sandbox = Sandbox::for_recording();
    fs::create_dir(sandbox.path("ro")).unwrap();
    let args = ["record", "mkdirs", "--print=text:out.txt", "-o", "nowhere/t", "--", "true"];
    sandbox.expect(2, &args);
    assert_eq!(sandbox.files(), ["ro"]);
    let text =
        sandbox.expect(2, &["record", "mkdirs", "--print=text:nowhere/out", "-o", "t", "--", "true"]).err;
    assert!(text.contains("cannot write to 'nowhere/out'") && text.contains("No such file"), "{text}");
    assert_eq!(sandbox.files(), ["ro"]);
}

#[test]
fn on_standard_output_what_is_shared_is_told_once() {
    let sandbox = Sandbox::for_recording();
    for print in
        ["--print=ndjson", "--print=ndjson:-", "--print=ndjson:/dev/stdout", "--print=ndjson:/dev/fd/1"]
    {
        let text = sandbox.expect(0, &["record", "mkdirs", print, "-o", "none", "--", "sh", "-c", CHATTY]);
        assert_eq!(
            text.err.matches("--print=FORMAT:PATH keeps them apart").count(),
            1,
            "{print}: {}",
            text.err
        );
        let (own, events): (Vec<&str>, Vec<&str>) =
            text.out.lines().partition(|line| line.starts_with("made "));
        assert_eq!((own.len(), paths(&events.join("\n")).len()), (3, 3), "{print}: {}", text.out);
        fs::remove_dir(sandbox.path("a")).unwrap();
        fs::remove_dir(sandbox.path("b")).unwrap();
        fs::remove_dir(sandbox.path("c")).unwrap();
    }
    let text = sandbox.expect(0, &["record", "mkdirs", "--print", "-d", "100ms", "-o", "none"]);
    assert!(!text.err.contains("keeps them apart"), "{}", text.err);
}

#[test]
fn into_a_descriptor_that_the_recorder_was_started_with() {
    let sandbox = Sandbox::for_recording();
    let out = File::create(sandbox.path("three")).unwrap();
    let number = out.as_raw_fd();
    let args = ["record", "mkdirs", "--print=ndjson:/dev/fd/9", "-o", "none", "--", "sh", "-c", CHATTY];
    let mut command = sandbox.command(&args);
    // SAFETY: dup2 is async-signal-safe.
    unsafe {
        command.pre_exec(move || match libc::dup2(number, 9) {
            9 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        })
    };
    let output = command.output().unwrap();
    let text = Text::of(&output);
    assert_eq!((output.status.code(), text.out.as_str()), (Some(0), WRITTEN), "{text:?}");
    assert_eq!(paths(&fs::read_to_string(sandbox.path("three")).unwrap()), ["a", "b", "c"]);
    // Descriptors of the recorder itself are nobody's business.
    for number in 3..40 {
        let print = format!("--print=text:/dev/fd/{number}");
        let mut command = sandbox.command(&["record", "mkdirs", &print, "-o", "none", "--", "true"]);
        // Whatever started this test may have left descriptors open.
        // SAFETY: a system call on numbers.
        unsafe {
            command.pre_exec(|| {
                libc::syscall(libc::SYS_close_range, 3, u32::MAX, libc::CLOSE_RANGE_CLOEXEC);
                Ok(())
            })
        };
        let text = Text::of(&command.output().unwrap()).err;
        assert!(text.contains(&format!("started without descriptor {number}")), "{text}");
    }
}

#[test]
fn a_pipe_needs_its_reader_and_a_reader_that_goes_away_ends_the_recording_well() {
    let sandbox = Sandbox::for_recording();
    assert!(Command::new("mkfifo").arg(sandbox.path("pipe")).status().unwrap().success());
    let args = ["record", "mkdirs", "--print=ndjson:pipe", "-o", "none", "--", "sh", "-c", CHATTY];
    let text = sandbox.expect(2, &args).err;
    assert!(text.contains("start its reader first"), "{text}");
    let mut reader = Command::new("cat").arg(sandbox.path("pipe")).stdout(Stdio::piped()).spawn().unwrap();
    // The reader is there once it has opened the pipe; until then the recorder says so.
    let text = loop {
        let output = sandbox.run(&args);
        let text = Text::of(&output);
        if !text.err.contains("start its reader first") {
            assert_eq!(output.status.code(), Some(0), "{text:?}");
            break text;
        }
    };
    assert_eq!(text.out, WRITTEN);
    let mut read = String::new();
    reader.stdout.take().unwrap().read_to_string(&mut read).unwrap();
    reader.wait().unwrap();
    assert_eq!(paths(&read), ["a", "b", "c"]);
}

#[test]
fn a_full_disk_is_a_failure_that_names_the_file() {
    let sandbox = Sandbox::for_recording();
    let text =
        sandbox.expect(2, &["record", "mkdirs", "--print=text:/dev/full", "-o", "t", "--", "mkdir", "a"]).err;
    assert!(text.contains("cannot write to '/dev/full': No space left on device"), "{text}");
    assert_eq!(Table::read(&sandbox.path("t"), "mkdirs").len(), 1, "the trace has it");
}

#[test]
fn under_sudo_the_file_belongs_to_the_caller_and_is_made_with_the_callers_rights() {
    const USER: u32 = 12_345;
    let sandbox = Sandbox::for_recording();
    let place = sandbox.path("");
    std::os::unix::fs::chown(&place, Some(USER), Some(USER)).unwrap();
    fs::create_dir(sandbox.path("of_root")).unwrap();
    fs::set_permissions(sandbox.path("of_root"), fs::Permissions::from_mode(0o755)).unwrap();
    let run = |print: &str| {
        let mut command =
            sandbox.command(&["record", "mkdirs", print, "-o", "none", "--", "mkdir", "/dev/shm"]);
        command.env("SUDO_UID", USER.to_string()).env("SUDO_GID", USER.to_string());
        let output = command.output().unwrap();
        (output.status.code(), Text::of(&output))
    };
    let (code, text) = run("--print=text:mine");
    assert_eq!(code, Some(1), "mkdir fails with 1: {text:?}");
    assert_eq!(sandbox.path("mine").metadata().unwrap().uid(), USER);
    assert_eq!(fs::read_to_string(sandbox.path("mine")).unwrap().lines().count(), 1);
    let (code, text) = run("--print=text:of_root/other");
    assert!(code == Some(2) && text.err.contains("Permission denied"), "{text:?}");
    assert!(!sandbox.path("of_root/other").exists());
}
