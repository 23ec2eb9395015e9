//! A node on its way to a slot: what is loaded, followed and done with the bits so far.

use schemas::wire::{Slot, flag, src};

use super::nodes::{Bits, Place};

/// A slot in the making.
#[derive(Clone, Copy)]
pub(super) struct Draft {
    pub slot: Slot,
    /// The last step is a load, which may turn into a pointer to follow.
    pub loaded: Option<Place>,
    /// Bits are worked on already.
    pub finished: bool,
    pub loads: u8,
    pub all_typed: bool,
}

impl Draft {
    pub fn new(slot: Slot) -> Self {
        Self { slot, loaded: None, finished: false, loads: 0, all_typed: true }
    }

    pub fn temp(index: u8) -> Self {
        Self::new(Slot { src: src::TEMP, index, ..Slot::END })
    }

    pub fn set_bits(&mut self, bits: Bits) {
        let Bits { rshift, keep, signed, swap, lshift, negate, power } = bits;
        let slot = &mut self.slot;
        (slot.rshift, slot.bits, slot.lshift) = (rshift, keep, lshift);
        if signed {
            slot.flags |= flag::SIGNED;
        }
        if negate {
            slot.flags |= flag::NEGATE;
        }
        if power {
            slot.flags |= flag::POWER;
        }
        if swap != 0 {
            slot.flags |= flag::SWAP;
            slot.size = swap.into();
        }
    }
}

/// Work on bits after other such work, as one step, where that is possible: a shift left after anything without one.
pub(super) fn merged(slot: &Slot, bits: Bits) -> Option<Slot> {
    let only_left = Bits { lshift: 0, ..bits } == Bits::default();
    (only_left && slot.lshift == 0 && slot.flags & (flag::NEGATE | flag::POWER) == 0)
        .then_some(Slot { lshift: bits.lshift, ..*slot })
}
