//! Reads the clocks of this machine, and notices when the wall clock is set.
//!
//! CLOCK_REALTIME and CLOCK_BOOTTIME run at the same speed, also while NTP slews them and across a suspend: their
//! difference changes only when somebody sets the wall clock (date, NTP that steps, a leap second). So a change of the
//! difference that is larger than the error of its readings is a step. A timer that the kernel cancels whenever the
//! wall clock is set tells at once when to look.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result};
use arrow_array::{ArrayRef, Int64Array, RecordBatch, TimestampNanosecondArray};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId as TimerClock, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use nix::time::{ClockId, clock_gettime};

use schemas::frames::ClockReading;

use super::count_rows::side_schema;

/// What rounding can make of the difference of two clocks.
const ROUNDING_NS: i64 = 10;
/// Steps of which the end of a recording tells one by one.
const TOLD_STEPS: usize = 5;

/// CLOCK_BOOTTIME now: the time of the kernel's records.
pub fn boottime_ns() -> u64 {
    clock_ns(ClockId::CLOCK_BOOTTIME) as u64
}

/// CLOCK_REALTIME now: what the wall clock shows.
pub fn utc_now_ns() -> i64 {
    clock_ns(ClockId::CLOCK_REALTIME)
}

/// CLOCK_REALTIME - CLOCK_BOOTTIME now.
pub fn utc_minus_boottime_ns() -> i64 {
    Reading::now().utc_minus_boottime_ns
}

/// Nanoseconds of a clock. Those asked for exist on every kernel that runs eBPF.
fn clock_ns(clock: ClockId) -> i64 {
    clock_gettime(clock).map_or(0, |time| time.tv_sec() * 1_000_000_000 + time.tv_nsec())
}

/// The clocks at one time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    boottime_ns: i64,
    utc_minus_boottime_ns: i64,
    boottime_minus_monotonic_ns: i64,
    /// The offsets may be wrong by so much.
    error_ns: i64,
    /// How far the wall clock was set since the reading before, if it was.
    step_ns: Option<i64>,
}

impl Reading {
    /// Read so that being interrupted between two clocks does not matter: of a few tries the one whose two boot times
    /// are closest.
    pub fn now() -> Self {
        const TRIES: usize = 5;
        let tries = (0..TRIES).map(|_| {
            let before = clock_ns(ClockId::CLOCK_BOOTTIME);
            let utc = clock_ns(ClockId::CLOCK_REALTIME);
            let monotonic = clock_ns(ClockId::CLOCK_MONOTONIC);
            let after = clock_ns(ClockId::CLOCK_BOOTTIME);
            let middle = before + (after - before) / 2;
            Self {
                boottime_ns: before,
                utc_minus_boottime_ns: utc - middle,
                boottime_minus_monotonic_ns: middle - monotonic,
                error_ns: (after - before) / 2 + ROUNDING_NS,
                step_ns: None,
            }
        });
        tries.min_by_key(|reading| reading.error_ns).unwrap_or(Self {
            boottime_ns: 0,
            utc_minus_boottime_ns: 0,
            boottime_minus_monotonic_ns: 0,
            error_ns: i64::MAX / 4,
            step_ns: None,
        })
    }

    /// How far the wall clock was set between `before` and this reading, if it was.
    fn step_since(&self, before: &Self) -> Option<i64> {
        let step_ns = self.utc_minus_boottime_ns - before.utc_minus_boottime_ns;
        (step_ns.abs() > self.error_ns + before.error_ns).then_some(step_ns)
    }
}

impl From<Reading> for ClockReading {
    fn from(reading: Reading) -> Self {
        let Reading { boottime_ns, utc_minus_boottime_ns, boottime_minus_monotonic_ns, error_ns: _, step_ns } =
            reading;
        Self { boottime_ns, utc_minus_boottime_ns, boottime_minus_monotonic_ns, step_ns }
    }
}

