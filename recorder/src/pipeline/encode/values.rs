//! What every kind of column does: arrays in; pages, dictionary and statistics out.

use anyhow::{Result, bail};
use arrow_array::Array;
use arrow_array::types::{
    Int8Type, Int16Type, Int32Type, Int64Type, TimestampNanosecondType, UInt8Type, UInt16Type, UInt32Type,
    UInt64Type,
};
use arrow_schema::{DataType, Field, TimeUnit};
use parquet::basic::Encoding;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::statistics::Statistics;
use parquet::schema::types::ColumnPath;

use super::bits::Bits;
use super::bytes::Bytes;
use super::numbers::Numbers;
use super::pack::width;
use super::rising::Rising;
use super::rle;

/// Encodes the values of one column chunk after the other. NULLs are not its business.
pub trait Values: Send {
    /// Take the values of `array` that are not NULL.
    fn push(&mut self, array: &dyn Array) -> Result<()>;

    /// Must the page end before the next array, however few rows it has?
    fn is_page_full(&self) -> bool;

    /// Append the page's values to `out`, and begin the next page.
    fn finish_page(&mut self, out: &mut Vec<u8>) -> Encoding;

    /// Smallest and largest value (plain) since this was asked last, if the column is one of which pages say so.
    fn page_range(&mut self) -> Option<(Vec<u8>, Vec<u8>)> {
        None
    }

    /// Append the dictionary of the chunk (plain) to `out`, say how many values it has, and begin the next one.
    /// `None` if such a column has none.
    fn finish_dictionary(&mut self, _out: &mut Vec<u8>) -> Option<usize> {
        None
    }

    /// Statistics of the chunk, asked for last.
    fn finish_statistics(&mut self, nulls: u64) -> Option<Statistics>;
}

/// What the writer's properties say about one column.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Bytes of a plain page after which it ends.
    pub page_bytes: usize,
    /// Bytes of a dictionary after which later pages are plain; 0 for no dictionary.
    pub dictionary_bytes: usize,
    /// Smallest and largest value are told.
    pub has_statistics: bool,
}

/// The encoder for the values of `field`, which are at `path` in the file. Fails for types and encodings that no table
/// has.
pub fn values_of(field: &Field, path: &ColumnPath, properties: &WriterProperties) -> Result<Box<dyn Values>> {
    let has_dictionary = properties.dictionary_enabled(path);
    let settings = Settings {
        page_bytes: properties.column_data_page_size_limit(path),
        dictionary_bytes: if has_dictionary { properties.column_dictionary_page_size_limit(path) } else { 0 },
        has_statistics: properties.statistics_enabled(path) != EnabledStatistics::None,
    };
    let is_delta = !has_dictionary && properties.encoding(path) == Some(Encoding::DELTA_BINARY_PACKED);
    Ok(match field.data_type() {
        DataType::Timestamp(TimeUnit::Nanosecond, _) if is_delta => {
            Box::new(Rising::<TimestampNanosecondType>::new(settings))
        }
        DataType::UInt64 if is_delta => Box::new(Rising::<UInt64Type>::new(settings)),
        DataType::Timestamp(TimeUnit::Nanosecond, _) => {
            Box::new(Numbers::<TimestampNanosecondType>::new(settings))
        }
        DataType::UInt8 => Box::new(Numbers::<UInt8Type>::new(settings)),
        DataType::UInt16 => Box::new(Numbers::<UInt16Type>::new(settings)),
        DataType::UInt32 => Box::new(Numbers::<UInt32Type>::new(settings)),
        DataType::UInt64 => Box::new(Numbers::<UInt64Type>::new(settings)),
        DataType::Int8 => Box::new(Numbers::<Int8Type>::new(settings)),
        DataType::Int16 => Box::new(Numbers::<Int16Type>::new(settings)),
        DataType::Int32 => Box::new(Numbers::<Int32Type>::new(settings)),
        DataType::Int64 => Box::new(Numbers::<Int64Type>::new(settings)),
        DataType::Boolean => Box::new(Bits::new(settings)),
        DataType::Utf8 | DataType::Binary => Box::new(Bytes::new(settings)),
        DataType::Dictionary(key, value) if (&**key, &**value) == (&DataType::Int32, &DataType::Utf8) => {
            Box::new(Bytes::new(settings))
        }
        other => bail!("column '{path}': no table has columns of {other}"),
    })
}

/// Append a page of `indices` into a dictionary of `distinct` values, and clear them.
pub fn indices_page(indices: &mut Vec<u32>, distinct: usize, out: &mut Vec<u8>) {
    let bits = width(distinct.saturating_sub(1) as u64);
    out.push(bits);
    rle::encode(indices, bits, out);
    indices.clear();
}
