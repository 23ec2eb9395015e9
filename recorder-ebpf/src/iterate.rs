//! The iterator over tasks: tells when each process was started, to the nanosecond, as probes see it.

use core::arch::asm;
use core::ffi::c_void;

use aya_ebpf::helpers::generated::bpf_seq_write;
use schemas::wire::{CpuState, Start};

use crate::context::read_u64;
use crate::follow::process;
use crate::maps::{CPUS, lookup, raw};
use crate::plan::start_offset;

/// Run for each task, and once more at the end, without one. The context is `struct bpf_iter__task`.
#[inline(never)]
pub fn run(context: *mut c_void) {
    let cpu = lookup::<u32, CpuState>(raw(&CPUS), &0u32);
    if cpu.is_null() {
        return;
    }
    let (sequence, task): (*mut c_void, u64);
    // SAFETY: the verifier knows both members, and the first member of what the first one points to.
    unsafe {
        asm!(
            "{0} = *(u64 *)({1} + 0)",
            "{0} = *(u64 *)({0} + 0)",
            out(reg) sequence, in(reg) context, options(nostack)
        );
        asm!("{0} = *(u64 *)({1} + 8)", out(reg) task, in(reg) context, options(nostack));
    }
    // SAFETY: a field of this CPU's map value.
    let task = unsafe {
        core::ptr::write_volatile(&raw mut (*cpu).scratch, task);
        core::ptr::read_volatile(&raw const (*cpu).scratch)
    };
    let pid = process(task);
    let (boottime_ns, bad) = read_u64(task.wrapping_add(u64::from(start_offset())));
    if task == 0 || pid == 0 || bad != 0 {
        return;
    }
    let start = Start { pid: u64::from(pid), boottime_ns };
    // SAFETY: the verifier knows the file; a local variable.
    unsafe { bpf_seq_write(sequence.cast(), (&raw const start).cast(), size_of::<Start>() as u32) };
}