/// Rows of table clock; `trace_offset_ns` is that of the trace.
pub fn batch(trace_offset_ns: i64, readings: &[ClockReading]) -> Result<RecordBatch> {
    let numbers = |get: fn(&ClockReading) -> i64| readings.iter().map(get).collect::<Vec<i64>>();
    let ts = readings.iter().map(|reading| reading.boottime_ns + trace_offset_ns).collect::<Vec<i64>>();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(TimestampNanosecondArray::from(ts).with_timezone("UTC")),
        Arc::new(Int64Array::from(numbers(|reading| reading.boottime_ns))),
        Arc::new(Int64Array::from(numbers(|reading| reading.utc_minus_boottime_ns))),
        Arc::new(readings.iter().map(|reading| reading.step_ns).collect::<Int64Array>()),
        Arc::new(Int64Array::from(numbers(|reading| reading.boottime_minus_monotonic_ns))),
    ];
    Ok(RecordBatch::try_new(side_schema("clock")?, columns)?)
}

/// A step of the wall clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// When it was noticed, on the trace's time scale: UTC as it was at the start of the recording.
    pub ts_ns: i64,
    /// How far it was set forward, or back if negative.
    pub step_ns: i64,
    /// What the wall clock showed after that.
    pub shown_ns: i64,
}

/// Steps of the wall clock during a recording: how many, and the first of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClockSteps {
    /// How many there were.
    pub count: u64,
    /// The first ones.
    pub first: Vec<Step>,
}

impl ClockSteps {
    /// Count those among `readings`.
    pub(super) fn add(&mut self, readings: &[ClockReading], trace_offset_ns: i64) {
        for reading in readings {
            let Some(step_ns) = reading.step_ns else { continue };
            self.count += 1;
            if self.first.len() < TOLD_STEPS {
                self.first.push(Step {
                    ts_ns: reading.boottime_ns + trace_offset_ns,
                    step_ns,
                    shown_ns: reading.boottime_ns + reading.utc_minus_boottime_ns,
                });
            }
        }
    }
}

#[derive(Debug)]
struct Seen {
    last: Reading,
    /// Steps that are not in table clock yet.
    steps: Vec<Reading>,
}

impl Seen {
    /// Take a reading that came after all others.
    fn look(&mut self, mut reading: Reading) -> Reading {
        match reading.step_since(&self.last) {
            Some(step_ns) => {
                reading.step_ns = Some(step_ns);
                self.steps.push(reading);
            }
            // Of two readings the better one tells a small step from an error.
            None if reading.error_ns > self.last.error_ns => {
                reading.utc_minus_boottime_ns = self.last.utc_minus_boottime_ns;
                reading.error_ns = self.last.error_ns;
            }
            None => {}
        }
        self.last = reading;
        reading
    }
}

/// Notices when the wall clock is set, in a thread of its own, so that the time of a step is right whatever others wait
/// for.
pub struct ClockWatch {
    seen: Arc<Mutex<Seen>>,
    timer: Arc<TimerFd>,
    is_over: Arc<AtomicBool>,
}

fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

impl ClockWatch {
    /// From now on; the wall clock may have been set since the offset of the trace was read.
    pub fn start(trace_offset_ns: i64) -> Result<Self> {
        let timer = TimerFd::new(TimerClock::CLOCK_REALTIME, TimerFlags::TFD_CLOEXEC)
            .context("cannot watch the wall clock")?;
        let timer = Arc::new(timer);
        let when_set = TimerSetTimeFlags::TFD_TIMER_ABSTIME | TimerSetTimeFlags::TFD_TIMER_CANCEL_ON_SET;
        let never = Expiration::OneShot(TimeSpec::new(i64::MAX, 0));
        timer.set(never, when_set).context("cannot watch the wall clock")?;
        let now = Reading::now();
        let at_start = Reading { utc_minus_boottime_ns: trace_offset_ns, ..now };
        let mut seen = Seen { last: at_start, steps: Vec::new() };
        seen.look(now);
        let seen = Arc::new(Mutex::new(seen));
        let is_over = Arc::new(AtomicBool::new(false));
        let watch = Self { seen: seen.clone(), timer: timer.clone(), is_over: is_over.clone() };
        let work = move || {
            while timer.wait().is_ok() && !is_over.load(Ordering::Relaxed) {
                let mut seen = lock(&seen);
                seen.look(Reading::now());
            }
        };
        std::thread::Builder::new().name("clock".to_owned()).spawn(work).context("cannot start a thread")?;
        Ok(watch)
    }

