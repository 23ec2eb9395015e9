//! The calls of a thread that have been entered and have not returned: what is kept of each, found again at its return.
//!
//! Calls of a function can be within each other, so those of a thread are a stack. Which of them returns is told by where
//! the thread's own stack is then: where it was at the entry. A return that no program saw leaves a call behind, and one
//! whose entry none saw finds nothing; but calls return from within, so whatever lies further in than a call that begins or
//! returns is over.

use core::ffi::c_void;

use schemas::wire::{CpuState, MAX_NESTED, Stash, context};

use crate::context::load;
use crate::maps::{STASH, delete, insert, lookup, raw, update};
use crate::plan::{BLANK, kind};
use crate::state::{launder, opaque};

/// The bits of a task's address from here on are the same for all tasks: in the key they tell how deep a call is.
const DEPTH_SHIFT: u32 = 57;
const _: () = assert!(MAX_NESTED <= 1 << (64 - DEPTH_SHIFT));
/// At the return the return address may have been taken from the stack.
const RETURN_ADDRESS: u64 = 8;
/// System calls are never within each other: any place will do.
const NO_FRAME: u64 = 2 * RETURN_ADDRESS;

/// Where the thread's stack is, at the entry of a call and at its return.
#[inline(always)]
pub fn frame<const ENTRY: bool>(context: *mut c_void, cpu: *mut CpuState) -> u64 {
    match kind::<ENTRY>() {
        context::REGS_X86_64 => load!(context, 152),
        context::REGS_AARCH64 => load!(context, 248),
        // On the stack; entry and return of a call have the same one.
        context::FUNCTION => launder(cpu, context as u64),
        _ => NO_FRAME,
    }
}

/// Room for what is kept of a call of `thread` that begins, NULL if there is none.
#[inline(never)]
pub fn enter(thread: u64, frame: u64) -> *mut Stash {
    let (mut key, mut index) = (thread, 0);
    // Nearly every call is alone.
    if insert(raw(&STASH), &key, &raw const BLANK) != 0 {
        let first = lookup::<u64, Stash>(raw(&STASH), &key);
        if first.is_null() {
            return first;
        }
        let around = around(thread, first, frame);
        if !around.is_null() {
            index = index_of(around) + 1;
            key = at(thread, index);
        }
        if index as usize >= MAX_NESTED || !update(raw(&STASH), &key, &raw const BLANK) {
            return core::ptr::null_mut();
        }
        if index != 0 {
            set_depth(first, index + 1);
        }
    }
    let call = lookup::<u64, Stash>(raw(&STASH), &key);
    if !call.is_null() {
        if index == 0 {
            set_depth(call, 1);
        }
        // SAFETY: a map value.
        unsafe {
            core::ptr::write_volatile(&raw mut (*call).frame, frame);
            core::ptr::write_volatile(&raw mut (*call).index, index);
        }
    }
    call
}

/// What is kept of the call of `thread` that returns, until it is forgotten; NULL if nothing is.
#[inline(never)]
pub fn leave(thread: u64, frame: u64) -> *mut Stash {
    let first = lookup::<u64, Stash>(raw(&STASH), &thread);
    if first.is_null() {
        return first;
    }
    let call = around(thread, first, frame.wrapping_sub(RETURN_ADDRESS + 1));
    if call.is_null() || frame.wrapping_sub(frame_of(call)) > RETURN_ADDRESS {
        return core::ptr::null_mut();
    }
    set_depth(first, index_of(call));
    call
}

/// Forget a call that [`leave`] has found.
#[inline(always)]
pub fn forget(thread: u64, call: *const Stash) {
    delete(raw(&STASH), &at(thread, index_of(call)));
}

/// Forget all calls of `thread`; how many there were.
#[inline(never)]
pub fn end(thread: u64) -> u64 {
    let first = lookup::<u64, Stash>(raw(&STASH), &thread);
    if first.is_null() {
        return 0;
    }
    let depth = depth_of(first);
    around(thread, first, u64::MAX);
    u64::from(depth)
}

/// The innermost call that lies further out than `frame`, NULL if none does. Those further in are over.
#[inline(always)]
fn around(thread: u64, first: *mut Stash, frame: u64) -> *mut Stash {
    let (mut round, mut depth) = (opaque(0), depth_of(first));
    while round < MAX_NESTED as u64 && depth > 0 {
        let key = at(thread, depth - 1);
        let call = if depth == 1 { first } else { lookup::<u64, Stash>(raw(&STASH), &key) };
        if !call.is_null() && frame_of(call) > frame {
            set_depth(first, depth);
            return call;
        }
        delete(raw(&STASH), &key);
        depth -= 1;
        round = opaque(round + 1);
    }
    core::ptr::null_mut()
}

/// Say that the program at the return runs on this CPU. The kernel skips it for calls that are made meanwhile (in an
/// interrupt, or by a thread that takes the CPU): they are not kept, or what is kept of them could be taken for that of a
/// later call at the same place.
#[inline(always)]
pub fn set_returning(cpu: *mut CpuState, is_returning: u64) {
    // SAFETY: a field of a map value.
    unsafe { core::ptr::write_volatile(&raw mut (*cpu).returning, is_returning) };
}

/// See [`set_returning`].
#[inline(always)]
pub fn is_returning(cpu: *const CpuState) -> bool {
    // SAFETY: a field of a map value.
    unsafe { core::ptr::read_volatile(&raw const (*cpu).returning) != 0 }
}

/// Under what a call of `thread` is kept.
#[inline(always)]
fn at(thread: u64, index: u32) -> u64 {
    thread ^ u64::from(index) << DEPTH_SHIFT
}

macro_rules! fields {
    ($($get:ident: $field:ident as $type:ty;)*) => {$(
        #[inline(always)]
        fn $get(call: *const Stash) -> $type {
            // SAFETY: a field of a map value.
            unsafe { core::ptr::read_volatile(&raw const (*call).$field) }
        }
    )*};
}

fields! {
    frame_of: frame as u64;
    depth_of: depth as u32;
    index_of: index as u32;
}

#[inline(always)]
fn set_depth(first: *mut Stash, depth: u32) {
    // SAFETY: a field of a map value.
    unsafe { core::ptr::write_volatile(&raw mut (*first).depth, depth) };
}
