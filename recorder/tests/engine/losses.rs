//! Every reason of loss that one process can force, counted to the last event; and what is not lost beside it.

use std::collections::BTreeMap;
use std::process::{Child, Command};
use std::sync::Barrier;
use std::time::{Duration, Instant};

use recorder::engine::{Candidate, Engine, EngineOptions, Mechanism};
use recorder::kernel::Kernel;
use recorder::source::{EventSource, ProbeId};
use schemas::wire::{Counters, Plan, RecordHeader, Slot, cmp, lost, op, src};
use zerocopy::FromBytes;

use crate::support::{
    HEADER, PROBE, candidate, drain, engine, engine_with, first_argument, mark, only, plan, record, slot,
    syscall_id, total,
};

/// Calls of `number` by this process, at the entry of every system call.
fn calls(number: i64, columns: &[Slot], bytes: u16) -> Candidate {
    let mut plan = plan(&[syscall_id()], columns, bytes);
    only(&mut plan, 0, cmp::EQ, number as u64);
    candidate(Mechanism::TpBtf, "sys_enter", plan, None)
}

fn getpgid() -> Candidate {
    calls(libc::SYS_getpgid, &[], 0)
}

/// Records of each probe.
fn drain_all(engine: &mut Engine) -> BTreeMap<ProbeId, Vec<RecordHeader>> {
    let mut all: BTreeMap<ProbeId, Vec<RecordHeader>> = BTreeMap::new();
    engine
        .drain(&mut |probe, _, bytes| {
            let (header, _) = RecordHeader::read_from_prefix(bytes).unwrap();
            all.entry(probe).or_default().push(header);
        })
        .unwrap();
    all
}

fn counters_of(engine: &mut Engine, probe: ProbeId) -> Counters {
    let all = engine.counters().unwrap();
    total(&all.into_iter().filter(|counters| counters.probe == probe).collect::<Vec<_>>())
}

#[test]
fn nothing_is_seen_until_all_probes_are_attached_and_then_all_see_the_same() {
    let mut engine = engine(16 << 20);
    engine.hold().unwrap();
    for probe in 0..3 {
        engine.attach(probe, &getpgid()).unwrap();
        mark(100);
    }
    assert!(drain_all(&mut engine).is_empty());
    for probe in 0..3 {
        assert_eq!(counters_of(&mut engine, probe), Counters::default());
    }
    let storm = std::thread::spawn(|| mark(100_000));
    std::thread::sleep(Duration::from_millis(2));
    engine.start().unwrap();
    storm.join().unwrap();
    mark(50);
    engine.detach_all();
    mark(50);
    let seen: Vec<u64> = drain_all(&mut engine).values().map(|records| records.len() as u64).collect();
    let counted: Vec<u64> = (0..3).map(|probe| counters_of(&mut engine, probe).recorded).collect();
    assert_eq!(seen, counted);
    assert!(seen[0] >= 50, "{seen:?}");
    // The gate can open between two probes of one call.
    assert!(seen.iter().max().unwrap() - seen.iter().min().unwrap() <= 1, "{seen:?}");
}

#[test]
fn of_a_sample_every_nth_event_of_each_cpu_is_there_and_the_others_are_counted() {
    let mut sampled = getpgid();
    sampled.plan.sample = 10;
    let (records, counters) = record(&sampled, || mark(1003));
    assert_eq!(counters.recorded + counters.lost[lost::SAMPLED], 1003);
    let mut next = BTreeMap::new();
    for record in &records {
        let expected = next.entry(record.cpu).or_insert(0);
        assert_eq!(record.header.seq, *expected, "cpu {}", record.cpu);
        *expected += 10;
    }
    let most = records.len() as u64 * 10;
    assert!((1003..1003 + 10 * next.len() as u64).contains(&most), "{} records", records.len());
}

