//! The end of a recording in; how long what is left may take out. A disk or a machine that is busy gets its time, as long
//! as there is progress; a disk that does not answer ends nothing.

use std::cell::Cell;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::signals::Signals;

/// Time in which to merge small segments.
const MERGING: Duration = Duration::from_secs(20);
/// Time without any progress in closing the trace after which that is given up, ...
const CLOSING: Duration = Duration::from_secs(30);
/// ... and time in which it has to be closed after a second signal.
const HURRIED: Duration = Duration::from_secs(5);

/// How long it may take.
pub struct Patience {
    signals: Signals,
    since: Instant,
    /// A number that grows with what is done.
    steps: Box<dyn Fn() -> u64>,
    /// That number, and since when it is so.
    moved: Cell<(u64, Instant)>,
}

impl Patience {
    /// From now on, while `steps` grows with what is done.
    pub fn start(signals: &Signals, steps: impl Fn() -> u64 + 'static) -> Self {
        let since = Instant::now();
        let moved = Cell::new((steps(), since));
        Self { signals: signals.clone(), since, steps: Box::new(steps), moved }
    }

    /// Whether it is over. When it nearly is, small segments are merged no more.
    pub fn is_over(&self) -> bool {
        if self.since.elapsed() >= MERGING {
            self.signals.is_hurried().store(true, Ordering::Relaxed);
        }
        let (steps, (before, since)) = ((self.steps)(), self.moved.get());
        if steps != before {
            self.moved.set((steps, Instant::now()));
        }
        steps == before && since.elapsed() >= CLOSING
            || self.signals.second().is_some_and(|at| at.max(self.since).elapsed() >= HURRIED)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_moves_gets_its_time_and_what_does_not_move_is_given_up() {
        let signals = Signals::block().unwrap();
        let long_ago = Instant::now().checked_sub(CLOSING).unwrap();
        let patience = |steps: u64| {
            let patience = Patience::start(&signals, move || steps);
            Patience { moved: Cell::new((7, long_ago)), ..patience }
        };
        assert!(patience(7).is_over());
        let moving = patience(8);
        assert!(!moving.is_over());
        assert!(!moving.is_over(), "it has moved just now");
        assert!(!signals.is_hurried().load(Ordering::Relaxed), "there is time to merge");
    }
}
