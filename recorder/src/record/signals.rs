//! Signals in, what they ask of the recording out. They are read between two drains, never handled in the middle of
//! something. The first ends the recording, the second ends the waiting, the third ends the process.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::{Context, Result};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// Why there is no trace after a signal that came too early.
pub const ENDED_EARLY: &str = "ended by a signal before the recording began; no trace was made";
/// `si_code` of a signal that the kernel sends by itself, such as SIGINT for Ctrl-C on a terminal.
const SI_KERNEL: i32 = 0x80;

/// The signals that end a recording, blocked and readable.
pub struct Signals {
    file: SignalFd,
    mask: SigSet,
    count: u32,
}

/// A signal that arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrived {
    /// Which.
    pub signal: Signal,
    /// It came from the terminal, so the command, in the same process group, got it too.
    pub from_terminal: bool,
}

impl Signals {
    /// Block SIGINT, SIGTERM and SIGHUP in this thread and those it starts from now on: call it before any thread is
    /// started.
    pub fn block() -> Result<Self> {
        let mut mask = SigSet::from_iter([Signal::SIGINT, Signal::SIGTERM]);
        // nohup: whoever started it wants it to live on.
        if !is_ignored(Signal::SIGHUP) {
            mask.add(Signal::SIGHUP);
        }
        mask.thread_block().context("cannot block signals")?;
        let file = SignalFd::with_flags(&mask, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)
            .context("cannot make a signal descriptor")?;
        Ok(Self { file, mask, count: 0 })
    }

    /// The next signal that is waiting. After the second one they are let through: a third ends the recorder at once.
    pub fn next(&mut self) -> Option<Arrived> {
        let info = self.file.read_signal().ok().flatten()?;
        self.count += 1;
        if self.count == 2 {
            // Not being able to unblock leaves things as they are.
            let _ = self.mask.thread_unblock();
        }
        let signal = Signal::try_from(i32::try_from(info.ssi_signo).ok()?).ok()?;
        Some(Arrived { signal, from_terminal: info.ssi_code == SI_KERNEL })
    }

    /// Leave signals to a thread, while this one closes the trace. The result is set once a second one has come,
    /// or when there can be none.
    pub fn watch(mut self) -> Arc<AtomicBool> {
        let is_hurried = Arc::new(AtomicBool::new(self.count > 1));
        let seen = is_hurried.clone();
        let watch = move || {
            while self.count < 2 {
                let mut files = [PollFd::new(self.file.as_fd(), PollFlags::POLLIN)];
                // An interrupted or failed wait is followed by a look that does not wait.
                let _ = poll(&mut files, PollTimeout::NONE);
                self.next();
                seen.store(self.count > 1, Ordering::Relaxed);
            }
            // A thread that lives lets the next one through.
            thread::park();
        };
        if thread::Builder::new().name("signals".to_owned()).spawn(watch).is_err() {
            is_hurried.store(true, Ordering::Relaxed);
        }
        is_hurried
    }
}

/// Was this process started with `signal` ignored?
fn is_ignored(signal: Signal) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored =
        status.lines().find_map(|line| u64::from_str_radix(line.strip_prefix("SigIgn:")?.trim(), 16).ok());
    ignored.is_some_and(|ignored| ignored >> (signal as i32 - 1) & 1 == 1)
}
