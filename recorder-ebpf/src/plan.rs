//! The plans and the other constants that the recorder writes before it loads the object.
//!
//! Every field is read on its own and volatile: the compiler must not know the values, the verifier does.

use schemas::wire::{DURATION, Interrupts, MAX_STASH, Plan, Stash, context};

#[unsafe(no_mangle)]
#[unsafe(link_section = ".rodata")]
static PLAN: Plan = Plan::EMPTY;

#[unsafe(no_mangle)]
#[unsafe(link_section = ".rodata")]
static ENTRY_PLAN: Plan = Plan::EMPTY;

/// What the context of the recording program is ([`context`]).
#[unsafe(no_mangle)]
#[unsafe(link_section = ".rodata")]
static KIND: u8 = context::ARGS;

/// What the context of the entry program is.
#[unsafe(no_mangle)]
#[unsafe(link_section = ".rodata")]
static ENTRY_KIND: u8 = context::ARGS;

/// 1 if two runs on one CPU can interleave (uprobes), so that counting must be atomic.
#[unsafe(no_mangle)]
#[unsafe(link_section = ".rodata")]
static INTERLEAVED: u8 = 0;

/// Bit i: argument i is used; bits `wire::RETURN_VALUE` and `wire::DURATION`: these are. The recorder derives it from the
/// plan.
#[unsafe(no_mangle)]
#[unsafe(link_section = ".rodata")]
static INPUTS: u32 = 0;

/// Likewise for the entry program.
#[unsafe(no_mangle)]
#[unsafe(link_section = ".rodata")]
static ENTRY_INPUTS: u32 = 0;

/// 1 on aarch64, 0 on x86_64: where a syscall's `pt_regs` have its arguments.
#[unsafe(no_mangle)]
#[unsafe(link_section = ".rodata")]
static AARCH64: u8 = 0;

/// Offset of `task_struct.tgid`.
#[unsafe(no_mangle)]
#[unsafe(link_section = ".rodata")]
static TGID_OFFSET: u32 = 0;

/// Offset of `task_struct.pid`.
#[unsafe(no_mangle)]
#[unsafe(link_section = ".rodata")]
static PID_OFFSET: u32 = 0;

/// Offset of `task_struct.start_boottime`.
#[unsafe(no_mangle)]
#[unsafe(link_section = ".rodata")]
static START_OFFSET: u32 = 0;

/// How to tell interrupts.
#[unsafe(no_mangle)]
#[unsafe(link_section = ".rodata")]
static INTERRUPTS: Interrupts =
    Interrupts { how: 0, count: 0, queue: 0, run_queue: 0, current: 0, softirq: 0, own: 0 };

/// Offset of `bpf_prog.active`, 0 if it is not known.
#[unsafe(no_mangle)]
#[unsafe(link_section = ".rodata")]
static ACTIVE_OFFSET: u32 = 0;

/// Offset of `bpf_array.ptrs`, which is that of `bpf_array.pptrs`.
#[unsafe(no_mangle)]
#[unsafe(link_section = ".rodata")]
static ITEMS_OFFSET: u32 = 0;

/// Number of possible CPUs.
#[unsafe(no_mangle)]
#[unsafe(link_section = ".rodata")]
static CPU_COUNT: u32 = 1;

/// What a stash entry starts from.
#[unsafe(no_mangle)]
#[unsafe(link_section = ".rodata")]
pub static BLANK: Stash = Stash::EMPTY;

const _: () = assert!(MAX_STASH.is_multiple_of(8));

/// The plan of the entry program or of the recording one.
#[inline(always)]
pub const fn plan<const ENTRY: bool>() -> *const Plan {
    if ENTRY { &raw const ENTRY_PLAN } else { &raw const PLAN }
}

/// Read one field of a plan.
macro_rules! get {
    ($entry:ident, $($field:tt)+) => {
        // SAFETY: a field of a static that lives in frozen .rodata.
        unsafe { core::ptr::read_volatile(&raw const (*$crate::plan::plan::<$entry>()).$($field)+) }
    };
}
pub(crate) use get;

/// Read one field of INTERRUPTS.
macro_rules! interrupts {
    ($field:ident) => {
        // SAFETY: a field of a static that lives in frozen .rodata.
        unsafe { core::ptr::read_volatile(&raw const (*$crate::plan::interrupts_at()).$field) }
    };
}
pub(crate) use interrupts;

#[inline(always)]
pub fn interrupts_at() -> *const Interrupts {
    &raw const INTERRUPTS
}

macro_rules! constants {
    ($($function:ident: $name:ident as $type:ty;)*) => {$(
        #[inline(always)]
        pub fn $function() -> $type {
            // SAFETY: a static that lives in frozen .rodata.
            unsafe { core::ptr::read_volatile(&raw const $name) }
        }
    )*};
}

constants! {
    main_kind: KIND as u8;
    entry_kind: ENTRY_KIND as u8;
    interleaved: INTERLEAVED as u8;
    main_inputs: INPUTS as u32;
    entry_inputs: ENTRY_INPUTS as u32;
    aarch64: AARCH64 as u8;
    tgid_offset: TGID_OFFSET as u32;
    pid_offset: PID_OFFSET as u32;
    start_offset: START_OFFSET as u32;
    active_offset: ACTIVE_OFFSET as u32;
    items_offset: ITEMS_OFFSET as u32;
    cpu_count: CPU_COUNT as u32;
}

/// What the context of the entry program or of the recording one is.
#[inline(always)]
pub fn kind<const ENTRY: bool>() -> u8 {
    if ENTRY { entry_kind() } else { main_kind() }
}

/// Whether the duration of calls is measured.
#[inline(always)]
pub fn is_timed<const ENTRY: bool>() -> bool {
    inputs::<ENTRY>() & (1 << DURATION) != 0
}

/// Which arguments the plan uses, and whether the return value.
#[inline(always)]
pub fn inputs<const ENTRY: bool>() -> u32 {
    if ENTRY { entry_inputs() } else { main_inputs() }
}
