//! Rows of past batches that are still needed, by number; a number is used again once its row is released.
//!
//! Most rows are needed for a short time only, and then never leave the batch that they came in: a [`Source`] is either
//! a row of the batch at hand or a slot.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::builder::StringDictionaryBuilder;
use arrow_array::cast::AsArray;
use arrow_array::types::{ArrowPrimitiveType, Int32Type};
use arrow_array::{
    Array, ArrayRef, DictionaryArray, Int32Array, PrimitiveArray, StringArray, UInt32Array,
    downcast_primitive, new_empty_array,
};
use arrow_buffer::NullBuffer;
use arrow_schema::{DataType, Field};
use datafusion::common::Result;

/// Where a row is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source(u32);

impl Source {
    /// No row.
    pub const NONE: Self = Self(u32::MAX);
    const AT_HAND: u32 = 1 << 31;

    /// A row of the batch at hand.
    pub fn row(row: usize) -> Self {
        Self(row as u32 | Self::AT_HAND)
    }

    /// A slot.
    pub fn slot(slot: u32) -> Self {
        Self(slot)
    }

    /// Which row of the batch at hand, or which slot; `None` if there is no row.
    pub fn place(self) -> Option<Place> {
        match self {
            Self::NONE => None,
            Self(row) if row & Self::AT_HAND != 0 => Some(Place::Row((row & !Self::AT_HAND) as usize)),
            Self(slot) => Some(Place::Slot(slot as usize)),
        }
    }
}

/// See [`Source`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the batch at hand.
    Row(usize),
    /// In a slot.
    Slot(usize),
}

/// Kept rows, column by column.
#[derive(Debug)]
pub struct Slots {
    columns: Vec<Box<dyn Column>>,
    unused: Vec<u32>,
    count: u32,
}

impl Slots {
    /// No rows, of columns with these types.
    pub fn new<'a>(fields: impl IntoIterator<Item = &'a Field>) -> Self {
        let columns = fields.into_iter().map(|field| column(field.data_type())).collect();
        Self { columns, unused: Vec::new(), count: 0 }
    }

    /// A free slot, to be filled by [`Self::keep`].
    pub fn claim(&mut self) -> u32 {
        self.unused.pop().unwrap_or_else(|| {
            self.count += 1;
            self.count - 1
        })
    }

    /// The row of that slot is needed no more.
    pub fn release(&mut self, slot: u32) {
        self.unused.push(slot);
    }

    /// Copy rows of `columns` into their slots.
    pub fn keep(&mut self, columns: &[ArrayRef], rows: &[(u32, u32)]) -> Result<()> {
        for (column, array) in self.columns.iter_mut().zip(columns) {
            column.keep(array, rows, self.count as usize)?;
        }
        Ok(())
    }

    /// Column `index` of those rows, where `at_hand` is the column in the batch at hand.
    pub fn gather(&mut self, index: usize, at_hand: &ArrayRef, rows: &[Source]) -> Result<ArrayRef> {
        self.columns[index].gather(at_hand, rows)
    }

    /// Column `index` of slots alone.
    pub fn gather_slots(&mut self, index: usize, ty: &DataType, slots: &[u32]) -> Result<ArrayRef> {
        let rows: Vec<Source> = slots.iter().map(|slot| Source::slot(*slot)).collect();
        self.gather(index, &new_empty_array(ty), &rows)
    }

    /// Bytes in use, about.
    pub fn bytes(&self) -> usize {
        self.unused.capacity() * size_of::<u32>()
            + self.columns.iter().map(|column| column.bytes()).sum::<usize>()
    }
}

trait Column: std::fmt::Debug + Send {
    /// Rows of `array` (first) into slots (second), of which there are now `count`.
    fn keep(&mut self, array: &ArrayRef, rows: &[(u32, u32)], count: usize) -> Result<()>;
    fn gather(&mut self, at_hand: &ArrayRef, rows: &[Source]) -> Result<ArrayRef>;
    fn bytes(&self) -> usize;
}

