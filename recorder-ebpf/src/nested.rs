//! The further copies of a program that nests: an event that all copies before were skipped for -> the recording
//! program, with counters and rings of its own.
//!
//! The kernel does not run a program while that program runs on this CPU, as it does when an interrupt comes. It decides
//! by `bpf_prog.active`, a counter by CPU, which is what a copy looks at too. Whatever has interrupted this CPU since
//! the copies before it had their turn has ended by now, so the counter is what it was then: the first copy whose counter
//! is zero has recorded the event, and no other one does. A flag of our own would be set a little later and cleared
//! a little earlier than the counter, and an interrupt in between would be lost or recorded twice.

use core::ffi::c_void;

use schemas::wire::CpuState;

use crate::body::{each, own_state, record, resumed};
use crate::context::{read, read_u64};
use crate::maps::{CPUS, PROGRAMS, raw};
use crate::plan::{active_offset, items_offset};
use crate::state::{add_to, launder};

/// Run copy `COPY` of the recording program.
#[inline(always)]
pub fn run<const COPY: u32>(context: *mut c_void) {
    let cpu = own_state(COPY);
    if !cpu.is_null() && takes::<COPY>(cpu) {
        record(context, cpu, COPY, 0);
    }
}

/// Run copy `COPY` of the recording program of an `each` source.
#[inline(always)]
pub fn run_each<const COPY: u32>(context: *mut c_void) {
    let cpu = own_state(COPY);
    if cpu.is_null() {
        return;
    }
    let from = resumed(cpu);
    if from != 0 || takes::<COPY>(cpu) {
        each(context, cpu, COPY, from);
    }
}

/// Whether all copies before this one were skipped. That is counted, also before the recording begins: the kernel counts
/// what it skips from the start too.
#[inline(never)]
fn takes<const COPY: u32>(cpu: *mut CpuState) -> bool {
    for other in 0..COPY {
        if !is_running(cpu, other) {
            return false;
        }
    }
    // SAFETY: a field of this CPU's map value.
    add_to(unsafe { &raw mut (*cpu).taken }, 1);
    true
}

/// Whether copy `other` of the program runs on this CPU.
#[inline(always)]
fn is_running(cpu: *mut CpuState, other: u32) -> bool {
    // SAFETY: a field of this CPU's map value; there is one for each copy before the last.
    let known = unsafe { &raw mut (*cpu).running[other as usize] };
    // SAFETY: see above.
    let mut address = unsafe { core::ptr::read_volatile(known) };
    if address == 0 {
        address = find(cpu, other);
        // SAFETY: see above.
        unsafe { core::ptr::write_volatile(known, address) };
    }
    let mut count = 0u32;
    // (Kernels that count by kind of interrupt have four bytes there, of which any may be set.)
    let bad = read((&raw mut count).cast(), 4, address, false);
    // SAFETY: a local variable that the helper wrote to.
    bad == 0 && unsafe { core::ptr::read_volatile(&raw const count) } != 0
}

/// Where the kernel counts on this CPU whether copy `other` runs; 0 if that cannot be found. Memory by CPU is named by an
/// address that is the same for all of them; how far this CPU's is from there, the map of counters tells.
#[inline(always)]
fn find(cpu: *mut CpuState, other: u32) -> u64 {
    if active_offset() == 0 {
        return 0;
    }
    let items = u64::from(items_offset());
    let programs = launder(cpu, raw(&PROGRAMS) as u64);
    let (program, bad) = read_u64(programs + items + u64::from(other) * 8);
    let (counter, bad_too) = read_u64(program + u64::from(active_offset()));
    let (named, bad_as_well) = read_u64(launder(cpu, raw(&CPUS) as u64) + items);
    let here = launder(cpu, own_state(0) as u64);
    if bad | bad_too | bad_as_well != 0 || program == 0 {
        return 0;
    }
    counter.wrapping_add(here.wrapping_sub(named))
}
