//! The recording program: context -> filter -> record in the ring, and counters.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::{
    bpf_get_current_pid_tgid, bpf_get_current_task, bpf_get_smp_processor_id, bpf_ktime_get_boot_ns,
    bpf_ringbuf_reserve, bpf_ringbuf_submit, bpf_tail_call,
};
use schemas::wire::{CpuState, MAX_EACH, MAX_RECORD, NONE, RecordHeader, lost, stash, subject};

use crate::aggregate;
use crate::calls;
use crate::context::{gather, read, read_u64, returned};
use crate::interrupt::{is_interrupt, running_in};
use crate::maps::{CPUS, ONCE, PROGRAMS, RINGS, add, in_pid_set, is_open, is_over, lookup, raw};
use crate::objects;
use crate::plan::{cpu_count, get, is_timed};
use crate::predicate::holds;
use crate::slot;
use crate::state::{State, add_to, count, negative, next, opaque, scalar};

const BPF_RB_NO_WAKEUP: u64 = 1;
const ENTRY: bool = false;

/// Call a function generic over the slot number once per slot.
macro_rules! each_slot {
    ($($call:tt)+) => {
        $crate::body::unroll!({$($call)+}
            0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31 32 33 34 35 36 37 38 39)
    };
}
macro_rules! unroll {
    ($call:tt $($i:literal)*) => {{ $( { const I: usize = $i; $call } )* }};
}
pub(crate) use {each_slot, unroll};

/// Run the recording program.
#[inline(always)]
pub fn run(context: *mut c_void) {
    let cpu = own_state(0);
    if !cpu.is_null() {
        record(context, cpu, 0, 0);
    }
}

/// Run the recording program of an `each` source.
#[inline(always)]
pub fn run_each(context: *mut c_void) {
    let cpu = own_state(0);
    if !cpu.is_null() {
        let from = resumed(cpu);
        each(context, cpu, 0, from);
    }
}

/// What this CPU keeps for a copy of the program, or NULL.
#[inline(always)]
pub fn own_state(copy: u32) -> *mut CpuState {
    lookup(raw(&CPUS), &copy)
}

/// The item at which the last run for the same call stopped; 0 if this is the first run.
#[inline(always)]
pub fn resumed(cpu: *mut CpuState) -> u64 {
    // SAFETY: a field of this CPU's map value, here and in `each`; the kernel runs a program once at a time on a CPU.
    unsafe {
        let from = core::ptr::read_volatile(&raw const (*cpu).each_from);
        core::ptr::write_volatile(&raw mut (*cpu).each_from, 0);
        from
    }
}

/// Record the items from `from` on, and start again for those for which this run has no room.
#[inline(always)]
pub fn each(context: *mut c_void, cpu: *mut CpuState, copy: u32, from: u64) {
    record(context, cpu, copy, from);
    // SAFETY: see `resumed`.
    if unsafe { core::ptr::read_volatile(&raw const (*cpu).each_from) } == 0 {
        return;
    }
    // SAFETY: a map of programs of this kind. It does not return, unless there have been too many calls.
    unsafe { bpf_tail_call(context, raw(&PROGRAMS), copy) };
    resumed(cpu);
    // SAFETY: see `resumed`.
    let left = unsafe { core::ptr::read_volatile(&raw const (*cpu).each_left) };
    count!(cpu, fired, left);
    count!(cpu, lost[lost::EACH_CUT], left);
}

#[inline(always)]
pub fn record(context: *mut c_void, cpu: *mut CpuState, copy: u32, from: u64) {
    calls::set_returning(cpu, u64::from(get!(ENTRY, use_stash) != stash::NONE));
    // A function of its own: one more variable over all of it takes more stack than kernel 6.1 has for it.
    row(context, cpu, copy, from);
    calls::set_returning(cpu, 0);
}

