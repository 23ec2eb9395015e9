//! What each operator does with its rows, one after the other in order of time.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, Int64Array, RecordBatch, RecordBatchOptions, TimestampNanosecondArray};
use arrow_schema::SchemaRef;
use datafusion::common::Result;

use super::keys::Hasher;
use super::layout::Layout;
use super::rows::Rows;

/// What a machine is made of.
#[derive(Clone, Debug)]
pub struct Setting {
    /// The columns that it reads.
    pub layout: Layout,
    /// What it reads.
    pub input: SchemaRef,
    /// What it gives.
    pub output: SchemaRef,
    /// Longest pause within a run.
    pub max_gap_ns: Option<i64>,
    /// Which of the columns that are passed on are the key: they are the same in each row of a pair.
    pub keys: Vec<String>,
    /// Spreads keys.
    pub hasher: Hasher,
    /// Which of the workers this is.
    pub partition: usize,
    /// How many workers there are.
    pub partitions: usize,
    /// Rows of a batch.
    pub batch_rows: usize,
}

/// An operator at work on the keys of one worker.
pub trait Machine: Send {
    /// Take rows; what is ready goes to `out`.
    ///
    /// Fails if a sum becomes too large.
    fn push(&mut self, rows: &Rows, out: &mut Vec<RecordBatch>) -> Result<()>;

    /// No more rows come: the next batch of what is left, until there is none.
    fn finish(&mut self) -> Result<Option<RecordBatch>>;

    /// Bytes in use, about.
    fn bytes(&self) -> usize;
}

/// A batch of these columns.
pub fn batch(schema: &SchemaRef, columns: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch> {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    Ok(RecordBatch::try_new_with_options(schema.clone(), columns, &options)?)
}

/// A column of numbers.
pub fn numbers(values: Vec<i64>) -> ArrayRef {
    Arc::new(Int64Array::from(values))
}

/// A column of times.
pub fn times(values: Vec<i64>) -> ArrayRef {
    Arc::new(TimestampNanosecondArray::from(values).with_timezone("UTC"))
}

/// A column of times, some of which are not known.
pub fn optional_times(values: Vec<Option<i64>>) -> ArrayRef {
    Arc::new(TimestampNanosecondArray::from(values).with_timezone("UTC"))
}

/// Those rows of a column.
pub fn taken(column: &dyn Array, rows: &arrow_array::UInt32Array) -> Result<ArrayRef> {
    Ok(arrow_select::take::take(column, rows, None)?)
}