    /// The steps that were noticed since the last call.
    pub fn take(&self) -> Vec<ClockReading> {
        std::mem::take(&mut lock(&self.seen).steps).into_iter().map(ClockReading::from).collect()
    }

    /// The same, and the clocks now.
    pub fn read(&self) -> Vec<ClockReading> {
        let mut seen = lock(&self.seen);
        let now = seen.look(Reading::now());
        let mut readings = std::mem::take(&mut seen.steps);
        if now.step_ns.is_none() {
            readings.push(now);
        }
        readings.into_iter().map(ClockReading::from).collect()
    }
}

impl Drop for ClockWatch {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        // The thread wakes up and ends; if that fails, it ends with the process.
        let at_once = Expiration::OneShot(TimeSpec::new(0, 1));
        let _ = self.timer.set(at_once, TimerSetTimeFlags::empty());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(boottime_ns: i64, utc_minus_boottime_ns: i64, error_ns: i64) -> Reading {
        Reading {
            boottime_ns,
            utc_minus_boottime_ns,
            boottime_minus_monotonic_ns: 0,
            error_ns,
            step_ns: None,
        }
    }

    #[test]
    fn a_step_is_a_change_that_is_larger_than_the_error_of_the_readings() {
        let mut seen = Seen { last: reading(0, 1000, 50), steps: Vec::new() };
        // An interrupted reading is worse, and no step; nor does it hide a small one that comes after it.
        assert_eq!(seen.look(reading(1, 9000, 10_000)).step_ns, None);
        assert_eq!(seen.look(reading(2, 1090, 50)).step_ns, None);
        assert_eq!(seen.look(reading(3, 3090, 50)).step_ns, Some(2000));
        assert_eq!(seen.look(reading(4, -3_600_000_000_000, 50)).step_ns, Some(-3_600_000_003_090));
        let mut steps = ClockSteps::default();
        let seen: Vec<ClockReading> = seen.steps.into_iter().map(ClockReading::from).collect();
        steps.add(&seen, 1000);
        assert_eq!(steps.count, 2);
        assert_eq!(steps.first[0], Step { ts_ns: 1003, step_ns: 2000, shown_ns: 3093 });
    }

    #[test]
    fn a_clock_that_nobody_sets_makes_no_steps_and_a_watch_ends() {
        let watch = ClockWatch::start(utc_minus_boottime_ns()).unwrap();
        let readings: Vec<ClockReading> = (0..100).flat_map(|_| watch.read()).collect();
        // A leap second apart, or somebody who sets the clock of this machine just now.
        assert!(readings.iter().all(|reading| reading.step_ns.is_none()), "{readings:?}");
        assert_eq!(readings.len(), 100);
        let thread = Arc::downgrade(&watch.timer);
        drop(watch);
        while thread.strong_count() > 0 {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
    }

    #[test]
    fn the_end_of_a_recording_tells_the_first_steps_only() {
        let mut steps = ClockSteps::default();
        let all: Vec<ClockReading> =
            (0..20).map(|n| Reading { step_ns: Some(7), ..reading(n, n * 7, 1) }.into()).collect();
        steps.add(&all, 0);
        assert_eq!((steps.count, steps.first.len()), (20, TOLD_STEPS));
    }
}
