//! sched_process_fork: a child of a process in the pid set joins it.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::bpf_get_current_pid_tgid;

use crate::context::read;
use crate::maps::{in_pid_set, pid_set, update};
use crate::plan::tgid_offset;

/// Run as raw tracepoint; the arguments are parent (the current task) and child.
#[inline(never)]
pub fn run(context: *mut c_void) {
    // SAFETY: a helper without arguments.
    let parent = (unsafe { bpf_get_current_pid_tgid() } >> 32) as u32;
    if !in_pid_set(parent) {
        return;
    }
    // SAFETY: the second argument of the tracepoint.
    let child = unsafe { core::ptr::read_volatile(context.cast::<u64>().add(1)) };
    let mut tgid = 0u32;
    if read((&raw mut tgid).cast(), 4, child + u64::from(tgid_offset()), false) != 0 {
        return;
    }
    let set = pid_set();
    if !set.is_null() {
        update(set, &tgid, &raw const parent);
    }
}
