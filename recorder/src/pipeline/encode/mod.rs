//! Arrow batches of an event's table in, a Parquet file out, in half the time that the general writer takes.
//!
//! ```text
//! batch -> column -> values (dictionary indices, differences, bits) -> page -> zstd, where it helps -> chunk
//! chunks of 256 Ki rows -> row group -> file
//! ```
//! What it saves: values are looked up in one table per column that is kept across pages, indices are packed a page
//! at a time while they are in the processor's cache, statistics are those of the dictionary, and a column whose page
//! zstd did not make smaller is left alone for some pages. Settings are those of [`super::segment`].
//!
//! Memory: see [`super::writer`].

mod bits;
mod bytes;
mod chunk;
mod column;
mod delta;
mod numbers;
mod pack;
mod rising;
mod rle;
pub mod tally;
#[cfg(test)]
mod tests;
mod values;
mod zip;

use std::io::Write;

use ::bytes::Bytes;
use anyhow::Result;
use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;

use self::column::Column;
use self::tally::Tally;
use self::zip::Zip;
use super::profile::{Stage, time};
use super::segment::plain_io;

/// A file being written.
pub struct TableWriter<W: Write + Send> {
    file: SerializedFileWriter<Tally<W>>,
    columns: Vec<Column>,
    zip: Zip,
    row_group_rows: usize,
    /// Of the open row group.
    rows: usize,
}

impl<W: Write + Send> TableWriter<W> {
    /// Begin a file of `schema` in `out`. Fails if an event cannot have such a column.
    pub fn new(out: W, schema: &SchemaRef, properties: WriterProperties) -> Result<Self> {
        let row_group_rows = properties.max_row_group_row_count().unwrap_or(usize::MAX);
        let options = ArrowWriterOptions::new().with_properties(properties);
        // The general writer knows how an Arrow schema is written into a Parquet file.
        let (file, _) = ArrowWriter::try_new_with_options(Tally::new(out), schema.clone(), options)
            .and_then(ArrowWriter::into_serialized_writer)
            .map_err(plain_io)?;
        let mut level = 1;
        let columns = schema.fields().iter().zip(file.schema_descr().columns()).map(|(field, descr)| {
            if let Compression::ZSTD(of_column) = file.properties().compression(descr.path()) {
                level = of_column.compression_level();
            }
            Column::new(field, descr.clone(), file.properties())
        });
        let columns = columns.collect::<Result<_>>()?;
        Ok(Self { columns, zip: Zip::new(level)?, file, row_group_rows, rows: 0 })
    }

    /// Add rows.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let mut from = 0;
        while from < batch.num_rows() {
            let rows = (batch.num_rows() - from).min(self.row_group_rows - self.rows);
            let part = batch.slice(from, rows);
            let Self { columns, zip, .. } = self;
            time(Stage::Encode, || {
                columns.iter_mut().zip(part.columns()).try_for_each(|(column, array)| column.push(array, zip))
            })?;
            from += rows;
            self.rows += rows;
            if self.rows == self.row_group_rows {
                self.finish_row_group()?;
            }
        }
        Ok(())
    }

    fn finish_row_group(&mut self) -> Result<()> {
        let mut group = self.file.next_row_group().map_err(plain_io)?;
        for column in &mut self.columns {
            let (bytes, close) = time(Stage::Encode, || column.finish_chunk(&mut self.zip))?;
            time(Stage::Write, || group.append_column(&Bytes::from(bytes), close)).map_err(plain_io)?;
        }
        group.close().map_err(plain_io)?;
        self.rows = 0;
        Ok(())
    }

    /// Bytes written so far.
    pub fn bytes(&self) -> u64 {
        self.file.bytes_written() as u64
    }

    /// Write what is left, and the footer. The result is the file's size and CRC-32.
    pub fn finish(mut self) -> Result<(u64, u32)> {
        if self.rows > 0 {
            self.finish_row_group()?;
        }
        self.file.finish().map_err(plain_io)?;
        Ok(self.file.inner().total())
    }
}
