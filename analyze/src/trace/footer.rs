//! The footer of a Parquet file in, checked: it fits the file, its columns can be those of the table, and it has the rows
//! that the log says.

use std::panic::{AssertUnwindSafe, catch_unwind};

use anyhow::{Result, bail, ensure};
use arrow_schema::{DataType, SchemaRef, TimeUnit};
use parquet::arrow::parquet_to_arrow_schema;
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData, ParquetMetaDataReader};
use parquet::file::reader::Length;
use parquet::file::statistics::Statistics;

use crate::trace::file::Reader;
use crate::trace::logged::Logged;

/// Read the footer of a file.
///
/// Fails if it makes no sense, or is not what the log says.
pub fn read(reader: &Reader, policy: PageIndexPolicy, logged: Option<&Logged>) -> Result<ParquetMetaData> {
    // The Parquet reader is written for sound files; what it does not expect in a damaged one must not end us.
    let read = || -> Result<_> {
        let metadata =
            ParquetMetaDataReader::new().with_page_index_policy(policy).parse_and_finish(reader)?;
        check_places(&metadata, reader.len())?;
        if let Some(Logged { segment, schema, .. }) = logged {
            check_types(&metadata, schema)?;
            let found = rows(&metadata);
            ensure!(found == segment.rows, "it has {found} rows, and the log says {}", segment.rows);
            let found = ts_range(&metadata);
            ensure!(found.is_none() || found == segment.ts, "its times are not those that the log says");
        }
        Ok(metadata)
    };
    catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|_| bail!("the footer makes no sense"))
}

/// Rows of all row groups.
pub fn rows(metadata: &ParquetMetaData) -> u64 {
    metadata.row_groups().iter().map(|group| group.num_rows()).fold(0, i64::saturating_add).cast_unsigned()
}

fn check_places(metadata: &ParquetMetaData, bytes: u64) -> Result<()> {
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
    Ok(())
}

/// Check the columns against those of the table. Fails if one has a type that cannot be the table's.
pub fn check_types(metadata: &ParquetMetaData, schema: &SchemaRef) -> Result<()> {
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
pub fn ts_range(metadata: &ParquetMetaData) -> Option<(i64, i64)> {
    let columns = metadata.file_metadata().schema_descr().columns();
    let index = columns.iter().position(|c| c.path().string() == "ts")?;
    let mut range: Option<(i64, i64)> = None;
    for group in metadata.row_groups().iter().filter(|g| g.num_rows() > 0) {
        let Some(Statistics::Int64(ts)) = group.columns().get(index)?.statistics() else { return None };
        let (min, max) = (*ts.min_opt()?, *ts.max_opt()?);
        if min > max || range.is_some_and(|(_, end)| min < end) {
            return None;
        }
        range = Some((range.map_or(min, |(start, _)| start), max));
    }
    range
}
