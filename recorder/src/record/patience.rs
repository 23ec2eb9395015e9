//! The end of a recording in; how long what is left may take out. A disk that is busy gets its time, one that does not
//! answer ends nothing.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::signals::Signals;

/// Time in which to merge small segments.
const MERGING: Duration = Duration::from_secs(20);
/// Time in which the trace has to be closed, ...
const CLOSING: Duration = Duration::from_secs(30);
/// ... and after a second signal.
const HURRIED: Duration = Duration::from_secs(5);

/// How long it may take.
pub struct Patience {
    signals: Signals,
    since: Instant,
}

impl Patience {
    /// From now on.
    pub fn start(signals: &Signals) -> Self {
        Self { signals: signals.clone(), since: Instant::now() }
    }

    /// Whether it is over. When it nearly is, small segments are merged no more.
    pub fn is_over(&self) -> bool {
        let elapsed = self.since.elapsed();
        if elapsed >= MERGING {
            self.signals.is_hurried().store(true, Ordering::Relaxed);
        }
        elapsed >= CLOSING || self.signals.second().is_some_and(|at| at.max(self.since).elapsed() >= HURRIED)
    }

    /// The time that has gone.
    pub fn elapsed(&self) -> Duration {
        self.since.elapsed()
    }

    /// Nobody wants to wait any more.
    pub fn is_hurried(&self) -> bool {
        self.signals.second().is_some()
    }
}
