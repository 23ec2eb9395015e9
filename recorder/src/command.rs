//! A command line in, a child process out that is held back until everything is ready to watch it.
//!
//! The child is forked at once, so its process id can be put under observation, and waits on a pipe before it calls
//! exec. If the recorder dies first, the pipe ends and the child with it.
//!
//! The file that was found is the file that is run: the child compares before it calls exec. Executing a descriptor
//! would need no comparison, but then the kernel calls the program `/dev/fd/N`, its threads `N` (before 6.14), and
//! scripts get that for their name: just what is to be recorded.

use std::ffi::{CString, OsStr, OsString};
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::signal::{self, SigHandler, SigSet, SigmaskHow, Signal};
use nix::sys::stat::stat;
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::{ForkResult, Pid, fork, pipe2, read, write};

/// What the shells add to the number of the signal that ended a command.
const SIGNALLED: i32 = 128;
/// Exit code of a child that never ran its program; nobody sees it.
const NOT_RUN: i32 = 127;

/// What a child says when its program is not the file that was found.
const REPLACED: Errno = Errno::ESTALE;

/// Device and inode.
type FileId = (u64, u64);

/// A program that exists, and its arguments.
#[derive(Debug)]
pub struct Command {
    program: CString,
    file: FileId,
    args: Vec<CString>,
    shown: String,
}

impl Command {
    /// Find the program (`words[0]`) as a shell would. Fails if it is not there or not executable.
    pub fn find(words: &[OsString]) -> Result<Self> {
        let Some(name) = words.first() else { bail!("no command given after --") };
        let shown = name.to_string_lossy().into_owned();
        let (path, file) = search(name, std::env::var_os("PATH").as_deref())?;
        let args = words.iter().map(|word| CString::new(word.as_bytes()));
        Ok(Self {
            program: CString::new(path.as_os_str().as_bytes()).context("the command holds a NUL byte")?,
            file,
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
                child(&gate_read, &failure_write, (&self.program, self.file), &argv)
            }
            ForkResult::Parent { child } => Ok(Held {
                child: Some(Child { pid: child, pidfd: pidfd(child)?, status: None }),
                gate: Some(gate),
                failure,
                shown: self.shown,
            }),
        }
    }
}

/// A child that waits to be let go. Dropping it ends the child without running anything.
#[derive(Debug)]
pub struct Held {
    /// Until it is released.
    child: Option<Child>,
    /// Until it is opened or closed.
    gate: Option<OwnedFd>,
    failure: OwnedFd,
    shown: String,
}

impl Drop for Held {
    fn drop(&mut self) {
        drop(self.gate.take());
        if let Some(child) = &mut self.child {
            child.wait();
        }
    }
}

impl Held {
    /// Process id of the child, now and later.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().map_or(0, Child::pid)
    }

    /// Let it run its program. Fails if exec fails; the child is gone then.
    pub fn release(mut self) -> Result<Child> {
        let shown = std::mem::take(&mut self.shown);
        let (Some(mut child), Some(gate)) = (self.child.take(), self.gate.take()) else {
            bail!("'{shown}' was started already");
        };
        write(&gate, b"!").with_context(|| format!("cannot start '{shown}'"))?;
        let mut errno = [0; size_of::<i32>()];
        // Exec closes the pipe; a failed exec writes its error first.
        let length = loop {
            match read(&self.failure, &mut errno) {
                Err(Errno::EINTR) => {}
                result => break result.context("cannot learn whether the command runs")?,
            }
        };
        if length == errno.len() {
            child.wait();
            let error = Errno::from_raw(i32::from_ne_bytes(errno));
            ensure!(error != REPLACED, "'{shown}' is another file now than when it was looked up: not run");
            return Err(error).with_context(|| format!("cannot run '{shown}'"));
        }
        Ok(child)
    }
}

/// A running command.
#[derive(Debug)]
pub struct Child {
    pid: Pid,
    pidfd: OwnedFd,
    status: Option<i32>,
}

impl Child {
    /// Process id.
    pub fn pid(&self) -> u32 {
        self.pid.as_raw().unsigned_abs()
    }

    /// Its exit code if it has ended: 128 + signal if a signal ended it.
    pub fn poll(&mut self) -> Option<i32> {
        self.collect(WaitPidFlag::WNOHANG);
        self.status
    }

    fn wait(&mut self) {
        self.collect(WaitPidFlag::empty());
    }

