//! Frames in, blocks of a file out, and back. A block is whole, or it is not there: its checksum tells.
//!
//! ```text
//! block = u32 crc, u8 codec, u32 stored, u32 length, payload[stored]
//! ```
//! `crc` is the CRC-32 (ISO 3309) of all that is behind it in the block. Codec 0 stores the frames as they are, 1 as one
//! Zstandard frame; `length` is their size, at most [`MAX_BYTES`].

use std::io::{self, ErrorKind, Read, Write};

use super::MAGIC;

/// Most bytes of frames in a block.
pub const MAX_BYTES: usize = 16 << 20;
/// Frames of so many bytes make a block.
pub const BYTES: usize = 256 << 10;
const HEAD_BYTES: usize = 13;
const PLAIN: u8 = 0;
const ZSTD: u8 = 1;
/// Records of a kernel are alike: more effort gains little.
const ZSTD_LEVEL: i32 = 1;

/// How frames are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    /// As they are: for a pipe.
    Plain,
    /// Compressed with Zstandard.
    Zstd,
}

/// Writes blocks.
pub struct BlockWriter<W> {
    writer: W,
    codec: Codec,
    /// The block that is being made.
    block: Vec<u8>,
}

impl<W: Write> BlockWriter<W> {
    /// Begin a file.
    pub fn new(mut writer: W, codec: Codec) -> io::Result<Self> {
        writer.write_all(MAGIC)?;
        Ok(Self { writer, codec, block: Vec::new() })
    }

    /// Write `frames` as a block. Fails if they are more than one can hold.
    pub fn write(&mut self, frames: &[u8]) -> io::Result<()> {
        if frames.len() > MAX_BYTES {
            let text = format!("{} bytes of frames are more than the {MAX_BYTES} of a block", frames.len());
            return Err(io::Error::other(text));
        }
        let Self { writer, codec, block } = self;
        block.clear();
        block.resize(HEAD_BYTES, 0);
        match codec {
            Codec::Plain => {
                block[4] = PLAIN;
                block.extend_from_slice(frames);
            }
            Codec::Zstd => {
                block[4] = ZSTD;
                block.resize(HEAD_BYTES + zstd::zstd_safe::compress_bound(frames.len()), 0);
                let stored = zstd::bulk::compress_to_buffer(frames, &mut block[HEAD_BYTES..], ZSTD_LEVEL)?;
                block.truncate(HEAD_BYTES + stored);
            }
        }
        let stored = (block.len() - HEAD_BYTES) as u32;
        block[5..9].copy_from_slice(&stored.to_le_bytes());
        block[9..13].copy_from_slice(&(frames.len() as u32).to_le_bytes());
        let crc = crc32fast::hash(&block[4..]);
        block[..4].copy_from_slice(&crc.to_le_bytes());
        writer.write_all(block)
    }

    /// Write what the writer keeps back, and give it back.
    pub fn finish(mut self) -> io::Result<W> {
        self.writer.flush()?;
        Ok(self.writer)
    }
}

/// What came instead of a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The file ends behind a block.
    End,
    /// The file goes on with something that is no whole block.
    Torn {
        /// Byte of the file at which it begins.
        at: u64,
        /// What is wrong with it.
        why: String,
    },
}

/// Reads blocks.
pub struct BlockReader<R> {
    reader: R,
    /// Bytes of the file that are read, the block before included.
    at: u64,
    stored: Vec<u8>,
}

impl<R: Read> BlockReader<R> {
    /// Read the beginning of a file. Fails if it is not that of a frame file.
    pub fn new(mut reader: R) -> io::Result<Self> {
        let mut magic = [0; 8];
        let length = read_up_to(&mut reader, &mut magic)?;
        if magic[..length] != MAGIC[..] {
            let is_other = magic.starts_with(&MAGIC[..7]);
            let text = match is_other {
                true => format!(
                    "its format is version {}, this program reads version {}: use the recorder that wrote it",
                    magic[7].escape_ascii(),
                    MAGIC[7].escape_ascii()
                ),
                false => "it does not begin as a frame file does ('recorder record --keep-frames' makes one)"
                    .to_owned(),
            };
            return Err(io::Error::new(ErrorKind::InvalidData, text));
        }
        Ok(Self { reader, at: MAGIC.len() as u64, stored: Vec::new() })
    }

    /// Bytes of the file that are read.
    pub fn bytes_read(&self) -> u64 {
        self.at
    }

    /// Put the frames of the next block into `frames`. Fails only if the file cannot be read.
    pub fn next(&mut self, frames: &mut Vec<u8>) -> io::Result<Result<(), Stop>> {
        frames.clear();
        let torn = |why: &str| Ok(Err(Stop::Torn { at: self.at, why: why.to_owned() }));
        let mut head = [0; HEAD_BYTES];
        match read_up_to(&mut self.reader, &mut head)? {
            0 => return Ok(Err(Stop::End)),
            HEAD_BYTES => {}
            _ => return torn("a block is cut"),
        }
        let number = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let (crc, codec, stored, length) = (number(0), head[4], number(5) as usize, number(9) as usize);
        if length > MAX_BYTES || stored > zstd::zstd_safe::compress_bound(MAX_BYTES) {
            return torn("a block says that it is larger than any can be");
        }
        self.stored.resize(stored, 0);
        if read_up_to(&mut self.reader, &mut self.stored)? < stored {
            return torn("a block is cut");
        }
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&head[4..]);
        hasher.update(&self.stored);
        if hasher.finalize() != crc {
            return torn("the checksum of a block is wrong");
        }
        match codec {
            PLAIN => std::mem::swap(frames, &mut self.stored),
            ZSTD => {
                frames.resize(length, 0);
                match zstd::bulk::decompress_to_buffer(&self.stored, &mut frames[..]) {
                    Ok(written) => frames.truncate(written),
                    Err(_) => return torn("a block cannot be decompressed"),
                }
            }
            _ => return torn("a block is compressed in an unknown way"),
        }
        if frames.len() != length {
            return torn("a block has another length than it says");
        }
        self.at += (HEAD_BYTES + stored) as u64;
        Ok(Ok(()))
    }
}

/// Fill `buffer` as far as there are bytes; gives their number.
fn read_up_to(reader: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut length = 0;
    while length < buffer.len() {
        match reader.read(&mut buffer[length..]) {
            Ok(0) => break,
            Ok(read) => length += read,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(length)
}
