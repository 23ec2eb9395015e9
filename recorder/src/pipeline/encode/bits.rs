//! Boolean arrays in, plain pages of a bit per value out.

use anyhow::{Context, Result};
use arrow_array::{Array, BooleanArray};
use arrow_buffer::BooleanBufferBuilder;
use parquet::basic::Encoding;
use parquet::file::statistics::{Statistics, ValueStatistics};

use super::values::{Settings, Values};

/// Encodes one column of booleans.
pub struct Bits {
    settings: Settings,
    page: BooleanBufferBuilder,
    has: [bool; 2],
}

impl Bits {
    /// Nothing yet.
    pub fn new(settings: Settings) -> Self {
        Self { settings, page: BooleanBufferBuilder::new(0), has: [false; 2] }
    }
}

impl Values for Bits {
    fn push(&mut self, array: &dyn Array) -> Result<()> {
        let array: &BooleanArray = array.as_any().downcast_ref().context("not an array of booleans")?;
        let from = self.page.len();
        match array.nulls().filter(|nulls| nulls.null_count() > 0) {
            None => self.page.append_buffer(array.values()),
            Some(nulls) => nulls.valid_indices().for_each(|row| self.page.append(array.value(row))),
        }
        let ones = array.true_count();
        let values = self.page.len() - from;
        self.has[0] |= ones < values;
        self.has[1] |= ones > 0;
        Ok(())
    }

    fn is_page_full(&self) -> bool {
        false
    }

    fn finish_page(&mut self, out: &mut Vec<u8>) -> Encoding {
        let bytes = self.page.len().div_ceil(8);
        out.extend_from_slice(&self.page.as_slice()[..bytes]);
        self.page.truncate(0);
        Encoding::PLAIN
    }

    fn finish_statistics(&mut self, nulls: u64) -> Option<Statistics> {
        let [has_false, has_true] = std::mem::take(&mut self.has);
        let (min, max) = (has_false || has_true).then_some((!has_false, has_true)).unzip();
        let statistics = || Statistics::Boolean(ValueStatistics::new(min, max, None, Some(nulls), false));
        self.settings.has_statistics.then(statistics)
    }
}