#[inline(never)]
fn row(context: *mut c_void, cpu: *mut CpuState, copy: u32, from: u64) {
    let is_kept = get!(ENTRY, use_stash) != stash::NONE;
    let is_timed = is_kept && is_timed::<ENTRY>();
    let returned_ns = if is_timed { boot_ns() } else { 0 };
    if !is_open() {
        if is_kept && !(is_timed && is_over()) {
            let thread = thread(running_in(cpu));
            let call = calls::leave(thread, calls::frame::<ENTRY>(context, cpu));
            if !call.is_null() {
                calls::forget(thread, call);
            }
        }
        return;
    }
    let running_in = running_in(cpu);
    let mut state = State::new(context, cpu, subject(running_in), copy);
    if excluded(state.subject) {
        count!(state.cpu, fired);
        count!(state.cpu, filtered);
        return;
    }
    let thread = thread(running_in);
    if is_kept {
        state.stash = calls::leave(thread, calls::frame::<ENTRY>(context, cpu));
        if state.stash.is_null() {
            if get!(ENTRY, child_leaves) != 0 && returned::<ENTRY>(&state).0 == 0 {
                return;
            }
            count!(cpu, fired);
            count!(cpu, lost[lost::NO_ENTRY]);
            return;
        }
        if is_timed {
            measure(&state, returned_ns);
        }
    }
    gather::<ENTRY>(&mut state);
    items(&mut state, from);
    if is_kept {
        // The value is not used any more.
        calls::forget(thread, state.stash);
    }
}

/// How long the call took that returned at `now_ns`. The clock is read without a lock, so that it may have gone back by some
/// nanoseconds.
#[inline(always)]
fn measure(state: &State, now_ns: u64) {
    // SAFETY: fields of a map value.
    unsafe {
        let dur_ns = now_ns.wrapping_sub(core::ptr::read_volatile(&raw const (*state.stash).began_ns));
        let passed = negative(dur_ns as i64).wrapping_sub(1);
        core::ptr::write_volatile(&raw mut (*state.stash).dur_ns, dur_ns & passed);
    }
}

#[inline(always)]
fn boot_ns() -> u64 {
    // SAFETY: a helper without arguments.
    unsafe { bpf_ktime_get_boot_ns() }
}

/// Who an event is of, without what the plan says: the current task, or nobody.
#[inline(always)]
pub fn subject(running_in: u64) -> u64 {
    // SAFETY: a helper without arguments.
    let task = unsafe { bpf_get_current_pid_tgid() };
    task | is_interrupt(running_in).wrapping_neg() & subject::NOBODY | running_in << subject::SHIFT
}

/// Whether the plan alone says that an event of `subject` is not recorded. What happens in an interrupt is no doing of a
/// process.
#[inline(always)]
pub fn excluded(subject: u64) -> bool {
    let tgid = (subject >> 32) as u32;
    let exclude = get!(ENTRY, exclude_pid);
    if exclude != 0 && exclude == tgid {
        return true;
    }
    get!(ENTRY, filter_pids) != 0
        && get!(ENTRY, subjects[0]) == NONE
        && get!(ENTRY, subjects[1]) == NONE
        && !in_pid_set(tgid)
}

/// Whose calls the stash keeps: those of a thread, which keeps its task when it executes a program and with it changes its
/// number, and of what interrupts it, which calls too.
#[inline(always)]
pub fn thread(running_in: u64) -> u64 {
    // SAFETY: a helper without arguments.
    unsafe { bpf_get_current_task() | running_in }
}

macro_rules! counter {
    ($state:expr, $($field:tt)+) => {
        // SAFETY: `cpu` is this CPU's map value; only an address is taken.
        unsafe { &raw mut (*$state.cpu).counters.$($field)+ }
    };
}

/// One event, or one for each item of an array, which the first round finds. What has no room in this run is left to
/// the next.
#[inline(always)]
fn items(state: &mut State, from: u64) {
    // Opaque, or the compiler would copy the body for the first round, and for each constant condition.
    let (mut round, mut rounds, mut base) = (opaque(0), opaque(1), 0);
    while round <= MAX_EACH as u64 && round < rounds {
        let count_temp = get!(ENTRY, each_count);
        let each = count_temp != NONE;
        if each && round != 0 {
            (state.item, state.item_bad) = read_u64(base + (round - 1) * 8);
        }
        scalar(before(state));
        if each && round == 0 {
            base = state.temp(get!(ENTRY, each_base)).wrapping_add(from * 8);
            let left = state.temp(count_temp).saturating_sub(from);
            rounds = left.saturating_add(1);
            if left > MAX_EACH as u64 {
                // SAFETY: fields of this CPU's map value.
                unsafe {
                    let cpu = state.cpu;
                    core::ptr::write_volatile(&raw mut (*cpu).each_from, from + MAX_EACH as u64);
                    core::ptr::write_volatile(&raw mut (*cpu).each_left, left - MAX_EACH as u64);
                }
            }
        } else {
            event(state);
        }
        round = opaque(round + 1);
    }
}

