//! Pairs rows that begin something with the rows of the same key that end it.
//!
//! Of each key only the last row is known: a begin that waits for its end, or that it has ended. Most begins end in the
//! batch that they came in and are never copied; those that wait longer move to a slot.

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, BooleanArray, RecordBatch, UInt32Array, new_null_array};
use datafusion::common::Result;

use super::keys::Table;
use super::layout::Role;
use super::machine::{Machine, Setting, batch, optional_times, taken};
use super::rows::Rows;
use super::slots::{Place, Slots, Source, named};

/// The classes by their number.
const CLASSES: [&str; 5] = ["paired", "outstanding", "end_missed", "begin_missed", "before_recording"];
const PAIRED: usize = 0;
const OUTSTANDING: usize = 1;
const END_MISSED: usize = 2;
const BEGIN_MISSED: usize = 3;
const BEFORE_RECORDING: usize = 4;

/// See the module.
pub struct Pairs {
    setting: Setting,
    last: Table<Last>,
    /// The columns of begins.
    slots: Slots,
    left: Option<std::vec::IntoIter<u32>>,
}

/// The last that is known of a key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Last {
    #[default]
    Nothing,
    Ended,
    Begun(Source),
}

struct Pair {
    class: usize,
    begin: Source,
    end: Source,
    next_ts: Option<i64>,
}

impl Pairs {
    /// No row seen.
    pub fn new(setting: Setting) -> Self {
        let passed = setting.layout.passed.iter().filter(|(_, role)| *role == Role::Row);
        let slots = Slots::new(passed.map(|(index, _)| setting.input.field(*index)));
        Self { last: Table::new(setting.hasher.clone()), slots, left: None, setting }
    }

    /// The pairs that these rows make; and the rows that begin and still wait, with the hash of their key.
    fn pair(&mut self, rows: &Rows) -> (Vec<Pair>, Vec<(u32, u64)>) {
        let layout = &self.setting.layout;
        let [begins, ends] = [layout.begin, layout.end]
            .map(|index| index.map(|index| rows.batch().column(index).as_boolean().clone()));
        // NULL is neither a begin nor an end.
        let bits = |column: Option<BooleanArray>| {
            let column = column.unwrap_or_else(|| BooleanArray::from(vec![false; rows.batch().num_rows()]));
            match column.nulls() {
                None => column.values().clone(),
                Some(nulls) => column.values() & nulls.inner(),
            }
        };
        let (begins, ends) = (bits(begins), bits(ends));
        let mut pairs: Vec<Pair> = Vec::new();
        let mut begun: Vec<(u32, u64)> = Vec::new();
        // Begins of this batch that wait no more.
        let mut is_over = vec![false; rows.batch().num_rows()];
        let mut end_wait = |begin: Source| {
            if let Some(Place::Row(row)) = begin.place() {
                is_over[row] = true;
            }
        };
        let (ts, keys) = (rows.ts(), rows.keys());
        let known = &mut self.last;
        rows.each_of(self.setting.partition, self.setting.partitions, |visit, hash| {
            let row = visit.row as usize;
            let (is_end, is_begin) = (visit.is_end && ends.value(row), visit.is_begin && begins.value(row));
            if !(is_begin || is_end) || keys.is_null(row) {
                return;
            }
            let last = known.of(keys, row, hash);
            if is_end {
                let (class, begin) = match *last {
                    Last::Nothing => (BEFORE_RECORDING, Source::NONE),
                    Last::Ended => (BEGIN_MISSED, Source::NONE),
                    Last::Begun(begin) => (PAIRED, begin),
                };
                end_wait(begin);
                pairs.push(Pair { class, begin, end: Source::row(row), next_ts: Some(ts[row]) });
                *last = Last::Ended;
            }
            if is_begin {
                if let Last::Begun(begin) = *last {
                    end_wait(begin);
                    pairs.push(Pair { class: END_MISSED, begin, end: Source::NONE, next_ts: Some(ts[row]) });
                }
                *last = Last::Begun(Source::row(row));
                begun.push((visit.row, hash));
            }
        });
        begun.retain(|(row, _)| !is_over[*row as usize]);
        (pairs, begun)
    }

