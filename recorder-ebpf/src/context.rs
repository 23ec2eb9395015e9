//! Where arguments and return values are: context -> 64-bit value.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::{
    bpf_get_func_arg, bpf_get_func_ret, bpf_probe_read_kernel, bpf_probe_read_user,
};
use schemas::wire::{RETURN_VALUE, context, stash};

use crate::plan::{aarch64, get, inputs, kind};
use crate::state::{State, negative};

/// Load 8 bytes of the context. Every offset is an instruction of its own: the verifier refuses a context pointer
/// that was calculated, and the compiler would calculate one.
macro_rules! load {
    ($context:expr, $offset:literal) => {{
        let value: u64;
        // SAFETY: the verifier checks the offset against the kind of the program.
        unsafe {
            core::arch::asm!(
                concat!("{0} = *(u64 *)({1} + ", $offset, ")"), out(reg) value, in(reg) $context, options(nostack)
            )
        };
        value
    }};
}

pub(crate) use load;

/// `size` bytes of memory at `address` into `to` (zeroed if that faults); 1 if it faulted.
#[inline(always)]
pub fn read(to: *mut u8, size: u32, address: u64, user: bool) -> u32 {
    let from = address as *const c_void;
    // SAFETY: the verifier checks `to` and `size`; the helpers take any address.
    let result = unsafe {
        if user {
            bpf_probe_read_user(to.cast(), size, from)
        } else {
            bpf_probe_read_kernel(to.cast(), size, from)
        }
    };
    negative(result) as u32
}

/// A kernel u64; 0 and 1 if that faults.
#[inline(always)]
pub fn read_u64(address: u64) -> (u64, u32) {
    let mut value = 0u64;
    let bad = read((&raw mut value).cast(), 8, address, false);
    // SAFETY: a local variable; volatile because the helper wrote to it.
    (unsafe { core::ptr::read_volatile(&raw const value) }, bad)
}

/// Get the arguments and the return value, as far as the plan uses them.
#[inline(always)]
pub fn gather<const ENTRY: bool>(state: &mut State) {
    let wanted = inputs::<ENTRY>();
    macro_rules! arguments {
        ($($index:literal)*) => {$(
            if wanted & (1 << $index) != 0 {
                let (value, bad) = argument::<ENTRY>(state, $index);
                state.set_input($index, value);
                state.input_faults |= bad << $index;
            }
        )*};
    }
    arguments!(0 1 2 3 4 5 6 7 8 9 10 11);
    if wanted & (1 << RETURN_VALUE) != 0 {
        let (value, bad) = returned::<ENTRY>(state);
        state.set_input(RETURN_VALUE, value);
        state.input_faults |= bad << RETURN_VALUE;
    }
}

/// Argument `index` and whether it could not be read.
#[inline(always)]
fn argument<const ENTRY: bool>(state: &State, index: u8) -> (u64, u32) {
    if !ENTRY && get!(ENTRY, use_stash) == stash::ALL {
        // SAFETY: `stash` is a map value if use_stash is set; the verifier checks the bounds.
        return (
            unsafe {
                core::ptr::read_volatile(
                    (&raw const (*state.stash).args).cast::<u64>().add(usize::from(index)),
                )
            },
            0,
        );
    }
    if get!(ENTRY, syscall_regs) != 0 {
        let (regs, bad) = direct::<ENTRY>(state, 0);
        let offset = if aarch64() != 0 {
            u64::from(index) * 8
        } else {
            match index {
                0 => 112,
                1 => 104,
                2 => 96,
                3 => 56,
                4 => 72,
                _ => 64,
            }
        };
        let (value, bad_too) = read_u64(regs + offset);
        return (value, bad | bad_too);
    }
    direct::<ENTRY>(state, index)
}

/// Argument `index` of what the program is attached to.
#[inline(always)]
fn direct<const ENTRY: bool>(state: &State, index: u8) -> (u64, u32) {
    let c = state.context;
    match kind::<ENTRY>() {
        context::REGS_X86_64 => match index {
            0 => (load!(c, 112), 0),
            1 => (load!(c, 104), 0),
            2 => (load!(c, 96), 0),
            3 => (load!(c, 88), 0),
            4 => (load!(c, 72), 0),
            5 => (load!(c, 64), 0),
            // Behind the return address.
            _ => read_u64(load!(c, 152) + (u64::from(index) - 5) * 8),
        },
        context::TRACEPOINT => match index {
            0 => (load!(c, 16), 0),
            1 => (load!(c, 24), 0),
            2 => (load!(c, 32), 0),
            3 => (load!(c, 40), 0),
            4 => (load!(c, 48), 0),
            _ => (load!(c, 56), 0),
        },
        context::FUNCTION => {
            let mut value = 0u64;
            // SAFETY: the helper writes 8 bytes to a local variable.
            let bad = negative(unsafe { bpf_get_func_arg(c, u32::from(index), &raw mut value) }) as u32;
            // SAFETY: as above.
            (unsafe { core::ptr::read_volatile(&raw const value) }, bad)
        }
        kind => {
            // Also REGS_AARCH64: x0, x1 ... are the first members of its registers.
            let value = match index {
                0 => load!(c, 0),
                1 => load!(c, 8),
                2 => load!(c, 16),
                3 => load!(c, 24),
                4 => load!(c, 32),
                5 => load!(c, 40),
                6 => load!(c, 48),
                7 => load!(c, 56),
                8 => load!(c, 64),
                9 => load!(c, 72),
                10 => load!(c, 80),
                _ => load!(c, 88),
            };
            if kind == context::TYPED_ARGS { (state.launder(value), 0) } else { (value, 0) }
        }
    }
}

/// The return value.
#[inline(always)]
pub fn returned<const ENTRY: bool>(state: &State) -> (u64, u32) {
    let c = state.context;
    match kind::<ENTRY>() {
        context::REGS_X86_64 => (load!(c, 80), 0),
        context::REGS_AARCH64 => (load!(c, 0), 0),
        context::TRACEPOINT => (load!(c, 16), 0),
        _ => {
            let mut value = 0u64;
            // SAFETY: the helper writes 8 bytes to a local variable.
            let bad = negative(unsafe { bpf_get_func_ret(c, &raw mut value) }) as u32;
            // SAFETY: as above.
            (unsafe { core::ptr::read_volatile(&raw const value) }, bad)
        }
    }
}

/// Word `index` of the context. A function of its own: the verifier follows each call of it with the one `index` that the plan
/// says, and so many loads are in the object once.
#[inline(never)]
pub fn register(context: *mut c_void, index: u64) -> u64 {
    macro_rules! words {
        ($($index:literal $offset:literal)*) => {
            match index {
                $($index => load!(context, $offset),)*
                _ => 0,
            }
        };
    }
    words!(0 0 1 8 2 16 3 24 4 32 5 40 6 48 7 56 8 64 9 72 10 80 11 88 12 96 13 104 14 112 15 120 16 128 17 136 18 144
        19 152 20 160 21 168 22 176 23 184 24 192 25 200 26 208 27 216 28 224 29 232 30 240 31 248 32 256 33 264 34 272)
}
