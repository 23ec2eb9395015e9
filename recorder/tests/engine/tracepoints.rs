//! Tracepoints and system calls, which every kernel has.

use crate::support::{
    HEADER, PROBE, Record, candidate, drain, engine, first_argument, mark, only, plan, record, slot,
    syscall_id, total,
};
use recorder::engine::{Engine, Mechanism};
use recorder::kernel::Kernel;
use recorder::source::EventSource;
use schemas::wire::{EACH_RUNS, MAX_EACH, Plan, Slot, cmp, flag, lost, op, src};

const GETPGID: u64 = libc::SYS_getpgid as u64;

/// getpgid calls of this process, by the arguments of sys_enter: `struct pt_regs *` and the number of the call.
pub fn getpgid(columns: &[Slot], bytes: u16) -> Plan {
    let mut plan = plan(&[syscall_id()], columns, bytes);
    only(&mut plan, 0, cmp::EQ, GETPGID);
    plan
}

#[test]
fn every_call_is_a_record_in_order_and_the_rest_is_filtered() {
    for mechanism in [Mechanism::TpBtf, Mechanism::RawTp] {
        let id = Slot { dst: HEADER, width: 8, ..slot(src::TEMP, 0) };
        let plan = getpgid(&[id], 8);
        let (records, counters) = record(&candidate(mechanism, "sys_enter", plan, None), || mark(1000));
        assert_eq!(records.len(), 1000, "{mechanism:?}");
        assert!(counters.filtered > 0);
        for record in &records {
            assert_eq!(record.u64(HEADER), GETPGID);
            assert_eq!((record.header.pid_tgid >> 32) as u32, std::process::id());
            assert_eq!((record.header.nulls, record.header.faults, record.header.cuts), (0, 0, 0));
        }
        for pair in records.windows(2).filter(|pair| pair[0].cpu == pair[1].cpu) {
            assert_eq!(pair[1].header.seq, pair[0].header.seq + 1);
            assert!(pair[1].header.ts_ns >= pair[0].header.ts_ns);
        }
    }
}

#[test]
fn a_syscall_tracepoint_gives_arguments_of_the_entry_and_the_result() {
    let argument = Slot { dst: HEADER, width: 8, ..slot(src::ARG, 0) };
    let result = Slot { dst: HEADER + 8, width: 8, ..slot(src::RET, 0) };
    let mut plan = plan(&[], &[argument, result], 24);
    plan.use_stash = 1;
    plan.stash_size = 24;
    let entry_columns = [Slot { dst: HEADER + 16, width: 8, bit: 2, ..slot(src::PID_TGID, 0) }];
    let mut entry = self::plan(&[], &entry_columns, 24);
    entry.n_args = 1;
    let candidate = candidate(Mechanism::SyscallTracepoints, "getpgid", plan, Some(entry));
    let (records, counters) = record(&candidate, || mark(100));
    assert_eq!(records.len(), 100);
    assert_eq!(counters.lost, [0; lost::COUNT]);
    for record in &records {
        assert_eq!(record.u64(HEADER), 0x5eed);
        assert_eq!(record.u64(HEADER + 8) as i64, -i64::from(libc::ESRCH));
        assert_eq!(record.u64(HEADER + 16), record.header.pid_tgid);
        assert_eq!(record.header.nulls, 0);
    }
}

#[test]
fn a_classic_tracepoint_is_read_from_its_record() {
    // struct { common: 8 bytes; int nr; pad; unsigned long args[6] }
    let number =
        Slot { op: op::LOAD, size: 4, off: [8, 0, 0, 0, 0], dst: HEADER, width: 8, ..slot(src::CTX, 0) };
    let argument =
        Slot { op: op::LOAD, size: 8, off: [16, 0, 0, 0, 0], dst: HEADER + 8, width: 8, ..slot(src::CTX, 0) };
    let plan = plan(&[], &[number, argument], 16);
    let (records, _) =
        record(&candidate(Mechanism::Tracepoint, "syscalls:sys_enter_getpgid", plan, None), || mark(10));
    assert_eq!(records.len(), 10);
    assert!(records.iter().all(|r| r.u64(HEADER) == GETPGID && r.u64(HEADER + 8) == 0x5eed));
}

