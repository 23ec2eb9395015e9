//! Calls and events within those of the same probe, counted to the last one: what is recorded, what is lost, and what
//! nobody can know.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use recorder::engine::{Candidate, Mechanism};
use recorder::source::{EventSource, ProbeId};
use schemas::wire::{MAX_COPIES, Plan, RecordHeader, Slot, flag, lost, op, src, subject};
use zerocopy::FromBytes;

use crate::support::{HEADER, PROBE, candidate, drain, engine, plan, slot, total};

/// Addresses in the page that is never mapped: the one that system calls are given, and the one that the program reads.
const GIVEN: u64 = 16;
const READ: u64 = 8;

/// Each fault of the kernel, as the program of page_fault_kernel sees it. What the program does then is such a fault too,
/// within itself.
fn faults() -> Plan {
    let address = Slot { dst: HEADER, width: 8, bit: 0, ..slot(src::ARG, 0) };
    let nowhere = Slot { op: op::LOAD, size: 8, flags: flag::USER, imm: READ, ..slot(src::CONST, 0) };
    plan(&[], &[address, Slot { dst: HEADER + 8, width: 8, bit: 1, ..nowhere }], 16)
}

#[test]
fn events_within_events_are_left_to_further_programs_and_those_too_deep_are_counted_as_lost() {
    const CALLS: usize = 300;
    for mechanism in [Mechanism::TpBtf, Mechanism::RawTp] {
        for copies in [2, MAX_COPIES] {
            let mut faults = faults();
            faults.nests = copies as u8 - 1;
            let mut engine = engine(64 << 20);
            engine.attach(PROBE, &candidate(mechanism, "page_fault_kernel", faults, None)).unwrap();
            for _ in 0..CALLS {
                // SAFETY: the kernel cannot write to that address, and says so.
                assert_eq!(unsafe { libc::syscall(libc::SYS_time, GIVEN) }, -1);
            }
            engine.detach_all();
            // By probe and cpu: sequence number and address.
            let mut records: BTreeMap<(ProbeId, u16), Vec<(u32, u64)>> = BTreeMap::new();
            engine
                .drain(&mut |probe, cpu, bytes| {
                    let (header, columns) = RecordHeader::read_from_prefix(bytes).unwrap();
                    let address = u64::from_ne_bytes(columns[..8].try_into().unwrap());
                    records.entry((probe, cpu)).or_default().push((header.seq, address));
                })
                .unwrap();
            for (lane, records) in &mut records {
                records.sort_unstable();
                let seqs: Vec<u32> = records.iter().map(|(seq, _)| *seq).collect();
                assert_eq!(
                    seqs,
                    (0..records.len() as u32).collect::<Vec<_>>(),
                    "{lane:?}: twice, or missing"
                );
            }
            let addresses = |copy: usize| -> Vec<u64> {
                let own = records.iter().filter(|((probe, _), _)| *probe == PROBE + copy as ProbeId);
                own.flat_map(|(_, records)| records.iter().map(|(_, address)| *address)).collect()
            };
            let first = addresses(0);
            assert_eq!(first.iter().filter(|address| **address == GIVEN).count(), CALLS);
            let counters = engine.counters().unwrap();
            assert_eq!(counters.len(), copies);
            for (copy, counters) in counters.iter().enumerate() {
                // Each event of a program has one within it, which the next program records.
                let rows = addresses(copy);
                assert!(copy == 0 || rows == vec![READ; first.len()], "copy {copy}: {}", rows.len());
                let sum = total(std::slice::from_ref(counters));
                assert_eq!((sum.recorded, sum.faults), (rows.len() as u64, rows.len() as u64));
                assert_eq!(sum.lost, [0; lost::COUNT]);
                // Those within the last program are nobody's.
                let missed = if copy == 0 { first.len() as u64 } else { 0 };
                assert_eq!(counters.recursion_misses, Some(missed), "{mechanism:?}, copy {copy}");
            }
        }
    }
}

/// Calls itself `depth` times.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn ktape_test_deep(depth: u64) -> u64 {
    std::hint::black_box(if depth == 0 { 0 } else { 1 + ktape_test_deep(depth - 1) })
}

fn deep_target() -> String {
    format!("{}:ktape_test_deep", std::env::current_exe().unwrap().display())
}

#[test]
fn returns_of_calls_that_are_nested_too_deep_are_counted_by_nobody_and_that_is_said() {
    const KERNELS_LIMIT: usize = 64;
    let returned = Slot { dst: HEADER, width: 8, bit: 0, ..slot(src::RET, 0) };
    let mut engine = engine(16 << 20);
    let candidate = candidate(Mechanism::Uretprobe, &deep_target(), plan(&[], &[returned], 8), None);
    engine.attach(PROBE, &candidate).unwrap();
    assert_eq!(ktape_test_deep(99), 99);
    engine.detach_all();
    let returned: Vec<u64> = drain(&mut engine).0.iter().map(|record| record.u64(HEADER)).collect();
    // The outermost ones.
    let expected: Vec<u64> = (0..100).skip(100 - KERNELS_LIMIT).collect();
    assert_eq!(returned, expected);
    let counters = engine.counters().unwrap();
    assert_eq!(total(&counters).fired, KERNELS_LIMIT as u64);
    assert_eq!((counters[0].kprobe_misses, counters[0].recursion_misses), (None, Some(0)));
}

