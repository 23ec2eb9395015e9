//! Bytes in; CRCs by which damage to them is found out: of a file as a whole and block by block, and of a text that ends
//! with its own.

use crc32fast::Hasher;

/// Size of a block. Whoever reads a part of a large file checks the blocks in which it lies, and no more.
pub const BLOCK_BYTES: usize = 1 << 20;

/// Between a JSON object on several lines and its CRC; hexadecimal digits and [`SEAL_END`] follow.
const SEAL: &str = ",\n  \"crc\": \"";
const SEAL_END: &str = "\"\n}\n";
const CRC_DIGITS: usize = 8;

/// Sums up a file while it is written or read.
#[derive(Clone, Debug, Default)]
pub struct Sums {
    whole: Hasher,
    block: Hasher,
    block_bytes: usize,
    blocks: Vec<u32>,
    bytes: u64,
}

/// What [`Sums`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summed {
    /// Size of the file.
    pub bytes: u64,
    /// CRC-32 of all of it.
    pub crc: u32,
    /// CRC-32 of each block, if there is more than one: those before the last have [`BLOCK_BYTES`].
    pub blocks: Vec<u32>,
}

impl Sums {
    /// The next bytes.
    pub fn update(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let (part, rest) = bytes.split_at(bytes.len().min(BLOCK_BYTES - self.block_bytes));
            self.block.update(part);
            self.block_bytes += part.len();
            self.bytes += part.len() as u64;
            if self.block_bytes == BLOCK_BYTES {
                self.end_block();
            }
            bytes = rest;
        }
    }

    fn end_block(&mut self) {
        let block = std::mem::take(&mut self.block);
        self.whole.combine(&block);
        self.blocks.push(block.finalize());
        self.block_bytes = 0;
    }

    /// The sums of all bytes.
    pub fn finish(mut self) -> Summed {
        if self.block_bytes > 0 {
            self.end_block();
        }
        if self.blocks.len() == 1 {
            self.blocks.clear();
        }
        Summed { bytes: self.bytes, crc: self.whole.finalize(), blocks: self.blocks }
    }
}

/// `json`, a JSON object on several lines, with one key more at its end: `crc`, the CRC-32 of what stands before it.
/// `None` if `json` is no such text.
pub fn sealed(json: &str) -> Option<String> {
    let text = json.trim_end().strip_suffix('}')?.trim_end();
    Some(format!("{text}{SEAL}{:08x}{SEAL_END}", crc32fast::hash(text.as_bytes())))
}

/// Does `text` end with its CRC, and fit it? `None`: it does not end with one.
pub fn fits_seal(text: &[u8]) -> Option<bool> {
    let text = text.strip_suffix(SEAL_END.as_bytes())?;
    let (text, digits) = text.split_at(text.len().checked_sub(CRC_DIGITS)?);
    let text = text.strip_suffix(SEAL.as_bytes())?;
    let crc = std::str::from_utf8(digits).ok().and_then(|digits| u32::from_str_radix(digits, 16).ok());
    Some(crc == Some(crc32fast::hash(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sums_are_the_same_however_the_bytes_come() {
        let bytes: Vec<u8> = (0..BLOCK_BYTES * 2 + 5).map(|i| (i * 7 % 251) as u8).collect();
        for step in [1000, BLOCK_BYTES - 1, BLOCK_BYTES, bytes.len()] {
            let mut sums = Sums::default();
            bytes.chunks(step).for_each(|part| sums.update(part));
            let summed = sums.finish();
            assert_eq!((summed.bytes, summed.crc), (bytes.len() as u64, crc32fast::hash(&bytes)));
            let blocks: Vec<u32> = bytes.chunks(BLOCK_BYTES).map(crc32fast::hash).collect();
            assert_eq!(summed.blocks, blocks);
        }
        for small in [0, 1, BLOCK_BYTES] {
            let mut sums = Sums::default();
            sums.update(&bytes[..small]);
            let crc = crc32fast::hash(&bytes[..small]);
            assert_eq!(sums.finish(), Summed { bytes: small as u64, crc, blocks: Vec::new() });
        }
    }

    #[test]
    fn a_sealed_text_is_json_and_shows_each_damage() {
        let text = sealed("{\n  \"host\": \"alpha\"\n}\n").unwrap();
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!((&value["host"], value["crc"].as_str().unwrap().len()), (&"alpha".into(), 8));
        assert_eq!(fits_seal(text.as_bytes()), Some(true));
        for at in 0..text.len() {
            let mut damaged = text.clone().into_bytes();
            damaged[at] ^= 1;
            assert_ne!(fits_seal(&damaged), Some(true), "damaged at {at}");
        }
        assert_eq!((fits_seal(b"{}\n"), sealed("[]")), (None, None));
    }
}
