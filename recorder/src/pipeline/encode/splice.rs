//! A row group of another file in, the same bytes as the next row group of this one out.

use std::io::Write;

use anyhow::Result;
use parquet::column::writer::ColumnCloseResult;
use parquet::file::metadata::ParquetMetaData;
use parquet::file::reader::ChunkReader;
use parquet::file::writer::SerializedFileWriter;

use super::super::segment::plain_io;
use super::page;

/// A row group of a file.
#[derive(Clone, Copy)]
pub struct Source<'a, R> {
    /// The file.
    pub file: &'a R,
    /// Its footer.
    pub metadata: &'a ParquetMetaData,
    /// Number of the row group.
    pub group: usize,
}

impl<R: ChunkReader> Source<'_, R> {
    /// Have its pages CRCs? Those of files of older recorders have none: the caller encodes such rows again, so that
    /// what is written today can be verified whatever it is made of. A recorder writes all pages with them or none,
    /// so the first page of each column says it.
    pub fn has_crcs(&self) -> Result<bool> {
        for column in self.metadata.row_group(self.group).columns() {
            let (start, bytes) = column.byte_range();
            let header = self.file.get_bytes(start, page::CRC_BYTES.min(bytes as usize)).map_err(plain_io)?;
            if !page::has_crc(&header) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Append it to `out`. Fails if that has other columns.
    pub fn append_to<W: Write + Send>(&self, out: &mut SerializedFileWriter<W>) -> Result<()> {
        let Self { file, metadata, group } = *self;
        let rows = metadata.row_group(group).num_rows() as u64;
        let mut out = out.next_row_group().map_err(plain_io)?;
        for (i, column) in metadata.row_group(group).columns().iter().enumerate() {
            let close = ColumnCloseResult {
                bytes_written: column.compressed_size() as u64,
                rows_written: rows,
                metadata: column.clone(),
                bloom_filter: None,
                column_index: metadata.column_index().and_then(|all| all.get(group)?.get(i).cloned()),
                offset_index: metadata.offset_index().and_then(|all| all.get(group)?.get(i).cloned()),
            };
            out.append_column(file, close).map_err(plain_io)?;
        }
        out.close().map_err(plain_io)?;
        Ok(())
    }
}
