//! The engine on the running kernel (needs root): plans made by hand, exact counts. Only what this process does is
//! recorded.

use recorder::engine::{Candidate, Engine, EngineOptions, Mechanism};
use recorder::source::{EventSource, ProbeCounters, ProbeId};
use schemas::wire::{Counters, NO_DST, NONE, Plan, RecordHeader, Slot, Term, cmp, flag, lost, op, src};
use zerocopy::FromBytes;

const HEADER: u16 = size_of::<RecordHeader>() as u16;
const PROBE: ProbeId = 7;

/// A record as the tests look at it.
struct Record {
    cpu: u16,
    header: RecordHeader,
    columns: Vec<u8>,
}

impl Record {
    fn u64(&self, dst: u16) -> u64 {
        let at = usize::from(dst - HEADER);
        u64::from_ne_bytes(self.columns[at..at + 8].try_into().unwrap())
    }

    fn bytes(&self, dst: u16, n: usize) -> &[u8] {
        let at = usize::from(dst - HEADER);
        &self.columns[at..at + n]
    }
}

fn slot(src: u8, index: u8) -> Slot {
    Slot { src, index, ..Slot::END }
}

/// A plan whose slots before the filter and after it are given; `record` bytes of columns.
fn plan(pre: &[Slot], columns: &[Slot], record: u16) -> Plan {
    let mut plan = Plan::EMPTY;
    for (to, from) in plan.slots.iter_mut().zip(pre.iter().chain(columns)) {
        *to = *from;
    }
    plan.n_pre = pre.len() as u8;
    plan.record_size = u32::from(HEADER + record);
    plan.filter_pids = 1;
    plan
}

/// Let those pass whose temporary `left` compares with `imm`.
fn only(plan: &mut Plan, left: u8, op: u8, imm: u64) {
    plan.terms[0] = Term { imm, left, op, ..plan.terms[0] };
    plan.clauses[0] = 1;
    plan.where_to = 1;
}

fn candidate(mechanism: Mechanism, target: &str, plan: Plan, entry: Option<Plan>) -> Candidate {
    Candidate {
        source: "test".into(),
        mechanism,
        target: target.into(),
        plan: Box::new(plan),
        entry: entry.map(Box::new),
        btf_id: None,
        explain: String::new(),
    }
}

fn engine(ring_bytes_total: u64) -> Engine {
    let mut engine = Engine::new(EngineOptions { ring_bytes_total, ..EngineOptions::default() }).unwrap();
    engine.pids().insert(std::process::id()).unwrap();
    engine
}

/// Everything that is in the rings now.
fn drain(engine: &mut Engine) -> (Vec<Record>, u64) {
    let mut records = Vec::new();
    let watermark = engine
        .drain(&mut |probe, cpu, bytes| {
            assert_eq!(probe, PROBE);
            let (header, columns) = RecordHeader::read_from_prefix(bytes).unwrap();
            records.push(Record { cpu, header, columns: columns.to_vec() });
        })
        .unwrap();
    (records, watermark)
}

fn total(counters: &[ProbeCounters]) -> Counters {
    let mut sum = Counters::default();
    for c in counters.iter().flat_map(|c| &c.per_cpu) {
        let Counters { fired, filtered, recorded, lost, faults, cuts, stack_faults, stash_full } = *c;
        sum.fired += fired;
        sum.filtered += filtered;
        sum.recorded += recorded;
        for (to, from) in sum.lost.iter_mut().zip(lost) {
            *to += from;
        }
        sum.faults += faults;
        sum.cuts += cuts;
        sum.stack_faults += stack_faults;
        sum.stash_full += stash_full;
    }
    assert_eq!(sum.fired, sum.filtered + sum.recorded + sum.lost.iter().sum::<u64>(), "{sum:?}");
    sum
}

/// A syscall that nothing else in this process makes.
fn mark(n: usize) {
    for _ in 0..n {
        // SAFETY: no memory is involved.
        unsafe { libc::syscall(libc::SYS_getpgid, 0x5eed) };
    }
}

/// `sys_enter(regs, id)`: id into temporary 0.
fn syscall_id() -> Slot {
    Slot { save: 0, ..slot(src::ARG, 1) }
}

/// Attach, run `work`, detach, and give what came.
fn record(candidate: &Candidate, work: impl FnOnce()) -> (Vec<Record>, Counters) {
    let mut engine = engine(16 << 20);
    engine.attach(PROBE, candidate).unwrap();
    work();
    engine.detach_all();
    let (records, _) = drain(&mut engine);
    let counters = total(&engine.counters().unwrap());
    assert_eq!(counters.recorded, records.len() as u64);
    (records, counters)
}

#[test]
fn every_call_is_a_record_in_order_and_the_rest_is_filtered() {
    for mechanism in [Mechanism::TpBtf, Mechanism::RawTp] {
        let id = Slot { dst: HEADER, width: 8, ..slot(src::TEMP, 0) };
        let mut plan = plan(&[syscall_id()], &[id], 8);
        only(&mut plan, 0, cmp::EQ, libc::SYS_getpgid as u64);
        let (records, counters) = record(&candidate(mechanism, "sys_enter", plan, None), || mark(1000));
        assert_eq!(records.len(), 1000, "{mechanism:?}");
        assert!(counters.filtered > 0);
        for record in &records {
            assert_eq!(record.u64(HEADER), libc::SYS_getpgid as u64);
            assert_eq!((record.header.pid_tgid >> 32) as u32, std::process::id());
            assert_eq!((record.header.nulls, record.header.faults, record.header.cuts), (0, 0, 0));
        }
        for pair in records.windows(2).filter(|pair| pair[0].cpu == pair[1].cpu) {
            assert_eq!(pair[1].header.seq, pair[0].header.seq + 1);
            assert!(pair[1].header.ts_ns >= pair[0].header.ts_ns);
        }
    }
}
