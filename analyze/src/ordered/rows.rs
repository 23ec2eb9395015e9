//! Finds the time and the key of each row of a batch, and decides the order of rows of the same time.

use std::ops::Range;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, TimestampNanosecondType};
use arrow_array::{Array, ArrayRef, BooleanArray, RecordBatch};
use arrow_buffer::ScalarBuffer;
use arrow_ord::ord::make_comparator;
use arrow_schema::SortOptions;
use arrow_select::filter::filter_record_batch;
use datafusion::common::{Result, exec_err};

use super::keys::{Hasher, KeyReader, Keys};
use super::layout::Layout;

/// Rows of a batch, in order of time but for what [`Rows::visits`] says.
#[derive(Clone, Debug)]
pub struct Rows {
    shared: Arc<Shared>,
    /// Which of them are meant.
    pub range: Range<usize>,
    /// The order in which they come, where that is not the one of the batch: among those of the same time.
    pub visits: Option<Arc<[Visit]>>,
}

#[derive(Debug)]
struct Shared {
    batch: RecordBatch,
    ts: ScalarBuffer<i64>,
    /// Number of the trace of each row, if there are several.
    traces: Option<ScalarBuffer<i32>>,
    keys: Keys,
    hashes: Vec<u64>,
}

/// A place in the order of rows: traces one after the other, each in order of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment {
    trace: i32,
    ts: i64,
}

impl Moment {
    /// Before all others.
    pub const FIRST: Self = Self { trace: i32::MIN, ts: i64::MIN };
}

/// A row, and for operators that know begins and ends which of both is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Visit {
    /// Row of the batch.
    pub row: u32,
    /// Consider it as an end.
    pub is_end: bool,
    /// Consider it as a begin.
    pub is_begin: bool,
}

impl Visit {
    fn whole(row: usize) -> Self {
        Self { row: row as u32, is_end: true, is_begin: true }
    }
}

impl Rows {
    /// The rows of a batch. Those without time are left out.
    ///
    /// Fails if they are not in order of time.
    pub fn read(batch: RecordBatch, layout: &Layout, reader: &KeyReader, hasher: &Hasher) -> Result<Self> {
        let batch = match batch.column(layout.ts).null_count() {
            0 => batch,
            _ => {
                let nulls = batch.column(layout.ts).logical_nulls();
                let is_timed = nulls.map(|nulls| BooleanArray::new(nulls.into_inner(), None));
                is_timed.map_or(Ok(batch.clone()), |timed| filter_record_batch(&batch, &timed))?
            }
        };
        let ts = batch.column(layout.ts).as_primitive::<TimestampNanosecondType>().values().clone();
        let traces =
            layout.trace.map(|index| batch.column(index).as_primitive::<Int32Type>().values().clone());
        let is_sorted = match &traces {
            None => ts.is_sorted(),
            Some(traces) => traces.iter().zip(ts.iter()).is_sorted(),
        };
        if !is_sorted {
            return exec_err!("an ordered operator got rows that are not in order of time");
        }
        let columns: Vec<ArrayRef> = layout.keys.iter().map(|i| batch.column(*i).clone()).collect();
        let keys = reader.read(&columns)?;
        let hashes = match keys {
            Keys::One => Vec::new(),
            _ => (0..ts.len()).map(|row| hasher.hash(&keys, row)).collect(),
        };
        let range = 0..ts.len();
        Ok(Self { shared: Arc::new(Shared { batch, ts, traces, keys, hashes }), range, visits: None })
    }

    /// All columns, of all rows of the batch.
    pub fn batch(&self) -> &RecordBatch {
        &self.shared.batch
    }

    /// Times of all rows of the batch.
    pub fn ts(&self) -> &[i64] {
        &self.shared.ts
    }

    /// Keys of all rows of the batch.
    pub fn keys(&self) -> &Keys {
        &self.shared.keys
    }

    /// Of the key of that row.
    pub fn hash(&self, row: usize) -> u64 {
        self.shared.hashes.get(row).copied().unwrap_or_default()
    }

    /// There are none.
    pub fn is_empty(&self) -> bool {
        self.range.is_empty()
    }

    /// Where in the order the first is.
    pub fn first(&self) -> Moment {
        self.moment(self.range.start)
    }

    /// Where in the order the last is.
    pub fn last(&self) -> Moment {
        self.moment(self.range.end - 1)
    }