#[test]
fn a_full_store_of_calls_in_progress_is_counted_once_per_call() {
    const CALLS: usize = 20;
    const ROOM: u32 = 4;
    let mut at_return = plan(&[], &[], 0);
    at_return.use_stash = 1;
    let candidate = candidate(Mechanism::SyscallTracepoints, "nanosleep", at_return, Some(Plan::EMPTY));
    let mut engine = engine_with(EngineOptions { stash_entries: ROOM, ..EngineOptions::default() });
    engine.attach(PROBE, &candidate).unwrap();
    let together = Barrier::new(CALLS);
    std::thread::scope(|scope| {
        for _ in 0..CALLS {
            scope.spawn(|| {
                together.wait();
                let time = libc::timespec { tv_sec: 1, tv_nsec: 0 };
                // SAFETY: the kernel reads a local variable.
                unsafe { libc::syscall(libc::SYS_nanosleep, &raw const time, 0) };
            });
        }
    });
    engine.detach_all();
    let counters = total(&engine.counters().unwrap());
    let without = CALLS as u64 - u64::from(ROOM);
    assert_eq!(counters.recorded, u64::from(ROOM));
    assert_eq!((counters.lost[lost::NO_ENTRY], counters.map_full), (without, without));
}

#[test]
fn calls_that_never_return_leave_nothing_in_the_store() {
    const ROOM: u32 = 16;
    let plan = Plan { use_stash: 1, ..plan(&[], &[], 0) };
    let candidate = candidate(Mechanism::SyscallTracepoints, "exit", plan, Some(Plan::EMPTY));
    let mut engine = engine_with(EngineOptions { stash_entries: ROOM, ..EngineOptions::default() });
    engine.attach(PROBE, &candidate).unwrap();
    for _ in 0..10 * ROOM {
        std::thread::spawn(|| ()).join().unwrap();
    }
    engine.detach_all();
    assert_eq!(total(&engine.counters().unwrap()).map_full, 0);
}

#[test]
fn a_stack_that_cannot_be_taken_is_counted_and_null() {
    // The helper refuses a length that is no multiple of an address.
    let stack = |op| Slot { op, size: 60, dst: HEADER, bit: 4, ..slot(src::CONST, 0) };
    for op in [op::KSTACK, op::USTACK] {
        let candidate = calls(libc::SYS_getpgid, &[stack(op)], 72);
        let (records, counters) = record(&candidate, || mark(7));
        assert_eq!((records.len(), counters.stack_faults), (7, 7));
        assert!(records.iter().all(|r| (r.header.nulls, r.header.faults) == (1 << 4, 0)));
    }
}

#[test]
fn a_rare_event_beside_a_flood_loses_nothing() {
    const RARE: ProbeId = PROBE + 1;
    let mut engine = engine(1);
    engine.attach(PROBE, &calls(libc::SYS_getpgid, &[], 512)).unwrap();
    engine.attach(RARE, &calls(libc::SYS_getsid, &[], 512)).unwrap();
    for _ in 0..40 {
        mark(1000);
        // SAFETY: no memory is involved.
        unsafe { libc::syscall(libc::SYS_getsid, 0x5eed) };
    }
    engine.detach_all();
    let records = drain_all(&mut engine);
    let (flood, rare) = (counters_of(&mut engine, PROBE), counters_of(&mut engine, RARE));
    assert_eq!((records[&RARE].len(), rare.recorded, rare.lost), (40, 40, [0; lost::COUNT]));
    assert_eq!(flood.recorded + flood.lost[lost::RING_FULL], 40_000);
    assert!(flood.lost[lost::RING_FULL] > 30_000, "{flood:?}");
}

#[test]
fn a_ring_that_is_left_alone_fills_and_what_does_not_fit_is_counted() {
    const RARE: ProbeId = PROBE + 1;
    let mut engine = engine(1);
    engine.attach(PROBE, &calls(libc::SYS_getpgid, &[], 512)).unwrap();
    engine.attach(RARE, &calls(libc::SYS_getsid, &[], 512)).unwrap();
    let storm = || {
        mark(1000);
        // SAFETY: no memory is involved.
        unsafe { libc::syscall(libc::SYS_getsid, 0x5eed) };
    };
    let drain = |engine: &mut Engine| {
        let mut rows = [0u64; 2];
        let watermark_ns = engine.drain(&mut |probe, _, _| rows[usize::from(probe - PROBE)] += 1).unwrap();
        (rows, watermark_ns)
    };
    let (_, before_ns) = drain(&mut engine);
    let lanes: Vec<(ProbeId, u16)> = (0..1024).map(|cpu| (PROBE, cpu)).collect();
    engine.pause(&lanes, before_ns - 1);
    let mut recorded = 0;
    for _ in 0..2 {
        storm();
        assert_eq!(
            drain(&mut engine),
            ([0, 1], before_ns),
            "what is in the paused rings holds the watermark"
        );
    }
    // It is what the watermark waits for.
    engine.pause(&lanes, before_ns);
    let ([rows, _], after_ns) = drain(&mut engine);
    assert!(rows > 0 && after_ns > before_ns);
    recorded += rows;
    assert_eq!(drain(&mut engine).0, [0, 0]);
    engine.pause(&lanes, before_ns);
    storm();
    assert_eq!(drain(&mut engine).0, [0, 1], "they have been drained, and wait again");
    engine.pause(&[], 0);
    engine.detach_all();
    recorded += drain(&mut engine).0[0];
    let counters = counters_of(&mut engine, PROBE);
    assert_eq!(counters.recorded, recorded);
    assert_eq!(counters.recorded + counters.lost[lost::RING_FULL], 3000);
    assert!(counters.lost[lost::RING_FULL] > 1000, "{counters:?}");
    assert_eq!(counters_of(&mut engine, RARE).recorded, 3);
}

