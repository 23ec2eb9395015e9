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
    /// Its rows, time, size and CRCs.
    pub segment: Segment,
    /// The columns of its table.
    pub schema: SchemaRef,
    /// Which of its CRCs fitted.
    fitted: Box<[AtomicBool]>,
}

impl Logged {
    /// What the log says of `segment`, a file of a table with `schema`.
    pub fn new(segment: Segment, schema: SchemaRef) -> Self {
        let fitted = (0..segment.blocks.len().max(1)).map(|_| AtomicBool::new(false)).collect();
        Self { segment, schema, fitted }
    }

    /// Why the bytes from `start` to `end` of `file`, which has `bytes`, are not those of the log; `None`: they are. Each
    /// block is read once.
    ///
    /// Fails if they cannot be read.
    pub fn check(&self, file: &File, bytes: u64, start: u64, end: u64) -> io::Result<Option<String>> {
        let Segment { bytes: logged, crc: whole, blocks, .. } = &self.segment;
        if bytes != *logged {
            return Ok(Some(format!("it has {bytes} bytes, and the log says {logged}")));
        }
        let (sums, size) = match blocks.as_slice() {
            [] => (std::slice::from_ref(whole), bytes.max(1)),
            blocks => (blocks, BLOCK_BYTES as u64),
        };
        let first = start / size;
        let blocks = sums.iter().zip(&self.fitted).skip(usize::try_from(first).unwrap_or(usize::MAX));
        for (number, (sum, fitted)) in (first..end.div_ceil(size)).zip(blocks) {
            if fitted.load(Ordering::Relaxed) {
                continue;
            }
            let (from, to) = (number * size, ((number + 1) * size).min(bytes));
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
