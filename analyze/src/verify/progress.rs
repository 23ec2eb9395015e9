//! Shows on stderr how much of a trace has been verified.

use std::io::{self, IsTerminal};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Work is called long, and its progress shown, after this.
const LONG: Duration = Duration::from_secs(1);

/// Shown on a terminal only.
pub struct Progress {
    begin: Instant,
    bytes: u64,
    is_terminal: bool,
    shown: Mutex<Option<ProgressBar>>,
}

impl Progress {
    /// Of that many bytes.
    pub fn of(bytes: u64) -> Self {
        let is_terminal = io::stderr().is_terminal();
        Self { begin: Instant::now(), bytes, is_terminal, shown: Mutex::new(None) }
    }

    /// So many have been verified.
    pub fn show(&self, done: u64) {
        if !self.is_terminal || self.begin.elapsed() < LONG {
            return;
        }
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        shown.get_or_insert_with(|| bar(self.bytes)).set_position(done);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = self.shown.get_mut().unwrap_or_else(PoisonError::into_inner).take() {
            bar.finish_and_clear();
        }
    }
}

fn bar(bytes: u64) -> ProgressBar {
    let bar = ProgressBar::new(bytes).with_elapsed(LONG);
    bar.set_draw_target(ProgressDrawTarget::stderr());
    let style = ProgressStyle::with_template(
        "{elapsed} {wide_bar} verified {bytes} of {total_bytes}, Ctrl-C ends it",
    );
    bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}