    /// The columns of `pairs`, whose ends are in the batch at hand.
    fn columns(&mut self, rows: &Rows, pairs: &[Pair]) -> Result<Vec<ArrayRef>> {
        let begins: Vec<Source> = pairs.iter().map(|pair| pair.begin).collect();
        let either: Vec<Source> =
            pairs.iter().map(|pair| if pair.begin == Source::NONE { pair.end } else { pair.begin }).collect();
        let end = |pair: &Pair| match pair.end.place() {
            Some(Place::Row(row)) => Some(row as u32),
            _ => None,
        };
        let ends: UInt32Array = pairs.iter().map(end).collect();
        let mut columns = Vec::new();
        let mut of_begin = 0;
        for (index, role) in &self.setting.layout.passed {
            let column = rows.batch().column(*index);
            if *role == Role::End {
                columns.push(taken(column, &ends)?);
                continue;
            }
            let is_key = self.setting.keys.contains(self.setting.input.field(*index).name());
            let sources = if is_key { &either } else { &begins };
            columns.push(self.slots.gather(of_begin, column, sources)?);
            of_begin += 1;
        }
        columns.push(named(&CLASSES, pairs.iter().map(|pair| Some(pair.class))));
        columns.push(optional_times(pairs.iter().map(|pair| pair.next_ts).collect()));
        Ok(columns)
    }

    /// Begins that still wait move to slots.
    fn keep(&mut self, rows: &Rows, begun: &[(u32, u64)]) -> Result<()> {
        let mut kept = Vec::new();
        for (row, hash) in begun {
            let slot = self.slots.claim();
            *self.last.of(rows.keys(), *row as usize, *hash) = Last::Begun(Source::slot(slot));
            kept.push((*row, slot));
        }
        let of_begin = self.setting.layout.passed.iter().filter(|(_, role)| *role == Role::Row);
        let columns: Vec<ArrayRef> = of_begin.map(|(index, _)| rows.batch().column(*index).clone()).collect();
        self.slots.keep(&columns, &kept)
    }
}

impl Machine for Pairs {
    fn push(&mut self, rows: &Rows, out: &mut Vec<RecordBatch>) -> Result<()> {
        let (pairs, begun) = self.pair(rows);
        for some in pairs.chunks(self.setting.batch_rows.max(1)) {
            let columns = self.columns(rows, some)?;
            out.push(batch(&self.setting.output, columns, some.len())?);
        }
        for pair in &pairs {
            if let Some(Place::Slot(slot)) = pair.begin.place() {
                self.slots.release(slot as u32);
            }
        }
        self.keep(rows, &begun)
    }

    fn finish(&mut self) -> Result<Option<RecordBatch>> {
        let mut left = self.left.take().unwrap_or_else(|| {
            let slot = |last: &Last| match last {
                Last::Begun(source) => source.place(),
                _ => None,
            };
            let slots = self.last.values().filter_map(slot).filter_map(|place| match place {
                Place::Slot(slot) => Some(slot as u32),
                Place::Row(_) => None,
            });
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
        let mut of_begin = 0;
        for (index, role) in &self.setting.layout.passed {
            let ty = self.setting.input.field(*index).data_type();
            columns.push(match role {
                Role::End | Role::Sum => new_null_array(ty, slots.len()),
                Role::Row => {
                    of_begin += 1;
                    self.slots.gather_slots(of_begin - 1, ty, &slots)?
                }
            });
        }
        columns.push(named(&CLASSES, slots.iter().map(|_| Some(OUTSTANDING))));
        columns.push(optional_times(vec![None; slots.len()]));
        batch(&self.setting.output, columns, slots.len()).map(Some)
    }

    fn bytes(&self) -> usize {
        self.last.memory() + self.slots.bytes()
    }
}