/// The argument of each call, kept at its entry, what it returned, and how long it took.
fn kept_and_timed(target: &str) -> Candidate {
    let argument = Slot { dst: HEADER, width: 8, bit: 0, ..slot(src::ARG, 0) };
    let returned = Slot { dst: HEADER + 8, width: 8, bit: 1, ..slot(src::RET, 0) };
    let duration = Slot { dst: HEADER + 16, width: 8, bit: 2, ..slot(src::DURATION, 0) };
    let mut at_return = plan(&[], &[returned, duration], 24);
    (at_return.use_stash, at_return.stash_size) = (1, 8);
    candidate(Mechanism::Uretprobe, target, at_return, Some(plan(&[], &[argument], 24)))
}

#[test]
fn each_of_calls_within_calls_finds_what_was_kept_at_its_own_entry() {
    let mut engine = engine(16 << 20);
    engine.attach(PROBE, &kept_and_timed(&deep_target())).unwrap();
    // The kernel sees the returns of the outermost 64; the others are left behind, twice.
    for depth in [9, 99, 99, 9] {
        assert_eq!(ktape_test_deep(depth), depth);
    }
    engine.detach_all();
    let records = drain(&mut engine).0;
    let kept: Vec<u64> = records.iter().map(|record| record.u64(HEADER)).collect();
    let expected: Vec<u64> = (0..10).chain(36..100).chain(36..100).chain(0..10).collect();
    assert_eq!(kept, expected);
    for (at, record) in records.iter().enumerate() {
        assert_eq!(record.u64(HEADER), record.u64(HEADER + 8));
        // What is within a call takes no longer than the call.
        if at > 0 && record.u64(HEADER) == kept[at - 1] + 1 {
            assert!(record.u64(HEADER + 16) >= records[at - 1].u64(HEADER + 16));
        }
    }
    let counters = total(&engine.counters().unwrap());
    // Entries beyond the 64th.
    assert_eq!((counters.fired, counters.lost[lost::NO_ENTRY], counters.map_full), (148, 0, 72));
    assert_eq!(counters.no_return, 0);
}

/// Calls itself `depth` times and ends the thread within the innermost call.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn ktape_test_last(depth: u64) -> u64 {
    if depth > 0 {
        return std::hint::black_box(1 + ktape_test_last(depth - 1));
    }
    // SAFETY: ends the thread, which leaves nothing to others that it would have to clean up.
    unsafe { libc::syscall(libc::SYS_exit, 0) };
    0
}

#[test]
fn calls_that_never_return_because_their_thread_ends_are_counted() {
    let target = format!("{}:ktape_test_last", std::env::current_exe().unwrap().display());
    let mut engine = engine(16 << 20);
    engine.attach(PROBE, &kept_and_timed(&target)).unwrap();
    drop(std::thread::spawn(|| ktape_test_last(4)));
    for _ in 0..1000 {
        if total(&engine.counters().unwrap()).no_return > 0 {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    engine.detach_all();
    assert!(drain(&mut engine).0.is_empty());
    let counters = total(&engine.counters().unwrap());
    assert_eq!((counters.fired, counters.no_return), (0, 5));
    assert_eq!(engine.unfinished().unwrap(), []);
}

/// Sends the thread and returns when it is told to.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn ktape_test_wait(to: &Sender<u32>, until: &Receiver<()>) -> u64 {
    // SAFETY: asks for a number.
    to.send(unsafe { libc::gettid() } as u32).unwrap();
    u64::from(until.recv().is_ok())
}

#[test]
fn calls_in_progress_at_the_end_are_known_with_their_thread_and_their_begin() {
    let target = format!("{}:ktape_test_wait", std::env::current_exe().unwrap().display());
    let mut engine = engine(16 << 20);
    engine.attach(PROBE, &kept_and_timed(&target)).unwrap();
    let (to, from_calls) = channel();
    let ends: Vec<(Sender<()>, JoinHandle<u64>)> = (0..3)
        .map(|_| {
            let (end, until) = channel();
            let to = to.clone();
            (end, std::thread::spawn(move || ktape_test_wait(&to, &until)))
        })
        .collect();
    let mut threads: Vec<u32> = ends.iter().map(|_| from_calls.recv().unwrap()).collect();
    engine.detach_all();
    // They return after the end, which changes nothing.
    for (end, thread) in ends {
        end.send(()).unwrap();
        assert_eq!(thread.join().unwrap(), 1);
    }
    let records = drain(&mut engine);
    assert!(records.0.is_empty());
    let mut calls = engine.unfinished().unwrap();
    calls.sort_by_key(|call| subject::tid(call.pid_tgid));
    threads.sort_unstable();
    let of: Vec<_> = calls.iter().map(|call| (call.probe, subject::pid(call.pid_tgid))).collect();
    assert_eq!(of, [(PROBE, Some(std::process::id())); 3]);
    let tids: Vec<u32> = calls.iter().filter_map(|call| subject::tid(call.pid_tgid)).collect();
    assert_eq!(tids, threads);
    assert!(calls.iter().all(|call| call.began_ns > 0 && call.began_ns < records.1));
}
