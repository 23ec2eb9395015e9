//! Bytes on their way to a file in; the same bytes, how many there are and their CRC-32 out.

use std::io::{self, Write};

use schemas::trace::sums::{Summed, Sums};

/// Counts and hashes what goes through it, so that nobody has to read a file again to know its checksum.
pub struct Tally<W> {
    out: W,
    sums: Sums,
}

impl<W> Tally<W> {
    /// Nothing yet.
    pub fn new(out: W) -> Self {
        Self { out, sums: Sums::default() }
    }

    /// Bytes so far, and their CRCs.
    pub fn total(&self) -> Summed {
        self.sums.clone().finish()
    }
}

impl<W: Write> Write for Tally<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.sums.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
