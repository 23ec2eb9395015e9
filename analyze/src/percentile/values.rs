//! Keeps any number of values, in a byte or two for each, and finds the exact value at a rank.
//!
//! Values wait in a buffer. A full buffer is sorted and becomes a run, in which a value is its distance from the one
//! before it and how often it is there. Runs of about the same size are merged. Small values, such as most times in
//! nanoseconds, are only counted once there are many.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;

/// Values that wait at most.
const WAITING: usize = 1 << 15;
/// Values below this are counted.
const COUNTED: usize = 1 << 16;

/// Values in no order.
#[derive(Debug, Default)]
pub struct Values {
    waiting: Vec<i64>,
    /// How often each of the small values is there, once a buffer was full.
    counts: Vec<u32>,
    runs: Vec<Run>,
}

/// Values in order.
#[derive(Debug, Default, Clone)]
struct Run {
    bytes: Vec<u8>,
}

impl Values {
    /// One more.
    pub fn push(&mut self, value: i64) {
        match self.counts.get_mut(usize::try_from(value).unwrap_or(usize::MAX)) {
            Some(count) if *count < u32::MAX => *count += 1,
            _ => {
                if self.waiting.len() == WAITING {
                    self.settle();
                    self.counts.resize(COUNTED, 0);
                }
                self.waiting.push(value);
            }
        }
    }

    /// What waits becomes a run.
    fn settle(&mut self) {
        if self.waiting.is_empty() {
            return;
        }
        self.waiting.sort_unstable();
        let counted = self.waiting.chunk_by(|a, b| a == b).map(|same| (same[0], same.len() as u64));
        let run = Run::of(counted);
        self.waiting.clear();
        self.add(run);
    }

    /// Everything becomes runs.
    fn settle_all(&mut self) {
        self.settle();
        self.waiting = Vec::new();
        let counts = std::mem::take(&mut self.counts);
        let counted = counts.iter().enumerate().filter(|(_, count)| **count > 0);
        let run = Run::of(counted.map(|(value, count)| (value as i64, u64::from(*count))));
        if !run.bytes.is_empty() {
            self.add(run);
        }
    }

    fn add(&mut self, run: Run) {
        self.runs.push(run);
        while let [.., larger, smaller] = self.runs.as_slice()
            && larger.bytes.len() < 2 * smaller.bytes.len()
        {
            let merged = Run::of(in_order(&self.runs[self.runs.len() - 2..]));
            self.runs.truncate(self.runs.len() - 2);
            self.runs.push(merged);
        }
    }

    /// The values of `bytes`, which [`Self::encoded`] made.
    pub fn add_encoded(&mut self, mut bytes: &[u8]) {
        while let Some(length) = read(&mut bytes) {
            let Some((run, rest)) = bytes.split_at_checked(length as usize) else { return };
            self.add(Run { bytes: run.to_vec() });
            bytes = rest;
        }
    }

    /// All values as bytes.
    pub fn encoded(&mut self) -> Vec<u8> {
        self.settle_all();
        let mut bytes = Vec::with_capacity(self.runs.iter().map(|run| run.bytes.len() + 5).sum());
        for run in &self.runs {
            write(&mut bytes, run.bytes.len() as u64);
            bytes.extend_from_slice(&run.bytes);
        }
        bytes
    }

    /// The values at these shares: the smallest that is not exceeded by that share of all. `None` if there are none.
    pub fn at(&mut self, shares: &[Share]) -> Vec<Option<i64>> {
        self.settle_all();
        let count: u64 = self.runs.iter().flat_map(Run::iter).map(|(_, count)| count).sum();
        let mut wanted: Vec<(u64, usize)> =
            shares.iter().enumerate().map(|(i, share)| (share.rank(count), i)).collect();
        wanted.sort_unstable();
        let mut found = vec![None; shares.len()];
        let (mut wanted, mut seen) = (wanted.into_iter().peekable(), 0);
        for (value, count) in in_order(&self.runs) {
            seen += count;
            while let Some((_, i)) = wanted.next_if(|(rank, _)| *rank <= seen) {
                found[i] = Some(value);
            }
            if wanted.peek().is_none() {
                break;
            }
        }
        found
    }

    /// Bytes in use.
    pub fn bytes(&self) -> usize {
        self.waiting.capacity() * size_of::<i64>()
            + self.counts.capacity() * size_of::<u32>()
            + self.runs.iter().map(|run| run.bytes.capacity() + size_of::<Run>()).sum::<usize>()
    }
}

/// All values of `runs` in order; a value may be there several times.
fn in_order(runs: &[Run]) -> impl Iterator<Item = (i64, u64)> + '_ {
    let mut runs: Vec<_> = runs.iter().map(Run::iter).collect();
    let mut heads: BinaryHeap<Reverse<(i64, u64, usize)>> = BinaryHeap::new();
    for (i, run) in runs.iter_mut().enumerate() {
        heads.extend(run.next().map(|(value, count)| Reverse((value, count, i))));
    }
    std::iter::from_fn(move || {
        let mut head = heads.peek_mut()?;
        let Reverse((value, count, i)) = *head;
        match runs[i].next() {
            Some((next, next_count)) => *head = Reverse((next, next_count, i)),
            None => {
                PeekMut::pop(head);
            }
        }
        Some((value, count))
    })
}

