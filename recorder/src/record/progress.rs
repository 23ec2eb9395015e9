//! Counts of a running recording in, one line on the terminal out; without a terminal only a warning, once, when
//! something is lost.

use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use super::summary::lost;
use crate::cli::units::show_size;
use crate::cli::{say, show};
use crate::pipeline::TraceWriter;

const EVERY: Duration = Duration::from_millis(500);
/// Width of a terminal that does not tell.
const COLUMNS: usize = 80;
/// Back to the start of the line, and clear it.
const AGAIN: &str = "\r\x1b[K";

/// The line, or the warning.
pub struct Progress {
    is_shown: bool,
    /// Losses have been told.
    has_warned: bool,
    started: Instant,
    last: Instant,
    last_records: u64,
}

impl Progress {
    /// Start counting now. `is_wanted` is false when something else uses the terminal.
    pub fn new(is_wanted: bool) -> Self {
        let now = Instant::now();
        let is_shown = is_wanted && io::stderr().is_terminal();
        Self { is_shown, has_warned: false, started: now, last: now, last_records: 0 }
    }

    /// The line of a replay: what its recording has lost is told at the end.
    pub fn of_replay() -> Self {
        Self { has_warned: true, ..Self::new(true) }
    }

    /// Show it anew if it is time: `records` have come so far.
    pub fn update(&mut self, records: u64, writer: &TraceWriter) {
        let since = self.last.elapsed();
        if since < EVERY {
            return;
        }
        let (lost, loss) = lost(writer.totals().values());
        if self.is_shown {
            let rate = (records - self.last_records) as f64 / since.as_secs_f64();
            let seconds = self.started.elapsed().as_secs();
            let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
            let size = show_size(writer.bytes_written());
            let why = loss.map(|loss| format!(" ({}): {}", loss.name, loss.remedy)).unwrap_or_default();
            let line = format!(
                "{hours:02}:{minutes:02}:{seconds:02}  {rate:.0}/s  {records} recorded  {size}  lost {lost}{why}"
            );
            let line: String = line.chars().take(columns() - 1).collect();
            show(format_args!("{AGAIN}{line}"));
        } else if lost > 0 && !self.has_warned {
            self.has_warned = true;
            let why = loss
                .map(|loss| format!(" ({}): {}; {}", loss.name, loss.meaning, loss.remedy))
                .unwrap_or_default();
            say(format_args!("warning: {lost} events are lost so far{why}"));
        }
        self.last = Instant::now();
        self.last_records = records;
    }

    /// Take the line away, so that other text can be written.
    pub fn clear(&self) {
        if self.is_shown {
            show(AGAIN);
        }
    }

    /// Time since the start.
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }
}

/// Width of the terminal, at least 1.
fn columns() -> usize {
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the kernel writes to a local variable.
    let result = unsafe { libc::ioctl(libc::STDERR_FILENO, libc::TIOCGWINSZ, &raw mut size) };
    if result == 0 && size.ws_col > 0 { usize::from(size.ws_col) } else { COLUMNS }
}
