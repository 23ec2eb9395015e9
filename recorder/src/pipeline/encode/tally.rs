//! Bytes on their way to a file in; the same bytes, how many there are and their CRC-32 out.

use std::io::{self, Write};

use crc32fast::Hasher;

/// Counts and hashes what goes through it, so that nobody has to read a file again to know its checksum.
pub struct Tally<W> {
    out: W,
    bytes: u64,
    hasher: Hasher,
}

impl<W> Tally<W> {
    /// Nothing yet.
    pub fn new(out: W) -> Self {
        Self { out, bytes: 0, hasher: Hasher::new() }
    }

    /// Bytes so far, and their CRC-32.
    pub fn total(&self) -> (u64, u32) {
        (self.bytes, self.hasher.clone().finalize())
    }
}

impl<W: Write> Write for Tally<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