/// Run the slots before the filter. A function of its own, or the compiler would copy it.
#[inline(never)]
fn before(state: &mut State) -> u64 {
    state.nulls = 0;
    state.faults = 0;
    state.cuts = 0;
    state.stack_faults = 0;
    state.clear_temps();
    let n_pre = usize::from(get!(ENTRY, n_pre));
    each_slot!({
        if I >= n_pre {
            return opaque(0);
        }
        slot::run::<ENTRY, false, I>(state);
    });
    opaque(0)
}

#[inline(always)]
fn event(state: &mut State) {
    count!(state.cpu, fired);
    if !passes(state) {
        count!(state.cpu, filtered);
        return;
    }
    // SAFETY: a field of this CPU's map value.
    let seq = next(unsafe { &raw mut (*state.cpu).seq }, 1);
    let sample = get!(ENTRY, sample);
    if sample > 1 && seq as u32 % sample != 0 {
        count!(state.cpu, lost[lost::SAMPLED]);
        return;
    }
    let size = get!(ENTRY, record_size);
    let record =
        if get!(ENTRY, aggregates) != 0 { aggregate::take(state.copy) } else { reserve(size, state.copy) };
    if record.is_null() {
        if get!(ENTRY, aggregates) != 0 {
            count!(state.cpu, lost[lost::KEYS_FULL]);
        } else {
            count!(state.cpu, lost[lost::RING_FULL]);
        }
        return;
    }
    // The time is taken after the place in the ring: whoever sees an empty ring knows that all that is still to come
    // is later.
    let ts_ns = boot_ns();
    zero(record, size);
    state.out = record;
    if get!(ENTRY, use_stash) == stash::ALL {
        take_stash(state);
    }
    scalar(columns(state));
    header(state, record.cast(), ts_ns, seq as u32);
    if get!(ENTRY, aggregates) != 0 {
        if aggregate::count(state) == 0 {
            count!(state.cpu, lost[lost::KEYS_FULL]);
            return;
        }
    } else {
        // SAFETY: the record that was reserved above, not used any more.
        unsafe { bpf_ringbuf_submit(record.cast(), BPF_RB_NO_WAKEUP) };
    }
    count!(state.cpu, recorded);
    begin_object(state);
    if state.faults | state.cuts | state.stack_faults != 0 {
        add_to(counter!(state, faults), u64::from(state.faults.count_ones()));
        add_to(counter!(state, cuts), u64::from(state.cuts.count_ones()));
        add_to(counter!(state, stack_faults), u64::from(state.stack_faults));
    }
}

/// Run the other slots.
#[inline(never)]
fn columns(state: &mut State) -> u64 {
    let n_pre = usize::from(get!(ENTRY, n_pre));
    each_slot!({
        if I >= n_pre {
            if slot::is_end::<ENTRY, I>() {
                return opaque(0);
            }
            slot::run::<ENTRY, true, I>(state);
        }
    });
    opaque(0)
}

/// The filters that need the slots before the filter.
#[inline(always)]
fn passes(state: &State) -> bool {
    if get!(ENTRY, filter_pids) != 0 {
        let (first, second) = (get!(ENTRY, subjects[0]), get!(ENTRY, subjects[1]));
        if first != NONE || second != NONE {
            let one = first != NONE && in_pid_set(state.temp(first) as u32);
            if !one && !(second != NONE && in_pid_set(state.temp(second) as u32)) {
                return false;
            }
        }
    }
    let (from, to) = (get!(ENTRY, where_from), get!(ENTRY, where_to));
    (from >= to || holds::<ENTRY>(state.temps(), state.temp_nulls, from, to) != 0)
        && ends_object(state)
        && is_first(state)
}

