//! The entry program: arguments and entry columns -> stash, for the recording program at return.

use core::ffi::c_void;

use schemas::wire::{CpuState, RecordHeader, Stash};

use crate::body::{each_slot, excluded, stash_key, subject};
use crate::context::gather;
use crate::interrupt::running_in;
use crate::maps::{CPUS, STASH, delete, is_open, lookup, raw, update};
use crate::plan::{BLANK, inputs};
use crate::slot;
use crate::state::{State, count};

const ENTRY: bool = true;

/// Run the entry program. Processes that the return program would not record are not kept.
#[inline(never)]
pub fn run(context: *mut c_void) {
    let cpu = lookup::<u32, CpuState>(raw(&CPUS), &0u32);
    if cpu.is_null() {
        return;
    }
    let running_in = running_in(cpu);
    let subject = subject(running_in);
    if excluded(subject) {
        return;
    }
    let key = stash_key(running_in);
    // Filled in place: another thread may run on this CPU before this run ends.
    let kept = update(raw(&STASH), &key, &raw const BLANK);
    let stash = lookup::<u64, Stash>(raw(&STASH), &key);
    if !kept || stash.is_null() {
        if is_open() {
            count!(cpu, map_full);
        }
        return;
    }
    let mut state = State::new(context, cpu, subject, 0);
    // SAFETY: record offset 32 is `bytes`; the verifier checks every access.
    state.out = unsafe { (&raw mut (*stash).bytes).cast::<u8>().sub(size_of::<RecordHeader>()) };
    state.clear_temps();
    gather::<ENTRY>(&mut state);
    columns(&mut state);
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
    }
}

/// Run when a thread ends (sched_process_exit): what it has not returned from it never will.
#[inline(never)]
pub fn exit(_context: *mut c_void) {
    let key = stash_key(schemas::wire::subject::TASK);
    delete(raw(&STASH), &raw const key);
}

#[inline(never)]
fn columns(state: &mut State) {
    each_slot!({
        if slot::is_end::<ENTRY, I>() {
            return;
        }
        slot::run::<ENTRY, true, I>(state);
    });
}