#[test]
fn an_end_is_recorded_once_if_its_begin_was_whoever_causes_it() {
    const END: ProbeId = PROBE + 1;
    let object = Slot { save: 1, ..first_argument() };
    let source = |number: i64| {
        let mut plan = plan(&[syscall_id(), object], &[], 0);
        only(&mut plan, 0, cmp::EQ, number as u64);
        candidate(Mechanism::TpBtf, "sys_enter", plan, None)
    };
    let (mut begin, mut end) = (source(libc::SYS_getpgid), source(libc::SYS_getsid));
    begin.plan.begins = 1;
    begin.plan.sample = 2;
    end.plan.ends = 1;
    end.plan.filter_pids = 0;
    let mut engine = engine(16 << 20);
    engine.attach(PROBE, &begin).unwrap();
    engine.attach(END, &end).unwrap();
    let call = |number: i64, object: i64| {
        // SAFETY: no memory is involved.
        unsafe { libc::syscall(number, object) };
    };
    const FIRST: i64 = 0x5eed_0000;
    (FIRST..FIRST + 1000).for_each(|object| call(libc::SYS_getpgid, object));
    let begun = drain_all(&mut engine)[&PROBE].len();
    assert!((500..=500 + 64).contains(&begun), "{begun}");
    // Not followed any more: only the begin cares.
    assert!(engine.pids().remove(std::process::id()).unwrap());
    (FIRST..FIRST + 2000).for_each(|object| call(libc::SYS_getsid, object));
    (FIRST..FIRST + 2000).for_each(|object| call(libc::SYS_getsid, object));
    engine.detach_all();
    assert_eq!(drain_all(&mut engine)[&END].len(), begun);
    assert_eq!(counters_of(&mut engine, END).recorded, begun as u64);
}

fn sleeper() -> Child {
    Command::new("sleep").arg("60").spawn().unwrap()
}

fn end(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

fn following(max_pids: u32) -> EngineOptions {
    let task_offsets = Kernel::running().unwrap().task_offsets();
    assert!(task_offsets.is_some());
    EngineOptions { max_pids, task_offsets, ..EngineOptions::default() }
}

#[test]
fn a_process_leaves_the_set_when_its_number_is_free() {
    let mut engine = engine_with(following(100));
    engine.attach(PROBE, &getpgid()).unwrap();
    let child = sleeper();
    let pid = child.id();
    assert!(engine.pids().contains(pid).unwrap(), "a child is followed");
    // A thread that ends is not its process.
    std::thread::spawn(|| ()).join().unwrap();
    end(child);
    let patience = Instant::now() + Duration::from_secs(20);
    while engine.pids().contains(pid).unwrap() {
        assert!(Instant::now() < patience, "process {pid} has ended and is still in the set");
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(engine.pids().contains(std::process::id()).unwrap());
    assert_eq!(engine.counters().unwrap()[0].unfollowed, 0);
}

#[test]
fn children_that_do_not_fit_into_the_set_are_counted() {
    let mut engine = engine_with(following(3));
    engine.attach(PROBE, &getpgid()).unwrap();
    let children: Vec<Child> = (0..6).map(|_| sleeper()).collect();
    let followed = children.iter().filter(|child| engine.pids().contains(child.id()).unwrap()).count();
    children.into_iter().for_each(end);
    assert_eq!(followed, 2);
    assert_eq!(engine.counters().unwrap()[0].unfollowed, 4);
    engine.detach_all();
    assert_eq!(engine.counters().unwrap()[0].unfollowed, 4, "it stays when the programs are gone");
    assert!(drain(&mut engine).0.is_empty());
}
