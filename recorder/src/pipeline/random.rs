//! A seed in, numbers for tests out.

/// Cheap pseudo-random numbers, the same in every run.
pub struct Random(pub u64);

impl Random {
    /// Less than `limit`.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}
