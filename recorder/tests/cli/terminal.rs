//! The recorder on a terminal: the live line, Ctrl-C, and a terminal that goes away.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::pty::{Winsize, openpty};

use crate::fail_on_loss::lose_some;
use crate::sandbox::{LIMIT, Sandbox, Table, meta, wait_for};

/// A recorder that leads a session on a terminal of its own.
struct Terminal {
    child: Child,
    /// The other end of the terminal, until it is closed.
    master: Option<File>,
    /// What came out of it.
    text: String,
}

impl Terminal {
    fn start(sandbox: &Sandbox, columns: u16, args: &[&str]) -> Self {
        let size = Winsize { ws_row: 24, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        let pty = openpty(&size, None).unwrap();
        let end = || Stdio::from(pty.slave.try_clone().unwrap());
        let mut command = sandbox.command(args);
        command.stdin(end()).stdout(end()).stderr(end());
        // SAFETY: two system calls between fork and exec.
        unsafe {
            command.pre_exec(|| {
                if libc::setsid() < 0 || libc::ioctl(0, libc::TIOCSCTTY, 0) < 0 {
                    return Err(std::io::Error::last_os_error());
                }
                Ok(())
            });
        }
        fcntl(&pty.master, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).unwrap();
        fcntl(&pty.master, FcntlArg::F_SETFD(nix::fcntl::FdFlag::FD_CLOEXEC)).unwrap();
        Self { child: command.spawn().unwrap(), master: Some(pty.master.into()), text: String::new() }
    }

    /// Take what has come.
    fn read(&mut self) {
        let mut buffer = [0; 4096];
        // When the recorder has ended, reading fails.
        while let Some(length @ 1..) = self.master.as_mut().and_then(|master| master.read(&mut buffer).ok()) {
            self.text.push_str(&String::from_utf8_lossy(&buffer[..length]));
        }
    }

    fn wait_for(&mut self, part: &str) {
        wait_for(part, || {
            self.read();
            let has_ended = self.child.try_wait().unwrap().is_some();
            assert!(!has_ended || self.text.contains(part), "it has ended: {}", self.text);
            self.text.contains(part)
        });
    }

    /// Its exit code; it must come soon.
    fn end(&mut self) -> Option<i32> {
        let start = Instant::now();
        let mut status = None;
        wait_for("the recorder to end", || {
            self.read();
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        self.read();
        assert!(start.elapsed() < LIMIT, "{:?}", start.elapsed());
        status.unwrap().code()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn the_live_line_tells_time_rate_recorded_size_and_lost() {
    let sandbox = Sandbox::for_recording();
    let own = std::process::id().to_string();
    let mut terminal = Terminal::start(&sandbox, 200, &["record", "mkdirs", "-o", "t", "-p", &own]);
    terminal.wait_for("recording mkdirs into t; Ctrl-C ends it");
    fs::create_dir(sandbox.path("a")).unwrap();
    // Lines like this, whose last but one is whole; on a busy machine a second may have none.
    let is_wanted = |line: &&str| line.starts_with("00:") && *line >= "00:00:02";
    wait_for("two lines", || {
        terminal.read();
        terminal.text.split("\r\x1b[K").filter(is_wanted).count() >= 2
    });
    terminal.master.as_mut().unwrap().write_all(b"\x03").unwrap();
    assert_eq!(terminal.end(), Some(0), "{}", terminal.text);
    let line = terminal.text.split("\r\x1b[K").find(is_wanted).unwrap();
    let words: Vec<&str> = line.split_whitespace().collect();
    let [time, rate, recorded, "recorded", size, unit, "lost", "0"] = words[..] else {
        panic!("{line:?}");
    };
    assert_eq!(time.len(), "00:00:02".len());
    assert!(rate.strip_suffix("/s").is_some_and(|rate| rate.parse::<u64>().is_ok()), "{line:?}");
    assert!(recorded.parse::<u64>().unwrap() >= 1, "{line:?}");
    assert!(size.parse::<f64>().unwrap() > 0.0 && ["B", "KiB"].contains(&unit), "{line:?}");
    // The line is gone when the summary comes.
    assert!(terminal.text.contains("\x1b[Krecorder: recorded for "), "{:?}", terminal.text);
}

#[test]
fn the_live_line_fits_into_a_narrow_terminal() {
    let sandbox = Sandbox::for_recording();
    let own = std::process::id().to_string();
    let args = ["record", "mkdirs", "-o", "t", "-d", "1200ms", "-p", &own];
    let mut terminal = Terminal::start(&sandbox, 30, &args);
    terminal.wait_for("recording mkdirs");
    assert_eq!(terminal.end(), Some(0), "{}", terminal.text);
    let lines: Vec<&str> =
        terminal.text.split("\r\x1b[K").filter(|line| line.starts_with("00:00:")).collect();
    assert!(!lines.is_empty() && lines.iter().all(|line| line.len() == 29), "{lines:?}");
}

#[test]
fn the_live_line_says_why_events_are_lost_and_what_helps() {
    let sandbox = Sandbox::for_recording();
    let own = std::process::id().to_string();
    let args = ["record", "mkdirs", "--buffer-size", "64K", "-o", "t", "-p", &own];
    let mut terminal = Terminal::start(&sandbox, 200, &args);
    terminal.wait_for("recording mkdirs");
    lose_some(&sandbox, terminal.child.id());
    terminal.wait_for(" (ring_full): raise --buffer-size");
    terminal.master.as_mut().unwrap().write_all(b"\x03").unwrap();
    assert_eq!(terminal.end(), Some(0), "{}", terminal.text);
    // Only that the budget is too small for so many rings, before it begins.
    let text = terminal.text.replace("warning: the ring buffers take ", "");
    assert!(!text.contains("warning: "), "{text}");
}

#[test]
fn control_c_reaches_the_command_once() {
    let sandbox = Sandbox::for_recording();
    let script = "trap 'echo got it; mkdir after; exit 5' INT; echo ready; while :; do sleep 0.01; done";
    let args = ["record", "mkdirs", "-o", "t", "--", "sh", "-c", script];
    let mut terminal = Terminal::start(&sandbox, 80, &args);
    terminal.wait_for("ready");
    terminal.master.as_mut().unwrap().write_all(b"\x03").unwrap();
    assert_eq!(terminal.end(), Some(5), "{}", terminal.text);
    assert_eq!(terminal.text.matches("got it").count(), 1, "{}", terminal.text);
    assert_eq!(Table::read(&sandbox.path("t"), "mkdirs").text("path"), ["after"]);
    assert_eq!(meta(&sandbox.path("t"))["state"], "closed");
}

#[test]
fn a_terminal_that_is_closed_ends_the_recording_well() {
    let own = std::process::id().to_string();
    let forms: [(&[&str], i32); 3] = [
        (&["-p", &own], 0),
        (&["--print", "-p", &own], 0),
        (&["--", "sh", "-c", "mkdir a; exec sleep 600"], 128 + libc::SIGHUP),
    ];
    for (form, code) in forms {
        let sandbox = Sandbox::for_recording();
        let mut args = vec!["record", "mkdirs", "-o", "t"];
        args.extend(form);
        let mut terminal = Terminal::start(&sandbox, 80, &args);
        terminal.wait_for("recording mkdirs");
        // Something to print, and to write into the closed terminal.
        fs::create_dir(sandbox.path("b")).unwrap();
        std::thread::sleep(Duration::from_millis(300));
        drop(terminal.master.take());
        fs::create_dir(sandbox.path("c")).unwrap();
        assert_eq!(terminal.end(), Some(code), "{form:?}: {}", terminal.text);
        assert_eq!(meta(&sandbox.path("t"))["state"], "closed", "{form:?}");
        assert!(Table::read(&sandbox.path("t"), "mkdirs").len() >= 1, "{form:?}");
    }
}