#[test]
fn each_comparison_and_a_disjunction_hold_in_the_kernel_as_they_do_here() {
    let value = -5i64 as u64;
    let (small, same) = (value - 1, value);
    let cases = [
        (cmp::EQ, same, true),
        (cmp::EQ, small, false),
        (cmp::NE, small, true),
        (cmp::NE, same, false),
        (cmp::LT, 7, false),
        (cmp::LT, u64::MAX, true),
        (cmp::LE, same, true),
        (cmp::LE, small, false),
        (cmp::GT, 7, true),
        (cmp::GT, same, false),
        (cmp::GE, same, true),
        (cmp::GE, u64::MAX, false),
        (cmp::SLT, 7, true),
        (cmp::SLT, same, false),
        (cmp::SLE, same, true),
        (cmp::SLE, small, false),
        (cmp::SGT, 7, false),
        (cmp::SGT, small, true),
        (cmp::SGE, same, true),
        (cmp::SGE, 7, false),
        (cmp::ANY, 1 << 63, true),
        (cmp::ANY, 4, false),
        (cmp::NONE_OF, 4, true),
        (cmp::NONE_OF, 1, false),
    ];
    // All comparisons as predicates of one record: 12 at a time.
    for half in cases.chunks(12) {
        let mut columns = vec![Slot { save: 1, imm: value, ..slot(src::CONST, 0) }];
        for i in 0..half.len() as u8 {
            columns.push(Slot {
                op: op::PRED,
                clause_from: 1 + i,
                clause_to: 2 + i,
                dst: HEADER + u16::from(i),
                width: 1,
                ..slot(src::CONST, 0)
            });
        }
        // A clause that fails, or one that holds.
        columns.push(Slot {
            op: op::PRED,
            clause_from: 13,
            clause_to: 15,
            dst: HEADER + 12,
            width: 1,
            ..slot(src::CONST, 0)
        });
        let mut plan = getpgid(&columns, 16);
        for (i, (op, imm, _)) in half.iter().enumerate() {
            plan.terms[1 + i] = schemas::wire::Term { imm: *imm, left: 1, op: *op, ..plan.terms[1 + i] };
            plan.clauses[1 + i] = 1 << (1 + i);
        }
        plan.clauses[13] = half.iter().enumerate().fold(0, |bits, (i, _)| bits | 1 << (1 + i));
        plan.clauses[14] =
            half.iter().enumerate().filter(|(_, c)| c.2).fold(1, |bits, (i, _)| bits | 1 << (1 + i));
        let (records, _) = record(&candidate(Mechanism::TpBtf, "sys_enter", plan, None), || mark(1));
        let got = records[0].bytes(HEADER, 13);
        for (i, (op, imm, holds)) in half.iter().enumerate() {
            assert_eq!(got[i], u8::from(*holds), "comparison {op} with {imm:#x}");
        }
        assert_eq!(got[12], 1);
    }
}

#[test]
fn integers_are_shifted_cut_extended_and_swapped() {
    let from = |imm: u64| Slot { imm, width: 8, ..slot(src::CONST, 0) };
    let columns = [
        Slot { dst: HEADER, rshift: 4, bits: 8, ..from(0xabcd) },
        Slot { dst: HEADER + 8, rshift: 4, bits: 8, flags: flag::SIGNED, ..from(0xabcd) },
        Slot { dst: HEADER + 16, size: 2, bits: 16, flags: flag::SWAP, ..from(0xabcd) },
        Slot { dst: HEADER + 24, size: 4, flags: flag::SWAP, ..from(0x0102_0304) },
        Slot { dst: HEADER + 32, bits: 4, lshift: 8, ..from(0xff) },
        Slot { dst: HEADER + 40, size: 4, flags: flag::SIGNED, ..from(0xffff_fffe) },
        Slot { dst: HEADER + 48, width: 2, ..from(0x1234_5678) },
    ];
    let plan = getpgid(&columns, 56);
    let (records, _) = record(&candidate(Mechanism::TpBtf, "sys_enter", plan, None), || mark(1));
    let got: Vec<u64> = (0..7).map(|i| records[0].u64(HEADER + 8 * i)).collect();
    assert_eq!(got, [0xbc, 0xffff_ffff_ffff_ffbc, 0xcdab, 0x0403_0201, 0xf00, -2i64 as u64, 0x5678]);
}

/// mkdirat(-100, path, ...) fails with EFAULT or ENOENT; `path` is what the kernel is given.
fn mkdirat(path: u64) {
    // SAFETY: the kernel reads a string, or cannot.
    unsafe { libc::syscall(libc::SYS_mkdirat, libc::AT_FDCWD, path, 0) };
}

