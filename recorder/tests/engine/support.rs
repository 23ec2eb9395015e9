//! Plans made by hand, and what comes of them.

use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, MutexGuard, PoisonError};

use recorder::engine::{Candidate, Engine, EngineOptions, Mechanism};
use recorder::kernel::Kernel;
use recorder::source::{EventSource, ProbeCounters, ProbeId};
use recorder::user::Place;
use schemas::wire::{Counters, Plan, RecordHeader, Slot, Term, op, src};
use zerocopy::FromBytes;

pub const HEADER: u16 = size_of::<RecordHeader>() as u16;
pub const PROBE: ProbeId = 7;

/// A record as the tests look at it.
pub struct Record {
    pub cpu: u16,
    pub header: RecordHeader,
    pub columns: Vec<u8>,
}

impl Record {
    pub fn u64(&self, dst: u16) -> u64 {
        let at = usize::from(dst - HEADER);
        u64::from_ne_bytes(self.columns[at..at + 8].try_into().unwrap())
    }

    pub fn bytes(&self, dst: u16, n: usize) -> &[u8] {
        let at = usize::from(dst - HEADER);
        &self.columns[at..at + n]
    }
}

pub fn slot(src: u8, index: u8) -> Slot {
    Slot { src, index, ..Slot::END }
}

/// A plan whose slots before the filter and after it are given; `record` bytes of columns.
pub fn plan(pre: &[Slot], columns: &[Slot], record: u16) -> Plan {
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
pub fn only(plan: &mut Plan, left: u8, op: u8, imm: u64) {
    plan.terms[0] = Term { imm, left, op, ..plan.terms[0] };
    plan.clauses[0] = 1;
    plan.where_to = 1;
}

pub fn candidate(mechanism: Mechanism, target: &str, plan: Plan, entry: Option<Plan>) -> Candidate {
    let user = matches!(mechanism, Mechanism::Uprobe | Mechanism::Uretprobe);
    Candidate {
        event: "test".into(),
        source: "test".into(),
        mechanism,
        target: target.into(),
        plan: Box::new(plan),
        entry: entry.map(Box::new),
        btf_id: None,
        user: user.then(|| Place::find(target, false).unwrap()),
        power: None,
        better: 0,
        is_never: false,
        misses: Vec::new(),
        explain: String::new(),
    }
}

pub fn engine(ring_bytes_total: u64) -> Alone {
    let program_offsets = Kernel::running().unwrap().program_offsets();
    engine_with(EngineOptions { ring_bytes_total, program_offsets, ..EngineOptions::default() })
}

pub fn engine_with(options: EngineOptions) -> Alone {
    let guard = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let mut engine = Engine::new(options).unwrap();
    engine.pids().insert(std::process::id()).unwrap();
    Alone { engine, _guard: guard }
}

static TURN: Mutex<()> = Mutex::new(());

/// An engine that sees one test at a time: all tests are threads of the process that it records.
pub struct Alone {
    engine: Engine,
    _guard: MutexGuard<'static, ()>,
}

impl Deref for Alone {
    type Target = Engine;
    fn deref(&self) -> &Engine {
        &self.engine
    }
}

impl DerefMut for Alone {
    fn deref_mut(&mut self) -> &mut Engine {
        &mut self.engine
    }
}

/// Everything that is in the rings now.
pub fn drain(engine: &mut Engine) -> (Vec<Record>, u64) {
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

pub fn total(counters: &[ProbeCounters]) -> Counters {
    let mut sum = Counters::default();
    for c in counters.iter().flat_map(|c| &c.per_cpu) {
        let Counters { fired, filtered, recorded, lost, faults, cuts, stack_faults, map_full, no_return } =
            *c;
        sum.fired += fired;
        sum.filtered += filtered;
        sum.recorded += recorded;
        for (to, from) in sum.lost.iter_mut().zip(lost) {
            *to += from;
        }
        sum.faults += faults;
        sum.cuts += cuts;
        sum.stack_faults += stack_faults;
        sum.map_full += map_full;
        sum.no_return += no_return;
    }
    assert_eq!(sum.fired, sum.filtered + sum.recorded + sum.lost.iter().sum::<u64>(), "{sum:?}");
    sum
}

/// A syscall that nothing else in this process makes.
pub fn mark(n: usize) {
    for _ in 0..n {
        // SAFETY: no memory is involved.
        unsafe { libc::syscall(libc::SYS_getpgid, 0x5eed) };
    }
}

/// `sys_enter(regs, id)`: id into temporary 0.
pub fn syscall_id() -> Slot {
    Slot { save: 0, ..slot(src::ARG, 1) }
}

/// The first argument of the system call, as a number.
pub fn first_argument() -> Slot {
    /// Offset of `di` in `struct pt_regs`.
    const DI: i32 = 112;
    Slot { op: op::LOAD, size: 8, off: [DI, 0, 0, 0, 0], ..slot(src::ARG, 0) }
}

/// Attach, run `work`, detach, and give what came.
pub fn record(candidate: &Candidate, work: impl FnOnce()) -> (Vec<Record>, Counters) {
    let mut engine = engine(16 << 20);
    engine.attach(PROBE, candidate).unwrap();
    work();
    engine.detach_all();
    let (records, _) = drain(&mut engine);
    let counters = total(&engine.counters().unwrap());
    assert_eq!(counters.recorded, records.len() as u64);
    (records, counters)
}
