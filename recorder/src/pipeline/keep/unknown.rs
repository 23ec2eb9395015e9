//! Segments of table losses that are to go in; what they say of the whole recording kept.
//!
//! A row without a count says that a kernel cannot tell. It stands in the first interval and is true of all.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use arrow_array::{Array, BooleanArray, RecordBatch};
use arrow_select::filter::filter_record_batch;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::super::segment::{Segment, writer_properties};
use super::retain::{Carried, remove};
use super::shelf::{CARRIED, Entry, Sources, Table};

/// The table.
pub const LOSSES: &str = "losses";

/// Remove the segments of `table` (losses) that are wholly older than `cut_ns`, but for the rows without a count.
pub fn remove_losses(dir: &Path, table: &mut Table, cut_ns: i64) -> Result<()> {
    let is_new = |entry: &Entry| entry.is_before(cut_ns) && entry.level != CARRIED;
    if !table.entries.iter().any(is_new) {
        return Ok(());
    }
    let rows = without_count(&table.pick(is_new))?;
    if rows.is_empty() {
        // What was carried before stays where it is.
        return remove(dir, table, is_new, None);
    }
    let mut all = without_count(&table.pick(|entry| entry.level == CARRIED))?;
    all.extend(rows);
    remove(dir, table, |entry| is_new(entry) || entry.level == CARRIED, Some(carry(&table.dir, &all)?))
}

fn without_count(segments: &[(u64, PathBuf)]) -> Result<Vec<RecordBatch>> {
    let mut rows = Vec::new();
    for (_, path) in segments {
        let file = File::open(path).with_context(|| format!("cannot read '{}'", path.display()))?;
        for batch in ParquetRecordBatchReaderBuilder::try_new(file)?.build()? {
            let batch = batch?;
            let count = batch.column_by_name("count").context("losses lacks count")?;
            let is_unknown: BooleanArray = (0..count.len()).map(|row| Some(count.is_null(row))).collect();
            let unknown = filter_record_batch(&batch, &is_unknown)?;
            rows.extend(Some(unknown).filter(|rows| rows.num_rows() > 0));
        }
    }
    Ok(rows)
}

fn carry(dir: &Path, rows: &[RecordBatch]) -> Result<Carried> {
    let schema = rows[0].schema();
    let mut segment = Segment::create(dir, "carried", &schema, writer_properties(&schema, 1, false)?)?;
    rows.iter().try_for_each(|rows| segment.write(rows))?;
    let temp = segment.finish()?.temp;
    temp.sync()?;
    Ok((Entry::read(0, &temp.path(), CARRIED, Sources::new())?, temp))
}
