//! Segments of one table in, one larger file with the same rows (or those that are wanted) in time order out.
//!
//! Row groups that are large already are spliced byte for byte, unless they are of an older recorder, whose pages have no
//! CRC; small neighbours are decoded and encoded again as one row group, because thousands of tiny ones would cost a
//! reader more than the copy costs us.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use arrow_array::types::{TimestampNanosecondType, UInt16Type, UInt64Type};
use arrow_schema::{Schema, SchemaRef};
use arrow_select::interleave::interleave_record_batch;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
};
use parquet::file::metadata::PageIndexPolicy;
use schemas::trace::LATE_KEY;

use super::encode::times;
use super::encode::{Source, TableWriter};
use super::files::TempFile;
use super::segment::{Written, plain_io, writer_properties};

/// Row groups of this size and more are spliced.
const SPLICE_ROWS: usize = 64 * 1024;
const BATCH_ROWS: usize = 8192;
/// Decoded rows that become a row group though they are few: long stacks take a KiB each, and a reader decodes a row
/// group at a time.
const MOST_BYTES: usize = 32 << 20;
const ZSTD_LEVEL: i32 = 1;
/// Unit of `st_blocks`.
const BLOCK_BYTES: u64 = 512;
const OWN_KEYS: &str = "ktape.";

/// A segment to be merged.
pub struct Input {
    /// Its number.
    pub number: u64,
    /// Where it is.
    pub path: PathBuf,
    /// Its rows.
    pub rows: u64,
    /// First and last ts, if the table has one.
    pub range: Option<(i64, i64)>,
    /// What it takes on disk, bytes.
    pub disk_bytes: u64,
    /// Its rows came late.
    pub is_late: bool,
    file: File,
    metadata: ArrowReaderMetadata,
}

impl Input {
    /// Read the footer of the segment at `path`.
    pub fn open(number: u64, path: &Path) -> Result<Self> {
        let context = || format!("cannot read '{}'", path.display());
        let file = File::open(path).with_context(context)?;
        let options = ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Optional);
        let metadata = ArrowReaderMetadata::load(&file, options).map_err(plain_io).with_context(context)?;
        let rows = metadata.metadata().file_metadata().num_rows();
        let rows = u64::try_from(rows).ok().with_context(context)?;
        let range = range_of(&metadata);
        let disk_bytes = file.metadata().with_context(context)?.blocks() * BLOCK_BYTES;
        let keys = metadata.metadata().file_metadata().key_value_metadata();
        let is_late = keys.is_some_and(|keys| keys.iter().any(|pair| pair.key == LATE_KEY));
        Ok(Self { number, path: path.to_owned(), rows, range, disk_bytes, is_late, file, metadata })
    }

    /// All its rows.
    pub fn batches(&self) -> Result<ParquetRecordBatchReader> {
        self.reader((0..self.metadata.metadata().num_row_groups()).collect())
    }

    /// Columns with these names of all its rows, in the order of the table.
    pub fn columns(&self, names: &[&str]) -> Result<ParquetRecordBatchReader> {
        let schema = self.metadata.parquet_schema();
        self.build(|builder| builder.with_projection(ProjectionMask::columns(schema, names.iter().copied())))
    }

    fn reader(&self, row_groups: Vec<usize>) -> Result<ParquetRecordBatchReader> {
        self.build(|builder| builder.with_row_groups(row_groups))
    }

    fn build(
        &self,
        what: impl FnOnce(ParquetRecordBatchReaderBuilder<File>) -> ParquetRecordBatchReaderBuilder<File>,
    ) -> Result<ParquetRecordBatchReader> {
        let file = self.file.try_clone()?;
        let all = ParquetRecordBatchReaderBuilder::new_with_metadata(file, self.metadata.clone());
        what(all)
            .with_batch_size(BATCH_ROWS)
            .build()
            .map_err(plain_io)
            .with_context(|| format!("cannot read '{}'", self.path.display()))
    }
}

fn range_of(metadata: &ArrowReaderMetadata) -> Option<(i64, i64)> {
    if !times::has_ts(metadata.schema()) {
        return None;
    }
    let ranges: Option<Vec<_>> = metadata.metadata().row_groups().iter().map(times::of_group).collect();
    ranges?.into_iter().fold(None, |all, range| times::both(all, Some(range)))
}

/// The file being made.
pub struct Merged {
    writer: TableWriter<File>,
    schema: SchemaRef,
    temp: TempFile,
    /// What the rows of the open row group are in memory.
    open_bytes: usize,
    is_late: bool,
}

impl Merged {
    /// Begin to write to `temp` rows of the table of which `example` is a segment; `is_late` if the rows came late.
    pub fn create(temp: TempFile, example: &Input, is_late: bool) -> Result<Self> {
        // What the file's own keys have put into the metadata is written again by `writer_properties`.
        let mut metadata = example.metadata.schema().metadata().clone();
        metadata.retain(|key, _| !key.starts_with(OWN_KEYS));
        let fields = example.metadata.schema().fields().clone();
        let schema: SchemaRef = Schema::new_with_metadata(fields, metadata).into();
        let properties = writer_properties(&schema, ZSTD_LEVEL, is_late)?;
        let writer = TableWriter::new(temp.handle()?, &schema, properties)
            .with_context(|| format!("cannot write '{}'", temp.path().display()))?;
        Ok(Self { writer, schema, temp, open_bytes: 0, is_late })
    }

