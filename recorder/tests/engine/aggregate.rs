//! Events that are counted by key in the kernel: exactly, whatever the interval, and with a table that is full.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use recorder::engine::{EngineOptions, Mechanism};
use recorder::source::EventSource;
use schemas::wire::{NO_DST, Plan, Slot, flag, lost, src, subject};

use crate::support::{HEADER, PROBE, Record, candidate, drain, engine_with, first_argument, total};
use crate::tracepoints::getpgid;

/// Columns of a row: the key, then what the engine adds.
const KEY: u16 = HEADER;
const INTERVAL: u16 = HEADER + 8;
const COUNT: u16 = HEADER + 16;
const SUM: u16 = HEADER + 32;

/// getpgid calls, counted by their argument, which is also added up.
fn by_argument() -> Plan {
    let key = Slot { dst: KEY, width: 8, bit: 0, ..first_argument() };
    let sum = Slot { dst: KEY + 8, bit: 1, ..key };
    let mut plan = getpgid(&[key, sum], 16);
    (plan.aggregates, plan.sums, plan.sum_bit, plan.key_bits) = (1, 1, 1, 1);
    (plan.key_from, plan.key_end) = (16, KEY + 8);
    plan
}

fn call(argument: u64) {
    // SAFETY: no memory is involved.
    unsafe { libc::syscall(libc::SYS_getpgid, argument) };
}

fn options(interval_ms: u64, max_keys: u32) -> EngineOptions {
    EngineOptions { interval: Duration::from_millis(interval_ms), max_keys, ..EngineOptions::default() }
}

/// Events by key, and their sum.
fn by_key(rows: &[Record]) -> BTreeMap<u64, (u64, u64)> {
    let mut all: BTreeMap<u64, (u64, u64)> = BTreeMap::new();
    for row in rows {
        let (count, sum) = all.entry(row.u64(KEY)).or_default();
        *count += row.u64(COUNT);
        *sum += row.u64(SUM);
    }
    all
}