    fn moment(&self, row: usize) -> Moment {
        let trace = self.shared.traces.as_ref().map_or(0, |traces| traces[row]);
        Moment { trace, ts: self.ts()[row] }
    }

    /// Cut off what does not come after `moment`.
    pub fn take_until(&mut self, moment: Moment) -> Self {
        self.take_while(|row| row <= moment)
    }

    /// Cut off what comes before the last row, and not at the same time.
    pub fn take_settled(&mut self) -> Self {
        let last = self.last();
        self.take_while(|row| row < last)
    }

    fn take_while(&mut self, is_taken: impl Fn(Moment) -> bool) -> Self {
        let (mut first, mut behind) = (self.range.start, self.range.end);
        while first < behind {
            let middle = first + (behind - first) / 2;
            if is_taken(self.moment(middle)) { first = middle + 1 } else { behind = middle }
        }
        self.cut(first - self.range.start)
    }

    fn cut(&mut self, count: usize) -> Self {
        let middle = self.range.start + count;
        let first = Self { shared: self.shared.clone(), range: self.range.start..middle, visits: None };
        self.range.start = middle;
        first
    }

    /// These rows as one batch, which have the same time.
    pub fn together(parts: &[Self], layout: &Layout, reader: &KeyReader, hasher: &Hasher) -> Result<Self> {
        if let [one] = parts {
            return Ok(one.clone());
        }
        let batches: Vec<RecordBatch> =
            parts.iter().map(|rows| rows.batch().slice(rows.range.start, rows.range.len())).collect();
        let batch = arrow_select::concat::concat_batches(&batches[0].schema(), &batches)?;
        Self::read(batch, layout, reader, hasher)
    }

    /// Decide between rows of the same time: ends before begins, then by the columns for it.
    pub fn settle(mut self, layout: &Layout) -> Result<Self> {
        let has_roles = layout.begin.is_some();
        if !has_roles && layout.ties.is_empty() {
            return Ok(self);
        }
        let times = &self.ts()[self.range.clone()];
        if times.windows(2).all(|pair| pair[0] != pair[1]) {
            return Ok(self);
        }
        let options = SortOptions { descending: false, nulls_first: false };
        let columns = layout.ties.iter().map(|i| self.batch().column(*i));
        let comparators =
            columns.map(|column| make_comparator(column, column, options)).collect::<Result<Vec<_>, _>>()?;
        let by_tie = |a: &Visit, b: &Visit| {
            let mut orders = comparators.iter().map(|compare| compare(a.row as usize, b.row as usize));
            orders.find(|order| order.is_ne()).unwrap_or(a.row.cmp(&b.row))
        };
        let mut visits: Vec<Visit> = Vec::with_capacity(times.len() + 8);
        let mut start = self.range.start;
        for group in times.chunk_by(|a, b| a == b) {
            let rows = start..start + group.len();
            start = rows.end;
            let first = visits.len();
            match (group.len(), has_roles) {
                (1, _) | (_, false) => visits.extend(rows.map(Visit::whole)),
                (_, true) => {
                    visits.extend(rows.clone().map(|row| Visit { is_begin: false, ..Visit::whole(row) }));
                    visits.extend(rows.map(|row| Visit { is_end: false, ..Visit::whole(row) }));
                }
            }
            visits[first..].sort_by(|a, b| a.is_begin.cmp(&b.is_begin).then_with(|| by_tie(a, b)));
        }
        self.visits = Some(visits.into());
        Ok(self)
    }

    /// Let `visit` see the rows of one of `partitions` in their order, with the hash of their key.
    pub fn each_of(&self, partition: usize, partitions: usize, mut visit: impl FnMut(Visit, u64)) {
        let is_mine =
            |row: u32| partitions == 1 || (self.hash(row as usize) >> 32) as usize % partitions == partition;
        if let Some(visits) = &self.visits {
            for row in visits.iter().filter(|row| is_mine(row.row)) {
                visit(*row, self.hash(row.row as usize));
            }
            return;
        }
        // No processor can guess whose row is next, so nothing depends on it while the rows are chosen.
        let mut chosen = vec![0; self.range.len() + 1];
        let mut count = 0;
        for row in self.range.clone() {
            chosen[count] = row as u32;
            count += usize::from(is_mine(row as u32));
        }
        for row in &chosen[..count] {
            visit(Visit::whole(*row as usize), self.hash(*row as usize));
        }
    }
}