    /// Append segments that overlap each other (mostly just one); units come in time order.
    pub fn append(&mut self, unit: &[Input]) -> Result<()> {
        for input in unit {
            ensure!(
                input.metadata.schema().fields() == self.schema.fields(),
                "'{}' has other columns than the segments before it",
                input.path.display()
            );
        }
        match unit {
            [input] => self.append_one(input),
            several => self.append_overlapping(several),
        }
        .with_context(|| format!("cannot write '{}'", self.temp.path().display()))
    }

    fn append_one(&mut self, input: &Input) -> Result<()> {
        let metadata = &**input.metadata.metadata();
        for (group, about) in metadata.row_groups().iter().enumerate() {
            let source = Source { file: &input.file, metadata, group };
            let is_large = about.num_rows() as usize >= SPLICE_ROWS;
            let tells_times = !times::has_ts(&self.schema) || times::of_group(about).is_some();
            if is_large && tells_times && source.has_crcs()? {
                self.writer.splice(source)?;
                self.open_bytes = 0;
            } else {
                for batch in input.reader(vec![group])? {
                    self.push(batch?)?;
                }
            }
        }
        Ok(())
    }

    /// A merge of sorted streams, holding one batch of each.
    fn append_overlapping(&mut self, inputs: &[Input]) -> Result<()> {
        let mut streams = inputs.iter().map(Stream::open).collect::<Result<Vec<_>>>()?;
        let mut heap: BinaryHeap<_> =
            streams.iter().enumerate().filter_map(|(i, s)| Some(Reverse((s.key()?, i)))).collect();
        let mut order: Vec<(usize, usize)> = Vec::new();
        while let Some(Reverse((_, index))) = heap.pop() {
            let stream = &mut streams[index];
            order.push((index, stream.row));
            stream.row += 1;
            let is_used_up = stream.row >= stream.batch.num_rows();
            if is_used_up || order.len() >= BATCH_ROWS {
                let batches: Vec<&RecordBatch> = streams.iter().map(|s| &s.batch).collect();
                let batch = interleave_record_batch(&batches, &order)?;
                order.clear();
                self.push(batch)?;
            }
            let stream = &mut streams[index];
            if is_used_up {
                stream.advance()?;
            }
            if let Some(key) = stream.key() {
                heap.push(Reverse((key, index)));
            }
        }
        Ok(())
    }

    /// Append rows that come after all rows so far.
    pub fn push(&mut self, batch: RecordBatch) -> Result<()> {
        self.writer.write(&batch)?;
        if self.writer.open_rows() <= batch.num_rows() {
            // The row group began with these rows.
            self.open_bytes = 0;
        }
        self.open_bytes += batch.get_array_memory_size();
        if self.open_bytes >= MOST_BYTES {
            self.writer.end_row_group()?;
        }
        Ok(())
    }

    /// Bytes written to the file so far: those of the row groups that are complete.
    pub fn bytes(&self) -> u64 {
        self.writer.bytes()
    }

    /// Finish the file and make it durable; only its name is missing.
    pub fn finish(self) -> Result<Written> {
        let Self { writer, temp, is_late, .. } = self;
        let totals = writer.finish().with_context(|| format!("cannot write '{}'", temp.path().display()))?;
        temp.sync()?;
        Ok(Written::new(temp, totals, is_late))
    }
}

/// A sorted segment being read.
struct Stream {
    reader: ParquetRecordBatchReader,
    batch: RecordBatch,
    row: usize,
}

impl Stream {
    fn open(input: &Input) -> Result<Self> {
        let reader = input.batches()?;
        let batch = RecordBatch::new_empty(input.metadata.schema().clone());
        let mut stream = Self { reader, batch, row: 0 };
        stream.advance()?;
        Ok(stream)
    }

    fn advance(&mut self) -> Result<()> {
        self.row = 0;
        let schema = self.batch.schema();
        self.batch = self.reader.next().transpose()?.unwrap_or_else(|| RecordBatch::new_empty(schema));
        Ok(())
    }

    /// ts, cpu, seq of the next row; cpu and seq only where the table has them.
    fn key(&self) -> Option<(i64, u16, u64)> {
        if self.row >= self.batch.num_rows() {
            return None;
        }
        let column = |name| self.batch.column_by_name(name);
        let ts = self.batch.column(0).as_primitive_opt::<TimestampNanosecondType>()?.value(self.row);
        let cpu = column("cpu").and_then(|c| Some(c.as_primitive_opt::<UInt16Type>()?.value(self.row)));
        let seq = column("seq").and_then(|c| Some(c.as_primitive_opt::<UInt64Type>()?.value(self.row)));
        Some((ts, cpu.unwrap_or(0), seq.unwrap_or(0)))
    }
}

#[cfg(test)]
#[path = "merged_tests.rs"]
mod tests;
