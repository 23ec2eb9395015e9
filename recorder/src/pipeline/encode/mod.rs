//! Arrow batches of a table in, a Parquet file out, in half the time that the general writer takes.
//!
//! ```text
//! batch -> column -> levels, values (dictionary indices, differences, bits) -> page -> zstd, where it helps -> chunk
//! chunks of 256 Ki rows -> row group -> file
//! ```
//! What it saves: values are looked up in one table per column that is kept across pages, indices are packed a page
//! at a time while they are in the processor's cache, statistics are those of the dictionary, and a column whose page
//! zstd did not make smaller is left alone for some pages. What it adds: every page has a CRC, and the file's size,
//! checksum and times are known when it is finished. Settings are those of [`super::segment`].
//!
//! Memory: see [`super::writer`].

mod bits;
mod bytes;
mod chunk;
mod column;
mod delta;
mod levels;
mod numbers;
mod pack;
mod page;
mod rising;
mod rle;
mod splice;
mod tally;
#[cfg(test)]
pub mod tests;
pub mod times;
mod values;
mod zip;

use std::io::Write;

use ::bytes::Bytes;
use anyhow::Result;
use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use parquet::arrow::{ArrowSchemaConverter, add_encoded_arrow_schema_to_metadata};
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;
use parquet::file::reader::ChunkReader;
use parquet::file::writer::SerializedFileWriter;

use schemas::trace::sums::Summed;

use self::column::Column;
pub use self::splice::Source;
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
    open_rows: usize,
    rows: u64,
    ts: Option<times::Range>,
}

/// What a file is like that is finished.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Totals {
    /// Rows in it.
    pub rows: u64,
    /// Its size and CRCs.
    pub sums: Summed,
    /// Smallest and largest ts; `None` if the table does not begin with one, or there are no rows.
    pub ts: Option<times::Range>,
}

impl<W: Write + Send> TableWriter<W> {
    /// Begin a file of `schema` in `out`. Fails if no table has such a column.
    pub fn new(out: W, schema: &SchemaRef, mut properties: WriterProperties) -> Result<Self> {
        let row_group_rows = properties.max_row_group_row_count().unwrap_or(usize::MAX);
        add_encoded_arrow_schema_to_metadata(schema, &mut properties);
        let root = ArrowSchemaConverter::new().convert(schema).map_err(plain_io)?.root_schema_ptr();
        let file = SerializedFileWriter::new(Tally::new(out), root, properties.into()).map_err(plain_io)?;
        let mut level = 1;
        let columns = schema.fields().iter().zip(file.schema_descr().columns()).map(|(field, descr)| {
            if let Compression::ZSTD(of_column) = file.properties().compression(descr.path()) {
                level = of_column.compression_level();
            }
            Column::new(field, descr.clone(), file.properties())
        });
        let columns = columns.collect::<Result<_>>()?;
        Ok(Self { columns, zip: Zip::new(level)?, file, row_group_rows, open_rows: 0, rows: 0, ts: None })
    }

    /// Add rows.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let mut from = 0;
        while from < batch.num_rows() {
            let rows = (batch.num_rows() - from).min(self.row_group_rows - self.open_rows);
            let part = batch.slice(from, rows);
            let Self { columns, zip, .. } = self;
            time(Stage::Encode, || {
                columns.iter_mut().zip(part.columns()).try_for_each(|(column, array)| column.push(array, zip))
            })?;
            from += rows;
            self.open_rows += rows;
            if self.open_rows == self.row_group_rows {
                self.end_row_group()?;
            }
        }
        self.rows += batch.num_rows() as u64;
        self.ts = times::both(self.ts, times::of_rows(batch));
        Ok(())
    }

    /// Rows of the open row group.
    pub fn open_rows(&self) -> usize {
        self.open_rows
    }

    /// What comes next is another row group.
    pub fn end_row_group(&mut self) -> Result<()> {
        if self.open_rows == 0 {
            return Ok(());
        }
        let mut group = self.file.next_row_group().map_err(plain_io)?;
        for column in &mut self.columns {
            let (bytes, close) = time(Stage::Encode, || column.finish_chunk(&mut self.zip))?;
            time(Stage::Write, || group.append_column(&Bytes::from(bytes), close)).map_err(plain_io)?;
        }
        group.close().map_err(plain_io)?;
        self.open_rows = 0;
        Ok(())
    }

    /// Add the rows of a row group of another file of this table, byte for byte. Its statistics must tell its
    /// [times](times::of_group), if the table has any.
    pub fn splice<R: ChunkReader>(&mut self, source: Source<'_, R>) -> Result<()> {
        self.end_row_group()?;
        source.append_to(&mut self.file)?;
        let group = source.metadata.row_group(source.group);
        self.rows += group.num_rows() as u64;
        if self.file.schema_descr().column(0).name() == "ts" {
            self.ts = times::both(self.ts, times::of_group(group));
        }
        Ok(())
    }

    /// Bytes written so far.
    pub fn bytes(&self) -> u64 {
        self.file.bytes_written() as u64
    }

    /// Write what is left, and the footer.
    pub fn finish(mut self) -> Result<Totals> {
        self.end_row_group()?;
        self.file.finish().map_err(plain_io)?;
        let sums = self.file.inner().total();
        Ok(Totals { rows: self.rows, sums, ts: self.ts })
    }
}
