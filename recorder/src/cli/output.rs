//! Writes to standard output and standard error, and knows what it means when they do not take it.
//!
//! Errors of standard output, and of what else events are printed to, are marked where it is written: that nobody reads any more is a success, while the same
//! error of a disk or a socket is a failure.

use std::error::Error;
use std::fmt::{self, Display};
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::fstat;

/// Longest wait for standard error to take a message: its reader may have stopped without closing it.
const PATIENCE_MS: u16 = 1000;
/// What a pipe that is ready takes without waiting.
const PIPE_BYTES: usize = 4096;

/// Standard output, or what takes its place, refused what was written.
#[derive(Debug)]
struct Refused {
    error: io::Error,
    place: String,
    is_device: bool,
}

impl Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot write to {}: {}", self.place, self.error)
    }
}

impl Error for Refused {}

/// Standard output, locked.
pub struct Output(io::StdoutLock<'static>);

/// Standard output, whose errors are marked as such.
pub fn output() -> Output {
    Output(io::stdout().lock())
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes).map_err(mark_standard)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush().map_err(mark_standard)
    }
}

/// `error`, marked as one of `place`, which is open as `fd`; of the same kind, so that a write that was interrupted is
/// tried again.
pub fn mark(error: io::Error, place: &str, fd: BorrowedFd<'_>) -> io::Error {
    let is_device = fstat(fd).is_ok_and(|stat| stat.st_mode & libc::S_IFMT == libc::S_IFCHR);
    io::Error::new(error.kind(), Refused { error, place: place.to_owned(), is_device })
}

fn mark_standard(error: io::Error) -> io::Error {
    mark(error, "standard output", io::stdout().as_fd())
}

/// True if the reader of standard output went away, which is no failure.
pub fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().filter_map(|cause| cause.downcast_ref::<io::Error>()).any(is_reader_gone)
}

/// True if what was written was refused because its reader has ended, or its terminal is closed.
pub fn is_reader_gone(error: &io::Error) -> bool {
    let refused = error.get_ref().and_then(|inner| inner.downcast_ref());
    let Some(Refused { error, is_device, .. }) = refused else { return false };
    error.kind() == io::ErrorKind::BrokenPipe || error.raw_os_error() == Some(libc::EIO) && *is_device
}

/// One message on standard error. A terminal that went away is no reason to do anything else than without it, and nor
/// is a reader that has stopped: the message is lost then, because nobody would see it and the recording has to end.
pub fn say(text: impl Display) {
    let text = format!("recorder: {text}\n");
    for part in text.as_bytes().chunks(PIPE_BYTES) {
        if !is_error_ready() {
            return;
        }
        let _ = io::stderr().write_all(part);
    }
}

/// What changes on a terminal as it goes: left out when it is not taken at once.
pub fn show(text: impl Display) {
    if is_ready(0) {
        let _ = write!(io::stderr(), "{text}");
    }
}

/// Whether standard error takes something, perhaps after a while; one that did not is not waited for again.
fn is_error_ready() -> bool {
    static IS_STUCK: AtomicBool = AtomicBool::new(false);
    let patience_ms = if IS_STUCK.load(Ordering::Relaxed) { 0 } else { PATIENCE_MS };
    let is_ready = is_ready(patience_ms);
    IS_STUCK.store(!is_ready, Ordering::Relaxed);
    is_ready
}

fn is_ready(patience_ms: u16) -> bool {
    let stderr = io::stderr();
    let mut files = [PollFd::new(stderr.as_fd(), PollFlags::POLLOUT)];
    // Where that cannot be asked, writing tells.
    poll(&mut files, PollTimeout::from(patience_ms)).map_or(true, |ready| ready > 0)
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::*;

    fn error(raw: i32) -> io::Error {
        io::Error::from_raw_os_error(raw)
    }

    #[test]
    fn only_what_standard_output_refused_is_a_reader_that_went_away() {
        let written = Err::<(), _>(mark_standard(error(libc::EPIPE))).context("cannot list").unwrap_err();
        assert!(is_broken_pipe(&written));
        assert_eq!(
            format!("{written:#}"),
            "cannot list: cannot write to standard output: Broken pipe (os error 32)"
        );
        for raw in [libc::EPIPE, libc::EIO] {
            let elsewhere = Err::<(), _>(error(raw)).context("cannot write 't/trace.json'").unwrap_err();
            assert!(!is_broken_pipe(&elsewhere), "{elsewhere:#}");
        }
        assert!(!is_broken_pipe(&mark_standard(error(libc::ENOSPC)).into()));
    }
}
