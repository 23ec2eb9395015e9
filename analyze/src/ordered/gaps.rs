//! Adds to each row the time since the row before it of the same key.

use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array, RecordBatch, UInt32Array};
use arrow_buffer::NullBuffer;
use datafusion::common::Result;

use super::keys::{Keys, Table};
use super::machine::{Machine, Setting, batch, numbers, taken};
use super::rows::Rows;

/// See the module.
pub struct Gaps {
    setting: Setting,
    last: Table<Last>,
}

/// The last row of a key.
#[derive(Debug, Default, Clone, Copy)]
struct Last {
    ts: i64,
    nth: i64,
    run: i64,
    nth_in_run: i64,
}

#[derive(Default)]
struct Made {
    rows: Vec<u32>,
    gap_ns: Vec<i64>,
    has_gap: Vec<bool>,
    nth: Vec<i64>,
    run: Vec<i64>,
    nth_in_run: Vec<i64>,
}

impl Gaps {
    /// No row seen.
    pub fn new(setting: Setting) -> Self {
        Self { last: Table::new(setting.hasher.clone()), setting }
    }

    /// One stream without runs needs no look at single rows.
    fn stream(&mut self, rows: &Rows) -> Made {
        let ts = &rows.ts()[rows.range.clone()];
        let last = self.last.of(&Keys::One, 0, 0);
        let first = ts.first().map_or(0, |first| first.saturating_sub(last.ts));
        let gap_ns = std::iter::once(first).chain(ts.windows(2).map(|pair| pair[1] - pair[0]));
        let mut has_gap = vec![true; ts.len()];
        if let Some(first) = has_gap.first_mut() {
            *first = last.nth > 0;
        }
        let count = ts.len() as i64;
        let made = Made {
            gap_ns: gap_ns.take(ts.len()).collect(),
            has_gap,
            nth: (last.nth + 1..=last.nth + count).collect(),
            ..Made::default()
        };
        (last.ts, last.nth) = (ts.last().copied().unwrap_or(last.ts), last.nth + count);
        made
    }

    fn by_key(&mut self, rows: &Rows) -> Made {
        let mut made = Made::default();
        let (ts, keys) = (rows.ts(), rows.keys());
        let (partition, partitions, max_gap_ns) =
            (self.setting.partition, self.setting.partitions, self.setting.max_gap_ns);
        rows.each_of(partition, partitions, |visit, hash| {
            let row = visit.row as usize;
            let last = self.last.of(keys, row, hash);
            let gap_ns = ts[row].saturating_sub(last.ts);
            let has_gap = last.nth > 0;
            if let Some(max_gap_ns) = max_gap_ns {
                let goes_on = has_gap && gap_ns <= max_gap_ns;
                last.run += i64::from(!goes_on);
                last.nth_in_run = if goes_on { last.nth_in_run + 1 } else { 1 };
                made.run.push(last.run);
                made.nth_in_run.push(last.nth_in_run);
            }
            (last.ts, last.nth) = (ts[row], last.nth + 1);
            made.rows.push(visit.row);
            made.gap_ns.push(gap_ns);
            made.has_gap.push(has_gap);
            made.nth.push(last.nth);
        });
        made
    }
}

impl Machine for Gaps {
    fn push(&mut self, rows: &Rows, out: &mut Vec<RecordBatch>) -> Result<()> {
        let is_stream = self.setting.layout.keys.is_empty() && rows.visits.is_none();
        let is_plain = is_stream && self.setting.max_gap_ns.is_none();
        let made = if is_plain { self.stream(rows) } else { self.by_key(rows) };
        let count = made.gap_ns.len();
        if count == 0 {
            return Ok(());
        }
        let indices = UInt32Array::from(made.rows);
        let mut columns: Vec<ArrayRef> = Vec::new();
        for (index, _) in &self.setting.layout.passed {
            let column = rows.batch().column(*index);
            columns.push(match is_stream {
                true => column.slice(rows.range.start, rows.range.len()),
                false => taken(column, &indices)?,
            });
        }
        let nulls = Some(NullBuffer::from(made.has_gap)).filter(|nulls| nulls.null_count() > 0);
        columns.push(Arc::new(Int64Array::new(made.gap_ns.into(), nulls)));
        columns.push(numbers(made.nth));
        if self.setting.max_gap_ns.is_some() {
            columns.extend([numbers(made.run), numbers(made.nth_in_run)]);
        }
        out.push(batch(&self.setting.output, columns, count)?);
        Ok(())
    }

    fn finish(&mut self) -> Result<Option<RecordBatch>> {
        Ok(None)
    }

    fn bytes(&self) -> usize {
        self.last.memory()
    }
}
