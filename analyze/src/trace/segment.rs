//! One Parquet file goes in, its footer comes out checked: rows, time span, statistics.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use arrow_schema::{DataType, SchemaRef, TimeUnit};
use datafusion::common::stats::Precision;
use datafusion::common::{ScalarValue, Statistics};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::arrow::parquet_to_arrow_schema;
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};
use parquet::file::reader::Length;
use parquet::file::statistics::Statistics as ColumnStatistics;

use crate::trace::file::TraceFile;

/// A segment whose footer is sound.
#[derive(Clone, Debug)]
pub struct Segment {
    /// Where it is.
    pub file: TraceFile,
    /// Size of the file.
    pub bytes: u64,
    /// Rows in it.
    pub rows: u64,
    /// First and last `ts`, UTC nanoseconds, if the table has that column and the file says so.
    pub ts_range: Option<(i64, i64)>,
    /// Per column of the table's schema.
    pub statistics: Arc<Statistics>,
}

impl Segment {
    /// Read the footer of `file` and compare it with the table's `schema`.
    ///
    /// Fails if it is gone, not Parquet, or a column has a type that cannot be the table's.
    pub fn open(file: TraceFile, schema: &SchemaRef) -> Result<Self> {
        let bytes = file.metadata()?.len();
        // The Parquet reader is written for sound files; what it does not expect in a damaged one must not end us.
        let read = || -> Result<_> {
            let metadata = read_footer(&file).context("damaged or not a Parquet file")?;
            check_types(&metadata, schema)?;
            let groups = metadata.row_groups().iter().map(|group| group.num_rows());
            let rows = groups.fold(0, i64::saturating_add);
            Ok((rows, ts_range(&metadata)))
        };
        let (rows, ts_range) = catch_unwind(AssertUnwindSafe(read))
            .unwrap_or_else(|_| bail!("damaged or not a Parquet file: the footer makes no sense"))?;
        let mut statistics = Statistics::new_unknown(schema);
        statistics.num_rows = Precision::Exact(usize::try_from(rows)?);
        // DataFusion proves with this that the files of a table follow each other in time.
        if let (Some((min, max)), Ok(index)) = (ts_range, schema.index_of("ts")) {
            let value = |ns| Precision::Exact(ScalarValue::TimestampNanosecond(Some(ns), Some("UTC".into())));
            let column = &mut statistics.column_statistics[index];
            (column.min_value, column.max_value, column.null_count) =
                (value(min), value(max), Precision::Exact(0));
        }
        Ok(Self { file, bytes, rows: rows.cast_unsigned(), ts_range, statistics: Arc::new(statistics) })
    }

    /// Read every page, to find out whether the file is damaged.
    ///
    /// Fails if it is.
    pub fn check(&self) -> Result<()> {
        let read = || -> Result<()> {
            for batch in ParquetRecordBatchReaderBuilder::try_new(self.file.reader()?)?.build()? {
                batch?;
            }
            Ok(())
        };
        catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|_| bail!("its pages make no sense"))
    }
}

fn read_footer(file: &TraceFile) -> Result<ParquetMetaData> {
    let reader = file.reader()?;
    let metadata = ParquetMetaDataReader::new().parse_and_finish(&reader)?;
    let bytes = reader.len();
    for group in metadata.row_groups() {
        ensure!(group.num_rows() >= 0, "a row group has {} rows", group.num_rows());
        for column in group.columns() {
            let start = column.dictionary_page_offset().unwrap_or(column.data_page_offset());
            let end = start
                .checked_add(column.compressed_size())
                .filter(|_| start >= 0 && column.compressed_size() >= 0);
            ensure!(
                end.is_some_and(|e| e.cast_unsigned() <= bytes),
                "a column lies beyond the end of the file"
            );
        }
    }
    Ok(metadata)
}

fn check_types(metadata: &ParquetMetaData, schema: &SchemaRef) -> Result<()> {
    let file = metadata.file_metadata();
    let found = parquet_to_arrow_schema(file.schema_descr(), file.key_value_metadata())?;
    ensure!(!found.fields().is_empty(), "it has no columns");
    for field in found.fields() {
        let Ok(wanted) = schema.field_with_name(field.name()) else { continue };
        ensure!(
            same_kind(field.data_type(), wanted.data_type()),
            "column {} is {}, not {}",
            field.name(),
            field.data_type(),
            wanted.data_type()
        );
    }
    Ok(())
}

/// Can values of `found` stand in a column of `wanted`: the same type, or another width or coding of it.
fn same_kind(found: &DataType, wanted: &DataType) -> bool {
    let text = |t: &DataType| match t {
        DataType::Dictionary(_, value) => matches!(**value, DataType::Utf8 | DataType::LargeUtf8),
        other => matches!(other, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View),
    };
    match (found, wanted) {
        (DataType::List(a), DataType::List(b)) => same_kind(a.data_type(), b.data_type()),
        (DataType::Timestamp(TimeUnit::Nanosecond, _), DataType::Timestamp(TimeUnit::Nanosecond, _)) => true,
        (a, b) => a == b || (a.is_integer() && b.is_integer()) || (text(a) && text(b)),
    }
}

/// First and last `ts` of the file, if every row group says so.
fn ts_range(metadata: &ParquetMetaData) -> Option<(i64, i64)> {
    let columns = metadata.file_metadata().schema_descr().columns();
    let index = columns.iter().position(|c| c.path().string() == "ts")?;
    let mut range: Option<(i64, i64)> = None;
    for group in metadata.row_groups().iter().filter(|g| g.num_rows() > 0) {
        let Some(ColumnStatistics::Int64(ts)) = group.columns().get(index)?.statistics() else { return None };
        let (min, max) = (*ts.min_opt()?, *ts.max_opt()?);
        if min > max || range.is_some_and(|(_, end)| min < end) {
            return None;
        }
        range = Some((range.map_or(min, |(start, _)| start), max));
    }
    range
}