fn column(ty: &DataType) -> Box<dyn Column> {
    macro_rules! primitive {
        ($t:ty, $ty:expr) => {
            Box::new(Primitive::<$t> { ty: $ty.clone(), values: Vec::new(), is_valid: Vec::new() })
        };
    }
    downcast_primitive! {
        ty => (primitive, ty),
        DataType::Dictionary(key, value) if **key == DataType::Int32 && **value == DataType::Utf8 => {
            Box::<Words>::default()
        }
        DataType::Utf8 => Box::<Texts>::default(),
        _ => Box::<Any>::default(),
    }
}

#[derive(Debug)]
struct Primitive<T: ArrowPrimitiveType + std::fmt::Debug> {
    ty: DataType,
    values: Vec<T::Native>,
    is_valid: Vec<bool>,
}

impl<T: ArrowPrimitiveType + std::fmt::Debug> Column for Primitive<T> {
    fn keep(&mut self, array: &ArrayRef, rows: &[(u32, u32)], count: usize) -> Result<()> {
        let array = array.as_primitive::<T>();
        self.values.resize(count, T::Native::default());
        self.is_valid.resize(count, false);
        let values = array.values();
        for (row, slot) in rows {
            self.values[*slot as usize] = values[*row as usize];
            self.is_valid[*slot as usize] = array.is_valid(*row as usize);
        }
        Ok(())
    }

    fn gather(&mut self, at_hand: &ArrayRef, rows: &[Source]) -> Result<ArrayRef> {
        let array = at_hand.as_primitive::<T>();
        let values = array.values();
        let value = |source: &Source| match source.place() {
            None => T::Native::default(),
            Some(Place::Row(row)) => values[row],
            Some(Place::Slot(slot)) => self.values[slot],
        };
        let is_valid = |source: &Source| match source.place() {
            None => false,
            Some(Place::Row(row)) => array.is_valid(row),
            Some(Place::Slot(slot)) => self.is_valid[slot],
        };
        let gathered: Vec<T::Native> = rows.iter().map(value).collect();
        let nulls = NullBuffer::from_iter(rows.iter().map(is_valid));
        let nulls = Some(nulls).filter(|nulls| nulls.null_count() > 0);
        Ok(Arc::new(PrimitiveArray::<T>::new(gathered.into(), nulls).with_data_type(self.ty.clone())))
    }

    fn bytes(&self) -> usize {
        self.values.capacity() * (size_of::<T::Native>() + 1)
    }
}

/// Text with few different values: a number for each.
#[derive(Debug, Default)]
struct Words {
    numbers: HashMap<String, i32>,
    texts: Vec<String>,
    dictionary: Option<Arc<StringArray>>,
    slots: Vec<i32>,
    /// The values of the last dictionary, and the number of each.
    last: Option<(ArrayRef, Vec<i32>)>,
    bytes: usize,
}

const NULL: i32 = -1;

impl Words {
    fn numbers_of(&mut self, values: &ArrayRef) -> Vec<i32> {
        if let Some((last, numbers)) = &self.last
            && Arc::ptr_eq(last, values)
        {
            return numbers.clone();
        }
        let texts = values.as_string::<i32>();
        let numbers: Vec<i32> =
            texts.iter().map(|text| text.map_or(NULL, |text| self.number(text))).collect();
        self.last = Some((values.clone(), numbers.clone()));
        numbers
    }

    fn number(&mut self, text: &str) -> i32 {
        if let Some(number) = self.numbers.get(text) {
            return *number;
        }
        let number = self.texts.len() as i32;
        self.texts.push(text.to_owned());
        self.numbers.insert(text.to_owned(), number);
        self.bytes += 3 * text.len() + 100;
        self.dictionary = None;
        number
    }
}

impl Column for Words {
    fn keep(&mut self, array: &ArrayRef, rows: &[(u32, u32)], count: usize) -> Result<()> {
        self.slots.resize(count, NULL);
        let array = array.as_dictionary::<Int32Type>();
        let numbers = self.numbers_of(array.values());
        let keys = array.keys();
        for (row, slot) in rows {
            let row = *row as usize;
            self.slots[*slot as usize] =
                if keys.is_valid(row) { numbers[keys.value(row) as usize] } else { NULL };
        }
        Ok(())
    }

