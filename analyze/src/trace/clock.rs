//! Translates a time that a user read on the recorded machine's wall clock to the time scale of the trace, with the help
//! of table `clock`.
//!
//! Times in a trace go on as they began, also when somebody sets the clock. So a time of day is one that the clock
//! showed, and where the clock was set back it showed some of them twice.

use anyhow::{Result, ensure};
use arrow_array::Array;
use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_schema::DataType;

use crate::trace::Trace;
use crate::trace::symbols::{column, each_batch};

/// Readings of older recorders differ by their errors, which are smaller; they did not say what was a step.
const NO_STEP_NS: i64 = 1_000_000;
/// More steps than any recording has.
const MAX_STEPS: usize = 1_000_000;

/// A time during which nobody set the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Piece {
    /// Its begin, on the trace's time scale; that of the first does not matter.
    from_ns: i64,
    /// So much more than that the clock showed.
    ahead_ns: i64,
}

/// The wall clock of one trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clock {
    /// In order; at least one.
    pieces: Vec<Piece>,
}

/// What a time that a user wrote can mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meaning {
    /// The first time at which the clock showed it or later.
    pub first_ns: i64,
    /// From then on the clock showed it or later.
    pub last_ns: i64,
}

impl Clock {
    /// Read table `clock` of `trace`.
    ///
    /// Fails if it cannot be read.
    pub fn read(trace: &Trace) -> Result<Self> {
        let mut readings: Vec<(i64, i64, bool)> = Vec::new();
        each_batch([trace], "clock", |batch| {
            let (ts, offsets) = (
                column(batch, "ts", &DataType::Int64)?,
                column(batch, "utc_minus_boottime_ns", &DataType::Int64)?,
            );
            let (ts, offsets) = (ts.as_primitive::<Int64Type>(), offsets.as_primitive::<Int64Type>());
            let steps = batch.column_by_name("step_ns");
            for row in (0..batch.num_rows()).filter(|&row| ts.is_valid(row) && offsets.is_valid(row)) {
                let ahead_ns = offsets.value(row).saturating_sub(trace.meta.utc_minus_boottime_ns);
                readings.push((ts.value(row), ahead_ns, steps.is_some_and(|steps| steps.is_valid(row))));
            }
            ensure!(readings.len() <= MAX_STEPS, "table clock has too many rows");
            Ok(())
        })?;
        Ok(Self::of(readings))
    }

    /// Of readings: time, how far the clock was ahead, and whether it was set just then.
    fn of(mut readings: Vec<(i64, i64, bool)>) -> Self {
        readings.sort_unstable();
        let mut pieces = Vec::<Piece>::new();
        for (from_ns, ahead_ns, is_step) in readings {
            let before = pieces.last().map_or(0, |piece| piece.ahead_ns);
            let is_new = is_step || ahead_ns.abs_diff(before) >= NO_STEP_NS.unsigned_abs();
            if is_new {
                // What was before the first reading that is kept, nobody knows any more.
                pieces.push(Piece { from_ns, ahead_ns });
            } else if pieces.is_empty() {
                pieces.push(Piece { from_ns, ahead_ns: 0 });
            }
        }
        if pieces.is_empty() {
            pieces.push(Piece { from_ns: 0, ahead_ns: 0 });
        }
        Self { pieces }
    }

    /// When the clock was set, and by how much.
    pub fn steps(&self) -> impl Iterator<Item = (i64, i64)> {
        self.pieces
            .windows(2)
            .map(|pair| (pair[1].from_ns, pair[1].ahead_ns.saturating_sub(pair[0].ahead_ns)))
    }

    /// What it means that the clock showed `shown_ns`.
    pub fn meaning(&self, shown_ns: i64) -> Meaning {
        let last = self.pieces.len() - 1;
        let begin = |i: usize| if i == 0 { i64::MIN } else { self.pieces[i].from_ns };
        let end = |i: usize| if i == last { i64::MAX } else { self.pieces[i + 1].from_ns };
        let at = |i: usize| shown_ns.saturating_sub(self.pieces[i].ahead_ns);
        let first = (0..=last).find(|&i| at(i) < end(i));
        let until = (0..=last).rev().find(|&i| at(i) > begin(i));
        Meaning {
            first_ns: first.map_or_else(|| at(last), |i| at(i).max(begin(i))),
            last_ns: until.map_or_else(|| at(0), |i| at(i).min(end(i))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meaning(clock: &Clock, shown_ns: i64) -> (i64, i64) {
        let Meaning { first_ns, last_ns } = clock.meaning(shown_ns);
        (first_ns, last_ns)
    }

    #[test]
    fn a_clock_that_nobody_sets_shows_the_time_of_the_trace() {
        for readings in [vec![], vec![(0, 0, false), (10, 999_999, false), (20, -5, false)]] {
            let clock = Clock::of(readings);
            assert_eq!(clock.steps().count(), 0);
            assert_eq!(meaning(&clock, 17), (17, 17));
        }
    }

    #[test]
    fn a_clock_that_is_set_back_shows_some_times_twice() {
        // At 1000 it is set back by 300: 700 to 1000 are shown from 700 on, and again from 1000 to 1300.
        let clock = Clock::of(vec![(0, 0, false), (1000, -300, true), (2000, -300, false)]);
        assert_eq!(clock.steps().collect::<Vec<_>>(), [(1000, -300)]);
        assert_eq!(meaning(&clock, 600), (600, 600));
        assert_eq!(meaning(&clock, 800), (800, 1100));
        assert_eq!(meaning(&clock, 1000), (1300, 1300));
        assert_eq!(meaning(&clock, 1200), (1500, 1500));
    }

    #[test]
    fn a_clock_that_is_set_forward_leaves_times_out() {
        let clock = Clock::of(vec![(0, 0, false), (1000, 300, true)]);
        assert_eq!(meaning(&clock, 999), (999, 999));
        // Never shown: what comes after is what happened from the step on.
        assert_eq!(meaning(&clock, 1100), (1000, 1000));
        assert_eq!(meaning(&clock, 1400), (1100, 1100));
    }

    #[test]
    fn older_recorders_tell_the_offset_only() {
        let clock = Clock::of(vec![(0, 7, false), (10_000, 3_600_000_000_000, false)]);
        assert_eq!(clock.steps().collect::<Vec<_>>(), [(10_000, 3_600_000_000_000)]);
        // Of a trace whose first rows are gone, only what the rest tells is known.
        let clock = Clock::of(vec![(9_000, 3_600_000_000_000, false)]);
        assert_eq!((clock.steps().count(), meaning(&clock, 3_600_000_000_005)), (0, (5, 5)));
    }
}