impl Run {
    fn of(values: impl Iterator<Item = (i64, u64)>) -> Self {
        let mut bytes = Vec::new();
        let mut before = i64::MIN;
        let mut values = values.peekable();
        while let Some((value, mut count)) = values.next() {
            while let Some((_, more)) = values.next_if(|(next, _)| *next == value) {
                count += more;
            }
            // A distance takes up to 64 bits, and one more says whether a count follows.
            let distance = u128::from(value.wrapping_sub(before).cast_unsigned());
            write_wide(&mut bytes, distance << 1 | u128::from(count > 1));
            if count > 1 {
                write(&mut bytes, count);
            }
            before = value;
        }
        bytes.shrink_to_fit();
        Self { bytes }
    }

    fn iter(&self) -> impl Iterator<Item = (i64, u64)> + '_ {
        let (mut bytes, mut before) = (self.bytes.as_slice(), i64::MIN);
        std::iter::from_fn(move || {
            let head = read_wide(&mut bytes)?;
            let count = if head & 1 == 1 { read(&mut bytes)? } else { 1 };
            before = before.wrapping_add(((head >> 1) as u64).cast_signed());
            Some((before, count))
        })
    }
}

fn write(bytes: &mut Vec<u8>, number: u64) {
    write_wide(bytes, u128::from(number));
}

fn write_wide(bytes: &mut Vec<u8>, mut number: u128) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

fn read(bytes: &mut &[u8]) -> Option<u64> {
    read_wide(bytes).map(|number| number as u64)
}

fn read_wide(bytes: &mut &[u8]) -> Option<u128> {
    let (mut number, mut shift) = (0u64, 0);
    // Nearly all numbers have less than 64 bits.
    while shift < 63 {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(u128::from(number));
        }
        shift += 7;
    }
    let (byte, rest) = bytes.split_first()?;
    *bytes = rest;
    Some(u128::from(number) | u128::from(byte & 0x7f) << shift)
}

/// A part of a whole, exact.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Share {
    parts: u128,
    of: u128,
}

impl Share {
    /// A share as people write it: from 0 to 1. `None` if it is none.
    pub fn new(share: f64) -> Option<Self> {
        if !(0.0..=1.0).contains(&share) {
            return None;
        }
        // The digits that were written, not the number that a processor makes of them.
        let text = format!("{share}");
        let digits = text.split_once('.').map_or("", |(_, digits)| digits);
        let of = 10u128.checked_pow(u32::try_from(digits.len()).ok()?).filter(|of| *of <= 1 << 63)?;
        let parts = text.replace('.', "").parse().ok()?;
        Some(Self { parts, of })
    }

    /// The number of the value that this share does not exceed, from 1, of so many.
    fn rank(self, count: u64) -> u64 {
        let rank = (u128::from(count) * self.parts).div_ceil(self.of);
        rank.max(1) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(share: f64) -> Share {
        Share::new(share).unwrap()
    }

    #[test]
    fn the_value_at_a_rank_is_that_of_the_sorted_values() {
        let mut number = 7u64;
        let mut next = move || {
            number = number.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            number
        };
        for (count, bits) in [(1usize, 8), (10, 3), (1000, 20), (700_000, 12), (700_000, 64)] {
            let (mut values, mut other, mut all) = (Values::default(), Values::default(), Vec::new());
            for i in 0..count {
                let value = (next() >> (64 - bits)).cast_signed();
                all.push(value);
                if i % 3 == 0 { other.push(value) } else { values.push(value) }
            }
            values.add_encoded(&other.encoded());
            all.sort_unstable();
            for percent in [0u64, 1, 7, 50, 90, 99, 100] {
                let rank = (count as u64 * percent).div_ceil(100).max(1) as usize;
                let found = values.at(&[share(percent as f64 / 100.0)]);
                assert_eq!(found, [Some(all[rank - 1])], "{count} values of {bits} bits, {percent} %");
            }
            let extremes = values.at(&[share(1.0), share(0.0)]);
            assert_eq!(extremes, [all.last().copied(), all.first().copied()]);
        }
        assert_eq!(Values::default().at(&[share(0.5)]), [None]);
    }

    #[test]
    fn a_share_is_the_number_that_was_written() {
        // In floating point, 0.07 of 100 is a little more than 7.
        assert_eq!(share(0.07).rank(100), 7);
        assert_eq!(share(0.999).rank(1000), 999);
        assert_eq!(share(0.0).rank(5), 1);
        assert_eq!(share(1.0).rank(u64::MAX), u64::MAX);
        for wrong in [-0.1, 1.1, f64::NAN, f64::INFINITY] {
            assert!(Share::new(wrong).is_none(), "{wrong}");
        }
    }
}