/// Length 20 characters at most: 22 bytes.
fn mkdirat_path() -> Plan {
    let path = Slot { op: op::STR, size: 22, flags: flag::USER, dst: HEADER, bit: 3, ..slot(src::TEMP, 1) };
    let load = Slot { op: op::LOAD, size: 8, off: [104, 0, 0, 0, 0], save: 1, ..slot(src::ARG, 0) };
    let mut plan = plan(&[syscall_id(), load], &[path], 24);
    only(&mut plan, 0, cmp::EQ, libc::SYS_mkdirat as u64);
    plan
}

#[test]
fn a_string_is_cut_exactly_behind_its_limit_and_a_bad_pointer_is_a_fault_but_null_is_not() {
    let candidate = candidate(Mechanism::TpBtf, "sys_enter", mkdirat_path(), None);
    let text = |n: usize| {
        let mut text = b"/nonexistent/ktape/test/directory"[..n].to_vec();
        text.push(0);
        text
    };
    let (long, fits) = (text(21), text(20));
    let (records, counters) = record(&candidate, || {
        mkdirat(fits.as_ptr() as u64);
        mkdirat(long.as_ptr() as u64);
        mkdirat(8);
        mkdirat(0);
    });
    assert_eq!(records.len(), 4);
    assert_eq!(records[0].bytes(HEADER, 22), [&fits[..], &[0]].concat());
    assert_eq!((records[0].header.cuts, records[0].header.nulls), (0, 0));
    assert_eq!(records[1].bytes(HEADER, 22), long);
    assert_eq!((records[1].header.cuts, records[1].header.nulls), (1 << 3, 0));
    for (record, faults) in records[2..].iter().zip([1 << 3, 0]) {
        assert_eq!((record.header.nulls, record.header.faults, record.header.cuts), (1 << 3, faults, 0));
        assert_eq!(record.bytes(HEADER, 24), [0; 24]);
    }
    assert_eq!((counters.faults, counters.cuts), (1, 1));
}

#[test]
fn null_in_mid_path_is_null_and_a_guard_decides_and_what_follows_from_null_is_null() {
    let zero = Slot { save: 2, ..slot(src::CONST, 0) };
    let one = Slot { save: 3, imm: 1, ..slot(src::CONST, 0) };
    let through_null = Slot { derefs: 1, save: 4, dst: HEADER, width: 8, bit: 0, ..slot(src::TEMP, 2) };
    let of_null = Slot { dst: HEADER + 8, width: 8, bit: 1, ..slot(src::TEMP, 4) };
    let guarded_out = Slot { imm: 9, guard: 2, dst: HEADER + 16, width: 8, bit: 2, ..slot(src::CONST, 0) };
    let guarded_in = Slot { imm: 9, guard: 3, dst: HEADER + 24, width: 8, bit: 3, ..slot(src::CONST, 0) };
    let soft = Slot {
        imm: 8,
        guard: 4,
        flags: flag::SOFT,
        dst: HEADER + 24,
        width: 8,
        bit: 3,
        ..slot(src::CONST, 0)
    };
    let sum = Slot { imm: 5, add: 3, dst: HEADER + 32, width: 8, bit: 4, ..slot(src::CONST, 0) };
    let null_sum = Slot { imm: 5, add: 4, dst: HEADER + 40, width: 8, bit: 5, ..slot(src::CONST, 0) };
    let columns = [zero, one, through_null, of_null, guarded_out, guarded_in, soft, sum, null_sum];
    let plan = getpgid(&columns, 48);
    let (records, counters) = record(&candidate(Mechanism::TpBtf, "sys_enter", plan, None), || mark(1));
    let header = &records[0].header;
    assert_eq!(header.nulls, 0b100111);
    assert_eq!(header.faults, 0, "nothing was read");
    assert_eq!((0..6).map(|i| records[0].u64(HEADER + 8 * i)).collect::<Vec<_>>(), [0, 0, 0, 9, 6, 0]);
    assert_eq!(counters.faults, 0);
}

