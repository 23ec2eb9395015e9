//! A recorded trace in, its rows out, read with the parquet crate alone.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use arrow_array::RecordBatch;
use arrow_cast::cast;
use arrow_json::ArrayWriter;
use arrow_schema::{DataType, Field, Schema};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use schemas::trace::log::Contents;
use schemas::trace::read::{Description, read as description};
use schemas::trace::{Meta, State};
use serde_json::{Map, Value};

/// A row: column -> value. Times are nanoseconds. A NULL is not there.
pub type Row = Map<String, Value>;

/// A trace directory.
pub struct Trace {
    pub dir: PathBuf,
    pub meta: Meta,
    contents: Contents,
}

impl Trace {
    /// Fails if there is none.
    pub fn open(dir: PathBuf) -> Result<Self> {
        let mut description = description(&dir)?;
        if description.meta.state == State::Open {
            // Of another machine, which may have been switched off.
            description.forget_torn(&dir)?;
        }
        let Description { meta, contents, .. } = description;
        Ok(Self { dir, meta, contents })
    }

    /// All rows of a table, in the order of its files. Fails if an event table is not sorted by time.
    pub fn rows(&self, table: &str) -> Result<Vec<Row>> {
        let dir = self.dir.join(table);
        let visible = self.contents.visible();
        let mut rows = Vec::new();
        for file in visible.iter().filter(|it| it.table == table).map(|it| self.dir.join(it.path())) {
            read(&file, &mut rows).with_context(|| format!("cannot read {}", file.display()))?;
        }
        if self.meta.events.iter().any(|layout| layout.event == table) {
            let times: Vec<i64> = rows.iter().map(|row| int(row, "ts")).collect::<Result<_>>()?;
            ensure!(times.is_sorted(), "{} is not sorted by time", dir.display());
        }
        Ok(rows)
    }

    /// CLOCK_BOOTTIME of a row.
    pub fn boottime_ns(&self, row: &Row) -> Result<i64> {
        Ok(int(row, "ts")? - self.meta.utc_minus_boottime_ns)
    }
}

fn read(file: &Path, rows: &mut Vec<Row>) -> Result<()> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(file)?)?.build()?;
    for batch in reader {
        let batch = times_as_numbers(&batch?)?;
        let mut json = ArrayWriter::new(Vec::new());
        json.write(&batch)?;
        json.finish()?;
        let text = json.into_inner();
        if !text.is_empty() {
            rows.extend(serde_json::from_slice::<Vec<Row>>(&text)?);
        }
    }
    Ok(())
}

fn times_as_numbers(batch: &RecordBatch) -> Result<RecordBatch> {
    let (mut fields, mut columns) = (Vec::new(), Vec::new());
    for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
        match field.data_type() {
            DataType::Timestamp(..) => {
                fields.push(Field::new(field.name(), DataType::Int64, true));
                columns.push(cast(column, &DataType::Int64)?);
            }
            _ => {
                fields.push(field.as_ref().clone());
                columns.push(column.clone());
            }
        }
    }
    Ok(RecordBatch::try_new(Schema::new(fields).into(), columns)?)
}

/// A number of a row.
pub fn int(row: &Row, column: &str) -> Result<i64> {
    row.get(column).and_then(Value::as_i64).with_context(|| format!("no number {column} in {row:?}"))
}

/// A text of a row.
pub fn text<'a>(row: &'a Row, column: &str) -> Result<&'a str> {
    row.get(column).and_then(Value::as_str).with_context(|| format!("no text {column} in {row:?}"))
}
