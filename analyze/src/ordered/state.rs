//! Keeps the last row of each key.

use arrow_array::{ArrayRef, RecordBatch};
use datafusion::common::Result;

use super::keys::Table;
use super::machine::{Machine, Setting, batch};
use super::rows::Rows;
use super::slots::Slots;

/// See the module.
pub struct StateAt {
    setting: Setting,
    /// Number of the key's slot, and the row of the batch at hand that goes there.
    last: Table<Last>,
    slots: Slots,
    /// Slots that are not given out yet.
    left: Option<std::vec::IntoIter<u32>>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Last {
    /// Plus one.
    slot: u32,
}

impl StateAt {
    /// No row seen.
    pub fn new(setting: Setting) -> Self {
        let fields = setting.layout.passed.iter().map(|(index, _)| setting.input.field(*index));
        let slots = Slots::new(fields);
        Self { last: Table::new(setting.hasher.clone()), slots, left: None, setting }
    }
}

impl Machine for StateAt {
    fn push(&mut self, rows: &Rows, _: &mut Vec<RecordBatch>) -> Result<()> {
        let mut kept: Vec<(u32, u32)> = Vec::new();
        let (last, slots) = (&mut self.last, &mut self.slots);
        rows.each_of(self.setting.partition, self.setting.partitions, |visit, hash| {
            let last = last.of(rows.keys(), visit.row as usize, hash);
            if last.slot == 0 {
                last.slot = slots.claim() + 1;
            }
            kept.push((visit.row, last.slot - 1));
        });
        // Of a slot that is there several times the last row stays.
        let columns: Vec<ArrayRef> =
            self.setting.layout.passed.iter().map(|(index, _)| rows.batch().column(*index).clone()).collect();
        self.slots.keep(&columns, &kept)
    }

    fn finish(&mut self) -> Result<Option<RecordBatch>> {
        let mut left = self.left.take().unwrap_or_else(|| {
            let slots = self.last.values().filter_map(|last| last.slot.checked_sub(1));
            let mut slots: Vec<u32> = slots.collect();
            slots.sort_unstable();
            slots.into_iter()
        });
        let slots: Vec<u32> = left.by_ref().take(self.setting.batch_rows).collect();
        self.left = Some(left);
        if slots.is_empty() {
            return Ok(None);
        }
        let mut columns = Vec::new();
        for (i, field) in self.setting.output.fields().iter().enumerate() {
            columns.push(self.slots.gather_slots(i, field.data_type(), &slots)?);
        }
        batch(&self.setting.output, columns, slots.len()).map(Some)
    }

    fn bytes(&self) -> usize {
        self.last.memory() + self.slots.bytes()
    }
}
