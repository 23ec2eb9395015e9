//! Rows that are there and rows that table counts tells of in; rows of counts that make up for the difference out.

use std::fs::File;
use std::path::Path;

use anyhow::{Context, Result};
use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type, TimestampNanosecondType, UInt16Type};
use arrow_array::{Array, RecordBatch, StringArray};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::super::count_rows::{Interval, adjustment};
use super::shelf::{Sources, add};
use super::{COUNTS, Keeper};

impl Keeper {
    /// Rows that a segment of table counts tells of.
    pub(super) fn counted(&mut self, path: &Path) -> Result<Sources> {
        let mut sources = Sources::new();
        for batch in ParquetRecordBatchReaderBuilder::try_new(File::open(path)?)?.build()? {
            let batch: RecordBatch = batch?;
            let column = |name| batch.column_by_name(name).with_context(|| format!("counts lacks {name}"));
            let (probes, cpus) = (column("probe")?, column("cpu")?);
            let (probes, cpus) = (probes.as_primitive::<UInt16Type>(), cpus.as_primitive::<UInt16Type>());
            let since = column("since_ts")?.as_primitive::<TimestampNanosecondType>();
            self.counted_since_ns = self.counted_since_ns.or_else(|| since.iter().flatten().min());
            let recorded = column("recorded")?.as_primitive::<Int64Type>();
            let events = column("event")?.as_dictionary::<Int32Type>();
            let events = events.downcast_dict::<StringArray>().context("event is no text")?;
            for (row, event) in events.into_iter().enumerate() {
                let probe = probes.value(row);
                if cpus.is_null(row) {
                    // Only runs that the kernel skipped: no rows.
                    continue;
                }
                *sources.entry((probe, cpus.value(row))).or_default() += recorded.value(row);
                self.events_of_probes.entry(probe).or_insert_with(|| event.unwrap_or_default().to_owned());
            }
        }
        Ok(sources)
    }

    /// Rows for table counts that take back what was counted and is not published yet.
    pub(super) fn unpublished(&self, ts_ns: i64) -> Result<Option<RecordBatch>> {
        let mut difference = Sources::new();
        for table in &self.tables {
            let sign = if table.name == COUNTS { -1 } else { i64::from(table.is_event) };
            table.entries.iter().for_each(|entry| add(&mut difference, &entry.sources, sign));
        }
        difference.retain(|_, rows| *rows != 0);
        // The interval before ended now.
        self.adjustment(Interval { since_ns: ts_ns, ts_ns }, &difference)
    }

    /// Rows of table counts by which `recorded` changes.
    pub(super) fn adjustment(&self, interval: Interval, difference: &Sources) -> Result<Option<RecordBatch>> {
        adjustment(interval, &self.events_of_probes, difference)
    }
}
