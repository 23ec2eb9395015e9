//! 64-bit integers in, a page in DELTA_BINARY_PACKED out: values that rise by small steps take a few bits each.

use super::pack::{pack, varint, width, zigzag};

/// Differences with a smallest one of their own.
const BLOCK: usize = 256;
/// Differences with a width of their own.
const MINIBLOCK: usize = 64;
const MINIBLOCKS: usize = BLOCK / MINIBLOCK;

/// Encodes one page at a time.
#[derive(Default)]
pub struct Delta {
    first: i64,
    last: i64,
    values: usize,
    pending: Vec<i64>,
    blocks: Vec<u8>,
}

impl Delta {
    /// Add values.
    pub fn extend(&mut self, values: impl IntoIterator<Item = i64>) {
        let mut values = values.into_iter();
        if self.values == 0
            && let Some(first) = values.next()
        {
            (self.first, self.last, self.values) = (first, first, 1);
        }
        for value in values {
            self.pending.push(value.wrapping_sub(self.last));
            self.last = value;
            self.values += 1;
            if self.pending.len() == BLOCK {
                self.block();
            }
        }
    }

    fn block(&mut self) {
        let Self { pending, blocks, .. } = self;
        let Some(&least) = pending.iter().min() else { return };
        let mut over = [0; BLOCK];
        for (slot, difference) in over.iter_mut().zip(pending.iter()) {
            *slot = difference.wrapping_sub(least) as u64;
        }
        let over = &over[..pending.len()];
        pending.clear();
        varint(zigzag(least), blocks);
        let widths = |miniblock: &[u64]| width(miniblock.iter().fold(0, |all, value| all | value));
        let mut header = [0; MINIBLOCKS];
        for (slot, miniblock) in header.iter_mut().zip(over.chunks(MINIBLOCK)) {
            *slot = widths(miniblock);
        }
        blocks.extend_from_slice(&header);
        for (bits, miniblock) in header.into_iter().zip(over.chunks(MINIBLOCK)) {
            let end = blocks.len() + MINIBLOCK / 8 * usize::from(bits);
            pack(miniblock, bits, blocks);
            // A miniblock is written whole, however few of its values are there.
            blocks.resize(end, 0);
        }
    }

    /// Append the page, and begin the next one.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        self.block();
        varint(BLOCK as u64, out);
        varint(MINIBLOCKS as u64, out);
        varint(self.values as u64, out);
        varint(zigzag(if self.values == 0 { 0 } else { self.first }), out);
        out.append(&mut self.blocks);
        self.values = 0;
    }
}
