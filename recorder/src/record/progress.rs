//! Counts of a running recording in, one line on the terminal out.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use crate::cli::units::show_size;

const EVERY: Duration = Duration::from_millis(500);

/// The line; it does nothing if standard error is no terminal.
pub struct Progress {
    is_shown: bool,
    started: Instant,
    last: Instant,
    last_records: u64,
}

impl Progress {
    /// Start counting now. `is_wanted` is false when something else uses the terminal.
    pub fn new(is_wanted: bool) -> Self {
        let now = Instant::now();
        Self { is_shown: is_wanted && io::stderr().is_terminal(), started: now, last: now, last_records: 0 }
    }

    /// Show it anew if it is time: `records` so far, `lost` and `bytes` on disk are asked for only then.
    pub fn update(&mut self, records: u64, state: impl FnOnce() -> (u64, u64)) {
        let since = self.last.elapsed();
        if !self.is_shown || since < EVERY {
            return;
        }
        let (lost, bytes) = state();
        let rate = (records - self.last_records) as f64 / since.as_secs_f64();
        let seconds = self.started.elapsed().as_secs();
        // A terminal that went away is no reason to stop recording.
        let _ = write!(
            io::stderr(),
            "\r\x1b[K{:02}:{:02}:{:02}  {records} events  {rate:.0}/s  lost {lost}  {}",
            seconds / 3600,
            seconds / 60 % 60,
            seconds % 60,
            show_size(bytes)
        );
        self.last = Instant::now();
        self.last_records = records;
    }

    /// Take the line away, so that other text can be written.
    pub fn clear(&self) {
        if self.is_shown {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }

    /// Time since the start.
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }
}