    fn gather(&mut self, at_hand: &ArrayRef, rows: &[Source]) -> Result<ArrayRef> {
        let array = at_hand.as_dictionary::<Int32Type>();
        let numbers = self.numbers_of(array.values());
        let keys = array.keys();
        let number = |source: &Source| match source.place() {
            Some(Place::Row(row)) if keys.is_valid(row) => numbers[keys.value(row) as usize],
            Some(Place::Slot(slot)) => self.slots[slot],
            _ => NULL,
        };
        let gathered: Int32Array =
            rows.iter().map(|source| Some(number(source)).filter(|number| *number != NULL)).collect();
        let dictionary =
            self.dictionary.get_or_insert_with(|| Arc::new(StringArray::from_iter_values(self.texts.iter())));
        Ok(Arc::new(DictionaryArray::try_new(gathered, dictionary.clone())?))
    }

    fn bytes(&self) -> usize {
        self.bytes + self.slots.capacity() * size_of::<i32>()
    }
}

/// Text with many different values.
#[derive(Debug, Default)]
struct Texts {
    slots: Vec<Option<Box<str>>>,
    bytes: usize,
}

impl Column for Texts {
    fn keep(&mut self, array: &ArrayRef, rows: &[(u32, u32)], count: usize) -> Result<()> {
        self.slots.resize(count, None);
        let array = array.as_string::<i32>();
        for (row, slot) in rows {
            let row = *row as usize;
            let text: Option<Box<str>> = array.is_valid(row).then(|| Box::from(array.value(row)));
            self.bytes += text.as_ref().map_or(0, |text| text.len() + 16);
            let before = std::mem::replace(&mut self.slots[*slot as usize], text);
            self.bytes -= before.map_or(0, |text| text.len() + 16);
        }
        Ok(())
    }

    fn gather(&mut self, at_hand: &ArrayRef, rows: &[Source]) -> Result<ArrayRef> {
        let array = at_hand.as_string::<i32>();
        let text = |source: &Source| match source.place() {
            Some(Place::Row(row)) => array.is_valid(row).then(|| array.value(row)),
            Some(Place::Slot(slot)) => self.slots[slot].as_deref(),
            None => None,
        };
        Ok(Arc::new(rows.iter().map(text).collect::<StringArray>()))
    }

    fn bytes(&self) -> usize {
        self.bytes + self.slots.capacity() * size_of::<Option<Box<str>>>()
    }
}

/// Values of any other type: an array of one row each.
#[derive(Debug, Default)]
struct Any {
    slots: Vec<Option<ArrayRef>>,
    bytes: usize,
}

impl Column for Any {
    fn keep(&mut self, array: &ArrayRef, rows: &[(u32, u32)], count: usize) -> Result<()> {
        self.slots.resize(count, None);
        for (row, slot) in rows {
            let value = arrow_select::take::take(array, &UInt32Array::from(vec![*row]), None)?;
            self.bytes += value.get_array_memory_size();
            let before = self.slots[*slot as usize].replace(value);
            self.bytes -= before.map_or(0, |value| value.get_array_memory_size());
        }
        Ok(())
    }

    fn gather(&mut self, at_hand: &ArrayRef, rows: &[Source]) -> Result<ArrayRef> {
        let null = arrow_array::new_null_array(at_hand.data_type(), 1);
        let mut sources: Vec<&dyn Array> = vec![at_hand.as_ref(), null.as_ref()];
        let mut places = Vec::with_capacity(rows.len());
        for source in rows {
            places.push(match source.place() {
                Some(Place::Row(row)) => (0, row),
                Some(Place::Slot(slot)) => {
                    sources.push(self.slots[slot].as_deref().unwrap_or(null.as_ref()));
                    (sources.len() - 1, 0)
                }
                None => (1, 0),
            });
        }
        Ok(arrow_select::interleave::interleave(&sources, &places)?)
    }

    fn bytes(&self) -> usize {
        self.bytes + self.slots.capacity() * size_of::<Option<ArrayRef>>()
    }
}

/// A dictionary column that says the same text, or nothing, in each row.
pub fn named(names: &[&str], rows: impl Iterator<Item = Option<usize>>) -> ArrayRef {
    let mut values = StringDictionaryBuilder::<Int32Type>::new();
    names.iter().for_each(|name| values.append_value(name));
    let values = values.finish().values().clone();
    let keys: Int32Array = rows.map(|number| number.map(|number| number as i32)).collect();
    Arc::new(DictionaryArray::new(keys, values))
}
