//! What the recorder was started with, and what its command gets of it: signals ignored and blocked, the signal at the
//! end of the parent.

use std::fs;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::sandbox::{LIMIT, Sandbox, meta, wait_for};

/// How the recorder is started: signals that are ignored, a signal that is blocked.
type Start = (&'static [i32], Option<i32>);

fn start_like((ignored, blocked): Start, command: &mut Command) {
    // SAFETY: only async-signal-safe functions are called between fork and exec.
    unsafe {
        command.pre_exec(move || {
            for signal in [libc::SIGINT, libc::SIGHUP, libc::SIGTERM, libc::SIGQUIT] {
                libc::signal(signal, libc::SIG_DFL);
            }
            for signal in ignored {
                libc::signal(*signal, libc::SIG_IGN);
            }
            let mut mask = std::mem::zeroed();
            libc::sigemptyset(&raw mut mask);
            if let Some(signal) = blocked {
                libc::sigaddset(&raw mut mask, signal);
            }
            libc::sigprocmask(libc::SIG_SETMASK, &raw const mask, std::ptr::null_mut());
            Ok(())
        })
    };
}

#[test]
fn the_command_has_the_signals_that_the_recorder_was_started_with() {
    const ASK: [&str; 4] = ["grep", "-E", "^Sig(Blk|Ign)", "/proc/self/status"];
    let starts: [Start; 3] = [
        (&[], None),
        (&[libc::SIGPIPE, libc::SIGCHLD], Some(libc::SIGUSR2)),
        (&[libc::SIGHUP, libc::SIGINT], Some(libc::SIGTERM)),
    ];
    for start in starts {
        let sandbox = Sandbox::for_recording();
        let mut alone = Command::new(ASK[0]);
        start_like(start, alone.args(&ASK[1..]));
        let mut args = vec!["record", "mkdirs", "-o", "t", "--"];
        args.extend(ASK);
        let mut recorded = sandbox.command(&args);
        start_like(start, &mut recorded);
        let (alone, recorded) = (alone.output().unwrap(), recorded.output().unwrap());
        let text = |output: &std::process::Output| String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(text(&alone).lines().count(), 2);
        assert_eq!(text(&recorded), text(&alone), "{start:?}");
        assert_eq!(recorded.status.code(), Some(0));
    }
}

#[test]
fn the_exit_code_comes_back_where_ends_of_children_are_ignored() {
    let sandbox = Sandbox::for_recording();
    let mut command = sandbox.command(&["record", "mkdirs", "-o", "t", "--", "sh", "-c", "exit 7"]);
    start_like((&[libc::SIGCHLD], None), &mut command);
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(7), "{output:?}");
    assert_eq!(meta(&sandbox.path("t"))["command_exit_code"], 7);
}

#[test]
fn the_death_of_the_parent_ends_it_if_that_was_asked_for_under_sudo_too() {
    for uid in [None, Some("12345")] {
        let sandbox = Sandbox::for_recording();
        std::os::unix::fs::chown(sandbox.path(""), Some(12_345), Some(12_345)).unwrap();
        let script = format!(
            "setpriv --pdeathsig TERM {} record mkdirs -o t -p $$ 2> stderr & wait",
            env!("CARGO_BIN_EXE_recorder")
        );
        let mut parent = Command::new("sh");
        parent.args(["-c", &script]).current_dir(sandbox.path(""));
        for name in ["SUDO_UID", "SUDO_GID"] {
            match uid {
                Some(uid) => parent.env(name, uid),
                None => parent.env_remove(name),
            };
        }
        let mut parent = parent.spawn().unwrap();
        let said = || fs::read_to_string(sandbox.path("stderr")).unwrap_or_default();
        wait_for("the recorder to record", || said().contains("recording mkdirs"));
        let recorder = meta(&sandbox.path("t"))["recorder_pid"].as_u64().unwrap();
        parent.kill().unwrap();
        parent.wait().unwrap();
        let start = Instant::now();
        let is_over = || meta(&sandbox.path("t"))["state"] == "closed";
        while !is_over() && start.elapsed() < LIMIT {
            std::thread::sleep(Duration::from_millis(20));
        }
        let is_closed = is_over();
        // SAFETY: ends the recorder of this test, if it goes on.
        unsafe { libc::kill(i32::try_from(recorder).unwrap(), if is_closed { 0 } else { libc::SIGKILL }) };
        assert!(is_closed, "{uid:?}: {}", said());
    }
}
