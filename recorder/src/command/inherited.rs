//! How the recorder was started in; how the command is started out: with the same signals blocked and ignored, as if
//! the recorder were not there.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};
use nix::sys::signal::{self, SigHandler, SigSet, SigmaskHow, Signal};

/// Whether SIGPIPE was ignored before Rust's runtime did so for itself.
static PIPE_IS_IGNORED: AtomicBool = AtomicBool::new(false);

/// Runs before the runtime, which ignores SIGPIPE without keeping what was there.
#[used]
// SAFETY: the section holds pointers to functions, which the C library calls one after another before main.
#[unsafe(link_section = ".init_array")]
static LOOK_FIRST: extern "C" fn() = look_first;

extern "C" fn look_first() {
    PIPE_IS_IGNORED.store(is_ignored(Signal::SIGPIPE), Ordering::Relaxed);
}

/// What a program takes over from the one that starts it.
#[derive(Clone, Copy, Debug)]
pub struct Inherited {
    mask: SigSet,
    ignores_pipe: bool,
    ignores_child: bool,
    ignores_file_size: bool,
}

impl Inherited {
    /// As it is now: call it before signals are blocked. From here on the ends of children are told, which they are
    /// not where SIGCHLD is ignored.
    pub fn take() -> Result<Self> {
        let mask = SigSet::thread_get_mask().context("cannot ask which signals are blocked")?;
        let ignores_child = is_ignored(Signal::SIGCHLD);
        // SAFETY: SIG_DFL is no handler of ours, and there was none before.
        let is_done = unsafe { signal::signal(Signal::SIGCHLD, SigHandler::SigDfl) };
        is_done.context("cannot have the end of the command told")?;
        let ignores_pipe = PIPE_IS_IGNORED.load(Ordering::Relaxed);
        Ok(Self { mask, ignores_pipe, ignores_child, ignores_file_size: is_ignored(Signal::SIGXFSZ) })
    }

    /// Be like that again. Only async-signal-safe calls: for a child before it calls exec.
    pub(super) fn restore(&self) {
        let handler = |is_ignored| if is_ignored { SigHandler::SigIgn } else { SigHandler::SigDfl };
        for (number, is_ignored) in [
            (Signal::SIGPIPE, self.ignores_pipe),
            (Signal::SIGCHLD, self.ignores_child),
            (Signal::SIGXFSZ, self.ignores_file_size),
        ] {
            // SAFETY: neither is a handler of ours.
            let _ = unsafe { signal::signal(number, handler(is_ignored)) };
        }
        let _ = signal::sigprocmask(SigmaskHow::SIG_SETMASK, Some(&self.mask), None);
    }
}

/// Does this process ignore `signal`?
pub fn is_ignored(signal: Signal) -> bool {
    let mut action = std::mem::MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: asks, and changes nothing; zeroes are a valid action where that fails.
    let action = unsafe {
        libc::sigaction(signal as i32, std::ptr::null(), action.as_mut_ptr());
        action.assume_init()
    };
    action.sa_sigaction == libc::SIG_IGN
}
