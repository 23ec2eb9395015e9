//! Values in, their numbers in order of first appearance out: the hash table behind dictionaries.

use std::hash::{BuildHasher, RandomState};

/// A slot of a former dictionary counts as empty, so that beginning anew costs nothing.
#[derive(Clone, Copy, Default)]
struct Slot {
    key: u64,
    index: u32,
    generation: u32,
}

/// Open addressing, at most half full. The hash has a random seed, so that nobody who chooses values can choose
/// collisions.
pub struct Table {
    seed: u64,
    slots: Vec<Slot>,
    generation: u32,
    len: u32,
}

const FIRST_SLOTS: usize = 256;

/// Both halves of a long product: regular steps, as addresses have them, must not come to lie side by side.
#[inline(always)]
fn hash(key: u64, seed: u64) -> usize {
    let product = u128::from(key ^ seed) * 0x9e37_79b9_7f4a_7c15_u128;
    (product as u64 ^ (product >> 64) as u64) as usize
}

impl Default for Table {
    fn default() -> Self {
        let slots = vec![Slot::default(); FIRST_SLOTS];
        Self { seed: RandomState::new().hash_one(()), slots, generation: 1, len: 0 }
    }
}

impl Table {
    /// The number of the value with `key`, and whether it is new. `is_same` says for a number whose key is the same
    /// whether the value is too.
    #[inline(always)]
    pub fn number(&mut self, key: u64, is_same: impl Fn(u32) -> bool) -> (u32, bool) {
        let mask = self.slots.len() - 1;
        let mut at = hash(key, self.seed);
        loop {
            let slot = &mut self.slots[at & mask];
            if slot.generation != self.generation {
                let index = self.len;
                *slot = Slot { key, index, generation: self.generation };
                self.len += 1;
                if self.len as usize * 2 > self.slots.len() {
                    self.grow();
                }
                return (index, true);
            }
            if slot.key == key && is_same(slot.index) {
                return (slot.index, false);
            }
            at += 1;
        }
    }

    #[cold]
    fn grow(&mut self) {
        let size = self.slots.len() * 2;
        let former = std::mem::replace(&mut self.slots, vec![Slot::default(); size]);
        for slot in former.into_iter().filter(|slot| slot.generation == self.generation) {
            let mut at = hash(slot.key, self.seed);
            while self.slots[at & (size - 1)].generation == self.generation {
                at += 1;
            }
            self.slots[at & (size - 1)] = slot;
        }
    }

    /// Forget all values; the memory is kept.
    pub fn clear(&mut self) {
        self.len = 0;
        self.generation = self.generation.checked_add(1).unwrap_or_else(|| {
            self.slots.fill(Slot::default());
            1
        });
    }

    /// Distinct values.
    pub fn len(&self) -> usize {
        self.len as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_given_in_order_and_begin_anew_after_clear() {
        let mut table = Table::default();
        for round in 0..3u64 {
            for i in 0..5000u64 {
                assert_eq!(table.number(i * 4096 + round, |_| true), (i as u32, true));
            }
            assert_eq!(table.number(4096 + round, |_| true), (1, false));
            assert_eq!(table.number(4096 + round, |index| index == 7), (5000, true), "same key, other value");
            assert_eq!(table.len(), 5001);
            table.clear();
        }
    }
}