/// Whether the value of which each counts once is there for the first time.
#[inline(always)]
fn is_first(state: &State) -> bool {
    let once = get!(ENTRY, once);
    once == NONE || {
        let key = state.temp(once);
        add(raw(&ONCE), &key, &key)
    }
}

/// The object that this event begins goes into the set.
#[inline(always)]
fn begin_object(state: &State) {
    let begins = get!(ENTRY, begins);
    if begins != NONE {
        objects::begin(state, state.temp(begins));
    }
}

/// Whether this event is not an end, or that of an object of the set, which leaves it.
#[inline(always)]
fn ends_object(state: &State) -> bool {
    let ends = get!(ENTRY, ends);
    ends == NONE || objects::end(state, state.temp(ends))
}

#[inline(always)]
fn reserve(size: u32, copy: u32) -> *mut u8 {
    // SAFETY: a helper without arguments.
    let index = unsafe { bpf_get_smp_processor_id() } + copy * cpu_count();
    let ring = lookup::<u32, c_void>(raw(&RINGS), &index);
    if ring.is_null() {
        return core::ptr::null_mut();
    }
    // SAFETY: a ring and a size that is constant to the verifier.
    unsafe { bpf_ringbuf_reserve(ring, u64::from(size), 0).cast() }
}

/// Zero the record, so that nothing of what was in the ring before can reach a file.
#[inline(always)]
fn zero(record: *mut u8, size: u32) {
    let mut at = 0;
    while at < MAX_RECORD {
        if at as u32 >= size {
            break;
        }
        // SAFETY: sizes are multiples of 8; the verifier checks.
        unsafe { core::ptr::write_volatile(record.add(at).cast(), 0u64) };
        at += 8;
    }
}

/// What the entry program has kept goes into the record.
#[inline(always)]
fn take_stash(state: &mut State) {
    // SAFETY: `stash` is a map value if use_stash is set.
    unsafe {
        state.nulls = core::ptr::read_volatile(&raw const (*state.stash).nulls);
        state.faults = core::ptr::read_volatile(&raw const (*state.stash).faults);
        state.cuts = core::ptr::read_volatile(&raw const (*state.stash).cuts);
        state.stack_faults = core::ptr::read_volatile(&raw const (*state.stash).stack_faults);
    }
    let size = get!(ENTRY, stash_size);
    if size != 0 {
        // SAFETY: `bytes` is in the map value and the verifier checks the record's end.
        unsafe {
            let to = state.out.add(size_of::<RecordHeader>());
            read(to, u32::from(size), (&raw const (*state.stash).bytes) as u64, false);
        }
    }
}

#[inline(always)]
fn header(state: &State, header: *mut RecordHeader, ts_ns: u64, seq: u32) {
    let mut subject = state.subject;
    let (pid, tid) = (get!(ENTRY, pid), get!(ENTRY, tid));
    if pid != NONE {
        let number = known(state, pid, subject::NO_PID) & subject::NO_PID;
        subject = subject & !(subject::NO_PID << 32) | number << 32;
    }
    if tid != NONE {
        let number = known(state, tid, subject::NO_TID) & subject::NO_TID;
        subject = subject & !subject::NO_TID | number;
    }
    // SAFETY: every record starts with a header; the verifier checks its size.
    unsafe {
        core::ptr::write_volatile(&raw mut (*header).ts_ns, ts_ns);
        core::ptr::write_volatile(&raw mut (*header).pid_tgid, subject);
        core::ptr::write_volatile(&raw mut (*header).seq, seq);
        core::ptr::write_volatile(&raw mut (*header).nulls, state.nulls as u32);
        core::ptr::write_volatile(&raw mut (*header).faults, state.faults as u32);
        core::ptr::write_volatile(&raw mut (*header).cuts, state.cuts as u32);
    }
}

/// The value of a temporary, `unknown` if it is NULL.
#[inline(always)]
fn known(state: &State, temp: u8, unknown: u64) -> u64 {
    let null = u64::from(opaque(u64::from(state.temp_nulls >> temp)) & 1).wrapping_neg();
    state.temp(temp) & !null | unknown & null
}
