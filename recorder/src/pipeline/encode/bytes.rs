//! Arrays of text or bytes in, dictionary or plain pages out.

use std::hash::Hasher;

use anyhow::{Context, Result};
use arrow_array::cast::AsArray;
use arrow_array::types::Int32Type;
use arrow_array::{Array, StringArray};
use arrow_buffer::NullBuffer;
use arrow_schema::DataType;
use parquet::basic::Encoding;
use parquet::data_type::ByteArray;
use parquet::file::statistics::{Statistics, ValueStatistics};

use super::super::table::Table;
use super::super::text::FastHasher;
use super::values::{Settings, Values, indices_page};

/// A number that is not known yet.
const UNKNOWN: u32 = u32::MAX;

/// Distinct byte strings, as they stand in a dictionary page: length, bytes.
#[derive(Default)]
struct Dictionary {
    table: Table,
    page: Vec<u8>,
    ends: Vec<usize>,
}

impl Dictionary {
    fn number(&mut self, value: &[u8]) -> u32 {
        let Self { table, page, ends } = self;
        let mut hasher = FastHasher::default();
        hasher.write(value);
        hasher.write_usize(value.len());
        let is_same = |index: u32| {
            let index = index as usize;
            let start = if index == 0 { 0 } else { ends[index - 1] };
            page[start + 4..ends[index]] == *value
        };
        let (index, is_new) = table.number(hasher.finish(), is_same);
        if is_new {
            plain(value, page);
            ends.push(page.len());
        }
        index
    }
}

fn plain(value: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&(value.len() as u32).to_le_bytes());
    out.extend_from_slice(value);
}

/// Encodes one column of text or bytes.
pub struct Bytes {
    settings: Settings,
    dictionary: Dictionary,
    /// Of the page.
    indices: Vec<u32>,
    /// The page, when there is no dictionary any more.
    plain: Vec<u8>,
    has_dictionary: bool,
    /// For dictionary arrays: their values, and the number here of each, so that a text is looked up once.
    known: Option<StringArray>,
    numbers: Vec<u32>,
}

impl Bytes {
    /// Nothing yet.
    pub fn new(settings: Settings) -> Self {
        Self {
            has_dictionary: settings.dictionary_bytes > 0,
            settings,
            dictionary: Dictionary::default(),
            indices: Vec::new(),
            plain: Vec::new(),
            known: None,
            numbers: Vec::new(),
        }
    }

    fn push_all<'a>(&mut self, nulls: Option<&NullBuffer>, rows: usize, value: impl Fn(usize) -> &'a [u8]) {
        let mut push = |row| {
            if self.has_dictionary {
                self.indices.push(self.dictionary.number(value(row)));
            } else {
                plain(value(row), &mut self.plain);
            }
        };
        match nulls {
            None => (0..rows).for_each(&mut push),
            Some(nulls) => nulls.valid_indices().for_each(&mut push),
        }
    }

    fn push_keys(&mut self, nulls: Option<&NullBuffer>, keys: &[i32], values: &StringArray) {
        if !self.has_dictionary {
            let value = |row: usize| values.value(keys[row] as usize).as_bytes();
            return self.push_all(nulls, keys.len(), value);
        }
        if !self.known.as_ref().is_some_and(|known| extends(values, known)) {
            self.numbers.clear();
        }
        self.numbers.resize(values.len(), UNKNOWN);
        self.known = Some(values.clone());
        let Self { dictionary, indices, numbers, .. } = self;
        let mut number = |key: i32| {
            let number = &mut numbers[key as usize];
            if *number == UNKNOWN {
                *number = dictionary.number(values.value(key as usize).as_bytes());
            }
            *number
        };
        match nulls {
            None => indices.extend(keys.iter().map(|&key| number(key))),
            Some(nulls) => indices.extend(nulls.valid_indices().map(|row| number(keys[row]))),
        }
    }
}

/// Does `values` begin with all of `known`?
fn extends(values: &StringArray, known: &StringArray) -> bool {
    let (offsets, before) = (values.value_offsets(), known.value_offsets());
    if values.len() < known.len() || offsets[..before.len()] != *before {
        return false;
    }
    let bytes = before[0] as usize..before[before.len() - 1] as usize;
    values.values().as_ptr() == known.values().as_ptr()
        || values.values()[bytes.clone()] == known.values()[bytes]
}

impl Values for Bytes {
    fn push(&mut self, array: &dyn Array) -> Result<()> {
        let nulls = array.nulls().filter(|nulls| nulls.null_count() > 0);
        match array.data_type() {
            DataType::Utf8 => {
                let texts = array.as_string::<i32>();
                self.push_all(nulls, array.len(), |row| texts.value(row).as_bytes());
            }
            DataType::Binary => {
                let bytes = array.as_binary::<i32>();
                self.push_all(nulls, array.len(), |row| bytes.value(row));
            }
            other => {
                let array = array.as_dictionary_opt::<Int32Type>();
                let values = array.and_then(|array| Some((array, array.values().as_string_opt::<i32>()?)));
                let (array, texts) =
                    values.with_context(|| format!("an array of {other} is not one of texts"))?;
                self.push_keys(nulls, array.keys().values(), texts);
            }
        }
        Ok(())
    }

    fn is_page_full(&self) -> bool {
        self.plain.len() >= self.settings.page_bytes
            || (self.has_dictionary && self.dictionary.page.len() > self.settings.dictionary_bytes)
    }

    fn finish_page(&mut self, out: &mut Vec<u8>) -> Encoding {
        if !self.has_dictionary {
            out.append(&mut self.plain);
            return Encoding::PLAIN;
        }
        indices_page(&mut self.indices, self.dictionary.table.len(), out);
        self.has_dictionary = self.dictionary.page.len() <= self.settings.dictionary_bytes;
        Encoding::RLE_DICTIONARY
    }

    fn finish_dictionary(&mut self, out: &mut Vec<u8>) -> Option<usize> {
        if self.settings.dictionary_bytes == 0 {
            return None;
        }
        let Dictionary { table, page, ends } = &mut self.dictionary;
        let distinct = table.len();
        out.append(page);
        table.clear();
        ends.clear();
        self.numbers.fill(UNKNOWN);
        self.has_dictionary = true;
        Some(distinct)
    }

    fn finish_statistics(&mut self, nulls: u64) -> Option<Statistics> {
        // Ranges of text would cost comparisons and nearly always span everything.
        Some(Statistics::ByteArray(ValueStatistics::<ByteArray>::new(None, None, None, Some(nulls), false)))
    }
}
