//! A reader of what is printed that stops reading without going away: the recorder ends all the same, within bounded
//! time, and tells what was not printed.

use std::fs;
use std::io::{BufRead, BufReader, pipe};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::sandbox::{Running, Sandbox, Table, counts, meta, wait_for};

/// More directories than pipe and recorder hold lines of.
const FLOOD: usize = 20_000;
/// Of all rings: the flood fits in, however fast it comes.
const ROOM: &str = "256M";
/// Longest time to write what had been waiting for the reader.
const SOON: Duration = Duration::from_secs(20);
/// More calls of write than a recorder holds while nobody reads, in a program that tells its number.
const WRITES: &str = "echo $$ > pid; exec dd if=/dev/zero of=/dev/null bs=1 count=200000000 status=none";

/// A reader that has been stopped; it is ended when a test is over.
struct Reader(Child);

impl Reader {
    /// Of what `running` prints, from now on.
    fn stopped(running: &mut Running) -> Self {
        let stdin = Stdio::from(running.child.stdout.take().unwrap());
        let reader = Self(Command::new("cat").stdin(stdin).stdout(Stdio::null()).spawn().unwrap());
        // SAFETY: sends a signal to a child of ours that has not been waited for.
        assert_eq!(unsafe { libc::kill(reader.0.id() as i32, libc::SIGSTOP) }, 0);
        reader
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The command that tells its number in the file, which nobody tells to end, or which ignores that.
struct Stray(PathBuf);

impl Stray {
    fn pid(&self) -> Option<i32> {
        fs::read_to_string(&self.0).ok()?.trim().parse().ok()
    }
}

impl Drop for Stray {
    fn drop(&mut self) {
        if let Some(pid) = self.pid() {
            // SAFETY: ends a process that this test has had started.
            unsafe { libc::kill(pid, libc::SIGKILL) };
        }
    }
}

/// Make that many events.
fn flood(sandbox: &Sandbox) {
    fs::create_dir(sandbox.path("d")).unwrap();
    for _ in 0..FLOOD {
        assert!(fs::create_dir(sandbox.path("d")).is_err());
    }
}

/// Rows of table mkdirs, all of which are there.
fn complete(sandbox: &Sandbox) -> usize {
    let trace = sandbox.path("t");
    assert_eq!(meta(&trace)["state"], "closed");
    let rows = Table::read(&trace, "mkdirs").len();
    assert!(rows > FLOOD, "{rows}");
    assert_eq!(counts(&trace, "mkdirs"), (rows as i128, rows as i128, 0));
    rows
}

#[test]
fn a_signal_ends_a_recording_whose_reader_has_stopped() {
    let sandbox = Sandbox::for_recording();
    let own = std::process::id().to_string();
    let mut running =
        sandbox.start(&["record", "mkdirs", "--print", "-o", "t", "-p", &own, "--buffer-size", ROOM]);
    let _reader = Reader::stopped(&mut running);
    flood(&sandbox);
    running.signal(libc::SIGTERM);
    assert_eq!(running.wait_soon(), Some(0), "{}", running.stderr());
    let rows = complete(&sandbox);
    let told = running.stderr();
    let line = told.lines().find(|line| line.contains(" rows were not printed, because whoever reads"));
    let line = line.unwrap_or_else(|| panic!("{told}"));
    assert!(line.ends_with(": they are in the trace"), "{told}");
    let unprinted: usize = line.split_whitespace().nth(2).unwrap().parse().unwrap();
    // A pipe holds 64 KiB, a row takes about 100 bytes.
    assert!(unprinted < rows && unprinted > rows - 2000, "{unprinted} of {rows}");
}

#[test]
fn a_reader_that_has_stopped_holds_up_no_message_either() {
    let sandbox = Sandbox::for_recording();
    let own = std::process::id().to_string();
    let (reader, writer) = pipe().unwrap();
    let mut command =
        sandbox.command(&["record", "mkdirs", "--print", "-o", "t", "-p", &own, "--buffer-size", ROOM]);
    let mut child = command.stdout(writer.try_clone().unwrap()).stderr(writer).spawn().unwrap();
    // Until it records, and no further.
    let mut said = String::new();
    let mut reader = BufReader::new(reader);
    while !said.contains("recorder: recording ") {
        assert!(reader.read_line(&mut said).unwrap() > 0, "{said}");
    }
    flood(&sandbox);
    sleep(Duration::from_millis(500));
    // SAFETY: sends a signal to a child of ours that has not been waited for.
    assert_eq!(unsafe { libc::kill(child.id() as i32, libc::SIGTERM) }, 0);
    let mut status = None;
    let start = Instant::now();
    while start.elapsed() < SOON && status.is_none() {
        status = child.try_wait().unwrap();
        sleep(Duration::from_millis(10));
    }
    let _ = child.kill();
    let _ = child.wait();
    assert_eq!(status.and_then(|status| status.code()), Some(0));
    complete(&sandbox);
}

#[test]
fn the_duration_ends_a_flood_whose_reader_has_stopped_and_everything_is_counted() {
    let sandbox = Sandbox::for_recording();
    // Long records, of which not many fit into what the recorder can hold.
    let writes = "writes=syscall:write{ fd, a=buf:ustring[255], b=buf:ustring[255], c=buf:ustring[255] }";
    let args = ["record", writes, "--print", "--buffer-size", "1M", "-o", "t", "-d", "4s", "--"];
    let args = [&args[..], &["sh", "-c", WRITES]].concat();
    let mut running = sandbox.start(&args);
    let start = Instant::now();
    let _reader = Reader::stopped(&mut running);
    assert_eq!(running.wait(), Some(128 + libc::SIGTERM), "{}", running.stderr());
    assert!(start.elapsed() < Duration::from_secs(4) + SOON, "{:?}", start.elapsed());
    assert!(running.stderr().contains(" rows were not printed"), "{}", running.stderr());
    let trace = sandbox.path("t");
    assert_eq!(meta(&trace)["state"], "closed");
    let (seen, recorded, lost) = counts(&trace, "writes");
    assert!(recorded > 0 && lost > 0, "{seen} = {recorded} + {lost}: it was to be behind");
    assert_eq!(Table::read(&trace, "writes").len() as i128, recorded);
}

#[test]
fn a_third_signal_ends_it_at_once_even_if_it_was_ignored_at_the_start() {
    let sandbox = Sandbox::for_recording();
    let writes = "writes=syscall:write{ fd, count }";
    let mut command = sandbox.command(&["record", writes, "--print", "-o", "t", "--", "sh", "-c", WRITES]);
    // SAFETY: signal(2) is async-signal-safe.
    unsafe {
        command.pre_exec(|| {
            libc::signal(libc::SIGTERM, libc::SIG_IGN);
            Ok(())
        })
    };
    let mut running = sandbox.start_command(command);
    let _reader = Reader::stopped(&mut running);
    let stray = Stray(sandbox.path("pid"));
    wait_for("the command to run", || stray.pid().is_some());
    sleep(Duration::from_secs(2));
    for _ in 0..2 {
        running.signal(libc::SIGTERM);
        sleep(Duration::from_millis(200));
    }
    assert!(running.child.try_wait().unwrap().is_none(), "{}", running.stderr());
    running.signal(libc::SIGTERM);
    let start = Instant::now();
    let code = running.wait();
    assert_eq!(code, None, "ended by the signal: {}", running.stderr());
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    assert_eq!(meta(&sandbox.path("t"))["state"], "open");
}
