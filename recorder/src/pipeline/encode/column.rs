//! Arrays of one column in, pages and in the end the chunk of a row group out.

use anyhow::{Context, Result};
use arrow_array::{Array, ArrayRef};
use arrow_buffer::BooleanBufferBuilder;
use arrow_schema::Field;
use parquet::column::writer::ColumnCloseResult;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::{ColumnDescPtr, ColumnPath};

use super::chunk::{Chunk, DataPage};
use super::rle;
use super::values::{Values, values_of};
use super::zip::Zip;

/// Encodes one column, row group after row group.
pub struct Column {
    values: Box<dyn Values>,
    page_rows_limit: usize,
    has_nulls: bool,
    rows: usize,
    nulls: usize,
    /// Of the page's rows; empty as long as none is NULL.
    validity: BooleanBufferBuilder,
    body: Vec<u8>,
    chunk: Chunk,
}

impl Column {
    /// Nothing yet. Fails for a type that events do not have.
    pub fn new(field: &Field, descr: ColumnDescPtr, properties: &WriterProperties) -> Result<Self> {
        let path = ColumnPath::from(field.name().as_str());
        let has_page_ranges = properties.statistics_enabled(&path) == EnabledStatistics::Page;
        Ok(Self {
            values: values_of(field, properties)?,
            page_rows_limit: properties.data_page_row_count_limit(),
            has_nulls: field.is_nullable(),
            rows: 0,
            nulls: 0,
            validity: BooleanBufferBuilder::new(0),
            body: Vec::new(),
            chunk: Chunk::new(descr, properties.compression(&path), has_page_ranges),
        })
    }

    /// Add rows.
    pub fn push(&mut self, array: &ArrayRef, zip: &mut Zip) -> Result<()> {
        let mut from = 0;
        while from < array.len() {
            let rows = (array.len() - from).min(self.page_rows_limit - self.rows);
            if rows == array.len() {
                self.push_part(array)?;
            } else {
                self.push_part(&array.slice(from, rows))?;
            }
            from += rows;
            if self.rows == self.page_rows_limit || self.values.is_page_full() {
                self.finish_page(zip)?;
            }
        }
        Ok(())
    }

    fn push_part(&mut self, array: &ArrayRef) -> Result<()> {
        self.values.push(array)?;
        if let Some(nulls) = array.nulls().filter(|nulls| nulls.null_count() > 0) {
            if self.nulls == 0 {
                self.validity.append_n(self.rows, true);
            }
            self.nulls += nulls.null_count();
            self.validity.append_buffer(nulls.inner());
        } else if self.nulls > 0 {
            self.validity.append_n(array.len(), true);
        }
        self.rows += array.len();
        Ok(())
    }

    fn finish_page(&mut self, zip: &mut Zip) -> Result<()> {
        let Self { values, body, validity, .. } = self;
        body.clear();
        if self.has_nulls && self.nulls == 0 {
            rle::encode_ones(self.rows, body);
        } else if self.has_nulls {
            rle::encode_bits(validity.as_slice(), self.rows, body);
        }
        let levels_bytes = body.len();
        let encoding = values.finish_page(body);
        let page = DataPage {
            rows: self.rows,
            nulls: self.nulls,
            body,
            levels_bytes,
            encoding,
            range: values.page_range(),
        };
        self.chunk.page(page, zip).context("cannot encode a page")?;
        validity.truncate(0);
        self.rows = 0;
        self.nulls = 0;
        Ok(())
    }

    /// The chunk of the rows since the last one, and its bytes.
    pub fn finish_chunk(&mut self, zip: &mut Zip) -> Result<(Vec<u8>, ColumnCloseResult)> {
        if self.rows > 0 {
            self.finish_page(zip)?;
        }
        self.body.clear();
        let distinct = self.values.finish_dictionary(&mut self.body);
        let statistics = self.values.finish_statistics(self.chunk.nulls());
        let dictionary = distinct.map(|distinct| (distinct, &self.body[..]));
        self.chunk.finish(dictionary, statistics, zip).context("cannot encode a column")
    }
}
