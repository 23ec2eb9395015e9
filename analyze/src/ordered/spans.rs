//! Finds the stretches that intervals cover, and how many intervals are open from change to change.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use arrow_array::cast::AsArray;
use arrow_array::types::TimestampNanosecondType;
use arrow_array::{Array, ArrayRef, RecordBatch, TimestampNanosecondArray};
use datafusion::common::Result;

use super::keys::Table;
use super::machine::{Machine, Setting, batch, numbers, times};
use super::rows::Rows;
use super::slots::Slots;

/// The keys of stretches, and how these are given out.
struct Stretches {
    setting: Setting,
    /// The columns of each key.
    keys: Slots,
    left: Option<std::vec::IntoIter<Stretch>>,
}

#[derive(Clone, Copy, Debug)]
struct Stretch {
    slot: u32,
    start: i64,
    end: i64,
    count: i64,
}

impl Stretches {
    fn new(setting: Setting) -> Self {
        let keys = Slots::new(setting.layout.passed.iter().map(|(index, _)| setting.input.field(*index)));
        Self { setting, keys, left: None }
    }

    /// Rows of this worker: number, hash of the key, begin and end; an interval without an end, or that ends before it
    /// begins, is none.
    fn intervals<'a>(&self, rows: &'a Rows) -> Vec<(u32, u64, i64, i64)> {
        let until: Option<&'a TimestampNanosecondArray> = self
            .setting
            .layout
            .until
            .map(|index| rows.batch().column(index).as_primitive::<TimestampNanosecondType>());
        let mut intervals = Vec::new();
        rows.each_of(self.setting.partition, self.setting.partitions, |visit, hash| {
            let row = visit.row as usize;
            let (start, until) = (rows.ts()[row], until.filter(|until| until.is_valid(row)));
            if let Some(end) = until.map(|until| until.value(row)).filter(|end| *end >= start) {
                intervals.push((visit.row, hash, start, end));
            }
        });
        intervals
    }

    fn keep(&mut self, rows: &Rows, new: &[(u32, u32)]) -> Result<()> {
        let passed = self.setting.layout.passed.iter();
        let columns: Vec<ArrayRef> = passed.map(|(index, _)| rows.batch().column(*index).clone()).collect();
        self.keys.keep(&columns, new)
    }

    fn batch(&mut self, stretches: &[Stretch], has_duration: bool) -> Result<RecordBatch> {
        let slots: Vec<u32> = stretches.iter().map(|stretch| stretch.slot).collect();
        let mut columns = Vec::new();
        for (i, (index, _)) in self.setting.layout.passed.iter().enumerate() {
            let ty = self.setting.input.field(*index).data_type();
            columns.push(self.keys.gather_slots(i, ty, &slots)?);
        }
        columns.push(times(stretches.iter().map(|stretch| stretch.start).collect()));
        columns.push(times(stretches.iter().map(|stretch| stretch.end).collect()));
        if has_duration {
            let duration = |stretch: &Stretch| stretch.end.saturating_sub(stretch.start);
            columns.push(numbers(stretches.iter().map(duration).collect()));
        }
        columns.push(numbers(stretches.iter().map(|stretch| stretch.count).collect()));
        batch(&self.setting.output, columns, stretches.len())
    }

    fn finish(
        &mut self,
        has_duration: bool,
        all: impl FnOnce() -> Vec<Stretch>,
    ) -> Result<Option<RecordBatch>> {
        let mut left = self.left.take().unwrap_or_else(|| all().into_iter());
        let stretches: Vec<Stretch> = left.by_ref().take(self.setting.batch_rows).collect();
        self.left = Some(left);
        if stretches.is_empty() { Ok(None) } else { self.batch(&stretches, has_duration).map(Some) }
    }
}

/// The stretches that are covered.
pub struct Covered {
    stretches: Stretches,
    /// Of each key the last, with its slot plus one.
    open: Table<Option<Stretch>>,
}