#[test]
fn a_comparison_with_null_is_false_whatever_it_asks() {
    let bad = Slot { op: op::LOAD, size: 8, save: 1, ..slot(src::CONST, 0) };
    let mut plan = plan(&[syscall_id(), bad], &[], 0);
    only(&mut plan, 0, cmp::EQ, GETPGID);
    plan.terms[1] = schemas::wire::Term { imm: 77, left: 1, op: cmp::NE, ..plan.terms[1] };
    plan.clauses[0] = 0b11;
    let (records, _) = record(&candidate(Mechanism::TpBtf, "sys_enter", plan, None), || mark(5));
    assert_eq!(records.len(), 0);
}

#[test]
fn names_ids_and_stacks_of_the_current_thread() {
    let columns = [
        Slot { op: op::COMM, dst: HEADER, bit: 0, ..slot(src::CONST, 0) },
        Slot { dst: HEADER + 16, width: 8, bit: 1, ..slot(src::UID_GID, 0) },
        Slot { dst: HEADER + 24, width: 8, bit: 2, ..slot(src::CGROUP_ID, 0) },
        Slot { op: op::KSTACK, size: 64, dst: HEADER + 32, bit: 3, ..slot(src::CONST, 0) },
        Slot { op: op::USTACK, size: 64, dst: HEADER + 104, bit: 4, ..slot(src::CONST, 0) },
        Slot { dst: HEADER + 176, width: 8, ..slot(src::TASK, 0) },
    ];
    for (mechanism, target) in [(Mechanism::TpBtf, "sys_enter"), (Mechanism::RawTp, "sys_enter")] {
        let (records, counters) =
            record(&candidate(mechanism, target, getpgid(&columns, 184), None), || mark(3));
        assert_eq!(records.len(), 3);
        let record = &records[0];
        let comm = std::fs::read_to_string("/proc/thread-self/comm").unwrap();
        assert_eq!(record.bytes(HEADER, comm.trim_end().len()), comm.trim_end().as_bytes());
        assert_eq!(record.u64(HEADER + 16), 0);
        assert!(record.u64(HEADER + 24) > 0);
        let stack = record.u64(HEADER + 32) as i64;
        assert!(stack > 0 && stack % 8 == 0, "{stack}");
        assert!(record.u64(HEADER + 40) > 1 << 63, "{:#x}", record.u64(HEADER + 40));
        let user = record.u64(HEADER + 104) as i64;
        assert!(user > 0 && record.u64(HEADER + 112) < 1 << 47, "{user}");
        assert!(record.u64(HEADER + 176) > 1 << 63);
        assert_eq!((record.header.nulls, counters.stack_faults), (0, 0));
    }
}

#[test]
fn a_full_ring_loses_nothing_uncounted() {
    let column = Slot { dst: HEADER, width: 8, ..first_argument() };
    let candidate = candidate(Mechanism::TpBtf, "sys_enter", getpgid(&[column], 512), None);
    let mut engine = engine(1);
    engine.attach(PROBE, &candidate).unwrap();
    let mut records = Vec::new();
    for _ in 0..20 {
        mark(1000);
        records.extend(drain(&mut engine).0);
    }
    engine.detach_all();
    records.extend(drain(&mut engine).0);
    let counters = total(&engine.counters().unwrap());
    assert_eq!(counters.recorded, records.len() as u64);
    assert_eq!(counters.recorded + counters.lost[lost::RING_FULL], 20_000);
    assert!(counters.lost[lost::RING_FULL] > 0, "the ring was large enough");
    // Gaps in seq are the losses: those before the last record of each cpu, at least.
    let mut last = std::collections::HashMap::new();
    let mut gaps = 0;
    for record in &records {
        let next = last.entry(record.cpu).or_insert(0);
        gaps += u64::from(record.header.seq - *next);
        *next = record.header.seq + 1;
    }
    let seen: u64 = last.values().map(|n| u64::from(*n)).sum();
    let after: u64 = 20_000 - seen;
    assert_eq!(gaps + after, counters.lost[lost::RING_FULL]);
}

#[test]
fn the_watermark_is_not_after_any_record_still_to_come() {
    let candidate = candidate(Mechanism::TpBtf, "sys_enter", getpgid(&[], 0), None);
    let mut engine = engine(16 << 20);
    engine.attach(PROBE, &candidate).unwrap();
    let worker = std::thread::spawn(|| mark(200_000));
    let (mut before, mut n) = (0, 0);
    while n < 200_000 {
        let (records, watermark) = drain(&mut engine);
        assert!(watermark >= before);
        for record in &records {
            assert!(record.header.ts_ns >= before, "{} ns too early", before - record.header.ts_ns);
        }
        before = watermark;
        n += records.len();
    }
    worker.join().unwrap();
}

