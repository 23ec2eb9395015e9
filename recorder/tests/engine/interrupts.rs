//! What a program says that it runs in, where the kernel's own tracepoints leave no doubt: handlers of timers run in hard
//! interrupts, those of soft interrupts in soft ones, system calls in tasks.

use recorder::engine::{EngineOptions, Mechanism};
use recorder::kernel::Kernel;
use schemas::wire::{Interrupts, interrupts, subject};

use crate::support::{PROBE, candidate, drain, engine_with, mark, plan};

/// Contexts of what a probe sees while this thread sleeps and makes system calls.
fn contexts(interrupts: Interrupts, mechanism: Mechanism, target: &str, by_pid: bool) -> Vec<u64> {
    let mut plan = plan(&[], &[], 0);
    plan.filter_pids = by_pid.into();
    let options = EngineOptions { ring_bytes_total: 16 << 20, interrupts, ..EngineOptions::default() };
    let mut engine = engine_with(options);
    engine.attach(PROBE, &candidate(mechanism, target, plan, None)).unwrap();
    mark(100);
    // Expires a timer, and with it a soft interrupt comes sooner or later.
    for _ in 0..200 {
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    engine.detach_all();
    let (records, _) = drain(&mut engine);
    let found: Vec<u64> = records.iter().map(|record| record.header.pid_tgid).collect();
    for of in &found {
        let has_task = matches!(of >> subject::SHIFT, subject::TASK | subject::UNKNOWN);
        assert_eq!((subject::pid(*of).is_some(), subject::tid(*of).is_some()), (has_task, has_task));
    }
    found.into_iter().map(|of| of >> subject::SHIFT).collect()
}

fn all_are(contexts: &[u64], wanted: u64) {
    assert!(!contexts.is_empty() && contexts.iter().all(|context| *context == wanted), "{contexts:?}");
}

const TIMER: [(Mechanism, &str); 3] = [
    (Mechanism::TpBtf, "hrtimer_expire_entry"),
    (Mechanism::RawTp, "hrtimer_expire_entry"),
    (Mechanism::Tracepoint, "timer:hrtimer_expire_entry"),
];

#[test]
fn the_preempt_count_tells_what_a_program_runs_in() {
    let exact = Kernel::running().unwrap().interrupts();
    assert_ne!(exact.how, interrupts::UNKNOWN, "this kernel's types do not tell where the count is");
    for (mechanism, target) in TIMER {
        all_are(&contexts(exact, mechanism, target, false), subject::HARDIRQ);
    }
    all_are(&contexts(exact, Mechanism::TpBtf, "softirq_entry", false), subject::SOFTIRQ);
    all_are(&contexts(exact, Mechanism::RawTp, "sys_enter", true), subject::TASK);
    // The process that is interrupted is not the one that does it.
    assert!(contexts(exact, Mechanism::TpBtf, "hrtimer_expire_entry", true).is_empty());
}

#[test]
fn without_the_preempt_count_nothing_is_said_of_it() {
    let unknown = Interrupts { how: interrupts::UNKNOWN, ..Interrupts::default() };
    let mut found = contexts(unknown, Mechanism::TpBtf, "hrtimer_expire_entry", false);
    found.dedup();
    assert_eq!(found, [subject::UNKNOWN]);
}
