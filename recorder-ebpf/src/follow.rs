//! sched_process_fork and sched_process_free: children of processes in the pid set join it, processes leave it when
//! their number becomes free.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::bpf_get_current_pid_tgid;
use schemas::wire::CpuState;

use crate::context::read;
use crate::maps::{CPUS, delete, in_pid_set, lookup, pid_set, raw, update};
use crate::plan::{pid_offset, tgid_offset};
use crate::state::count;

/// Run as raw tracepoint; the arguments are parent (the current task) and child.
#[inline(never)]
pub fn fork(context: *mut c_void) {
    // SAFETY: a helper without arguments.
    let parent = (unsafe { bpf_get_current_pid_tgid() } >> 32) as u32;
    if !in_pid_set(parent) {
        return;
    }
    // SAFETY: the second argument of the tracepoint.
    let child = unsafe { core::ptr::read_volatile(context.cast::<u64>().add(1)) };
    let tgid = process(child);
    let set = pid_set();
    if tgid != 0 && !set.is_null() && !update(set, &tgid, &raw const parent) {
        let cpu = lookup::<u32, CpuState>(raw(&CPUS), &0u32);
        if !cpu.is_null() {
            count!(cpu, map_full);
        }
    }
}

/// Run as raw tracepoint; the argument is the task. Of a process, its main thread is the last to go. This comes an RCU
/// grace period after the number of the process became free, and until then all that it still does is recorded; the
/// kernel gives out all other numbers before it comes back to this one.
#[inline(never)]
pub fn free(context: *mut c_void) {
    // SAFETY: the argument of the tracepoint.
    let task = unsafe { core::ptr::read_volatile(context.cast::<u64>()) };
    let tgid = process(task);
    let set = pid_set();
    if tgid != 0 && !set.is_null() {
        delete(set, &raw const tgid);
    }
}

/// The process of which this task is the main thread; 0 if it is not one.
#[inline(always)]
pub fn process(task: u64) -> u32 {
    let (mut tgid, mut pid) = (0u32, 0u32);
    let mut bad = read((&raw mut tgid).cast(), 4, task + u64::from(tgid_offset()), false);
    bad |= read((&raw mut pid).cast(), 4, task + u64::from(pid_offset()), false);
    // SAFETY: local variables that the helper wrote to.
    let (tgid, pid) =
        unsafe { (core::ptr::read_volatile(&raw const tgid), core::ptr::read_volatile(&raw const pid)) };
    if bad == 0 && tgid == pid { tgid } else { 0 }
}