#[test]
fn a_return_without_its_entry_is_counted() {
    // No entry plan: nothing is ever kept.
    let mut plan = plan(&[], &[], 0);
    plan.use_stash = 1;
    let (records, counters) =
        record(&candidate(Mechanism::SyscallTracepoints, "getpgid", plan, None), || mark(6));
    assert_eq!((records.len(), counters.lost[lost::NO_ENTRY]), (0, 6));
}

#[test]
fn what_cannot_be_attached_says_why() {
    let mut engine = engine(1 << 20);
    let mut attach = |mechanism, target: &str| {
        let error = engine.attach(PROBE, &candidate(mechanism, target, Plan::EMPTY, None)).unwrap_err();
        format!("{error:#}")
    };
    assert!(attach(Mechanism::TpBtf, "no_such_tracepoint").contains("no_such_tracepoint"));
    assert!(attach(Mechanism::Tracepoint, "sched").contains("category:name"));
    let bad = Slot { dst: HEADER, width: 8, ..slot(src::TEMP, 0) };
    let error = engine.attach(PROBE, &candidate(Mechanism::TpBtf, "sys_enter", plan(&[], &[bad], 0), None));
    assert!(format!("{:#}", error.unwrap_err()).contains("does not fit"));
}

#[test]
fn an_array_gives_a_record_for_each_item_and_counts_what_is_too_much() {
    // struct pt_regs is an array of u64: as many items as the first argument says, which is item 14. Of other calls it
    // has no items, whatever their argument is.
    let is_getpgid = Slot { op: op::PRED, clause_to: 1, save: 3, ..slot(src::CONST, 0) };
    let count = Slot { save: 1, guard: 3, ..first_argument() };
    let base = Slot { save: 2, ..slot(src::ARG, 0) };
    let item = Slot { dst: HEADER, width: 8, ..slot(src::ITEM, 0) };
    let mut plan = plan(&[syscall_id(), is_getpgid, count, base], &[item], 8);
    only(&mut plan, 0, cmp::EQ, GETPGID);
    (plan.each_count, plan.each_base) = (1, 2);
    let getpgid = |n: i64| {
        // SAFETY: no memory is involved.
        unsafe { libc::syscall(libc::SYS_getpgid, n) };
    };
    let candidate = candidate(Mechanism::TpBtf, "sys_enter", plan, None);
    let mut engine = engine(16 << 20);
    engine.attach(PROBE, &candidate).unwrap();
    getpgid(0);
    getpgid(20);
    let before = total_of_getpgid(&mut engine, 20);
    assert_eq!(before[14].u64(HEADER), 20);
    for n in [MAX_EACH - 1, MAX_EACH, MAX_EACH + 1, 2 * MAX_EACH, 2 * MAX_EACH + 1, MOST_ITEMS] {
        getpgid(n as i64);
        let records = total_of_getpgid(&mut engine, n);
        assert_eq!(records[14].u64(HEADER), n as u64);
        assert_eq!(total(&engine.counters().unwrap()).lost, [0; lost::COUNT], "{n}");
    }
    getpgid(MOST_ITEMS as i64 + 88);
    total_of_getpgid(&mut engine, MOST_ITEMS);
    getpgid(3);
    total_of_getpgid(&mut engine, 3);
    engine.detach_all();
    assert_eq!(total(&engine.counters().unwrap()).lost[lost::EACH_CUT], 88);
}

/// What all runs of a program for one call can visit.
const MOST_ITEMS: usize = MAX_EACH * EACH_RUNS;

