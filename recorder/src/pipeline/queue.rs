//! Jobs of one thread in, the same jobs in order to the next thread out; bounded.
//!
//! Drain -> encoder (in bytes). A full queue makes the thread before it wait, in the end the
//! drain ([`outbox`](super::outbox)). The rings then fill, and what does not fit is counted by the kernel as
//! `ring_full`: there is no loss between ring and disk that is not counted somewhere.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::clock::boottime_ns;

struct State<T> {
    jobs: VecDeque<(usize, T)>,
    /// When (boot time, ns) the jobs came that are not done, oldest first.
    came_ns: VecDeque<u64>,
    bytes: usize,
    is_closed: bool,
}

struct Shared<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
    limit_bytes: usize,
    backlog: Arc<Backlog>,
}

/// What waits in a queue or is being worked on, for those who must not wait for a lock.
#[derive(Default)]
pub struct Backlog {
    bytes: AtomicUsize,
    limit_bytes: usize,
    /// When (boot time, ns) the oldest job came that is not done; 0: there is none.
    since_ns: AtomicU64,
}

impl Backlog {
    /// Of something else than a queue, which may hold so much.
    pub fn new(limit: usize) -> Self {
        Self { limit_bytes: limit, ..Self::default() }
    }

    /// So much waits now.
    pub fn set(&self, waiting: usize) {
        let before = self.bytes.swap(waiting, Ordering::Relaxed);
        match (before, waiting) {
            (_, 0) => self.since_ns.store(0, Ordering::Relaxed),
            (0, _) => self.since_ns.store(boottime_ns(), Ordering::Relaxed),
            _ => {}
        }
    }

    /// Part of the queue that is in use.
    pub fn fill(&self) -> f64 {
        self.bytes.load(Ordering::Relaxed) as f64 / self.limit_bytes.max(1) as f64
    }

    /// How long the oldest job has waited, as of `now_ns` (boot time).
    pub fn waiting_ns(&self, now_ns: u64) -> u64 {
        match self.since_ns.load(Ordering::Relaxed) {
            0 => 0,
            since_ns => now_ns.saturating_sub(since_ns),
        }
    }
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, state: &State<T>) {
        self.backlog.bytes.store(state.bytes, Ordering::Relaxed);
        self.backlog.since_ns.store(state.came_ns.front().copied().unwrap_or(0), Ordering::Relaxed);
    }
}

/// What became of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// It is in the queue.
    Taken,
    /// There is no room for it now.
    Full,
    /// Nobody takes jobs any more.
    Closed,
}

/// The end that puts jobs in; dropped, it ends the queue.
pub struct Sender<T>(Arc<Shared<T>>);

/// The end that takes jobs out; dropped, it lets all later jobs vanish.
pub struct Receiver<T>(Arc<Shared<T>>);

/// A queue that holds jobs of `limit_bytes` together, or a single larger one.
pub fn bounded<T>(limit_bytes: usize) -> (Sender<T>, Receiver<T>) {
    let state =
        Mutex::new(State { jobs: VecDeque::new(), came_ns: VecDeque::new(), bytes: 0, is_closed: false });
    let backlog = Arc::new(Backlog { limit_bytes, ..Backlog::default() });
    let shared = Arc::new(Shared { state, changed: Condvar::new(), limit_bytes, backlog });
    (Sender(shared.clone()), Receiver(shared))
}

impl<T> Sender<T> {
    /// What waits in it.
    pub fn backlog(&self) -> Arc<Backlog> {
        self.0.backlog.clone()
    }

    /// Put a job of `bytes` in, after waiting for room. False if nobody takes jobs any more.
    pub fn send(&self, bytes: usize, job: T) -> bool {
        let guard = self.0.changed.wait_while(self.0.lock(), |state| self.is_full(state, bytes));
        self.put(&mut guard.unwrap_or_else(PoisonError::into_inner), bytes, job)
    }

    /// Put a job of `bytes` in if there is room now, without waiting; otherwise it is given back.
    pub fn try_send(&self, bytes: usize, job: T) -> (Sent, Option<T>) {
        let mut state = self.0.lock();
        if self.is_full(&state, bytes) {
            return (Sent::Full, Some(job));
        }
        (if self.put(&mut state, bytes, job) { Sent::Taken } else { Sent::Closed }, None)
    }

    fn is_full(&self, state: &State<T>, bytes: usize) -> bool {
        state.bytes > 0 && state.bytes + bytes > self.0.limit_bytes && !state.is_closed
    }

    fn put(&self, state: &mut State<T>, bytes: usize, job: T) -> bool {
        if state.is_closed {
            return false;
        }
        state.bytes += bytes;
        state.jobs.push_back((bytes, job));
        state.came_ns.push_back(boottime_ns());
        self.0.tell(state);
        self.0.changed.notify_all();
        true
    }
}

impl<T> Receiver<T> {
    /// The next job and its size, after waiting for one; `None` once there are none and there will be none.
    /// Its bytes count as queued until [`done`](Self::done).
    pub fn receive(&self) -> Option<(usize, T)> {
        let empty = |s: &mut State<T>| s.jobs.is_empty() && !s.is_closed;
        let guard = self.0.changed.wait_while(self.0.lock(), empty);
        guard.unwrap_or_else(PoisonError::into_inner).jobs.pop_front()
    }

    /// The next job, if one is waiting; as [`receive`](Self::receive) otherwise.
    pub fn try_receive(&self) -> Option<(usize, T)> {
        self.0.lock().jobs.pop_front()
    }

    /// A received job of `bytes` holds no memory any more.
    pub fn done(&self, bytes: usize) {
        let mut state = self.0.lock();
        state.bytes -= bytes;
        // Those that were received are done, together if they were worked on together.
        let left = state.jobs.len();
        let done = state.came_ns.len() - left;
        state.came_ns.drain(..done);
        self.0.tell(&state);
        drop(state);
        self.0.changed.notify_all();
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        self.0.lock().is_closed = true;
        self.0.changed.notify_all();
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        self.0.lock().is_closed = true;
        self.0.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_full_queue_makes_the_sender_wait_and_loses_nothing() {
        let (sender, receiver) = bounded(10);
        let reader = std::thread::spawn(move || {
            let mut got = Vec::new();
            let mut most = 0;
            while let Some((bytes, job)) = receiver.receive() {
                std::thread::sleep(Duration::from_micros(50));
                most = most.max(receiver.0.lock().bytes);
                got.push(job);
                receiver.done(bytes);
            }
            (got, most)
        });
        for job in 0..500 {
            assert!(sender.send(4, job));
        }
        drop(sender);
        let (got, most) = reader.join().unwrap();
        assert_eq!(got, (0..500).collect::<Vec<_>>());
        assert!(most <= 10, "{most} bytes were queued");
    }

    #[test]
    fn a_sender_does_not_wait_for_a_receiver_that_is_gone() {
        let (sender, receiver) = bounded(10);
        assert!(sender.send(10, 1));
        drop(receiver);
        assert!(!sender.send(10, 2));
    }
}
