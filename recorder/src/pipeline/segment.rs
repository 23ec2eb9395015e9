//! Arrow batches of one table in, one Parquet file out, which has its name only when it is whole.

use std::fs::File;
use std::path::Path;

use anyhow::{Context, Result};
use arrow_array::RecordBatch;
use arrow_schema::{DataType, Schema, SchemaRef};
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::metadata::{KeyValue, SortingColumn};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;
use schemas::trace::sums::Summed;
use schemas::trace::{LATE_KEY, SEGMENT_SUFFIX, TABLE_KEY, table_json};

use super::encode::times::has_ts;
use super::encode::{TableWriter, Totals};
use super::files::TempFile;

/// Rows of a row group: larger ones are neither smaller on disk nor faster (measured: 64k costs 3 %, 1M is equal).
pub const ROW_GROUP_ROWS: usize = 256 * 1024;
/// Rows of a data page at most: what a reader that prunes by time has to decode for one row.
const PAGE_ROWS: usize = 20 * 1024;
/// Dictionary page of a 64-bit column whose every value is distinct in a row group, so that the encoding never falls
/// back in mid-group (measured for pointers: 22 ns and 2.2 bytes a value with dictionary, 37 ns and 2.9 without).
const DICTIONARY_BYTES: usize = ROW_GROUP_ROWS * 8;

/// How a table is written, with the reason for each kind of column.
pub fn writer_properties(schema: &Schema, zstd_level: i32, is_late: bool) -> Result<WriterProperties> {
    let level = ZstdLevel::try_new(zstd_level)
        .with_context(|| format!("zstd level {zstd_level} is not possible: use 1 to 22"))?;
    let is_sorted = has_ts(schema);
    let table = table_json(schema);
    let mut metadata = vec![KeyValue::new(TABLE_KEY.to_owned(), table)];
    if is_late {
        metadata.push(KeyValue::new(LATE_KEY.to_owned(), "true".to_owned()));
    }
    let mut properties = WriterProperties::builder()
        .set_created_by(concat!("ktape recorder ", env!("CARGO_PKG_VERSION")).to_owned())
        // Level 1: higher ones are slower and gain nothing on these columns.
        .set_compression(Compression::ZSTD(level))
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .set_data_page_row_count_limit(PAGE_ROWS)
        // Few distinct values per row group is the rule for kernel events: ids, sizes, names, even reused pointers.
        .set_dictionary_enabled(true)
        .set_dictionary_page_size_limit(DICTIONARY_BYTES)
        // Per row group: enough to skip files; pages of unsorted columns all span the same range.
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_key_value_metadata(Some(metadata));
    if is_sorted {
        let by_ts = SortingColumn { column_idx: 0, descending: false, nulls_first: false };
        properties = properties.set_sorting_columns(Some(vec![by_ts]));
    }
    for field in schema.fields() {
        let path = || ColumnPath::from(field.name().as_str());
        let rises = matches!(field.name().as_str(), "ts" | "seq");
        if rises {
            // Rises by small steps and never repeats: differences pack into a few bits, a dictionary would not.
            properties = properties
                .set_column_dictionary_enabled(path(), false)
                .set_column_encoding(path(), Encoding::DELTA_BINARY_PACKED);
        }
        if is_sorted && field.name() == "ts" {
            // Sorted: page statistics let a reader find a second without reading the rest.
            properties = properties.set_column_statistics_enabled(path(), EnabledStatistics::Page);
        }
        let is_text =
            matches!(field.data_type(), DataType::Utf8 | DataType::Binary | DataType::Dictionary(..));
        if is_text {
            // Two string comparisons per value (a tenth of all time) for ranges that nearly always span everything.
            properties = properties.set_column_statistics_enabled(path(), EnabledStatistics::None);
        }
        if matches!(field.data_type(), DataType::Boolean) {
            // A bit each already.
            properties = properties.set_column_dictionary_enabled(path(), false);
        }
    }
    Ok(properties.build())
}

/// A file that is whole and lacks only its name, with what the log says of it.
pub struct Written {
    /// The file.
    pub temp: TempFile,
    /// Rows in it.
    pub rows: u64,
    /// Its size and CRCs.
    pub sums: Summed,
    /// Smallest and largest ts; `None` if the table does not begin with one, or there are no rows.
    pub ts: Option<(i64, i64)>,
    /// Its rows came late.
    pub is_late: bool,
}

impl Written {
    /// Of a file and what its writer says of it.
    pub fn new(temp: TempFile, totals: Totals, is_late: bool) -> Self {
        let Totals { rows, sums, ts } = totals;
        Self { temp, rows, sums, ts, is_late }
    }
}

/// A segment being written.
pub struct Segment {
    writer: TableWriter<File>,
    temp: TempFile,
    table: String,
    /// Its rows came late.
    pub is_late: bool,
    /// Rows so far.
    pub rows: u64,
}

impl Segment {
    /// Begin a segment of the table in `dir`; `temp_name` tells it from others of this table.
    pub fn create(
        dir: &Path,
        temp_name: &str,
        schema: &SchemaRef,
        properties: WriterProperties,
    ) -> Result<Self> {
        let table = dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let temp = TempFile::create(dir, temp_name)?;
        let keys = properties.key_value_metadata();
        let is_late = keys.is_some_and(|keys| keys.iter().any(|pair| pair.key == LATE_KEY));
        let writer = TableWriter::new(temp.handle()?, schema, properties)
            .with_context(|| format!("cannot begin a segment of table '{table}'"))?;
        Ok(Self { writer, temp, table, is_late, rows: 0 })
    }

    /// Add rows; the caller keeps them sorted.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        self.writer.write(batch).with_context(|| cannot_write(&self.table))?;
        self.rows += batch.num_rows() as u64;
        Ok(())
    }

    /// Bytes written to the file so far: those of the row groups that are complete.
    pub fn bytes(&self) -> u64 {
        self.writer.bytes()
    }

    /// Write what is left and the footer: the file lacks only its name.
    pub fn finish(self) -> Result<Written> {
        let Self { writer, temp, table, is_late, .. } = self;
        let totals = writer.finish().with_context(|| cannot_write(&table))?;
        Ok(Written::new(temp, totals, is_late))
    }
}

fn cannot_write(table: &str) -> String {
    format!("cannot write table '{table}'")
}

/// The operating system's error inside an error of the Parquet library, without its wrapping.
pub fn plain_io(error: parquet::errors::ParquetError) -> anyhow::Error {
    match error {
        parquet::errors::ParquetError::External(inner) => match inner.downcast::<std::io::Error>() {
            Ok(io) => anyhow::Error::new(*io),
            Err(other) => anyhow::anyhow!("{other}"),
        },
        other => anyhow::Error::new(other),
    }
}

/// Name of the segment with that number.
pub fn segment_name(number: u64) -> String {
    format!("{number:06}{SEGMENT_SUFFIX}")
}
#[cfg(test)]
#[path = "segment_tests.rs"]
pub mod tests;
