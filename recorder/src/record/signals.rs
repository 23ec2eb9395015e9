//! Signals in, what they ask of the recording out. They are read between two drains, never handled in the middle of
//! something, and counted by a thread that does nothing else. The first ends the recording, the second ends the
//! waiting, the third ends the process, whatever the other threads wait for.

use std::collections::VecDeque;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{self, SigHandler, SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use crate::command::is_ignored;

/// Why there is no trace after a signal that came too early.
pub const ENDED_EARLY: &str = "ended by a signal before the recording began; no trace was made";
/// `si_code` of a signal that the kernel sends by itself, such as SIGINT for Ctrl-C on a terminal.
const SI_KERNEL: i32 = 0x80;

/// The same signal within this time is the same one: `timeout` sends it to its child, and then to all of the group.
const SAME: Duration = Duration::from_millis(50);

/// A signal that arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrived {
    /// Which.
    pub signal: Signal,
    /// It came from the terminal, so the command, in the same process group, got it too.
    pub from_terminal: bool,
}

/// The signals that end a recording, blocked and readable.
#[derive(Clone)]
pub struct Signals(Arc<Shared>);

struct Shared {
    /// Read under the lock of `state`, so that they are counted in the order in which they came.
    file: SignalFd,
    state: Mutex<State>,
    /// A second one has come.
    is_hurried: Arc<AtomicBool>,
}

#[derive(Default)]
struct State {
    /// Not looked at yet.
    arrived: VecDeque<Arrived>,
    count: u32,
    last: Option<(Signal, Instant)>,
    second: Option<Instant>,
}

impl State {
    /// Is it the one that came just before, once more?
    fn is_same(&mut self, signal: Signal, now: Instant) -> bool {
        let is_same = self.last.is_some_and(|(last, at)| last == signal && now.duration_since(at) < SAME);
        if !is_same {
            self.last = Some((signal, now));
        }
        is_same
    }
}

impl Signals {
    /// Block SIGINT, SIGTERM and SIGHUP in this thread and those it starts from now on: call it before any thread is
    /// started. A write beyond the limit of file sizes (`ulimit -f`) fails from now on, instead of ending the process
    /// without a word.
    pub fn block() -> Result<Self> {
        // SAFETY: SIG_IGN is no handler of ours.
        unsafe { signal::signal(Signal::SIGXFSZ, SigHandler::SigIgn) }.context("cannot ignore a signal")?;
        let mut mask = SigSet::from_iter([Signal::SIGINT, Signal::SIGTERM]);
        // nohup: whoever started it wants it to live on.
        if !is_ignored(Signal::SIGHUP) {
            mask.add(Signal::SIGHUP);
        }
        mask.thread_block().context("cannot block signals")?;
        let file = SignalFd::with_flags(&mask, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)
            .context("cannot make a signal descriptor")?;
        Ok(Self(Arc::new(Shared { file, state: Mutex::new(State::default()), is_hurried: Arc::default() })))
    }

    /// Start the thread that counts them; `get_ready` is its first call, to give up rights. Fails if that does, or if
    /// there can be no thread.
    pub fn watch(&self, get_ready: impl FnOnce() -> Result<()> + Send + 'static) -> Result<()> {
        let signals = self.clone();
        let (told, ready) = mpsc::channel();
        let watch = move || {
            let result = get_ready();
            let has_failed = result.is_err();
            // Nobody listens only if the one who waits below has died.
            let _ = told.send(result);
            if has_failed {
                return;
            }
            loop {
                let mut files = [PollFd::new(signals.0.file.as_fd(), PollFlags::POLLIN)];
                // An interrupted or failed wait is followed by a look that does not wait.
                let _ = poll(&mut files, PollTimeout::NONE);
                signals.look();
            }
        };
        thread::Builder::new().name("signals".to_owned()).spawn(watch).context("cannot start a thread")?;
        ready.recv().context("the thread that counts signals has died")?
    }

    /// The next signal that has not been looked at.
    pub fn next(&self) -> Option<Arrived> {
        self.look();
        self.lock().arrived.pop_front()
    }

    /// When the second one came.
    pub fn second(&self) -> Option<Instant> {
        self.lock().second
    }

    /// Set once a second one has come.
    pub fn is_hurried(&self) -> Arc<AtomicBool> {
        self.0.is_hurried.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Take those that are waiting. Does not come back from a third one.
    fn look(&self) {
        let mut state = self.lock();
        while let Some(info) = self.0.file.read_signal().ok().flatten() {
            let number = i32::try_from(info.ssi_signo).ok();
            let Some(signal) = number.and_then(|number| Signal::try_from(number).ok()) else { continue };
            let now = Instant::now();
            if state.is_same(signal, now) {
                continue;
            }
            state.count += 1;
            match state.count {
                1 => {}
                2 => {
                    state.second = Some(now);
                    self.0.is_hurried.store(true, Ordering::Relaxed);
                }
                _ => end_by(signal),
            }
            let from_terminal = info.ssi_code == SI_KERNEL;
            state.arrived.push_back(Arrived { signal, from_terminal });
        }
    }
}

/// End this process as `signal` ends any program.
fn end_by(signal: Signal) -> ! {
    // Whoever started the recorder may have ignored it, as shells do for what they start in the background.
    // SAFETY: SIG_DFL is no handler of ours.
    let _ = unsafe { signal::signal(signal, SigHandler::SigDfl) };
    let _ = SigSet::from_iter([signal]).thread_unblock();
    let _ = signal::raise(signal);
    // Where that was refused.
    std::process::abort()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_timeout_sends_twice_is_one_signal_and_what_a_user_sends_twice_is_two() {
        let mut state = State::default();
        let start = Instant::now();
        let mut is_same = |signal, ms| state.is_same(signal, start + Duration::from_millis(ms));
        assert!(!is_same(Signal::SIGTERM, 0));
        assert!(is_same(Signal::SIGTERM, 1));
        assert!(is_same(Signal::SIGTERM, 49));
        assert!(!is_same(Signal::SIGTERM, 60), "a stream of them gets through");
        assert!(!is_same(Signal::SIGINT, 61), "another one");
        assert!(!is_same(Signal::SIGTERM, 62));
        assert!(!is_same(Signal::SIGTERM, 200));
    }
}
