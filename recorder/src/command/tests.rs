//! Commands that are held, let go, ended, replaced.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::*;

/// Held while a program is written and while a child is made: the child of another test would have the file open for
/// writing until its own program begins, and nothing runs that is.
static PROGRAMS: Mutex<()> = Mutex::new(());

fn held(words: &[&str]) -> Held {
    let _programs = PROGRAMS.lock().unwrap_or_else(PoisonError::into_inner);
    Command::find(&words.iter().map(OsString::from).collect::<Vec<_>>())
        .unwrap()
        .hold(Inherited::take().unwrap())
        .unwrap()
}

fn put(path: &Path, text: &str) {
    let _programs = PROGRAMS.lock().unwrap_or_else(PoisonError::into_inner);
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

fn code_of(mut child: Child) -> i32 {
    child.wait();
    child.poll().unwrap()
}

#[test]
fn nothing_runs_before_the_release_and_the_exit_code_comes_back() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("ran");
    let held = held(&["sh", "-c", &format!("touch {}; exit 7", file.display())]);
    std::thread::sleep(Duration::from_millis(50));
    assert!(!file.exists());
    assert_eq!(code_of(held.release().unwrap()), 7);
    assert!(file.exists());
}

#[test]
fn a_signal_counts_from_128() {
    let child = held(&["sleep", "60"]).release().unwrap();
    child.signal(Signal::SIGTERM);
    assert_eq!(code_of(child), 128 + 15);
}

#[test]
fn a_child_that_is_not_released_ends_with_its_holder() {
    let mut held = held(&["sleep", "60"]);
    let start = Instant::now();
    drop(held.gate.take());
    let child = held.child.as_mut().unwrap();
    child.wait();
    assert_eq!(child.status, Some(NOT_RUN));
    assert!(start.elapsed() < Duration::from_secs(30));
}

#[test]
fn a_child_that_is_dropped_is_gone() {
    let held = held(&["sleep", "60"]);
    let status = PathBuf::from(format!("/proc/{}/status", held.pid()));
    assert!(status.exists());
    drop(held);
    assert!(!status.exists());
}

#[test]
fn a_child_that_a_signal_ends_while_it_waits_is_a_command_that_it_ended() {
    let held = held(&["sleep", "60"]);
    // Not SIGINT: whoever starts these tests in the background may have it ignored, and so has the command.
    held.child.as_ref().unwrap().signal(Signal::SIGTERM);
    let child = held.child.as_ref().unwrap();
    let start = Instant::now();
    while child.pidfd.is_alive().unwrap() {
        assert!(start.elapsed() < Duration::from_secs(30));
    }
    assert_eq!(code_of(held.release().unwrap()), 128 + 15);
}

#[test]
fn an_exec_that_fails_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("no-program");
    put(&file, "\x7fELF rubbish");
    let error = held(&[file.to_str().unwrap()]).release().unwrap_err();
    let error = format!("{error:#}");
    assert!(error.contains("no program for this machine") && error.contains("run 'sh "), "{error}");
}

#[test]
fn a_program_that_was_replaced_is_not_run() {
    let directory = tempfile::tempdir().unwrap();
    let (program, ran) = (directory.path().join("program"), directory.path().join("ran"));
    let another = format!("#!/bin/sh\ntouch {}\n", ran.display());
    let by_rename = || {
        let new = directory.path().join("new");
        put(&new, &another);
        fs::rename(&new, &program).unwrap();
    };
    // Many file systems give the number of the one that went to the next that is made.
    let after_removal = || {
        fs::remove_file(&program).unwrap();
        put(&program, &another);
    };
    for replace in [&by_rename as &dyn Fn(), &after_removal] {
        put(&program, "#!/bin/sh\nexit 3\n");
        assert_eq!(code_of(held(&[program.to_str().unwrap()]).release().unwrap()), 3);
        let held = held(&[program.to_str().unwrap()]);
        replace();
        let error = held.release().unwrap_err().to_string();
        assert!(error.contains("another file now"), "{error}");
        assert!(!ran.exists());
    }
}
