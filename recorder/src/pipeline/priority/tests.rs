use std::sync::mpsc::{Receiver, Sender};
use std::thread::JoinHandle;
use std::time::Instant;

use super::*;
use crate::pipeline::queue::bounded;

const OTHER: u32 = libc::SCHED_OTHER as u32;
const BATCH: u32 = libc::SCHED_BATCH as u32;
const IDLE: u32 = libc::SCHED_IDLE as u32;

/// A thread that gives way and does nothing.
struct Waiter {
    tid: i32,
    end: Sender<()>,
    thread: JoinHandle<()>,
}

impl Waiter {
    fn start(priority: &Priority) -> Self {
        let (told, tid) = mpsc::channel();
        let (end, ended): (_, Receiver<()>) = mpsc::channel();
        let priority = priority.clone();
        let thread = thread::spawn(move || {
            let _registered = priority.register();
            told.send(nix::unistd::gettid().as_raw()).unwrap();
            let _ = ended.recv();
        });
        Self { tid: tid.recv().unwrap(), end, thread }
    }

    /// Policy and nice value, as the kernel has them.
    fn has(&self) -> (u32, i32) {
        let stat = std::fs::read_to_string(format!("/proc/self/task/{}/stat", self.tid)).unwrap();
        // Behind the name: state is field 3, nice 19, policy 41.
        let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
        (fields[41 - 3].parse().unwrap(), fields[19 - 3].parse().unwrap())
    }

    fn becomes(&self, what: &str, is_right: impl Fn(u32, i32) -> bool) {
        let began = Instant::now();
        loop {
            let (policy, nice) = self.has();
            if is_right(policy, nice) {
                return;
            }
            assert!(began.elapsed() < Duration::from_secs(60), "{what}: policy {policy}, nice {nice}");
            thread::sleep(Duration::from_millis(1));
        }
    }

    fn end(self) {
        drop(self.end);
        self.thread.join().unwrap();
    }
}

/// A drain that goes on until it is dropped.
struct Drain(Arc<AtomicBool>, Option<JoinHandle<()>>);

impl Drain {
    fn start(priority: &Priority) -> Self {
        let (priority, goes_on) = (priority.clone(), Arc::new(AtomicBool::new(true)));
        let until = goes_on.clone();
        let drain = move || {
            while until.load(Ordering::Relaxed) {
                priority.drained();
                thread::sleep(Duration::from_millis(1));
            }
        };
        Self(goes_on, Some(thread::spawn(drain)))
    }
}

impl Drop for Drain {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
        let _ = self.1.take().map(JoinHandle::join);
    }
}

/// With the right or the limit that it takes (root has them), the kernel shows each level; without, that nothing was
/// lowered.
#[test]
fn a_thread_gives_way_until_its_queue_fills_and_is_raised_before_it_is_full() {
    let own_nice = sched::own_nice().unwrap();
    let may_lower = sched::may_raise_to(own_nice) || Privileges::own().has(&NICE);
    let priority = Priority::start(None).unwrap();
    let (sender, receiver) = bounded(100);
    priority.watch(sender.backlog(), Duration::from_secs(3600));
    let waiter = Waiter::start(&priority);
    let calm = if may_lower { IDLE } else { BATCH };
    let drain = Drain::start(&priority);
    waiter.becomes("calm", |policy, _| policy == calm);
    sender.send(25, ());
    let is_lower = |nice: i32| if may_lower { nice > own_nice } else { nice == own_nice };
    waiter.becomes("a quarter", |policy, nice| policy == BATCH && is_lower(nice));
    sender.send(25, ());
    waiter.becomes("half", |policy, nice| policy == OTHER && nice == own_nice);
    for _ in 0..2 {
        let (bytes, ()) = receiver.receive().unwrap();
        receiver.done(bytes);
    }
    waiter.becomes("empty", |policy, _| policy == calm);
    let urgent = priority.hurry();
    waiter.becomes("somebody waits", |policy, nice| policy == OTHER && nice == own_nice);
    drop(urgent);
    waiter.becomes("nobody waits", |policy, _| policy == calm);
    // Held up by something that such a thread has.
    drop(drain);
    waiter.becomes("held up", |policy, nice| policy == OTHER && nice == own_nice);
    let _drain = Drain::start(&priority);
    waiter.becomes("drained again", |policy, _| policy == calm);
    priority.end();
    waiter.becomes("the end", |policy, nice| policy == OTHER && nice == own_nice);
    waiter.end();
}

#[test]
fn a_job_that_waits_long_is_urgent_however_small_it_is() {
    let own_nice = sched::own_nice().unwrap();
    let priority = Priority::start(None).unwrap();
    let (sender, receiver) = bounded(1 << 30);
    priority.watch(sender.backlog(), Duration::from_millis(20));
    let (waiter, _drain) = (Waiter::start(&priority), Drain::start(&priority));
    waiter.becomes("calm", |policy, _| policy != OTHER);
    sender.send(1, ());
    waiter.becomes("it waits", |policy, nice| policy == OTHER && nice == own_nice);
    let (bytes, ()) = receiver.receive().unwrap();
    // What is being worked on has waited too.
    thread::sleep(Duration::from_millis(50));
    assert_eq!(waiter.has(), (OTHER, own_nice));
    receiver.done(bytes);
    waiter.becomes("it is done", |policy, _| policy != OTHER);
    waiter.end();
}

/// What could not be raised again is not lowered.
#[test]
fn without_a_right_to_raise_it_a_thread_keeps_its_nice_value() {
    let test = || {
        renounce(None, &[], Path::new("/")).unwrap();
        let own_nice = sched::own_nice().unwrap();
        assert!(!sched::may_raise_to(own_nice), "the limit of nice values allows it");
        let priority = Priority::start(None).unwrap();
        let (waiter, drain) = (Waiter::start(&priority), Drain::start(&priority));
        waiter.becomes("calm", |policy, nice| policy == BATCH && nice == own_nice);
        drop(drain);
        waiter.becomes("held up", |policy, nice| policy == OTHER && nice == own_nice);
        waiter.end();
    };
    // Rights belong to threads.
    thread::spawn(test).join().unwrap();
}
