//! Times at which a trigger is set off in; whether that makes a snapshot out. Each trigger has a budget of its own, so
//! that a frequent one takes nothing from a rare one, and it comes back, so that none is lost for ever.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// The time of which the number of snapshots is bounded.
pub const PERIOD: Duration = Duration::from_secs(3600);

/// What the budget says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Make a snapshot, and tell [`Budget::done`].
    Granted,
    /// The last time is not long ago.
    TooSoon,
    /// There are enough of this hour.
    UsedUp {
        /// It is the first refusal of this kind since the last snapshot.
        is_news: bool,
    },
}

/// Of one trigger.
#[derive(Debug, Default)]
pub struct Budget {
    last: Option<Instant>,
    /// Snapshots of the last hour.
    made: VecDeque<Instant>,
    /// Granted, and not there yet.
    underway: u32,
    is_told: bool,
}

impl Budget {
    /// It was set off at `now`. It may make `most` snapshots in an hour, and one in each `gap`.
    pub fn ask(&mut self, now: Instant, gap: Duration, most: u32) -> Answer {
        if self.last.is_some_and(|last| now.duration_since(last) < gap) {
            return Answer::TooSoon;
        }
        while self.made.front().is_some_and(|made| now.duration_since(*made) >= PERIOD) {
            self.made.pop_front();
        }
        if self.made.len() + self.underway as usize >= most as usize {
            return Answer::UsedUp { is_news: !std::mem::replace(&mut self.is_told, true) };
        }
        self.is_told = false;
        self.underway += 1;
        self.last = Some(now);
        Answer::Granted
    }

    /// What was granted is there, or could not be made: then it costs nothing.
    pub fn done(&mut self, now: Instant, is_made: bool) {
        self.underway = self.underway.saturating_sub(1);
        if is_made {
            self.made.push_back(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GAP: Duration = Duration::from_secs(10);

    #[test]
    fn the_budget_of_an_hour_is_used_up_once_and_comes_back() {
        let (start, mut budget) = (Instant::now(), Budget::default());
        let mut ask = |at: u64| {
            let now = start + Duration::from_secs(at);
            let answer = budget.ask(now, GAP, 2);
            if answer == Answer::Granted {
                budget.done(now, true);
            }
            answer
        };
        assert_eq!([ask(0), ask(9), ask(10)], [Answer::Granted, Answer::TooSoon, Answer::Granted]);
        assert_eq!(ask(20), Answer::UsedUp { is_news: true });
        assert_eq!(ask(3599), Answer::UsedUp { is_news: false });
        assert_eq!([ask(3600), ask(3609)], [Answer::Granted, Answer::TooSoon]);
        assert_eq!(ask(3610), Answer::Granted);
        assert_eq!(ask(3620), Answer::UsedUp { is_news: true });
    }

    #[test]
    fn a_snapshot_that_failed_costs_nothing_but_the_gap() {
        let (start, mut budget) = (Instant::now(), Budget::default());
        assert_eq!(budget.ask(start, GAP, 1), Answer::Granted);
        assert_eq!(budget.ask(start + GAP, GAP, 1), Answer::UsedUp { is_news: true }, "one is underway");
        budget.done(start + GAP, false);
        assert_eq!(budget.ask(start + GAP, GAP, 1), Answer::Granted);
    }
}
