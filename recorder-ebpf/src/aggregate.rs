//! Counts events by key instead of recording them: adds one to the table for the key that a scratch record holds.
//!
//! The table is per CPU, so that processors do not wait for each other. The recorder exchanges it at the end of each
//! interval, which makes the kernel wait until no program that found the old one still runs: so nothing is counted in a
//! table that has been read.

use core::arch::asm;
use core::ffi::c_void;

use schemas::wire::{MAX_SUMS, RecordHeader, SCRATCHES, Scratch};

use crate::body::unroll;
use crate::maps::{SCRATCH, TABLES, insert, lookup, raw};
use crate::plan::{get, interleaved};
use crate::state::{State, add_to, opaque};

const ENTRY: bool = false;

/// Where `record` is in a [`Scratch`].
const RECORD: usize = core::mem::offset_of!(Scratch, record);

/// A scratch record that no other run uses, or NULL. (A function of its own for the same reason as `count`.)
#[inline(never)]
pub fn take(copy: u32) -> *mut u8 {
    if interleaved() == 0 {
        return record(lookup(raw(&SCRATCH), &copy));
    }
    // Written out, because the verifier would take a loop for one without end.
    unroll!({
        let index = I as u32;
        let scratch = lookup::<u32, Scratch>(raw(&SCRATCH), &index);
        // SAFETY: a field of this CPU's map value.
        if !scratch.is_null() && exchange(unsafe { &raw mut (*scratch).busy }, 1) == 0 {
            return record(scratch);
        }
    } 0 1 2 3 4 5 6 7);
    const _: () = assert!(SCRATCHES == 8);
    core::ptr::null_mut()
}

#[inline(always)]
fn record(scratch: *mut Scratch) -> *mut u8 {
    // SAFETY: a place in a map value.
    if scratch.is_null() { core::ptr::null_mut() } else { unsafe { scratch.cast::<u8>().add(RECORD) } }
}

/// Count the event whose record is in the scratch, and give that back; 0 if its key is new and there is no room for it. A
/// function of its own, because the stack of all functions together is 512 bytes.
#[inline(never)]
pub fn count(state: &mut State) -> u64 {
    // SAFETY: the record is that of `take`.
    let scratch: *mut Scratch = unsafe { state.out.sub(RECORD).cast() };
    let is_counted = counted(state, scratch);
    if interleaved() != 0 {
        // SAFETY: a field of a map value.
        unsafe { core::ptr::write_volatile(&raw mut (*scratch).busy, 0) };
    }
    opaque(u64::from(is_counted))
}

#[inline(always)]
fn counted(state: &State, scratch: *mut Scratch) -> bool {
    let table = lookup::<u32, c_void>(raw(&TABLES), &state.copy);
    if table.is_null() {
        return false;
    }
    let bits = get!(ENTRY, key_bits);
    let from = usize::from(get!(ENTRY, key_from));
    let mask = get!(ENTRY, key_subject);
    // SAFETY: places in the map value; the verifier checks them.
    let key = unsafe {
        let header: *mut RecordHeader = state.out.cast();
        let subject = core::ptr::read_volatile(&raw const (*header).pid_tgid);
        core::ptr::write_volatile(&raw mut (*header).pid_tgid, subject & mask);
        core::ptr::write_volatile(&raw mut (*header).seq, 0);
        core::ptr::write_volatile(&raw mut (*header).nulls, state.nulls & bits);
        core::ptr::write_volatile(&raw mut (*header).faults, state.faults & bits);
        core::ptr::write_volatile(&raw mut (*header).cuts, state.cuts & bits);
        state.out.add(from)
    };
    let mut value = find(table, key);
    if value.is_null() {
        // Another processor may have been first, which is as good.
        // SAFETY: keys and zeros are as long as those of the table, or longer.
        insert(table, unsafe { &*key }, unsafe { &raw const (*scratch).zeros });
        value = find(table, key);
        if value.is_null() {
            return false;
        }
    }
    add_to(value, 1);
    let (sums, bit, end) = (get!(ENTRY, sums), get!(ENTRY, sum_bit), usize::from(get!(ENTRY, key_end)));
    macro_rules! add {
        ($($index:literal)*) => {$(
            if $index < sums {
                let null = state.nulls >> (bit + $index) & 1;
                // SAFETY: the verifier checks that the table's values have so many words, and the record so many bytes.
                unsafe {
                    let number: *const u64 = state.out.add(end + 8 * $index).cast();
                    add_to(value.add(1 + 2 * $index), u64::from(null ^ 1));
                    add_to(value.add(2 + 2 * $index), core::ptr::read_volatile(number));
                }
            }
        )*};
    }
    const _: () = assert!(MAX_SUMS == 4);
    add!(0 1 2 3);
    true
}

/// This CPU's value of a key, or NULL.
#[inline(always)]
fn find(table: *mut c_void, key: *const u8) -> *mut u64 {
    // SAFETY: the verifier checks that the key is as long as those of the table.
    lookup(table, unsafe { &*key })
}

/// Put a value in and take out the one that was there.
#[inline(always)]
fn exchange(place: *mut u64, value: u64) -> u64 {
    let mut old = value;
    // SAFETY: a field of a map value.
    unsafe { asm!("{0} = xchg_64({1} + 0, {0})", inout(reg) old, in(reg) place, options(nostack)) };
    old
}
