//! Arrays of one column in; which rows have a value, and where each list begins, as a page says it, out.

use anyhow::{Context, Result, bail, ensure};
use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef};
use arrow_buffer::BooleanBufferBuilder;
use arrow_schema::{DataType, Field};

use super::rle;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// Every row has a value.
    Required,
    /// A row may be NULL.
    Nullable,
    /// Every row has a list, which may be empty; nothing is NULL.
    List,
}

/// The levels of a page.
pub struct Levels {
    shape: Shape,
    /// Rows of the page.
    pub rows: usize,
    /// Values, NULLs, and a place for each empty list.
    pub entries: usize,
    /// Entries that are no value.
    pub absent: usize,
    /// Of the entries, is it one? Empty as long as all are.
    present: BooleanBufferBuilder,
    /// Of the entries of lists, does it belong to the same list as the one before it?
    goes_on: BooleanBufferBuilder,
}

impl Levels {
    /// No row yet, and the field of the values: in lists, of their items. Fails for lists that no table has.
    pub fn new(field: &Field) -> Result<(Self, &Field)> {
        let (shape, values) = match field.data_type() {
            DataType::List(item) if field.is_nullable() || item.is_nullable() => {
                bail!("column '{}': no table has lists in which something is NULL", field.name())
            }
            DataType::List(item) => (Shape::List, &**item),
            _ if field.is_nullable() => (Shape::Nullable, field),
            _ => (Shape::Required, field),
        };
        let none = || BooleanBufferBuilder::new(0);
        let levels = Self { shape, rows: 0, entries: 0, absent: 0, present: none(), goes_on: none() };
        Ok((levels, values))
    }

    /// How many rows of `array`, beginning with row `from`, a page of at most `limit` entries still takes: none if it
    /// is to end first. An empty one takes any row, because a row is in one page.
    pub fn room(&self, array: &dyn Array, from: usize, limit: usize) -> usize {
        let left = limit.saturating_sub(self.entries);
        let rows = (array.len() - from).min(left);
        let Some(lists) = array.as_list_opt::<i32>() else { return rows };
        let mut entries = 0;
        let fits = |sizes: &&[i32]| {
            entries += entries_of(sizes);
            entries <= left
        };
        let rows = lists.value_offsets()[from..].windows(2).take(rows).take_while(fits).count();
        rows.max(usize::from(self.entries == 0))
    }

    /// Add rows. The result are their values, NULLs among them.
    pub fn push(&mut self, array: &ArrayRef) -> Result<ArrayRef> {
        if self.shape == Shape::List {
            return self.push_lists(array);
        }
        if let Some(nulls) = array.nulls().filter(|nulls| nulls.null_count() > 0) {
            if self.absent == 0 {
                self.present.append_n(self.entries, true);
            }
            self.absent += nulls.null_count();
            self.present.append_buffer(nulls.inner());
        } else if self.absent > 0 {
            self.present.append_n(array.len(), true);
        }
        self.rows += array.len();
        self.entries += array.len();
        Ok(array.clone())
    }

    fn push_lists(&mut self, array: &ArrayRef) -> Result<ArrayRef> {
        let lists = array.as_list_opt::<i32>().context("not an array of lists")?;
        let offsets = lists.value_offsets();
        let (first, last) = (offsets[0] as usize, offsets[lists.len()] as usize);
        let items = lists.values().slice(first, last - first);
        ensure!(lists.null_count() == 0 && items.null_count() == 0, "a list, or a part of one, is NULL");
        for ends in offsets.windows(2) {
            let entries = entries_of(ends);
            self.goes_on.append(false);
            self.goes_on.append_n(entries - 1, true);
            let is_empty = ends[0] == ends[1];
            if is_empty && self.absent == 0 {
                self.present.append_n(self.entries, true);
            }
            self.absent += usize::from(is_empty);
            if self.absent > 0 {
                self.present.append_n(entries, !is_empty);
            }
            self.entries += entries;
        }
        self.rows += lists.len();
        Ok(items)
    }

    /// Append the levels to `out`, and begin the next page. The result are the bytes of each kind: those of
    /// repetition, which are first, and those of definition.
    pub fn finish_page(&mut self, out: &mut Vec<u8>) -> (usize, usize) {
        let start = out.len();
        if self.shape == Shape::List {
            rle::encode_bits(self.goes_on.as_slice(), self.entries, out);
        }
        let middle = out.len();
        if self.shape != Shape::Required && self.absent == 0 {
            rle::encode_ones(self.entries, out);
        } else if self.shape != Shape::Required {
            rle::encode_bits(self.present.as_slice(), self.entries, out);
        }
        self.present.truncate(0);
        self.goes_on.truncate(0);
        (self.rows, self.entries, self.absent) = (0, 0, 0);
        (middle - start, out.len() - middle)
    }
}

/// Entries of a list between two offsets: an empty one takes one too.
fn entries_of(ends: &[i32]) -> usize {
    (ends[1] - ends[0]).max(1) as usize
}
