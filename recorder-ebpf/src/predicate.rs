//! Predicates: temporaries -> does any clause hold.

use schemas::wire::{MAX_CLAUSES, MAX_TERMS, NONE, cmp};

use crate::plan::get;
use crate::state::{less, not_zero, opaque};

const SIGN: u64 = 1 << 63;

/// 1 if a clause of `from..to` holds. All clauses are computed, without branches on values.
/// A function of its own, because slots would otherwise have a copy each. (Step by step, because the stack of all
/// functions together is 512 bytes, and the compiler would keep every intermediate result.)
#[inline(never)]
pub fn holds<const ENTRY: bool>(temps: *const u64, nulls: u32, from: u8, to: u8) -> u64 {
    let range = opaque((1 << to) - (1 << from));
    let mut wanted = 0;
    for clause in 0..MAX_CLAUSES {
        if range & (1 << clause) != 0 {
            wanted = opaque(wanted | u64::from(get!(ENTRY, clauses[clause])));
        }
    }
    let mut held = 0;
    for term in 0..MAX_TERMS {
        if wanted & (1 << term) != 0 {
            held = opaque(held | compare::<ENTRY>(temps, nulls, term) << term);
        }
    }
    let range = opaque(range);
    let mut any = 0;
    for clause in 0..MAX_CLAUSES {
        if range & (1 << clause) != 0 {
            let terms = u64::from(get!(ENTRY, clauses[clause]));
            any = opaque(any | not_zero((held & terms) ^ terms) ^ 1);
        }
    }
    any
}

#[inline(always)]
fn compare<const ENTRY: bool>(temps: *const u64, nulls: u32, term: usize) -> u64 {
    let left = get!(ENTRY, terms[term].left);
    let right = get!(ENTRY, terms[term].right);
    let a = value(temps, left) & get!(ENTRY, terms[term].mask);
    let mut null = nulls >> left;
    let b = if right == NONE {
        get!(ENTRY, terms[term].imm)
    } else {
        null |= nulls >> right;
        value(temps, right)
    };
    let true_ = match get!(ENTRY, terms[term].op) {
        cmp::EQ => not_zero(a ^ b) ^ 1,
        cmp::NE => not_zero(a ^ b),
        cmp::LT => less(a, b),
        cmp::LE => less(b, a) ^ 1,
        cmp::GT => less(b, a),
        cmp::GE => less(a, b) ^ 1,
        cmp::SLT => less(a ^ SIGN, b ^ SIGN),
        cmp::SLE => less(b ^ SIGN, a ^ SIGN) ^ 1,
        cmp::SGT => less(b ^ SIGN, a ^ SIGN),
        cmp::SGE => less(a ^ SIGN, b ^ SIGN) ^ 1,
        cmp::ANY => not_zero(a & b),
        _ => not_zero(a & b) ^ 1,
    };
    true_ & u64::from((null ^ 1) & 1)
}

#[inline(always)]
fn value(temps: *const u64, index: u8) -> u64 {
    // SAFETY: the recorder checks that index < MAX_TEMPS; the verifier would refuse anything else.
    unsafe { core::ptr::read_volatile(temps.add(usize::from(index))) }
}
