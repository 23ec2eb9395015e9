//! Compares the rows of tables with those that were counted.
//!
//! Each Parquet file is whole by itself: no reader misses one that a copy left out, or sees that it is there twice. Table
//! counts says how many rows there are.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use anyhow::{Result, bail, ensure};
use arrow_array::Array;
use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_schema::DataType;

use crate::trace::Trace;
use crate::trace::symbols::{column, each_batch};

/// Are there counts?
pub fn is_counted(trace: &Trace) -> bool {
    trace.table("counts").is_some_and(|counts| !counts.segments.is_empty())
}

/// Tables that have other rows than were counted, one line each; nothing of a trace that has no counts.
pub fn miscounted(trace: &Trace) -> Vec<String> {
    if !is_counted(trace) {
        return Vec::new();
    }
    let dir = trace.dir.display();
    let read = AssertUnwindSafe(|| recorded(trace));
    let recorded = catch_unwind(read).unwrap_or_else(|_| bail!("table counts: its pages make no sense"));
    let recorded = match recorded {
        Ok(recorded) => recorded,
        Err(error) => return vec![format!("{dir}: {error:#}; whether rows are missing is not known")],
    };
    let events = trace.tables.iter().filter(|table| table.is_event);
    let told = events.filter_map(|table| {
        let told = recorded.get(table.recorded.as_str()).copied().unwrap_or(0);
        let rows = if trace.is_aggregate(&table.recorded) { table.counted()? } else { table.rows() };
        (i128::from(rows) != told).then(|| {
            format!(
                "{dir}: table {} has {rows} rows, and {told} were recorded (table counts): files are missing, or are not \
                 of this trace; copy it again",
                table.name
            )
        })
    });
    told.collect()
}

/// Rows by event as recorded, as table `counts` tells. Fails if it cannot be read, or tells of what is no event.
fn recorded(trace: &Trace) -> Result<HashMap<&str, i128>> {
    let mut sums: HashMap<&str, i128> = trace
        .tables
        .iter()
        .filter(|table| table.is_event)
        .map(|table| (table.recorded.as_str(), 0))
        .collect();
    each_batch([trace], "counts", |batch| {
        let events = column(batch, "event", &DataType::Utf8View)?;
        let recorded = column(batch, "recorded", &DataType::Int64)?;
        let (events, recorded) = (events.as_string_view(), recorded.as_primitive::<Int64Type>());
        for row in (0..batch.num_rows()).filter(|row| events.is_valid(*row) && recorded.is_valid(*row)) {
            let event = events.value(row);
            let sum = sums.get_mut(event);
            ensure!(sum.is_some(), "table counts tells of '{}', which is no event", event.escape_debug());
            sum.into_iter().for_each(|sum| *sum += i128::from(recorded.value(row)));
        }
        Ok(())
    })?;
    Ok(sums)
}
