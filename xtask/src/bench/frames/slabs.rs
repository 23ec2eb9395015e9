//! A slab cache: allocations and frees in, addresses out, as the kernel gives them out.
//!
//! A slab is used up in random order before the next one is taken; one that is free as a whole goes back to the pages, of
//! which others take it later. So addresses are used again soon, and others after a while.

use super::Random;

/// The cache.
pub struct Slabs {
    first: u64,
    object_bytes: u64,
    objects: u64,
    /// Free objects by slab.
    free: Vec<u64>,
    /// Slabs that may be taken now: so many from `from` on.
    window: u64,
    from: u64,
    current: u64,
    /// Objects of the current slab that are still to be given out.
    order: Vec<u64>,
    /// Allocations after which the window moves by one slab, and those so far.
    moves_after: u64,
    allocations: u64,
}

impl Slabs {
    /// `slabs` of `objects` each; of `window` of them at a time some are in use. All were used once after so many
    /// allocations (`turn`).
    pub fn new(first: u64, object_bytes: u64, objects: u64, slabs: u64, window: u64, turn: u64) -> Self {
        Self {
            first,
            object_bytes,
            objects,
            free: vec![objects; slabs as usize],
            window,
            from: 0,
            current: 0,
            order: Vec::new(),
            moves_after: (turn / slabs).max(1),
            allocations: 0,
        }
    }

    /// The address of a new object.
    pub fn allocate(&mut self, random: &mut Random) -> u64 {
        self.allocations += 1;
        let slabs = self.free.len() as u64;
        if self.allocations.is_multiple_of(self.moves_after) {
            self.from = (self.from + 1) % slabs;
        }
        if self.order.is_empty() {
            // Far less than the window is in use.
            self.current = loop {
                let slab = (self.from + random.below(self.window)) % slabs;
                if self.free[slab as usize] == self.objects {
                    break slab;
                }
            };
            self.order.extend(0..self.objects);
            for i in (1..self.order.len()).rev() {
                self.order.swap(i, random.below(i as u64 + 1) as usize);
            }
        }
        let object = self.order.pop().unwrap_or(0);
        self.free[self.current as usize] -= 1;
        self.first + (self.current * self.objects + object) * self.object_bytes
    }

    /// The object at this address is free.
    pub fn free(&mut self, address: u64) {
        let slab = (address - self.first) / self.object_bytes / self.objects;
        self.free[slab as usize] += 1;
    }
}
