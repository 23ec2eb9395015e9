//! The set of objects that recorded events have begun and none has ended: an object in, whether it is there out.
//!
//! Nearly all of them are in buckets of one cache line, which takes neither a lock nor an allocation; what finds its
//! bucket full is in a hash map. An object is begun and ended by one processor at a time, as memory is.

use core::arch::asm;
use core::ffi::c_void;

use schemas::wire::{OBJECT_BUCKETS, OBJECT_WAYS};

use crate::maps::{MORE_OBJECTS, OBJECTS, delete, lookup, raw, shared, update};
use crate::state::State;

/// Spreads addresses, of which the low bits say nothing, over the buckets (2^64 divided by the golden ratio).
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;
const _: () = assert!(OBJECT_BUCKETS.is_power_of_two());
/// The value of every object of the hash map: that it is there is what counts.
#[unsafe(link_section = ".rodata")]
static ONE: u32 = 1;

/// Put `object` in. If there is no room, ends are not told apart any more.
#[inline(always)]
pub fn begin(state: &State, object: u64) {
    let bucket = bucket(state, object);
    // No object is 0: a slot with it is free.
    if bucket.is_null() || object == 0 || find(bucket, object) < OBJECT_WAYS {
        return;
    }
    for way in 0..OBJECT_WAYS {
        if slot(bucket, way) == 0 && claim(bucket, way, object) {
            return;
        }
    }
    let (shared, more) = (shared(), lookup::<u32, c_void>(raw(&MORE_OBJECTS), &0u32));
    if shared.is_null() || more.is_null() {
        return;
    }
    // SAFETY: fields of a map value, here and below.
    unsafe { core::ptr::write_volatile(&raw mut (*shared).more_objects, 1) };
    if !update(more, key(state, object), &raw const ONE) {
        // SAFETY: see above.
        unsafe { core::ptr::write_volatile(&raw mut (*shared).all_ends, 1) };
    }
}

/// Take `object` out; whether it was there, or may have been.
#[inline(always)]
pub fn end(state: &State, object: u64) -> bool {
    let bucket = bucket(state, object);
    if bucket.is_null() || object == 0 {
        return bucket.is_null();
    }
    let way = find(bucket, object);
    if way < OBJECT_WAYS {
        // SAFETY: `find` is below the number of ways, which the verifier sees by the comparison.
        unsafe { core::ptr::write_volatile(bucket.add(way), 0) };
        return true;
    }
    let shared = shared();
    // SAFETY: fields of a map value, here and below.
    if shared.is_null() || unsafe { core::ptr::read_volatile(&raw const (*shared).more_objects) } == 0 {
        return false;
    }
    let more = lookup::<u32, c_void>(raw(&MORE_OBJECTS), &0u32);
    // SAFETY: see above.
    (!more.is_null() && delete(more, key(state, object)))
        || unsafe { core::ptr::read_volatile(&raw const (*shared).all_ends) } != 0
}

/// The slots in which `object` may be, NULL if this event has no set.
#[inline(always)]
fn bucket(state: &State, object: u64) -> *mut u64 {
    let map = lookup::<u32, c_void>(raw(&OBJECTS), &0u32);
    if map.is_null() {
        return core::ptr::null_mut();
    }
    let index = object.wrapping_mul(SPREAD) >> (64 - OBJECT_BUCKETS.trailing_zeros());
    lookup::<u64, u64>(map, key(state, index))
}

/// The way of `object`, the number of ways if it has none.
#[inline(always)]
fn find(bucket: *mut u64, object: u64) -> usize {
    for way in 0..OBJECT_WAYS {
        if slot(bucket, way) == object {
            return way;
        }
    }
    OBJECT_WAYS
}

#[inline(always)]
fn slot(bucket: *mut u64, way: usize) -> u64 {
    // SAFETY: `way` is below the number of ways, and the verifier checks.
    unsafe { core::ptr::read_volatile(bucket.add(way)) }
}

/// Write `object` if the slot is still free; whether it was.
#[inline(always)]
fn claim(bucket: *mut u64, way: usize, object: u64) -> bool {
    let mut found = 0u64;
    // SAFETY: as in `slot`. The prebuilt `core` has no atomic exchange for this target.
    unsafe {
        asm!(
            "r0 = cmpxchg_64({slot} + 0, r0, {object})",
            inout("r0") found, slot = in(reg) bucket.add(way), object = in(reg) object, options(nostack)
        );
    }
    found == 0
}

/// A number as the key of a map, for which the stack has no room. (Of a key with 4 bytes it is the lower half.)
#[inline(always)]
fn key<'a>(state: &State, number: u64) -> &'a u64 {
    // SAFETY: a field of this CPU's map value; nothing else uses it while this key is in use.
    unsafe {
        let key = &raw mut (*state.cpu).scratch;
        core::ptr::write_volatile(key, number);
        &*key
    }
}
