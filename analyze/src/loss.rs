//! The losses of the tables that an analysis reads go in, a note on what they make uncertain comes out.

use anyhow::Result;
use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Array, RecordBatch};

use crate::session::Session;

/// A kind of loss within some tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    /// Event table.
    pub event: String,
    /// See `schemas::trace::LOSS_REASONS`.
    pub reason: String,
    /// Are rows missing, or only values incomplete.
    pub loses_event: bool,
    /// How many; `None`: the kernel cannot tell.
    pub events: Option<i64>,
    /// UTC nanoseconds of the end of the first and the last interval.
    pub span_ns: (i64, i64),
    /// What happened.
    pub meaning: String,
    /// What to do about it.
    pub remedy: String,
}

/// The losses in `tables` (all if empty) up to `until_ns`.
///
/// Fails if table losses cannot be read.
pub async fn losses(session: &Session, tables: &[String], until_ns: Option<i64>) -> Result<Vec<Loss>> {
    let mut filters = Vec::new();
    if !tables.is_empty() {
        let names: Vec<String> = tables.iter().map(|t| format!("'{}'", t.replace('\'', "''"))).collect();
        filters.push(format!("event IN ({})", names.join(", ")));
    }
    if let Some(ns) = until_ns {
        // The interval that ends after that time may have begun before it.
        filters.push(format!("\"first\" <= utc({})", ns.saturating_add(1_000_000_000)));
    }
    let filter = if filters.is_empty() { String::new() } else { format!("WHERE {}", filters.join(" AND ")) };
    let sql = format!(
        "SELECT event, reason, loses_event, CAST(sum(events) AS BIGINT), min(ns(\"first\")), max(ns(\"last\")), meaning, remedy
         FROM losses() {filter}
         GROUP BY event, reason, loses_event, meaning, remedy ORDER BY event, reason"
    );
    let batches = session.collect(&sql).await?;
    batches.iter().map(rows).collect::<Result<Vec<_>>>().map(|rows| rows.concat())
}

fn rows(batch: &RecordBatch) -> Result<Vec<Loss>> {
    let text = |column: usize| -> Result<_> {
        Ok(arrow_cast::cast(batch.column(column), &arrow_schema::DataType::Utf8)?)
    };
    let number = |column: usize| batch.column(column).as_primitive::<Int64Type>();
    let (events, reasons, meanings, remedies) = (text(0)?, text(1)?, text(6)?, text(7)?);
    let value = |array: &arrow_array::ArrayRef, row: usize| {
        let array = array.as_string::<i32>();
        if array.is_valid(row) { array.value(row).to_owned() } else { String::new() }
    };
    Ok((0..batch.num_rows())
        .map(|row| Loss {
            event: value(&events, row),
            reason: value(&reasons, row),
            // A reason that this programme does not know is taken as the worse one.
            loses_event: batch.column(2).is_null(row) || batch.column(2).as_boolean().value(row),
            events: number(3).is_valid(row).then(|| number(3).value(row)),
            span_ns: (number(4).value(row), number(5).value(row)),
            meaning: value(&meanings, row),
            remedy: value(&remedies, row),
        })
        .collect())
}

impl Loss {
    /// One line: what, how much, when (after `start_ns`), why, remedy.
    pub fn line(&self, start_ns: i64) -> String {
        let Self { event, reason, loses_event, events, span_ns, meaning, remedy } = self;
        let what = if *loses_event { "lost" } else { "incomplete" };
        let count = events.map_or("an unknown number".to_owned(), |n| n.to_string());
        let (from, to) = (seconds(span_ns.0 - start_ns), seconds(span_ns.1 - start_ns));
        let when = if from == to { format!("before {to}") } else { format!("before {from} to {to}") };
        format!("{event}: {count} {what} {when} ({reason}: {meaning}); {remedy}")
    }
}

/// `+1.234s`
pub fn seconds(ns: i64) -> String {
    format!("{}{:.3}s", if ns < 0 { "-" } else { "+" }, ns.unsigned_abs() as f64 / 1e9)
}
