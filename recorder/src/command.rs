//! A command line in, a child process out that is held back until everything is ready to watch it.
//!
//! The child is forked at once, so its process id can be put under observation, and waits on a pipe before it calls
//! exec. If the recorder dies first, the pipe ends and the child with it.

use std::ffi::{CString, OsStr, OsString};
use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::signal::{self, SigHandler, SigSet, SigmaskHow, Signal};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork, pipe2, read, write};

/// What the shells add to the number of the signal that ended a command.
const SIGNALLED: i32 = 128;
/// Exit code of a child that never ran its program; nobody sees it.
const NOT_RUN: i32 = 127;

/// A program that exists, and its arguments.
#[derive(Debug)]
pub struct Command {
    program: CString,
    args: Vec<CString>,
    shown: String,
}

impl Command {
    /// Find the program (`words[0]`) as a shell would. Fails if it is not there or not executable.
    pub fn find(words: &[OsString]) -> Result<Self> {
        let Some(name) = words.first() else { bail!("no command given after --") };
        let shown = name.to_string_lossy().into_owned();
        let path = search(name, std::env::var_os("PATH").as_deref())?;
        let args = words.iter().map(|word| CString::new(word.as_bytes()));
        Ok(Self {
            program: CString::new(path.as_os_str().as_bytes()).context("the command holds a NUL byte")?,
            args: args.collect::<Result<_, _>>().context("an argument of the command holds a NUL byte")?,
            shown,
        })
    }

    /// Fork the child; it waits for [`Held::release`].
    pub fn hold(self) -> Result<Held> {
        let (gate_read, gate) = pipe2(OFlag::O_CLOEXEC).context("cannot make a pipe")?;
        let (failure, failure_write) = pipe2(OFlag::O_CLOEXEC).context("cannot make a pipe")?;
        let mut argv: Vec<*const libc::c_char> = self.args.iter().map(|arg| arg.as_ptr()).collect();
        argv.push(std::ptr::null());
        // SAFETY: the child only calls async-signal-safe functions (see `child`) and ends in exec or _exit, so locks
        // that other threads held at the fork do not matter.
        match unsafe { fork() }.with_context(|| format!("cannot start '{}'", self.shown))? {
            ForkResult::Child => {
                // The parent's end must not keep the pipe open, or its death would not be seen.
                drop(gate);
                child(&gate_read, &failure_write, &self.program, &argv)
            }
            ForkResult::Parent { child } => {
                Ok(Held { child: Child { pid: child, status: None }, gate, failure, shown: self.shown })
            }
        }
    }
}

/// A child that waits to be let go. Dropping it ends the child without running anything.
#[derive(Debug)]
pub struct Held {
    child: Child,
    gate: OwnedFd,
    failure: OwnedFd,
    shown: String,
}

impl Held {
    /// Process id of the child, now and later.
    pub fn pid(&self) -> u32 {
        self.child.pid()
    }

    /// Let it run its program. Fails if exec fails; the child is gone then.
    pub fn release(self) -> Result<Child> {
        let Self { mut child, gate, failure, shown } = self;
        write(&gate, b"!").with_context(|| format!("cannot start '{shown}'"))?;
        let mut errno = [0; size_of::<i32>()];
        // Exec closes the pipe; a failed exec writes its error first.
        let length = loop {
            match read(&failure, &mut errno) {
                Err(Errno::EINTR) => {}
                result => break result.context("cannot learn whether the command runs")?,
            }
        };
        if length == errno.len() {
            child.wait();
            let error = Errno::from_raw(i32::from_ne_bytes(errno));
            return Err(error).with_context(|| format!("cannot run '{shown}'"));
        }
        Ok(child)
    }
}

/// A running command.
#[derive(Debug)]
pub struct Child {
    pid: Pid,
    status: Option<i32>,
}

impl Child {
    /// Process id.
    pub fn pid(&self) -> u32 {
        self.pid.as_raw().unsigned_abs()
    }

