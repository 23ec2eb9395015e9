//! A Parquet file in, where its pages are and the CRC that each says of itself out, read here without the library.

use std::ops::Range;

use ::bytes::Bytes;
use parquet::file::metadata::ParquetMetaDataReader;

/// A page.
#[derive(Debug)]
pub struct Page {
    /// Where its bytes are, without the header.
    pub body: Range<usize>,
    /// What the header says.
    pub crc: Option<u32>,
}

/// All pages of the file, dictionaries included.
pub fn all(file: &[u8]) -> Vec<Page> {
    let bytes = Bytes::copy_from_slice(file);
    let metadata = ParquetMetaDataReader::new().parse_and_finish(&bytes).unwrap();
    let mut pages = vec![];
    for column in metadata.row_groups().iter().flat_map(|group| group.columns()) {
        let (start, size) = column.byte_range();
        let (mut at, end) = (start as usize, (start + size) as usize);
        while at < end {
            let mut rest = &file[at..end];
            let header = read_struct(&mut rest);
            let value = |id| header.iter().find(|field| field.0 == id).map(|field| field.1);
            let body = end - rest.len()..end - rest.len() + value(3).unwrap() as usize;
            at = body.end;
            pages.push(Page { body, crc: value(4).map(|crc| crc as i32 as u32) });
        }
        assert_eq!(at, end, "pages are longer than their column");
    }
    pages
}

/// All pages have their CRC.
pub fn check(file: &[u8]) {
    let pages = all(file);
    assert!(!pages.is_empty());
    for Page { body, crc } in pages {
        assert_eq!(crc, Some(crc32fast::hash(&file[body.clone()])), "page at {body:?}");
    }
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let (mut value, mut shift) = (0, 0);
    loop {
        let byte = bytes[0];
        *bytes = &bytes[1..];
        value |= u64::from(byte & 0x7f) << shift;
        shift += 7;
        if byte < 0x80 {
            return value;
        }
    }
}

/// Numbers and values of the fields that are integers.
fn read_struct(bytes: &mut &[u8]) -> Vec<(u8, i64)> {
    let (mut fields, mut id) = (vec![], 0);
    loop {
        let head = bytes[0];
        *bytes = &bytes[1..];
        assert!(head == 0 || head > 0xf, "a field whose number is told otherwise");
        id += head >> 4;
        match head & 0xf {
            0 => return fields,
            1 | 2 => {}
            5 => {
                let value = varint(bytes);
                fields.push((id, (value >> 1) as i64 ^ -((value & 1) as i64)));
            }
            12 => drop(read_struct(bytes)),
            other => panic!("a field of type {other}"),
        }
    }
}
