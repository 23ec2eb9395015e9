//! Groups rows by their key: makes keys of columns, and keeps a value for each key.

use std::hash::BuildHasher;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Int8Type, Int16Type, Int32Type, Int64Type, TimestampNanosecondType, UInt8Type, UInt16Type, UInt32Type,
    UInt64Type,
};
use arrow_array::{Array, ArrayRef};
use arrow_buffer::NullBuffer;
use arrow_row::{RowConverter, Rows, SortField};
use arrow_schema::{DataType, TimeUnit};
use datafusion::common::Result;
use hashbrown::{DefaultHashBuilder, HashTable};

/// The keys of a batch.
#[derive(Debug)]
pub enum Keys {
    /// All rows have the same.
    One,
    /// A number each; which of them are NULL.
    Numbers(Vec<u64>, Option<NullBuffer>),
    /// Anything else, as bytes that are equal where the keys are; rows in which a part is NULL.
    Bytes(Rows, Option<NullBuffer>),
}

/// Makes [`Keys`] of columns.
pub struct KeyReader {
    converter: Option<RowConverter>,
}

impl KeyReader {
    /// For columns of these types.
    pub fn new(types: &[DataType]) -> Result<Self> {
        let is_number = |ty: &DataType| {
            ty.is_integer() || matches!(ty, DataType::Timestamp(TimeUnit::Nanosecond, _) | DataType::Boolean)
        };
        let converter = match types {
            [] => None,
            [ty] if is_number(ty) => None,
            types => Some(RowConverter::new(types.iter().cloned().map(SortField::new).collect())?),
        };
        Ok(Self { converter })
    }

    /// The keys of a batch.
    pub fn read(&self, columns: &[ArrayRef]) -> Result<Keys> {
        let nulls = columns.iter().fold(None, |nulls: Option<NullBuffer>, column| {
            NullBuffer::union(nulls.as_ref(), column.logical_nulls().as_ref())
        });
        let nulls = nulls.filter(|nulls| nulls.null_count() > 0);
        match (&self.converter, columns) {
            (Some(converter), columns) => Ok(Keys::Bytes(converter.convert_columns(columns)?, nulls)),
            (None, [column]) => Ok(Keys::Numbers(numbers(column), nulls)),
            (None, _) => Ok(Keys::One),
        }
    }
}

fn numbers(column: &ArrayRef) -> Vec<u64> {
    macro_rules! widened {
        ($t:ty) => {
            column.as_primitive::<$t>().values().iter().map(|value| *value as u64).collect()
        };
    }
    match column.data_type() {
        DataType::Int8 => widened!(Int8Type),
        DataType::Int16 => widened!(Int16Type),
        DataType::Int32 => widened!(Int32Type),
        DataType::Int64 => widened!(Int64Type),
        DataType::UInt8 => widened!(UInt8Type),
        DataType::UInt16 => widened!(UInt16Type),
        DataType::UInt32 => widened!(UInt32Type),
        DataType::UInt64 => widened!(UInt64Type),
        DataType::Timestamp(..) => widened!(TimestampNanosecondType),
        _ => column.as_boolean().values().iter().map(u64::from).collect(),
    }
}

impl Keys {
    /// Is a part of the key of that row NULL?
    pub fn is_null(&self, row: usize) -> bool {
        match self {
            Self::One => false,
            Self::Numbers(_, nulls) | Self::Bytes(_, nulls) => {
                nulls.as_ref().is_some_and(|nulls| nulls.is_null(row))
            }
        }
    }
}

/// Spreads keys over partitions and tables.
#[derive(Clone, Debug, Default)]
pub struct Hasher(DefaultHashBuilder);

impl Hasher {
    /// Equal for equal keys.
    pub fn hash(&self, keys: &Keys, row: usize) -> u64 {
        match keys {
            Keys::One => 0,
            Keys::Numbers(..) if keys.is_null(row) => 0,
            Keys::Numbers(numbers, _) => self.number(numbers[row]),
            Keys::Bytes(rows, _) => self.bytes(rows.row(row).data()),
        }
    }

    fn number(&self, number: u64) -> u64 {
        self.0.hash_one(number)
    }

    fn bytes(&self, bytes: &[u8]) -> u64 {
        self.0.hash_one(bytes)
    }
}

/// A value for each key.
#[derive(Debug)]
pub struct Table<V> {
    hasher: Hasher,
    /// Of the one key, or of NULL.
    one: V,
    numbers: HashTable<(u64, V)>,
    bytes: HashTable<(Box<[u8]>, V)>,
    key_bytes: usize,
}

impl<V: Default> Table<V> {
    /// No keys yet.
    pub fn new(hasher: Hasher) -> Self {
        Self { hasher, one: V::default(), numbers: HashTable::new(), bytes: HashTable::new(), key_bytes: 0 }
    }

    /// What belongs to the key of `row`, which has that hash.
    pub fn of(&mut self, keys: &Keys, row: usize, hash: u64) -> &mut V {
        match keys {
            Keys::One => &mut self.one,
            Keys::Numbers(..) if keys.is_null(row) => &mut self.one,
            Keys::Numbers(numbers, _) => {
                let number = numbers[row];
                // Most keys are known: to look before making room is quicker.
                match self.numbers.find_entry(hash, |(known, _)| *known == number) {
                    Ok(known) => &mut known.into_mut().1,
                    Err(absent) => {
                        let hasher = &self.hasher;
                        let table = absent.into_table();
                        let new = (number, V::default());
                        &mut table.insert_unique(hash, new, |(known, _)| hasher.number(*known)).into_mut().1
                    }
                }
            }
            Keys::Bytes(rows, _) => {
                let key = rows.row(row);
                let key = key.data();
                let hasher = &self.hasher;
                let entry =
                    self.bytes.entry(hash, |(known, _)| **known == *key, |(known, _)| hasher.bytes(known));
                let key_bytes = &mut self.key_bytes;
                let new = || {
                    *key_bytes += key.len() + 16;
                    (Box::from(key), V::default())
                };
                &mut entry.or_insert_with(new).into_mut().1
            }
        }
    }

    /// All values.
    pub fn values(&self) -> impl Iterator<Item = &V> {
        let numbers = self.numbers.iter().map(|(_, value)| value);
        std::iter::once(&self.one).chain(numbers).chain(self.bytes.iter().map(|(_, value)| value))
    }

    /// All values, to be changed.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        let numbers = self.numbers.iter_mut().map(|(_, value)| value);
        std::iter::once(&mut self.one).chain(numbers).chain(self.bytes.iter_mut().map(|(_, value)| value))
    }

    /// Bytes in use, about.
    pub fn memory(&self) -> usize {
        self.key_bytes
            + self.numbers.capacity() * 8 / 7 * (size_of::<(u64, V)>() + 1)
            + self.bytes.capacity() * 8 / 7 * (size_of::<(Box<[u8]>, V)>() + 1)
    }
}