impl Covered {
    /// No interval seen.
    pub fn new(setting: Setting) -> Self {
        Self { open: Table::new(setting.hasher.clone()), stretches: Stretches::new(setting) }
    }
}

impl Machine for Covered {
    fn push(&mut self, rows: &Rows, out: &mut Vec<RecordBatch>) -> Result<()> {
        let (mut ended, mut new) = (Vec::new(), Vec::new());
        for (row, hash, start, end) in self.stretches.intervals(rows) {
            match self.open.of(rows.keys(), row as usize, hash) {
                Some(open) if start <= open.end => {
                    (open.end, open.count) = (open.end.max(end), open.count + 1);
                }
                Some(open) => {
                    ended.push(*open);
                    *open = Stretch { start, end, count: 1, ..*open };
                }
                none => {
                    let slot = self.stretches.keys.claim();
                    new.push((row, slot));
                    *none = Some(Stretch { slot, start, end, count: 1 });
                }
            }
        }
        self.stretches.keep(rows, &new)?;
        if !ended.is_empty() {
            out.push(self.stretches.batch(&ended, true)?);
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<Option<RecordBatch>> {
        let open = &self.open;
        self.stretches.finish(true, || open.values().flatten().copied().collect())
    }

    fn bytes(&self) -> usize {
        self.open.memory() + self.stretches.keys.bytes()
    }
}

/// How many intervals are open.
pub struct Concurrency {
    stretches: Stretches,
    open: Table<Open>,
    waiting: usize,
}

/// The open intervals of a key.
#[derive(Debug, Default)]
struct Open {
    /// Plus one.
    slot: u32,
    /// Of the last change.
    since: i64,
    ends: BinaryHeap<Reverse<i64>>,
}

impl Open {
    /// Let time go on to `until`: the stretches up to then.
    fn advance(&mut self, until: i64, stretches: &mut Vec<Stretch>) {
        while let Some(Reverse(end)) = self.ends.peek().copied()
            && end <= until
        {
            self.change(end, stretches);
            self.ends.pop();
        }
        self.change(until, stretches);
    }

    fn change(&mut self, at: i64, stretches: &mut Vec<Stretch>) {
        if at > self.since && !self.ends.is_empty() {
            let count = self.ends.len() as i64;
            stretches.push(Stretch { slot: self.slot - 1, start: self.since, end: at, count });
        }
        self.since = at;
    }
}

impl Concurrency {
    /// No interval seen.
    pub fn new(setting: Setting) -> Self {
        Self { open: Table::new(setting.hasher.clone()), stretches: Stretches::new(setting), waiting: 0 }
    }
}

impl Machine for Concurrency {
    fn push(&mut self, rows: &Rows, out: &mut Vec<RecordBatch>) -> Result<()> {
        let (mut ready, mut new) = (Vec::new(), Vec::new());
        for (row, hash, start, end) in self.stretches.intervals(rows) {
            let open = self.open.of(rows.keys(), row as usize, hash);
            if open.slot == 0 {
                open.slot = self.stretches.keys.claim() + 1;
                new.push((row, open.slot - 1));
            }
            if end == start {
                continue;
            }
            let before = open.ends.len();
            open.advance(start, &mut ready);
            open.ends.push(Reverse(end));
            self.waiting = self.waiting + open.ends.len() - before;
        }
        self.stretches.keep(rows, &new)?;
        if !ready.is_empty() {
            out.push(self.stretches.batch(&ready, false)?);
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<Option<RecordBatch>> {
        let open = &mut self.open;
        self.stretches.finish(false, || {
            let mut ready = Vec::new();
            open.values_mut().for_each(|open| open.advance(i64::MAX, &mut ready));
            ready
        })
    }

    fn bytes(&self) -> usize {
        self.open.memory() + self.stretches.keys.bytes() + self.waiting * size_of::<i64>()
    }
}
