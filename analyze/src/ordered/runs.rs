//! Makes one row of each run of rows of the same key that follow each other quickly.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int64Type};
use arrow_array::{Array, ArrayRef, Float64Array, Int64Array, RecordBatch};
use arrow_cast::cast;
use arrow_schema::DataType;
use datafusion::common::{Result, exec_err};

use super::keys::Table;
use super::layout::Role;
use super::machine::{Machine, Setting, batch, numbers, times};
use super::rows::Rows;
use super::slots::Slots;

/// See the module.
pub struct Runs {
    setting: Setting,
    /// The run of each key that goes on.
    open: Table<Run>,
    /// The columns of keys, of runs that go on.
    keys: Slots,
    left: Option<std::vec::IntoIter<Run>>,
}

#[derive(Clone, Debug, Default)]
struct Run {
    nth: i64,
    start: i64,
    end: i64,
    rows: i64,
    sums: Vec<Sum>,
    /// Plus one; the same for all runs of the key.
    slot: u32,
}

/// A sum of whole numbers, or of others.
#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    is_known: bool,
    whole: i128,
    other: f64,
}

/// A column that is added up.
enum Added {
    Whole(Int64Array),
    Unsigned(arrow_array::UInt64Array),
    Other(Float64Array),
}

impl Added {
    fn read(column: &ArrayRef) -> Result<Self> {
        Ok(match column.data_type() {
            DataType::UInt64 => {
                Self::Unsigned(column.as_primitive::<arrow_array::types::UInt64Type>().clone())
            }
            ty if ty.is_floating() => {
                Self::Other(cast(column, &DataType::Float64)?.as_primitive::<Float64Type>().clone())
            }
            _ => Self::Whole(cast(column, &DataType::Int64)?.as_primitive::<Int64Type>().clone()),
        })
    }

    fn add(&self, row: usize, sum: &mut Sum) {
        match self {
            Self::Whole(array) if array.is_valid(row) => {
                (sum.is_known, sum.whole) = (true, sum.whole + i128::from(array.value(row)));
            }
            Self::Unsigned(array) if array.is_valid(row) => {
                (sum.is_known, sum.whole) = (true, sum.whole + i128::from(array.value(row)));
            }
            Self::Other(array) if array.is_valid(row) => {
                (sum.is_known, sum.other) = (true, sum.other + array.value(row));
            }
            _ => {}
        }
    }
}

impl Runs {
    /// No row seen.
    pub fn new(setting: Setting) -> Self {
        let of_key = setting.layout.passed.iter().filter(|(_, role)| *role == Role::Row);
        let keys = Slots::new(of_key.map(|(index, _)| setting.input.field(*index)));
        Self { open: Table::new(setting.hasher.clone()), keys, left: None, setting }
    }

    fn columns(&self, role: Role, rows: &Rows) -> Vec<ArrayRef> {
        let of = self.setting.layout.passed.iter().filter(|(_, of)| *of == role);
        of.map(|(index, _)| rows.batch().column(*index).clone()).collect()
    }

    fn batch(&mut self, runs: &[Run]) -> Result<RecordBatch> {
        let slots: Vec<u32> = runs.iter().map(|run| run.slot - 1).collect();
        let (mut of_key, mut added) = (0, 0);
        let mut columns = Vec::new();
        for (index, role) in &self.setting.layout.passed {
            let ty = self.setting.input.field(*index).data_type();
            if *role == Role::Row {
                columns.push(self.keys.gather_slots(of_key, ty, &slots)?);
                of_key += 1;
                continue;
            }
            let sums = runs.iter().map(|run| run.sums[added]);
            columns.push(if ty.is_floating() {
                let sums = sums.map(|sum| sum.is_known.then_some(sum.other));
                Arc::new(sums.collect::<Float64Array>()) as ArrayRef
            } else {
                let whole = |sum: Sum| match i64::try_from(sum.whole) {
                    Ok(whole) => Ok(sum.is_known.then_some(whole)),
                    Err(_) => exec_err!("the sum of a column over a run has more than 64 bits"),
                };
                Arc::new(sums.map(whole).collect::<Result<Int64Array>>()?) as ArrayRef
            });
            added += 1;
        }
        columns.extend([
            numbers(runs.iter().map(|run| run.nth).collect()),
            times(runs.iter().map(|run| run.start).collect()),
            times(runs.iter().map(|run| run.end).collect()),
            numbers(runs.iter().map(|run| run.end.saturating_sub(run.start)).collect()),
            numbers(runs.iter().map(|run| run.rows).collect()),
        ]);
        batch(&self.setting.output, columns, runs.len())
    }
}

impl Machine for Runs {
    fn push(&mut self, rows: &Rows, out: &mut Vec<RecordBatch>) -> Result<()> {
        let added = self.columns(Role::Sum, rows).iter().map(Added::read).collect::<Result<Vec<_>>>()?;
        let max_gap_ns = self.setting.max_gap_ns.unwrap_or_default();
        let mut ended: Vec<Run> = Vec::new();
        let mut new: Vec<(u32, u32)> = Vec::new();
        let ts = rows.ts();
        let (open, keys) = (&mut self.open, &mut self.keys);
        rows.each_of(self.setting.partition, self.setting.partitions, |visit, hash| {
            let row = visit.row as usize;
            let run = open.of(rows.keys(), row, hash);
            if run.slot == 0 {
                run.slot = keys.claim() + 1;
                new.push((visit.row, run.slot - 1));
            }
            if run.rows > 0 && ts[row].saturating_sub(run.end) > max_gap_ns {
                ended.push(run.clone());
                run.rows = 0;
            }
            if run.rows == 0 {
                (run.nth, run.start) = (run.nth + 1, ts[row]);
                run.sums.clear();
                run.sums.resize(added.len(), Sum::default());
            }
            (run.end, run.rows) = (ts[row], run.rows + 1);
            for (column, sum) in added.iter().zip(&mut run.sums) {
                column.add(row, sum);
            }
        });
        self.keys.keep(&self.columns(Role::Row, rows), &new)?;
        if !ended.is_empty() {
            out.push(self.batch(&ended)?);
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<Option<RecordBatch>> {
        let mut left = self.left.take().unwrap_or_else(|| {
            let open = self.open.values().filter(|run| run.rows > 0);
            open.cloned().collect::<Vec<Run>>().into_iter()
        });
        let runs: Vec<Run> = left.by_ref().take(self.setting.batch_rows).collect();
        self.left = Some(left);
        if runs.is_empty() { Ok(None) } else { self.batch(&runs).map(Some) }
    }

    fn bytes(&self) -> usize {
        self.open.memory() + self.keys.bytes()
    }
}