    /// Its exit code if it has ended: 128 + signal if a signal ended it.
    pub fn poll(&mut self) -> Option<i32> {
        self.collect(Some(WaitPidFlag::WNOHANG));
        self.status
    }

    fn wait(&mut self) {
        self.collect(None);
    }

    fn collect(&mut self, flags: Option<WaitPidFlag>) {
        while self.status.is_none() {
            match waitpid(self.pid, flags) {
                Ok(WaitStatus::Exited(_, code)) => self.status = Some(code),
                Ok(WaitStatus::Signaled(_, signal, _)) => self.status = Some(SIGNALLED + signal as i32),
                Ok(WaitStatus::StillAlive) => break,
                Ok(_) | Err(Errno::EINTR) => {}
                // Somebody else collected it: its code is unknown, but it is over.
                Err(_) => self.status = Some(NOT_RUN),
            }
        }
    }

    /// Send it `signal`; nothing happens if it has ended.
    pub fn signal(&self, signal: Signal) {
        if self.status.is_none() {
            // The only error left is that it has just ended.
            let _ = signal::kill(self.pid, signal);
        }
    }
}

/// The child's side: wait for the gate, then become the program. Only async-signal-safe calls from here on.
fn child(gate: &OwnedFd, failure: &OwnedFd, program: &CString, argv: &[*const libc::c_char]) -> ! {
    // The recorder blocks the signals that end it and ignores SIGPIPE; programs expect neither. Waiting comes first
    // with the signals already free, so that one that arrives now ends the child.
    // SAFETY: SIG_DFL is no handler of ours.
    let _ = unsafe { signal::signal(Signal::SIGPIPE, SigHandler::SigDfl) };
    let _ = signal::sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None);
    let mut go = [0];
    loop {
        match read(gate, &mut go) {
            Ok(1) => break,
            Err(Errno::EINTR) => {}
            // SAFETY: _exit only ends the process.
            _ => unsafe { libc::_exit(NOT_RUN) },
        }
    }
    // SAFETY: program and argv are NUL-terminated and argv ends with a null pointer.
    unsafe { libc::execv(program.as_ptr(), argv.as_ptr()) };
    let errno = Errno::last_raw().to_ne_bytes();
    // SAFETY: writes from a live buffer of that length, then ends the process.
    unsafe {
        libc::write(failure.as_raw_fd(), errno.as_ptr().cast(), errno.len());
        libc::_exit(NOT_RUN)
    }
}

fn search(name: &OsStr, path: Option<&OsStr>) -> Result<PathBuf> {
    let shown = name.to_string_lossy();
    if name.as_bytes().contains(&b'/') {
        let path = Path::new(name);
        if !path.exists() {
            bail!("command not found: {shown}");
        }
        if !is_executable(path) {
            bail!("command {shown} is not an executable file");
        }
        return Ok(path.to_owned());
    }
    std::env::split_paths(path.unwrap_or_default())
        .map(|directory| directory.join(name))
        .find(|path| is_executable(path))
        .with_context(|| format!("command not found: {shown}; give its path, or put its directory into PATH"))
}

fn is_executable(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    fn held(words: &[&str]) -> Held {
        Command::find(&words.iter().map(OsString::from).collect::<Vec<_>>()).unwrap().hold().unwrap()
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
        drop(std::mem::replace(&mut held.gate, pipe2(OFlag::O_CLOEXEC).unwrap().1));
        held.child.wait();
        assert_eq!(held.child.status, Some(NOT_RUN));
        assert!(start.elapsed() < Duration::from_secs(30));
    }

    #[test]
    fn an_exec_that_fails_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("no-program");
        fs::write(&file, "\x7fELF rubbish").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
        let error = held(&[file.to_str().unwrap()]).release().unwrap_err();
        assert!(format!("{error:#}").contains("Exec format error"), "{error:#}");
    }

    #[test]
    fn a_command_that_is_not_there_is_named() {
        for name in ["no-such-command", "/no/such/command"] {
            let error = Command::find(&[OsString::from(name)]).unwrap_err().to_string();
            assert!(error.starts_with(&format!("command not found: {name}")), "{error}");
        }
    }
}
