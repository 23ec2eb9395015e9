//! A file of a table, with its rows and its time: as the log says, or as its footer does where there is no log.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use arrow_schema::SchemaRef;
use datafusion::common::stats::Precision;
use datafusion::common::{ScalarValue, Statistics};
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
};
use parquet::file::metadata::PageIndexPolicy;

use crate::trace::file::TraceFile;
use crate::trace::footer;

/// A segment.
#[derive(Clone, Debug)]
pub struct Segment {
    /// Where it is.
    pub file: TraceFile,
    /// Size of the file.
    pub bytes: u64,
    /// Rows in it.
    pub rows: u64,
    /// First and last `ts`, UTC nanoseconds, if the table has that column and it is known.
    pub ts_range: Option<(i64, i64)>,
    /// Its place among the segments of the table: of two rows with one id, that of the later segment is the newer.
    pub age: i64,
}

impl Segment {
    /// Read the footer of `file` and compare it with the table's `schema`.
    ///
    /// Fails if it is gone, not Parquet, or a column has a type that cannot be the table's.
    pub fn open((file, bytes): (TraceFile, u64), schema: &SchemaRef, age: i64) -> Result<Self> {
        let reader = file.reader()?;
        let read = || -> Result<_> {
            let metadata = footer::read(&reader, PageIndexPolicy::Skip, None)
                .context("damaged or not a Parquet file")?;
            footer::check_types(&metadata, schema)?;
            Ok((footer::rows(&metadata), footer::ts_range(&metadata)))
        };
        let (rows, ts_range) = catch_unwind(AssertUnwindSafe(read))
            .unwrap_or_else(|_| bail!("damaged or not a Parquet file: the footer makes no sense"))?;
        Ok(Self { file, bytes, rows, ts_range, age })
    }

    /// All rows, of a file that is what the log says.
    ///
    /// Fails if it is not, or is damaged.
    pub fn rows(&self, options: ArrowReaderOptions) -> Result<ParquetRecordBatchReader> {
        let reader = self.file.whole()?;
        let metadata = reader.footer(PageIndexPolicy::Skip)?;
        let metadata = ArrowReaderMetadata::try_new(Arc::new(metadata), options)?;
        Ok(ParquetRecordBatchReaderBuilder::new_with_metadata(reader, metadata).build()?)
    }

    /// Read every page, to find out whether the file is damaged.
    ///
    /// Fails if it is.
    pub fn check(&self) -> Result<()> {
        let read = || -> Result<()> {
            for batch in self.rows(ArrowReaderOptions::new())? {
                batch?;
            }
            Ok(())
        };
        catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|_| bail!("its pages make no sense"))
    }
}

/// What DataFusion is to know of files of a table with `schema`: their rows, and the first and last `ts` of all.
pub fn statistics(rows: u64, ts_range: Option<(i64, i64)>, schema: &SchemaRef) -> Statistics {
    let mut statistics = Statistics::new_unknown(schema);
    statistics.num_rows = usize::try_from(rows).map_or(Precision::Absent, Precision::Exact);
    // It proves with this that the files of a table follow each other in time.
    if let (Some((min, max)), Ok(index)) = (ts_range, schema.index_of("ts")) {
        let value = |ns| Precision::Exact(ScalarValue::TimestampNanosecond(Some(ns), Some("UTC".into())));
        let column = &mut statistics.column_statistics[index];
        (column.min_value, column.max_value, column.null_count) =
            (value(min), value(max), Precision::Exact(0));
    }
    statistics
}