#[test]
fn the_items_of_a_long_array_are_all_there_in_order() {
    // The task of this thread as an array of u64, in which numbers of thread and process are known.
    const ITEMS: usize = 1100;
    let is_getpgid = Slot { op: op::PRED, clause_to: 1, save: 3, ..slot(src::CONST, 0) };
    let count = Slot { save: 1, guard: 3, imm: ITEMS as u64, ..slot(src::CONST, 0) };
    let base = Slot { save: 2, ..slot(src::TASK, 0) };
    let item = Slot { dst: HEADER, width: 8, ..slot(src::ITEM, 0) };
    let mut plan = plan(&[syscall_id(), is_getpgid, count, base], &[item], 8);
    only(&mut plan, 0, cmp::EQ, GETPGID);
    (plan.each_count, plan.each_base) = (1, 2);
    let mut engine = engine(16 << 20);
    engine.attach(PROBE, &candidate(Mechanism::RawTp, "sys_enter", plan, None)).unwrap();
    mark(1);
    engine.detach_all();
    let records = total_of_getpgid(&mut engine, ITEMS);
    assert!(records.windows(2).all(|two| two[1].header.seq == two[0].header.seq + 1));
    let bytes: Vec<u8> = records.iter().flat_map(|record| record.u64(HEADER).to_ne_bytes()).collect();
    let offsets = Kernel::running().unwrap().task_offsets().unwrap();
    let number = |at: u32| u32::from_ne_bytes(bytes[at as usize..][..4].try_into().unwrap());
    // SAFETY: no memory is involved.
    let tid = unsafe { libc::gettid() } as u32;
    assert!(offsets.pid as usize / 8 > MAX_EACH, "the first run has them already");
    assert_eq!((number(offsets.pid), number(offsets.tgid)), (tid, std::process::id()));
}

/// The records of this thread, which must be `n`.
fn total_of_getpgid(engine: &mut Engine, n: usize) -> Vec<Record> {
    // SAFETY: no memory is involved.
    let tid = unsafe { libc::gettid() } as u32;
    let records: Vec<_> = drain(engine).0.into_iter().filter(|r| r.header.pid_tgid as u32 == tid).collect();
    assert_eq!(records.len(), n);
    records
}

#[test]
fn an_error_pointer_leads_to_null_and_is_no_fault() {
    // A pointer as the kernel returns it: NULL, the ends of the range of error numbers, and what is no error but nothing
    // can be read from.
    for (pointer, is_fault) in
        [(0, false), (-1_i64, false), (-2, false), (-4095, false), (-4096, true), (8, true)]
    {
        let of = |derefs: u8, op: u8, size: u16, bit: u8| Slot {
            imm: pointer as u64,
            derefs,
            op,
            size,
            dst: HEADER + 8 * u16::from(bit),
            width: 8,
            bit,
            off: [16, 0, 0, 0, 0],
            ..slot(src::CONST, 0)
        };
        let columns =
            [of(0, op::LOAD, 8, 0), of(1, op::LOAD, 4, 1), of(0, op::MEM, 8, 2), of(0, op::STR, 8, 3)];
        let plan = getpgid(&columns, 32);
        let (records, counters) = record(&candidate(Mechanism::RawTp, "sys_enter", plan, None), || mark(3));
        assert_eq!(records.len(), 3);
        for record in &records {
            assert_eq!(record.header.nulls, 0b1111, "{pointer}");
            assert_eq!(record.header.faults, if is_fault { 0b1111 } else { 0 }, "{pointer}");
        }
        assert_eq!(counters.faults, if is_fault { 12 } else { 0 }, "{pointer}");
    }
}

#[test]
fn a_number_can_be_negated_and_left_out_where_a_guard_does_not_hold() {
    let value = Slot { imm: 5, save: 1, flags: flag::NEGATE, lshift: 1, ..slot(src::CONST, 0) };
    let (never, always) =
        (Slot { save: 2, ..slot(src::CONST, 0) }, Slot { imm: 1, save: 3, ..slot(src::CONST, 0) });
    let guarded = |guard: u8, save: u8| Slot { guard, save, ..slot(src::TEMP, 1) };
    let zero = |save: u8| Slot { save, ..slot(src::CONST, 0) };
    let stored =
        |temp: u8, bit: u8| Slot { dst: HEADER + 8 * u16::from(bit), width: 8, bit, ..slot(src::TEMP, temp) };
    let columns = [
        value,
        never,
        always,
        zero(4),
        guarded(2, 4),
        zero(5),
        guarded(3, 5),
        stored(1, 0),
        stored(4, 1),
        stored(5, 2),
    ];
    let plan = getpgid(&columns, 24);
    let (records, _) = record(&candidate(Mechanism::RawTp, "sys_enter", plan, None), || mark(3));
    assert_eq!(records.len(), 3);
    for record in &records {
        let values = [0, 8, 16].map(|at| record.u64(HEADER + at) as i64);
        assert_eq!((values, record.header.nulls), ([-10, 0, -10], 0));
    }
}
