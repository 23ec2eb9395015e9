//! Keeps the threads that encode, publish and merge out of the way of the processes that are recorded.
//!
//! While these threads keep up, they run only when a processor has nothing else to do, so that a service waits for none
//! of them. The fuller their queues become and the longer a job waits, the higher is their priority; they run like any
//! other thread long before something is lost. The drain's own thread always does.
//!
//! A thread of its own (`priority`) decides. It takes no lock that one of the others might hold, because a thread that
//! does not run gives no lock back: if that stops the drain, all of them get their normal priority too.

mod level;
mod sched;

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};

use super::clock::boottime_ns;
use super::queue::Backlog;
use crate::privileges::{Identity, NICE, Privileges, renounce};
use level::Level;
use sched::Bounds;

pub use sched::{allow_raising, short_slices};

/// Time between two looks at the queues.
const LOOK: Duration = Duration::from_millis(4);
/// A drain that has not been seen for so long is held up by a thread that does not run.
const HELD_UP_NS: u64 = 30_000_000;
/// Threads that can be registered at once: those that wait for the disk are most of them.
const MOST_THREADS: usize = 128;

/// A thread that gives way.
#[derive(Default)]
struct Slot {
    /// 0: free.
    tid: AtomicI32,
    /// The level that it has, if that is known ([`Level::code`]).
    applied: AtomicU32,
}

struct Shared {
    slots: [Slot; MOST_THREADS],
    /// What waits, and how long (ns) it may before that is urgent.
    backlogs: Mutex<Vec<(Arc<Backlog>, u64)>>,
    /// Boot time (ns) at which the drain was seen last.
    drained_ns: AtomicU64,
    /// Work that somebody waits for.
    urgent: AtomicU32,
    is_over: AtomicBool,
    bounds: Bounds,
}

/// The threads that give way; of a trace that is written from a file, nobody does.
#[derive(Clone, Default)]
pub struct Priority(Option<Arc<Shared>>);

/// Registers a thread for as long as it lives.
pub struct Registered(Option<(Arc<Shared>, usize)>);

/// Work that somebody waits for.
pub struct Urgent(Option<Arc<Shared>>);

impl Priority {
    /// Start the thread that decides, with no right of the caller but the one to raise a priority, and that one only
    /// where the limit `RLIMIT_NICE` does not allow it anyway. Where nothing allows it, nice values stay as they are,
    /// because what was lowered could not be raised when it is needed; threads only do not preempt others. Where the user
    /// chose a policy for the recorder, it is left alone. Fails if rights cannot be given up.
    pub fn start(owner: Option<Identity>) -> Result<Self> {
        let Some(own_nice) = sched::own_nice() else { return Ok(Self::default()) };
        let is_allowed = sched::may_raise_to(own_nice);
        let may_lower = is_allowed || Privileges::own().has(&NICE);
        let shared = Arc::new(Shared {
            slots: std::array::from_fn(|_| Slot::default()),
            backlogs: Mutex::default(),
            drained_ns: AtomicU64::new(0),
            urgent: AtomicU32::new(0),
            is_over: AtomicBool::new(false),
            bounds: Bounds { own_nice, may_lower },
        });
        let weak = Arc::downgrade(&shared);
        let (told, ready) = mpsc::channel();
        let watch = move || {
            let keep = if is_allowed || !may_lower { &[][..] } else { &[NICE][..] };
            let result = renounce(owner.as_ref(), keep, Path::new("/"));
            let has_failed = result.is_err();
            // Nobody listens only if the one who waits below has died.
            let _ = told.send(result);
            short_slices();
            while let Some(shared) = weak.upgrade().filter(|_| !has_failed) {
                shared.look();
                drop(shared);
                thread::sleep(LOOK);
            }
        };
        thread::Builder::new().name("priority".to_owned()).spawn(watch).context("cannot start a thread")?;
        ready.recv().context("the thread that sets priorities has died")??;
        Ok(Self(Some(shared)))
    }

    /// This thread gives way from now on.
    pub fn register(&self) -> Registered {
        let Some(shared) = &self.0 else { return Registered(None) };
        let tid = nix::unistd::gettid().as_raw();
        for (index, slot) in shared.slots.iter().enumerate() {
            if slot.tid.load(Ordering::Relaxed) == 0 {
                // It has the level of the thread that started it, which is nobody's business.
                slot.applied.store(Level::UNKNOWN, Ordering::Relaxed);
                if slot.tid.compare_exchange(0, tid, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
                    return Registered(Some((shared.clone(), index)));
                }
            }
        }
        Registered(None)
    }

    /// Until the result is dropped, nobody gives way.
    pub fn hurry(&self) -> Urgent {
        if let Some(shared) = &self.0 {
            shared.urgent.fetch_add(1, Ordering::Relaxed);
        }
        Urgent(self.0.clone())
    }

    /// Look at this queue from now on: jobs that have waited for `urgent_after` are urgent.
    pub fn watch(&self, backlog: Arc<Backlog>, urgent_after: Duration) {
        if let Some(shared) = &self.0 {
            let urgent_after_ns = u64::try_from(urgent_after.as_nanos()).unwrap_or(u64::MAX);
            shared.backlogs.lock().unwrap_or_else(PoisonError::into_inner).push((backlog, urgent_after_ns));
        }
    }

    /// The drain is not held up.
    pub fn drained(&self) {
        if let Some(shared) = &self.0 {
            shared.drained_ns.store(boottime_ns(), Ordering::Relaxed);
        }
    }

    /// The recording is over: what is left is done as fast as can be.
    pub fn end(&self) {
        if let Some(shared) = &self.0 {
            shared.is_over.store(true, Ordering::Relaxed);
        }
    }
}

impl Shared {
    /// Give every thread the level that is right now.
    fn look(&self) {
        let level = self.level(boottime_ns());
        for slot in &self.slots {
            let tid = slot.tid.load(Ordering::Acquire);
            if tid != 0 && slot.applied.load(Ordering::Relaxed) != level.code() {
                // A thread that has just ended needs none.
                if sched::set(tid, level, self.bounds).is_ok() {
                    slot.applied.store(level.code(), Ordering::Relaxed);
                }
            }
        }
    }

    fn level(&self, now_ns: u64) -> Level {
        let held_up_ns = now_ns.saturating_sub(self.drained_ns.load(Ordering::Relaxed));
        let is_urgent = self.urgent.load(Ordering::Relaxed) > 0 || self.is_over.load(Ordering::Relaxed);
        if is_urgent || held_up_ns > HELD_UP_NS {
            return Level::NORMAL;
        }
        let backlogs = self.backlogs.lock().unwrap_or_else(PoisonError::into_inner);
        let pressure = backlogs.iter().map(|(backlog, urgent_after_ns)| {
            level::pressure(backlog.fill(), backlog.waiting_ns(now_ns), *urgent_after_ns)
        });
        Level::of(pressure.fold(0.0, f64::max))
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        if let Some((shared, index)) = &self.0 {
            shared.slots[*index].tid.store(0, Ordering::Release);
        }
    }
}

impl Drop for Urgent {
    fn drop(&mut self) {
        if let Some(shared) = &self.0 {
            shared.urgent.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests;
