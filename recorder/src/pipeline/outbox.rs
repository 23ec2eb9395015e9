//! Jobs of a thread that must not wait in, the same jobs in order to the next thread's queue out.
//!
//! What finds no room is kept here. The thread looks with [`Outbox::has_room`] whether anything is, and does not make
//! more until it has gone: the drain stays able to end the recording while the disk or a reader of `--print` takes
//! nothing, the rings fill meanwhile, and what does not fit is counted by the kernel.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;

use super::queue::{Sender, Sent};

/// The end of a queue that puts jobs in.
pub struct Outbox<T> {
    queue: Sender<T>,
    /// Jobs that found no room, oldest first.
    kept: RefCell<VecDeque<(usize, T)>>,
    waits: Cell<bool>,
}

impl<T> Outbox<T> {
    /// With `waits` it is no more than the queue itself.
    pub fn new(queue: Sender<T>, waits: bool) -> Self {
        Self { queue, kept: RefCell::default(), waits: Cell::new(waits) }
    }

    /// From now on wait for room, as a thread does that has nothing else to do.
    pub fn wait(&self) {
        self.waits.set(true);
        for (bytes, job) in self.kept.take() {
            self.queue.send(bytes, job);
        }
    }

    /// Put a job of `bytes` in, or keep it. False if nobody takes jobs any more.
    pub fn send(&self, bytes: usize, job: T) -> bool {
        if self.waits.get() {
            return self.queue.send(bytes, job);
        }
        self.kept.borrow_mut().push_back((bytes, job));
        self.offer() != Sent::Closed
    }

    /// Whether there is nothing that waits for room; what does is offered again.
    pub fn has_room(&self) -> bool {
        self.offer() != Sent::Full
    }

    fn offer(&self) -> Sent {
        let mut kept = self.kept.borrow_mut();
        while let Some((bytes, job)) = kept.pop_front() {
            match self.queue.try_send(bytes, job) {
                (Sent::Taken, _) => {}
                (Sent::Full, job) => {
                    if let Some(job) = job {
                        kept.push_front((bytes, job));
                    }
                    return Sent::Full;
                }
                (Sent::Closed, _) => {
                    kept.clear();
                    return Sent::Closed;
                }
            }
        }
        Sent::Taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::queue::bounded;

    #[test]
    fn what_finds_no_room_is_kept_in_order_and_nobody_waits() {
        let (sender, receiver) = bounded(10);
        let outbox = Outbox::new(sender, false);
        for job in 0..6 {
            assert!(outbox.send(4, job));
        }
        assert!(!outbox.has_room());
        let mut got = Vec::new();
        while let Some((bytes, job)) = receiver.try_receive() {
            got.push(job);
            receiver.done(bytes);
            outbox.has_room();
        }
        assert_eq!(got, [0, 1, 2, 3, 4, 5]);
        assert!(outbox.has_room());
    }

    #[test]
    fn in_the_end_what_was_kept_goes_first() {
        let (sender, receiver) = bounded(4);
        let outbox = Outbox::new(sender, false);
        assert!(outbox.send(4, 1) && outbox.send(4, 2) && !outbox.has_room());
        let reader = std::thread::spawn(move || {
            let next = || receiver.receive().map(|(bytes, job)| (receiver.done(bytes), job).1);
            std::iter::from_fn(next).collect::<Vec<_>>()
        });
        outbox.wait();
        assert!(outbox.send(4, 3));
        drop(outbox);
        assert_eq!(reader.join().unwrap(), [1, 2, 3]);
    }

    #[test]
    fn nothing_is_kept_for_nobody() {
        let (sender, receiver) = bounded(4);
        let outbox = Outbox::new(sender, false);
        assert!(outbox.send(4, 1) && outbox.send(4, 2));
        drop(receiver);
        assert!(!outbox.send(4, 3));
        assert!(outbox.has_room() && outbox.kept.borrow().is_empty());
    }
}
