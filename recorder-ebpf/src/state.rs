//! What one run of a program carries from slot to slot, and arithmetic that the verifier cannot see through.

use core::arch::asm;
use core::ffi::c_void;
use core::mem::MaybeUninit;

use schemas::wire::{CpuState, MAX_ARGS, MAX_TEMPS, Stash, subject};

use crate::interrupt::is_interrupt;
use crate::plan;

/// The state of one run. Bits of `*_nulls` and so on count from bit 0 = temporary or column 0.
pub struct State {
    pub context: *mut c_void,
    pub cpu: *mut CpuState,
    pub stash: *mut Stash,
    /// Where record offset 0 is.
    pub out: *mut u8,
    /// Process, thread and context ([`subject`]).
    pub subject: u64,
    pub item: u64,
    pub item_bad: u32,
    /// Which copy of a program that nests this is, from 0.
    pub copy: u32,
    /// Arguments and the return value, as far as the plan uses them.
    pub inputs: [MaybeUninit<u64>; MAX_ARGS + 1],
    pub input_faults: u32,
    /// Values; 0 where NULL.
    pub temps: [MaybeUninit<u64>; MAX_TEMPS],
    pub temp_nulls: u32,
    pub temp_faults: u32,
    pub nulls: u32,
    pub faults: u32,
    pub cuts: u32,
    pub stack_faults: u32,
}

impl State {
    #[inline(always)]
    pub fn new(context: *mut c_void, cpu: *mut CpuState, subject: u64, copy: u32) -> Self {
        Self {
            context,
            cpu,
            stash: core::ptr::null_mut(),
            out: core::ptr::null_mut(),
            subject,
            item: 0,
            item_bad: 0,
            copy,
            inputs: [const { MaybeUninit::uninit() }; MAX_ARGS + 1],
            input_faults: 0,
            temps: [const { MaybeUninit::uninit() }; MAX_TEMPS],
            temp_nulls: 0,
            temp_faults: 0,
            nulls: 0,
            faults: 0,
            cuts: 0,
            stack_faults: 0,
        }
    }

    /// 1 in an interrupt: the current task is a bystander.
    #[inline(always)]
    pub fn in_interrupt(&self) -> u32 {
        is_interrupt(self.subject >> subject::SHIFT) as u32
    }

    #[inline(always)]
    pub fn temp(&self, index: u8) -> u64 {
        // SAFETY: the recorder checks that index < MAX_TEMPS; the verifier would refuse anything else.
        unsafe { core::ptr::read_volatile(self.temps.as_ptr().add(usize::from(index)).cast()) }
    }

    #[inline(always)]
    pub fn set_temp(&mut self, index: u8, value: u64) {
        // SAFETY: as in `temp`.
        unsafe { core::ptr::write_volatile(self.temps.as_mut_ptr().add(usize::from(index)).cast(), value) }
    }

    #[inline(always)]
    pub fn input(&self, index: u8) -> u64 {
        // SAFETY: the recorder checks that index <= MAX_ARGS and sets its bit in INPUTS.
        unsafe { core::ptr::read_volatile(self.inputs.as_ptr().add(usize::from(index)).cast()) }
    }

    #[inline(always)]
    pub fn set_input(&mut self, index: usize, value: u64) {
        // SAFETY: as in `input`.
        unsafe { core::ptr::write_volatile(self.inputs.as_mut_ptr().add(index).cast(), value) }
    }

    /// All temporaries are NULL.
    #[inline(always)]
    pub fn clear_temps(&mut self) {
        self.temp_nulls = u32::MAX;
        self.temp_faults = 0;
        for i in 0..MAX_TEMPS as u8 {
            self.set_temp(i, 0);
        }
    }

    /// Where the temporaries are.
    #[inline(always)]
    pub fn temps(&self) -> *const u64 {
        self.temps.as_ptr().cast()
    }

    /// Make a number of a pointer: what the verifier knows about it ends in memory.
    #[inline(always)]
    pub fn launder(&self, pointer: u64) -> u64 {
        launder(self.cpu, pointer)
    }
}

/// Make a number of a pointer: what the verifier knows about it ends in memory.
#[inline(always)]
pub fn launder(cpu: *mut CpuState, pointer: u64) -> u64 {
    // SAFETY: `cpu` is this CPU's map value.
    unsafe {
        core::ptr::write_volatile(&raw mut (*cpu).scratch, pointer);
        core::ptr::read_volatile(&raw const (*cpu).scratch)
    }
}

/// Add one to a counter of this CPU, `count!(cpu, lost[0])`, or as many as are given, `count!(cpu, lost[0], n)`.
macro_rules! count {
    ($cpu:expr, $field:ident $([$index:expr])?, $n:expr) => {
        // SAFETY: `cpu` is this CPU's map value; only an address is taken.
        $crate::state::add_to(unsafe { &raw mut (*$cpu).counters.$field $([$index])? }, $n)
    };
    ($cpu:expr, $field:ident $([$index:expr])?) => {
        $crate::state::count!($cpu, $field $([$index])?, 1)
    };
}
pub(crate) use count;

/// Add to a counter in a map value of this CPU.
#[inline(always)]
pub fn add_to(counter: *mut u64, n: u64) {
    next(counter, n);
}

/// Add and return the old value.
#[inline(always)]
pub fn next(counter: *mut u64, n: u64) -> u64 {
    if plan::interleaved() != 0 {
        let mut old = n;
        // SAFETY: a field of this CPU's map value. The prebuilt `core` has no atomic addition for this target.
        unsafe {
            asm!("{0} = atomic_fetch_add((u64 *)({1} + 0), {0})", inout(reg) old, in(reg) counter, options(nostack));
        }
        old
    } else {
        // SAFETY: a field of this CPU's map value, and no other run of this program interleaves on this CPU.
        unsafe {
            let old = core::ptr::read_volatile(counter);
            core::ptr::write_volatile(counter, old.wrapping_add(n));
            old
        }
    }
}

/// The same value, unknown to the compiler (which would make branches of the arithmetic around it).
#[inline(always)]
pub fn opaque(value: u64) -> u64 {
    let mut value = value;
    // SAFETY: no instruction at all.
    unsafe { asm!("/* {0} */", inout(reg) value, options(pure, nomem, nostack, preserves_flags)) };
    value
}

/// Take the result of a function that has none but a number that means nothing.
///
/// Of a function that gets the address of a [`State`] and gives back nothing, the compiler may leave that address where a result
/// would be, and the verifier refuses a program that seems to give an address on the stack back. So it gives [`opaque`]
/// zero, and this makes the compiler keep it.
#[inline(always)]
pub fn scalar(result: u64) {
    // SAFETY: no instruction at all.
    unsafe { asm!("/* {0} */", in(reg) result, options(nomem, nostack, preserves_flags)) };
}

/// 1 if negative.
#[inline(always)]
pub fn negative(value: i64) -> u64 {
    opaque(value as u64) >> 63
}

/// 1 if not zero.
#[inline(always)]
pub fn not_zero(value: u64) -> u64 {
    opaque(value | value.wrapping_neg()) >> 63
}

/// 1 if a < b.
#[inline(always)]
pub fn less(a: u64, b: u64) -> u64 {
    opaque((!a & b) | (!(a ^ b) & a.wrapping_sub(b))) >> 63
}