    fn collect(&mut self, flags: WaitPidFlag) {
        while self.status.is_none() {
            match waitid(Id::PIDFd(self.pidfd.as_fd()), WaitPidFlag::WEXITED | flags) {
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
            let (fd, info) = (self.pidfd.as_raw_fd(), std::ptr::null::<libc::siginfo_t>());
            // It may have just ended, or be another user's and we without CAP_KILL: it is told in the end if it runs.
            // SAFETY: a descriptor of ours, and no information about the signal.
            let _ = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, fd, signal as i32, info, 0) };
        }
    }
}

/// The child's side: wait for the gate, then become the program. Only async-signal-safe calls from here on.
fn child(
    gate: &OwnedFd,
    failure: &OwnedFd,
    (program, file): (&CString, FileId),
    argv: &[*const libc::c_char],
) -> ! {
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
    let errno = match stat(program.as_c_str()) {
        Ok(now) if (now.st_dev, now.st_ino) != file => REPLACED as i32,
        _ => {
            // SAFETY: program and argv are NUL-terminated and argv ends with a null pointer.
            unsafe { libc::execv(program.as_ptr(), argv.as_ptr()) };
            Errno::last_raw()
        }
    };
    let errno = errno.to_ne_bytes();
    // SAFETY: writes from a live buffer of that length, then ends the process.
    unsafe {
        libc::write(failure.as_raw_fd(), errno.as_ptr().cast(), errno.len());
        libc::_exit(NOT_RUN)
    }
}

/// The descriptor of a child that has not been waited for, so that its number is still its own.
fn pidfd(child: Pid) -> Result<OwnedFd> {
    // SAFETY: plain numbers.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, child.as_raw(), 0) };
    let fd = i32::try_from(fd).ok().filter(|fd| *fd >= 0).ok_or_else(io::Error::last_os_error);
    let fd = fd.context("cannot watch the command")?;
    // SAFETY: the kernel has just given us this descriptor.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Where the program is, and which file that is.
fn search(name: &OsStr, path: Option<&OsStr>) -> Result<(PathBuf, FileId)> {
    let shown = name.to_string_lossy();
    if name.as_bytes().contains(&b'/') {
        let path = Path::new(name);
        if !path.exists() {
            bail!("command not found: {shown}");
        }
        let file = executable(path).with_context(|| format!("command {shown} is not an executable file"))?;
        return Ok((path.to_owned(), file));
    }
    std::env::split_paths(path.unwrap_or_default())
        .map(|directory| directory.join(name))
        .find_map(|path| executable(&path).map(|file| (path, file)))
        .with_context(|| format!("command not found: {shown}; give its path, or put its directory into PATH"))
}

/// Which file is at `path`, if it is one that can be executed.
fn executable(path: &Path) -> Option<FileId> {
    let metadata = fs::metadata(path).ok()?;
    let is_program = metadata.is_file() && metadata.permissions().mode() & 0o111 != 0;
    is_program.then(|| (metadata.dev(), metadata.ino()))
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
    fn an_exec_that_fails_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("no-program");
        fs::write(&file, "\x7fELF rubbish").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
        let error = held(&[file.to_str().unwrap()]).release().unwrap_err();
        assert!(format!("{error:#}").contains("Exec format error"), "{error:#}");
    }

    #[test]
    fn a_program_that_was_replaced_is_not_run() {
        let directory = tempfile::tempdir().unwrap();
        let (program, ran) = (directory.path().join("program"), directory.path().join("ran"));
        let put = |text: String| {
            let new = directory.path().join("new");
            fs::write(&new, text).unwrap();
            fs::set_permissions(&new, fs::Permissions::from_mode(0o755)).unwrap();
            fs::rename(&new, &program).unwrap();
        };
        put("#!/bin/sh\nexit 3\n".to_owned());
        assert_eq!(code_of(held(&[program.to_str().unwrap()]).release().unwrap()), 3);
        let held = held(&[program.to_str().unwrap()]);
        put(format!("#!/bin/sh\ntouch {}\n", ran.display()));
        let error = held.release().unwrap_err().to_string();
        assert!(error.contains("another file now"), "{error}");
        assert!(!ran.exists());
    }

    #[test]
    fn a_command_that_is_not_there_is_named() {
        for name in ["no-such-command", "/no/such/command"] {
            let error = Command::find(&[OsString::from(name)]).unwrap_err().to_string();
            assert!(error.starts_with(&format!("command not found: {name}")), "{error}");
        }
    }
}
