//! Encoded bytes of a page in; the page as it stands in a file, behind a header with its CRC, out.
//!
//! The Parquet library writes pages without CRC. A header is a struct in Thrift's compact protocol, here with the
//! fields that parquet.thrift calls `PageHeader`, `DictionaryPageHeader` and `DataPageHeaderV2`.

use anyhow::{Context, Result};
use parquet::basic::{Encoding, PageType};

use super::pack::{varint, zigzag};

const TRUE: u8 = 1;
const FALSE: u8 = 2;
const I32: u8 = 5;
const STRUCT: u8 = 12;
/// A field that follows the one with the number before its own.
const NEXT: u8 = 1 << 4;

/// What a page has beside its bytes.
pub enum Kind {
    /// The distinct values of a chunk, plain.
    Dictionary {
        /// How many there are.
        values: usize,
    },
    /// Levels, which are never compressed, and values.
    Data {
        /// Rows.
        rows: usize,
        /// Values, NULLs, and a place for each empty list.
        entries: usize,
        /// Entries that are no value.
        absent: usize,
        /// Of the values.
        encoding: Encoding,
        /// Bytes of the levels that say where a list begins.
        repetition_bytes: usize,
        /// Bytes of the levels that say which entries are values.
        definition_bytes: usize,
        /// The values are compressed.
        is_compressed: bool,
    },
}

/// Append a page whose bytes are `parts`, one after the other, and which would be `uncompressed_bytes` without
/// compression. The result is the size of its header. Fails if it is too large for a page.
pub fn write(kind: &Kind, uncompressed_bytes: usize, parts: [&[u8]; 2], out: &mut Vec<u8>) -> Result<usize> {
    let start = out.len();
    let page_type = match kind {
        Kind::Dictionary { .. } => PageType::DICTIONARY_PAGE,
        Kind::Data { .. } => PageType::DATA_PAGE_V2,
    };
    let mut crc = crc32fast::Hasher::new();
    parts.iter().for_each(|part| crc.update(part));
    next_i32(page_type as i32, out);
    next_size(uncompressed_bytes, out)?;
    next_size(parts.iter().map(|part| part.len()).sum(), out)?;
    next_i32(crc.finalize().cast_signed(), out);
    match *kind {
        Kind::Dictionary { values } => {
            out.push((3 * NEXT) | STRUCT);
            next_size(values, out)?;
            next_i32(Encoding::PLAIN as i32, out);
            out.push(NEXT | FALSE);
        }
        Kind::Data { rows, entries, absent, encoding, repetition_bytes, definition_bytes, is_compressed } => {
            out.push((4 * NEXT) | STRUCT);
            next_size(entries, out)?;
            next_size(absent, out)?;
            next_size(rows, out)?;
            next_i32(encoding as i32, out);
            next_size(definition_bytes, out)?;
            next_size(repetition_bytes, out)?;
            out.push(NEXT | if is_compressed { TRUE } else { FALSE });
        }
    }
    // The end of each struct.
    out.extend_from_slice(&[0, 0]);
    let header_bytes = out.len() - start;
    parts.iter().for_each(|part| out.extend_from_slice(part));
    Ok(header_bytes)
}

fn next_i32(value: i32, out: &mut Vec<u8>) {
    out.push(NEXT | I32);
    varint(zigzag(value.into()), out);
}

fn next_size(size: usize, out: &mut Vec<u8>) -> Result<()> {
    next_i32(i32::try_from(size).ok().context("a page is larger than 2 GiB")?, out);
    Ok(())
}

/// The most bytes of a header that [`has_crc`] looks at.
pub const CRC_BYTES: usize = 3 * 6 + 1;

/// Has the page whose header begins with these bytes a CRC? It is the fourth field.
pub fn has_crc(header: &[u8]) -> bool {
    let mut rest = header;
    for _ in 0..3 {
        let Some((&field, varint)) = rest.split_first() else { return false };
        let Some(last) = varint.iter().position(|byte| *byte < 0x80) else { return false };
        if field != NEXT | I32 {
            return false;
        }
        rest = &varint[last + 1..];
    }
    rest.first() == Some(&(NEXT | I32))
}
