//! Encoded pages of one column chunk in; its bytes and its metadata, ready to be spliced into a row group, out.

use anyhow::Result;
use parquet::basic::{Compression, Encoding, PageType};
use parquet::column::writer::ColumnCloseResult;
use parquet::file::metadata::{
    ColumnChunkMetaData, ColumnIndexBuilder, OffsetIndexBuilder, PageEncodingStats,
};
use parquet::file::statistics::Statistics;
use parquet::schema::types::ColumnDescPtr;

use super::page::{self, Kind};
use super::zip::Zip;

/// A compressed page must be smaller than this share of it; else it stays as it is, which costs a reader less.
/// (Measured: with 90 a twelfth less time for all of encoding, and 2 % more bytes.)
const WORTHWHILE_PERCENT: usize = 98;
/// Pages that are not tried after one that did not get smaller: packed indices of such a column rarely do.
const PAGES_UNTRIED: u32 = 3;

/// A page whose values are encoded.
pub struct DataPage<'a> {
    /// Rows.
    pub rows: usize,
    /// Values, NULLs, and a place for each empty list.
    pub entries: usize,
    /// Entries that are no value.
    pub absent: usize,
    /// Levels of both kinds, then values.
    pub body: &'a [u8],
    /// Bytes of the levels that say where a list begins.
    pub repetition_bytes: usize,
    /// Bytes of the levels that say which entries are values.
    pub definition_bytes: usize,
    /// Of the values.
    pub encoding: Encoding,
    /// Smallest and largest value, plain.
    pub range: Option<(Vec<u8>, Vec<u8>)>,
}

struct Written {
    compressed_bytes: usize,
    rows: usize,
    entries: usize,
    encoding: Encoding,
}

/// Collects the pages of one chunk after the other.
pub struct Chunk {
    descr: ColumnDescPtr,
    compression: Compression,
    has_page_ranges: bool,
    pages: Vec<u8>,
    written: Vec<Written>,
    index: ColumnIndexBuilder,
    uncompressed_bytes: usize,
    absent: u64,
    untried: u32,
}

impl Chunk {
    /// No page yet.
    pub fn new(descr: ColumnDescPtr, compression: Compression, has_page_ranges: bool) -> Self {
        Self {
            index: ColumnIndexBuilder::new(descr.physical_type()),
            descr,
            compression,
            has_page_ranges,
            pages: Vec::new(),
            written: Vec::new(),
            uncompressed_bytes: 0,
            absent: 0,
            untried: 0,
        }
    }

    /// Entries so far that are no value.
    pub fn absent(&self) -> u64 {
        self.absent
    }

    /// Add a page.
    pub fn page(&mut self, page: DataPage<'_>, zip: &mut Zip) -> Result<()> {
        let DataPage { rows, entries, absent, body, repetition_bytes, definition_bytes, encoding, range } =
            page;
        let (levels, values) = body.split_at(repetition_bytes + definition_bytes);
        let is_tried = self.untried == 0 && !values.is_empty();
        self.untried = self.untried.saturating_sub(1);
        let mut packed = None;
        if is_tried {
            let smaller = zip.compress(values)?;
            if smaller.len() * 100 < values.len() * WORTHWHILE_PERCENT {
                packed = Some(smaller);
            } else {
                self.untried = PAGES_UNTRIED;
            }
        }
        let kind = Kind::Data {
            rows,
            entries,
            absent,
            encoding,
            repetition_bytes,
            definition_bytes,
            is_compressed: packed.is_some(),
        };
        let start = self.pages.len();
        let parts = [levels, packed.unwrap_or(values)];
        self.uncompressed_bytes += page::write(&kind, body.len(), parts, &mut self.pages)? + body.len();
        self.absent += absent as u64;
        let compressed_bytes = self.pages.len() - start;
        self.written.push(Written { compressed_bytes, rows, entries, encoding });
        if self.has_page_ranges {
            let (min, max) = range.unwrap_or_default();
            self.index.append(absent == entries, min, max, absent as i64);
        }
        Ok(())
    }

    /// The chunk: dictionary (number of values, plain values) and pages.
    pub fn finish(
        &mut self,
        dictionary: Option<(usize, &[u8])>,
        statistics: Option<Statistics>,
        zip: &mut Zip,
    ) -> Result<(Vec<u8>, ColumnCloseResult)> {
        let mut bytes = Vec::new();
        let mut encodings = Vec::new();
        if let Some((distinct, values)) = dictionary {
            let kind = Kind::Dictionary { values: distinct };
            let parts = [zip.compress(values)?, &[]];
            self.uncompressed_bytes += page::write(&kind, values.len(), parts, &mut bytes)? + values.len();
            encodings.push(page_encoding(PageType::DICTIONARY_PAGE, Encoding::PLAIN));
        }
        let dictionary_bytes = bytes.len() as i64;
        bytes.extend_from_slice(&std::mem::take(&mut self.pages));

        let mut offsets = OffsetIndexBuilder::new();
        let mut offset = dictionary_bytes;
        let (mut rows, mut entries) = (0, 0);
        for Written { compressed_bytes, rows: page_rows, entries: page_entries, encoding } in
            self.written.drain(..)
        {
            offsets.append_row_count(page_rows as i64);
            offsets.append_offset_and_size(offset, compressed_bytes as i32);
            offset += compressed_bytes as i64;
            rows += page_rows;
            entries += page_entries;
            match encodings
                .iter_mut()
                .find(|e| e.encoding == encoding && e.page_type == PageType::DATA_PAGE_V2)
            {
                Some(stats) => stats.count += 1,
                None => encodings.push(page_encoding(PageType::DATA_PAGE_V2, encoding)),
            }
        }
        let all = encodings.iter().map(|e| e.encoding).chain([Encoding::RLE]).collect();
        let mut metadata = ColumnChunkMetaData::builder(self.descr.clone())
            .set_compression(self.compression)
            .set_encodings(all)
            .set_page_encoding_stats(encodings)
            .set_num_values(entries as i64)
            .set_total_compressed_size(bytes.len() as i64)
            .set_total_uncompressed_size(std::mem::take(&mut self.uncompressed_bytes) as i64)
            .set_dictionary_page_offset(dictionary.map(|_| 0))
            .set_data_page_offset(dictionary_bytes);
        if let Some(statistics) = statistics {
            metadata = metadata.set_statistics(statistics);
        }
        let index = ColumnIndexBuilder::new(self.descr.physical_type());
        let index = std::mem::replace(&mut self.index, index);
        let close = ColumnCloseResult {
            bytes_written: bytes.len() as u64,
            rows_written: rows as u64,
            metadata: metadata.build()?,
            bloom_filter: None,
            column_index: if self.has_page_ranges { Some(index.build()?) } else { None },
            offset_index: Some(offsets.build()),
        };
        self.absent = 0;
        self.untried = 0;
        Ok((bytes, close))
    }
}

fn page_encoding(page_type: PageType, encoding: Encoding) -> PageEncodingStats {
    PageEncodingStats { page_type, encoding, count: 1 }
}
