//! The entry program: keeps arguments, entry columns and the time for the recording program at return.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::bpf_ktime_get_boot_ns;
use schemas::wire::{CpuState, RecordHeader, subject as context};

use crate::body::{each_slot, excluded, subject, thread};
use crate::calls;
use crate::context::gather;
use crate::interrupt::running_in;
use crate::maps::{CPUS, is_open, is_over, lookup, raw};
use crate::plan::{inputs, is_timed};
use crate::slot;
use crate::state::{State, count, opaque, scalar};

const ENTRY: bool = true;

/// Run the entry program. Processes that the return program would not record are not kept.
#[inline(never)]
pub fn run(context: *mut c_void) {
    let cpu = lookup::<u32, CpuState>(raw(&CPUS), &0u32);
    if cpu.is_null() {
        return;
    }
    // Calls that are in progress at the end are told as they were then.
    if is_timed::<ENTRY>() && is_over() || calls::is_returning(cpu) {
        return;
    }
    let running_in = running_in(cpu);
    let subject = subject(running_in);
    if excluded(subject) {
        return;
    }
    // Filled in place: another thread may run on this CPU before this run ends.
    let stash = calls::enter(thread(running_in), calls::frame::<ENTRY>(context, cpu));
    if stash.is_null() {
        if is_open() {
            count!(cpu, map_full);
        }
        return;
    }
    let mut state = State::new(context, cpu, subject, 0);
    // SAFETY: where the header of a record ends is `bytes`; the verifier checks every access.
    state.out = unsafe { (&raw mut (*stash).bytes).cast::<u8>().sub(size_of::<RecordHeader>()) };
    state.clear_temps();
    gather::<ENTRY>(&mut state);
    scalar(columns(&mut state));
    let wanted = inputs::<ENTRY>();
    macro_rules! keep {
        ($($index:literal)*) => {$(
            if wanted & (1 << $index) != 0 {
                // SAFETY: `stash` is a map value.
                unsafe { core::ptr::write_volatile(&raw mut (*stash).args[$index], state.input($index)) };
            }
        )*};
    }
    keep!(0 1 2 3 4 5);
    // SAFETY: `stash` is a map value.
    unsafe {
        core::ptr::write_volatile(&raw mut (*stash).nulls, state.nulls);
        core::ptr::write_volatile(&raw mut (*stash).faults, state.faults);
        core::ptr::write_volatile(&raw mut (*stash).cuts, state.cuts);
        core::ptr::write_volatile(&raw mut (*stash).stack_faults, state.stack_faults);
        if is_timed::<ENTRY>() {
            core::ptr::write_volatile(&raw mut (*stash).pid_tgid, state.subject);
            // At the end of this program, which is none of the call's time.
            core::ptr::write_volatile(&raw mut (*stash).began_ns, bpf_ktime_get_boot_ns());
        }
    }
}

/// Run when a thread ends (sched_process_exit) or executes another program: what it has not returned from it never will.
#[inline(never)]
pub fn exit(_context: *mut c_void) {
    let cpu = lookup::<u32, CpuState>(raw(&CPUS), &0u32);
    if cpu.is_null() || is_timed::<ENTRY>() && is_over() {
        return;
    }
    let calls = calls::end(thread(running_in(cpu)));
    // In interrupts of it nothing runs any more; a return that was skipped has left something behind.
    for running_in in [context::SOFTIRQ, context::HARDIRQ, context::NMI] {
        calls::end(thread(running_in));
    }
    if is_timed::<ENTRY>() && is_open() {
        count!(cpu, no_return, calls);
    }
}

#[inline(never)]
fn columns(state: &mut State) -> u64 {
    each_slot!({
        if slot::is_end::<ENTRY, I>() {
            return opaque(0);
        }
        slot::run::<ENTRY, true, I>(state);
    });
    opaque(0)
}
