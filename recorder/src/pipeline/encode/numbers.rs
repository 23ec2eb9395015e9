//! Integer arrays in, dictionary or plain pages out.

use anyhow::{Context, Result};
use arrow_array::types::ArrowPrimitiveType;
use arrow_array::{Array, PrimitiveArray};
use parquet::basic::Encoding;
use parquet::file::statistics::{Statistics, ValueStatistics};

use super::super::table::Table;
use super::values::{Settings, Values, indices_page};

/// An integer as Parquet stores it.
pub trait Number: Copy + Ord + Send + 'static {
    /// Bytes in a plain page.
    const SIZE: usize;
    /// Distinct for distinct values.
    fn key(self) -> u64;
    /// Append it in plain encoding.
    fn plain(self, out: &mut Vec<u8>);
    /// Statistics of a column whose values are in `range`.
    fn statistics(range: Option<(Self, Self)>, nulls: u64) -> Statistics;
}

macro_rules! number {
    ($statistics:ident, $physical:ident: $($native:ident)*) => {
        $(impl Number for $native {
            const SIZE: usize = size_of::<$physical>();

            fn key(self) -> u64 {
                self as u64
            }

            fn plain(self, out: &mut Vec<u8>) {
                out.extend_from_slice(&(self as $physical).to_le_bytes());
            }

            fn statistics(range: Option<(Self, Self)>, nulls: u64) -> Statistics {
                let (min, max) = range.map(|(min, max)| (min as $physical, max as $physical)).unzip();
                Statistics::$statistics(ValueStatistics::new(min, max, None, Some(nulls), false))
            }
        })*
    };
}
number!(Int32, i32: u8 u16 u32 i8 i16 i32);
number!(Int64, i64: u64 i64);

/// The values that are not NULL.
pub fn dense<'a, T: ArrowPrimitiveType>(
    array: &'a dyn Array,
    scratch: &'a mut Vec<T::Native>,
) -> Result<&'a [T::Native]> {
    let array: &PrimitiveArray<T> = array
        .as_any()
        .downcast_ref()
        .with_context(|| format!("an array of {} is not one of {}", array.data_type(), T::DATA_TYPE))?;
    let Some(nulls) = array.nulls().filter(|nulls| nulls.null_count() > 0) else { return Ok(array.values()) };
    scratch.clear();
    scratch.extend(nulls.valid_indices().map(|row| array.values()[row]));
    Ok(scratch)
}

/// `range` and `values` together.
pub fn widen<T: Ord + Copy>(range: Option<(T, T)>, values: &[T]) -> Option<(T, T)> {
    let start = range.or_else(|| values.first().map(|&value| (value, value)))?;
    Some(values.iter().fold(start, |(min, max), &value| (min.min(value), max.max(value))))
}

fn is_uniform<T: PartialEq + Copy>(values: &[T]) -> bool {
    let Some(&first) = values.first() else { return true };
    values.chunks(64).all(|chunk| chunk.iter().fold(true, |same, &value| same & (value == first)))
}

/// Encodes one column of integers.
pub struct Numbers<T: ArrowPrimitiveType> {
    settings: Settings,
    table: Table,
    dictionary: Vec<T::Native>,
    /// Of the page.
    indices: Vec<u32>,
    /// The page, when there is no dictionary any more.
    plain: Vec<u8>,
    has_dictionary: bool,
    /// Of the values that are not in the dictionary.
    range: Option<(T::Native, T::Native)>,
    scratch: Vec<T::Native>,
}

impl<T: ArrowPrimitiveType<Native: Number>> Numbers<T> {
    /// Nothing yet.
    pub fn new(settings: Settings) -> Self {
        Self {
            has_dictionary: settings.dictionary_bytes > 0,
            settings,
            table: Table::default(),
            dictionary: Vec::new(),
            indices: Vec::new(),
            plain: Vec::new(),
            range: None,
            scratch: Vec::new(),
        }
    }

    fn is_dictionary_full(&self) -> bool {
        self.dictionary.len() * T::Native::SIZE > self.settings.dictionary_bytes
    }
}

impl<T: ArrowPrimitiveType<Native: Number>> Values for Numbers<T> {
    fn push(&mut self, array: &dyn Array) -> Result<()> {
        let Self { table, dictionary, indices, plain, range, scratch, .. } = self;
        let values = dense::<T>(array, scratch)?;
        if !self.has_dictionary {
            values.iter().for_each(|value| value.plain(plain));
            *range = widen(*range, values);
            return Ok(());
        }
        let mut number = |value: T::Native| {
            let (index, is_new) = table.number(value.key(), |_| true);
            if is_new {
                dictionary.push(value);
            }
            index
        };
        if is_uniform(values) {
            if let Some(&value) = values.first() {
                let index = number(value);
                indices.resize(indices.len() + values.len(), index);
            }
        } else {
            indices.extend(values.iter().map(|&value| number(value)));
        }
        Ok(())
    }

    fn is_page_full(&self) -> bool {
        self.plain.len() >= self.settings.page_bytes || (self.has_dictionary && self.is_dictionary_full())
    }

    fn finish_page(&mut self, out: &mut Vec<u8>) -> Encoding {
        if !self.has_dictionary {
            out.append(&mut self.plain);
            return Encoding::PLAIN;
        }
        indices_page(&mut self.indices, self.dictionary.len(), out);
        self.has_dictionary = !self.is_dictionary_full();
        Encoding::RLE_DICTIONARY
    }

    fn finish_dictionary(&mut self, out: &mut Vec<u8>) -> Option<usize> {
        if self.settings.dictionary_bytes == 0 {
            return None;
        }
        self.range = widen(self.range, &self.dictionary);
        self.dictionary.iter().for_each(|value| value.plain(out));
        let distinct = self.dictionary.len();
        self.dictionary.clear();
        self.table.clear();
        self.has_dictionary = true;
        Some(distinct)
    }

    fn finish_statistics(&mut self, nulls: u64) -> Option<Statistics> {
        let range = self.range.take();
        self.settings.has_statistics.then(|| Number::statistics(range, nulls))
    }
}
