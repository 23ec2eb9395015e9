//! Rows in, the range of their ts out.

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use arrow_array::types::TimestampNanosecondType;
use arrow_schema::Schema;
use parquet::file::metadata::RowGroupMetaData;
use parquet::file::statistics::Statistics;

/// Smallest and largest ts.
pub type Range = (i64, i64);

/// Do rows of `schema` begin with their ts?
pub fn has_ts(schema: &Schema) -> bool {
    schema.fields().first().is_some_and(|field| field.name() == "ts")
}

/// Of `rows`, if there are any and they have a ts.
pub fn of_rows(rows: &RecordBatch) -> Option<Range> {
    if !has_ts(rows.schema_ref()) {
        return None;
    }
    let ts = rows.column(0).as_primitive_opt::<TimestampNanosecondType>()?;
    // No ts is NULL.
    let (first, others) = ts.values().split_first()?;
    Some(others.iter().fold((*first, *first), |(min, max), ts| (min.min(*ts), max.max(*ts))))
}

/// As the statistics of a row group of a table that has a ts say.
pub fn of_group(group: &RowGroupMetaData) -> Option<Range> {
    match group.columns().first()?.statistics()? {
        Statistics::Int64(ts) => Some((*ts.min_opt()?, *ts.max_opt()?)),
        _ => None,
    }
}

/// The range that has both, either of which may be empty.
pub fn both(a: Option<Range>, b: Option<Range>) -> Option<Range> {
    match (a, b) {
        (Some((min, max)), Some((from, to))) => Some((min.min(from), max.max(to))),
        (a, b) => a.or(b),
    }
}
