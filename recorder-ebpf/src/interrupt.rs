//! Tells whether a program runs for the current task or in an interrupt, to which that task is a bystander.

use aya_ebpf::helpers::generated::bpf_get_current_task;
use schemas::wire::{CpuState, interrupts, subject};

use crate::context::{read, read_u64};
use crate::plan::interrupts;
use crate::state::{less, not_zero};

/// What the program runs in: one of [`subject`].
#[inline(always)]
pub fn running_in(cpu: *mut CpuState) -> u64 {
    match interrupts!(how) {
        interrupts::NEVER => subject::TASK,
        interrupts::IN_TASK => of_count(read_u32(at(task(), interrupts!(count)))),
        interrupts::PER_CPU => {
            let address = preempt_count(cpu);
            if address == 0 {
                return subject::UNKNOWN;
            }
            let mut count = read_u32(address);
            let softirq = interrupts!(softirq);
            if softirq != 0 {
                count |= read_u32(at(task(), softirq)) & interrupts::SOFTIRQ;
            }
            of_count(count)
        }
        _ => subject::UNKNOWN,
    }
}

/// 1 if that is an interrupt, of which the current task is a bystander.
#[inline(always)]
pub fn is_interrupt(running_in: u64) -> u64 {
    less(running_in.wrapping_sub(subject::SOFTIRQ), subject::NMI)
}

#[inline(always)]
fn task() -> u64 {
    // SAFETY: a helper without arguments.
    unsafe { bpf_get_current_task() }
}

#[inline(always)]
fn at(base: u64, offset: i32) -> u64 {
    base.wrapping_add(i64::from(offset) as u64)
}

#[inline(always)]
fn read_u32(address: u64) -> u32 {
    let mut value = 0u32;
    read((&raw mut value).cast(), 4, address, false);
    // SAFETY: a local variable that the helper wrote to.
    unsafe { core::ptr::read_volatile(&raw const value) }
}

#[inline(always)]
fn of_count(count: u32) -> u64 {
    let count = if interrupts!(own) != 0 { interrupted(count) } else { count };
    let bits = |mask: u32| u64::from(count & mask);
    one_of(bits(interrupts::SOFTIRQ), bits(interrupts::HARDIRQ), bits(interrupts::NMI))
}

/// What the count was before this program's own interrupt: an NMI counts as a hard interrupt too.
#[inline(always)]
fn interrupted(count: u32) -> u32 {
    let nmi = not_zero(u64::from(count & interrupts::NMI)) as u32;
    let hardirq = not_zero(u64::from(count & interrupts::HARDIRQ)) as u32;
    count - (nmi << interrupts::NMI.trailing_zeros()) - (hardirq << interrupts::HARDIRQ.trailing_zeros())
}

/// The innermost of those that are not 0.
#[inline(always)]
fn one_of(softirq: u64, hardirq: u64, nmi: u64) -> u64 {
    let (softirq, hardirq, nmi) = (not_zero(softirq), not_zero(hardirq), not_zero(nmi));
    let outer = hardirq * subject::HARDIRQ | (hardirq ^ 1) * softirq * subject::SOFTIRQ;
    nmi * subject::NMI | (nmi ^ 1) * outer
}

/// Where this processor's preempt count is, 0 if it was not found. It is looked for once: the current task leads to the
/// processor's run queue, and that is as far from the count as the kernel's types say if the current task is too.
#[inline(always)]
fn preempt_count(cpu: *mut CpuState) -> u64 {
    // SAFETY: a field of this CPU's map value, here and below.
    let known = unsafe { core::ptr::read_volatile(&raw const (*cpu).preempt_count) };
    if known != 0 {
        return known;
    }
    let task = task();
    let (queue, _) = read_u64(at(task, interrupts!(queue)));
    let (run_queue, _) = read_u64(at(queue, interrupts!(run_queue)));
    let (current, bad) = read_u64(at(run_queue, interrupts!(current)));
    if bad != 0 || current != task {
        return 0;
    }
    let found = at(run_queue, interrupts!(count));
    // SAFETY: see above.
    unsafe { core::ptr::write_volatile(&raw mut (*cpu).preempt_count, found) };
    found
}
