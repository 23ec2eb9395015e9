//! Bytes in, the same compressed out.

use std::io;

use super::super::profile::{Stage, time};

/// A compressor and its output, for all columns of a file.
pub struct Zip {
    zstd: zstd::bulk::Compressor<'static>,
    out: Vec<u8>,
}

impl Zip {
    /// Compresses at `level`. Fails if zstd has no such level.
    pub fn new(level: i32) -> io::Result<Self> {
        Ok(Self { zstd: zstd::bulk::Compressor::new(level)?, out: Vec::new() })
    }

    /// `bytes` compressed.
    pub fn compress(&mut self, bytes: &[u8]) -> io::Result<&[u8]> {
        self.out.clear();
        self.out.reserve(zstd::zstd_safe::compress_bound(bytes.len()));
        time(Stage::Compress, || self.zstd.compress_to_buffer(bytes, &mut self.out))?;
        Ok(&self.out)
    }
}
