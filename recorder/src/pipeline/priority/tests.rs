use std::sync::mpsc;
use std::time::Instant;

use super::*;
use crate::pipeline::queue::bounded;

/// Policy and nice value of a thread, as the kernel has them.
fn of(tid: i32) -> (u32, i32) {
    let stat = std::fs::read_to_string(format!("/proc/self/task/{tid}/stat")).unwrap();
    // Behind the name: state is field 3, nice 19, policy 41.
    let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    (fields[41 - 3].parse().unwrap(), fields[19 - 3].parse().unwrap())
}

fn becomes(tid: i32, is_right: impl Fn(u32, i32) -> bool) {
    let began = Instant::now();
    while !{
        let (policy, nice) = of(tid);
        is_right(policy, nice)
    } {
        assert!(began.elapsed() < Duration::from_secs(60), "it stays {:?}", of(tid));
        thread::sleep(Duration::from_millis(1));
    }
}

/// Where this process may raise what it lowered, the kernel shows the levels; elsewhere nothing is lowered.
#[test]
fn a_thread_gives_way_until_its_queue_fills_and_is_raised_before_it_is_full() {
    const OTHER: u32 = libc::SCHED_OTHER as u32;
    const BATCH: u32 = libc::SCHED_BATCH as u32;
    const IDLE: u32 = libc::SCHED_IDLE as u32;
    let own_nice = sched::own_nice().unwrap();
    let may = sched::may_raise_to(own_nice) || Privileges::own().has(&NICE);
    let priority = Priority::start(None).unwrap();
    assert_eq!(priority.0.is_some(), may);
    let (sender, receiver) = bounded(100);
    priority.watch(sender.backlog(), Duration::from_secs(3600));
    let (told, tid) = mpsc::channel();
    let (end, ended) = mpsc::channel::<()>();
    let its = priority.clone();
    let thread = thread::spawn(move || {
        let _registered = its.register();
        told.send(nix::unistd::gettid().as_raw()).unwrap();
        let _ = ended.recv();
    });
    let tid = tid.recv().unwrap();
    // As the drain does, but not for ever.
    let drains = Arc::new(AtomicBool::new(true));
    let drain = {
        let (priority, drains) = (priority.clone(), drains.clone());
        thread::spawn(move || {
            while drains.load(Ordering::Relaxed) {
                priority.drained();
                thread::sleep(Duration::from_millis(1));
            }
        })
    };
    if may {
        becomes(tid, |policy, _| policy == IDLE);
        sender.send(25, ());
        becomes(tid, |policy, nice| policy == BATCH && nice > own_nice);
        sender.send(25, ());
        becomes(tid, |policy, nice| policy == OTHER && nice == own_nice);
        for _ in 0..2 {
            let (bytes, ()) = receiver.receive().unwrap();
            receiver.done(bytes);
        }
        becomes(tid, |policy, _| policy == IDLE);
        let urgent = priority.hurry();
        becomes(tid, |policy, _| policy == OTHER);
        drop(urgent);
        becomes(tid, |policy, _| policy == IDLE);
    }
    // A drain that is held up by something that such a thread has.
    drains.store(false, Ordering::Relaxed);
    drain.join().unwrap();
    becomes(tid, |policy, nice| policy == OTHER && nice == own_nice);
    drop(end);
    thread.join().unwrap();
}
