//! Arrays of one column in, pages and in the end the chunk of a row group out.

use anyhow::{Context, Result};
use arrow_array::{Array, ArrayRef};
use arrow_schema::Field;
use parquet::column::writer::ColumnCloseResult;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnDescPtr;

use super::chunk::{Chunk, DataPage};
use super::levels::Levels;
use super::values::{Values, values_of};
use super::zip::Zip;

/// Encodes one column, row group after row group.
pub struct Column {
    levels: Levels,
    values: Box<dyn Values>,
    /// Rows of a page at most; of lists, values.
    page_entries_limit: usize,
    body: Vec<u8>,
    chunk: Chunk,
}

impl Column {
    /// Nothing yet. Fails for a type that no table has.
    pub fn new(field: &Field, descr: ColumnDescPtr, properties: &WriterProperties) -> Result<Self> {
        let path = descr.path();
        let has_page_ranges = properties.statistics_enabled(path) == EnabledStatistics::Page;
        let (levels, values) = Levels::new(field)?;
        Ok(Self {
            levels,
            values: values_of(values, path, properties)?,
            page_entries_limit: properties.data_page_row_count_limit(),
            body: Vec::new(),
            chunk: Chunk::new(descr.clone(), properties.compression(path), has_page_ranges),
        })
    }

    /// Add rows.
    pub fn push(&mut self, array: &ArrayRef, zip: &mut Zip) -> Result<()> {
        let mut from = 0;
        while from < array.len() {
            let rows = self.levels.room(array, from, self.page_entries_limit);
            if rows == array.len() {
                self.push_part(array)?;
            } else if rows > 0 {
                self.push_part(&array.slice(from, rows))?;
            }
            from += rows;
            let is_full = rows == 0 || self.levels.entries >= self.page_entries_limit;
            if is_full || self.values.is_page_full() {
                self.finish_page(zip)?;
            }
        }
        Ok(())
    }

    fn push_part(&mut self, array: &ArrayRef) -> Result<()> {
        self.values.push(&self.levels.push(array)?)
    }

    fn finish_page(&mut self, zip: &mut Zip) -> Result<()> {
        let Self { levels, values, body, .. } = self;
        let Levels { rows, entries, absent, .. } = *levels;
        body.clear();
        let (repetition_bytes, definition_bytes) = levels.finish_page(body);
        let encoding = values.finish_page(body);
        let range = values.page_range();
        let page =
            DataPage { rows, entries, absent, body, repetition_bytes, definition_bytes, encoding, range };
        self.chunk.page(page, zip).context("cannot encode a page")
    }

    /// The chunk of the rows since the last one, and its bytes.
    pub fn finish_chunk(&mut self, zip: &mut Zip) -> Result<(Vec<u8>, ColumnCloseResult)> {
        if self.levels.rows > 0 {
            self.finish_page(zip)?;
        }
        self.body.clear();
        let distinct = self.values.finish_dictionary(&mut self.body);
        let statistics = self.values.finish_statistics(self.chunk.absent());
        let dictionary = distinct.map(|distinct| (distinct, &self.body[..]));
        self.chunk.finish(dictionary, statistics, zip).context("cannot encode a column")
    }
}
