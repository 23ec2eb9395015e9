//! Whose events are recorded.

use crate::support::{PROBE, candidate, drain, engine, mark, record, slot, total};
use crate::tracepoints::getpgid;
use recorder::engine::Mechanism;
use recorder::source::EventSource;
use schemas::wire::{Slot, src};

#[test]
fn a_process_that_is_not_in_the_set_is_not_recorded() {
    let candidate = candidate(Mechanism::TpBtf, "sys_enter", getpgid(&[], 0), None);
    let mut engine = engine(16 << 20);
    engine.attach(PROBE, &candidate).unwrap();
    mark(3);
    assert!(engine.pids().contains(std::process::id()).unwrap());
    assert!(engine.pids().remove(std::process::id()).unwrap());
    mark(5);
    engine.detach_all();
    assert_eq!(drain(&mut engine).0.len(), 3);
    total(&engine.counters().unwrap());
}

#[test]
fn subjects_replace_the_current_process_in_filter_and_header() {
    let mut plan = getpgid(&[], 0);
    plan.slots[1] = Slot { save: 1, imm: 400_000_000, ..slot(src::CONST, 0) };
    plan.slots[2] = Slot { save: 2, rshift: 32, ..slot(src::PID_TGID, 0) };
    plan.n_pre = 3;
    plan.subjects = [1, 2];
    (plan.pid, plan.tid) = (1, 2);
    let both = candidate(Mechanism::TpBtf, "sys_enter", plan, None);
    let (records, _) = record(&both, || mark(4));
    assert_eq!(records.len(), 4);
    let id = 400_000_000 << 32 | u64::from(std::process::id());
    assert!(records.iter().all(|r| r.header.pid_tgid == id));
    plan.subjects = [1, schemas::wire::NONE];
    let other = candidate(Mechanism::TpBtf, "sys_enter", plan, None);
    assert_eq!(record(&other, || mark(4)).0.len(), 0);
}

#[test]
fn the_excluded_process_is_not_recorded() {
    let mut plan = getpgid(&[], 0);
    plan.exclude_pid = std::process::id();
    let (records, counters) = record(&candidate(Mechanism::TpBtf, "sys_enter", plan, None), || mark(4));
    assert_eq!((records.len(), counters.recorded), (0, 0));
    assert!(counters.filtered >= 4);
}
