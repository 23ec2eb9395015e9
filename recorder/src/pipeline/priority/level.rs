//! Decides from how much waits, and how long, which priority the threads that write need.

/// Part of a queue that may be in use, ...
const FULL: f64 = 0.5;
/// ... and pressure below which there is no need to take time from anybody.
const CALM: f64 = 0.125;

/// How far threads give way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level(i32);

impl Level {
    /// As this process was started.
    pub const NORMAL: Self = Self(0);
    /// Only where nobody else wants to run.
    pub const IDLE: Self = Self(20);
    /// No level's code.
    pub const UNKNOWN: u32 = 0;

    /// What that pressure (1: urgent) takes.
    pub fn of(pressure: f64) -> Self {
        if pressure < CALM {
            return Self::IDLE;
        }
        let calm = (1.0 - pressure).max(0.0) / (1.0 - CALM);
        Self((calm * 19.0).ceil() as i32)
    }

    /// The nice value, or `None` for [`IDLE`](Self::IDLE).
    pub fn nice(self) -> Option<i32> {
        (self != Self::IDLE).then_some(self.0)
    }

    /// Different for each level, and not [`UNKNOWN`](Self::UNKNOWN).
    pub fn code(self) -> u32 {
        self.0.unsigned_abs() + 1
    }
}

/// How urgent it is to work on a queue that is full to that part, and whose first job has waited for `waiting_ns`.
pub fn pressure(fill: f64, waiting_ns: u64, urgent_after_ns: u64) -> f64 {
    (fill / FULL).max(waiting_ns as f64 / urgent_after_ns.max(1) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_half_full_or_has_waited_long_is_urgent() {
        let level = |fill, waiting_ns| Level::of(pressure(fill, waiting_ns, 1000));
        assert_eq!(level(0.0, 0), Level::IDLE);
        assert_eq!(level(0.06, 120), Level::IDLE);
        assert_eq!(level(0.5, 0), Level::NORMAL);
        assert_eq!(level(1.0, 0), Level::NORMAL);
        assert_eq!(level(0.0, 1000), Level::NORMAL);
        assert_eq!(level(0.0, u64::MAX), Level::NORMAL);
        assert_eq!(Level::NORMAL.nice(), Some(0));
        assert_eq!(Level::IDLE.nice(), None);
    }

    #[test]
    fn more_pressure_is_never_less_priority() {
        let nice = |step: u32| Level::of(f64::from(step) / 1000.0).nice().unwrap_or(20);
        assert!((1..1000).all(|step| nice(step) <= nice(step - 1)));
        assert_eq!(nice(125), 19, "the least that takes time from others");
    }
}
