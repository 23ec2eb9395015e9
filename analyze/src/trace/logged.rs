//! What the log says of a file, and whether its bytes and its footer agree.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow_schema::SchemaRef;
use schemas::trace::log::Segment;
use schemas::trace::sums::{BLOCK_BYTES, Sums};

/// What the log says of a file.
#[derive(Debug)]
pub struct Logged {
    /// Its rows.
    pub rows: u64,
    /// First and last `ts`, UTC nanoseconds.
    pub ts: Option<(i64, i64)>,
    /// The columns of its table.
    pub schema: SchemaRef,
    bytes: u64,
    /// CRC of each block, or of the whole file.
    sums: Box<[u32]>,
    /// Which of them fitted.
    fitted: Box<[AtomicBool]>,
}

impl Logged {
    /// What the log says of `segment`, a file of a table with `schema`.
    pub fn new(segment: &Segment, schema: SchemaRef) -> Self {
        let Segment { rows, ts, bytes, crc, blocks, .. } = segment;
        let sums: Box<[u32]> = if blocks.is_empty() { [*crc].into() } else { blocks.as_slice().into() };
        let fitted = sums.iter().map(|_| AtomicBool::new(false)).collect();
        Self { rows: *rows, ts: *ts, schema, bytes: *bytes, sums, fitted }
    }

    /// Why the bytes from `start` to `end` of `file`, which has `bytes`, are not those of the log; `None`: they are. Each
    /// block is read once.
    ///
    /// Fails if they cannot be read.
    pub fn check(&self, file: &File, bytes: u64, start: u64, end: u64) -> io::Result<Option<String>> {
        if bytes != self.bytes {
            return Ok(Some(format!("it has {bytes} bytes, and the log says {}", self.bytes)));
        }
        let size = if self.sums.len() == 1 { self.bytes.max(1) } else { BLOCK_BYTES as u64 };
        let first = start / size;
        let blocks = self.sums.iter().zip(&self.fitted).skip(usize::try_from(first).unwrap_or(usize::MAX));
        for (number, (sum, fitted)) in (first..end.div_ceil(size)).zip(blocks) {
            if fitted.load(Ordering::Relaxed) {
                continue;
            }
            let (from, to) = (number * size, ((number + 1) * size).min(self.bytes));
            if crc(file, from, to)? != *sum {
                return Ok(Some(format!("its bytes from {from} to {to} do not fit their CRC in the log")));
            }
            fitted.store(true, Ordering::Relaxed);
        }
        Ok(None)
    }
}

fn crc(file: &File, mut from: u64, to: u64) -> io::Result<u32> {
    let mut sums = Sums::default();
    let mut buffer = vec![0; usize::try_from(to - from).unwrap_or(usize::MAX).min(256 << 10)];
    while from < to {
        let wanted = usize::try_from(to - from).unwrap_or(usize::MAX).min(buffer.len());
        file.read_exact_at(&mut buffer[..wanted], from)?;
        sums.update(&buffer[..wanted]);
        from += wanted as u64;
    }
    Ok(sums.finish().crc)
}