#[test]
fn each_event_is_in_one_row_while_intervals_end_under_load() {
    for mechanism in [Mechanism::TpBtf, Mechanism::RawTp] {
        let mut engine = engine_with(options(20, 64));
        engine.hold().unwrap();
        engine.attach(PROBE, &candidate(mechanism, "sys_enter", by_argument(), None)).unwrap();
        engine.start().unwrap();
        let over = AtomicBool::new(false);
        let mut rows = Vec::new();
        let calls: Vec<u64> = thread::scope(|scope| {
            let work = || {
                let mut calls = 0;
                while !over.load(Ordering::Relaxed) {
                    call(1_000_000 + calls % 8);
                    calls += 1;
                }
                calls
            };
            let threads = [scope.spawn(work), scope.spawn(work)];
            let mut last = 0;
            for _ in 0..60 {
                thread::sleep(Duration::from_millis(10));
                let (new, watermark) = drain(&mut engine);
                assert!(
                    new.iter().all(|row| row.header.ts_ns >= last),
                    "{mechanism}: a row before the watermark"
                );
                last = watermark;
                rows.extend(new);
            }
            over.store(true, Ordering::Relaxed);
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        engine.detach_all();
        rows.extend(drain(&mut engine).0);
        let counters = total(&engine.counters().unwrap());
        let calls: u64 = calls.iter().sum();
        assert_eq!((counters.recorded, counters.lost), (calls, [0; lost::COUNT]), "{mechanism}");
        let all = by_key(&rows);
        assert_eq!(all.values().map(|(count, _)| count).sum::<u64>(), calls, "{mechanism}");
        assert!(all.iter().all(|(key, (count, sum))| *sum == key * count), "{mechanism}: {all:?}");
        assert_eq!(all.keys().copied().collect::<Vec<_>>(), (1_000_000..1_000_008).collect::<Vec<_>>());
        // Intervals follow each other without a gap.
        let ends: BTreeMap<u64, u64> = rows.iter().map(|r| (r.header.ts_ns, r.u64(INTERVAL))).collect();
        assert!(ends.len() > 3, "{mechanism}: {ends:?}");
        for (before, after) in ends.iter().zip(ends.iter().skip(1)) {
            assert_eq!(after.0 - after.1, *before.0, "{mechanism}");
        }
        let nobody = subject::UNKNOWN << subject::SHIFT | subject::NOBODY;
        assert!(rows.iter().all(|row| row.header.pid_tgid == nobody && row.header.nulls == 0));
    }
}

#[test]
fn what_finds_the_table_full_is_lost_and_counted() {
    let mut engine = engine_with(options(60_000, 4));
    engine.attach(PROBE, &candidate(Mechanism::RawTp, "sys_enter", by_argument(), None)).unwrap();
    for i in 0..100 {
        call(2_000_000 + i % 10);
    }
    engine.detach_all();
    let (rows, _) = drain(&mut engine);
    let counters = total(&engine.counters().unwrap());
    let all = by_key(&rows);
    assert_eq!(all.len(), 4, "{all:?}");
    assert!(all.values().all(|(count, _)| *count == 10), "{all:?}");
    assert_eq!((counters.recorded, counters.lost[lost::KEYS_FULL]), (40, 60));
}

#[test]
fn the_process_is_a_key_and_a_sum_without_values_is_null() {
    let mut plan = by_argument();
    (plan.key_from, plan.key_subject) = (8, subject::NO_PID << 32);
    // Temporary 5 is nobody's: a slot that it guards does not run.
    plan.slots[2] = Slot { guard: 5, ..plan.slots[2] };
    let mut engine = engine_with(options(60_000, 64));
    engine.attach(PROBE, &candidate(Mechanism::RawTp, "sys_enter", plan, None)).unwrap();
    (0..30).for_each(|_| call(3));
    engine.detach_all();
    let (rows, _) = drain(&mut engine);
    assert_eq!(by_key(&rows), BTreeMap::from([(3, (30, 0))]));
    for row in rows {
        assert_eq!(subject::pid(row.header.pid_tgid), Some(std::process::id()));
        assert_eq!((subject::tid(row.header.pid_tgid), subject::context(row.header.pid_tgid)), (None, None));
        // Interval, count and the number of values are there, the sum is not.
        assert_eq!(row.header.nulls, 1 << 4);
        assert_eq!(row.u64(HEADER + 24), 0);
    }
}

#[test]
fn powers_of_two_are_those_of_the_numbers_with_their_sign() {
    let values = [0u64, 1, 2, 3, 255, 256, u64::MAX, -2i64 as u64, -256i64 as u64, 1 << 63];
    let signed = [0i64, 1, 2, 2, 128, 256, -1, -2, -256, i64::MIN];
    let unsigned = [0u64, 1, 2, 2, 128, 256, 1 << 63, 1 << 63, 1 << 63, 1 << 63];
    for is_signed in [true, false] {
        let mut plan = by_argument();
        plan.slots[1].flags |= flag::POWER | if is_signed { flag::SIGNED } else { 0 };
        plan.slots[2] =
            Slot { dst: NO_DST, ..Slot { bit: 1, width: 0, ..crate::support::slot(src::CONST, 0) } };
        let mut engine = engine_with(options(60_000, 64));
        engine.attach(PROBE, &candidate(Mechanism::RawTp, "sys_enter", plan, None)).unwrap();
        values.into_iter().for_each(call);
        engine.detach_all();
        let mut wanted: BTreeMap<u64, u64> = BTreeMap::new();
        for i in 0..values.len() {
            let power = if is_signed { signed[i].cast_unsigned() } else { unsigned[i] };
            *wanted.entry(power).or_default() += 1;
        }
        let found = by_key(&drain(&mut engine).0);
        assert_eq!(
            found.into_iter().map(|(key, (count, _))| (key, count)).collect::<BTreeMap<_, _>>(),
            wanted
        );
    }
}
