//! Arrays of times and sequence numbers in, DELTA_BINARY_PACKED pages out.

use anyhow::Result;
use arrow_array::Array;
use arrow_array::types::ArrowPrimitiveType;
use parquet::basic::Encoding;
use parquet::file::statistics::Statistics;

use super::delta::Delta;
use super::numbers::{Number, dense, widen};
use super::values::{Settings, Values};

/// Encodes one column of 64-bit integers that mostly rise.
pub struct Rising<T: ArrowPrimitiveType> {
    settings: Settings,
    delta: Delta,
    page: Option<(T::Native, T::Native)>,
    chunk: Option<(T::Native, T::Native)>,
    scratch: Vec<T::Native>,
}

impl<T: ArrowPrimitiveType> Rising<T> {
    /// Nothing yet.
    pub fn new(settings: Settings) -> Self {
        Self { settings, delta: Delta::default(), page: None, chunk: None, scratch: Vec::new() }
    }
}

impl<T: ArrowPrimitiveType<Native: Number>> Values for Rising<T> {
    fn push(&mut self, array: &dyn Array) -> Result<()> {
        let values = dense::<T>(array, &mut self.scratch)?;
        self.delta.extend(values.iter().map(|value| value.key() as i64));
        self.page = widen(self.page, values);
        Ok(())
    }

    fn is_page_full(&self) -> bool {
        false
    }

    fn finish_page(&mut self, out: &mut Vec<u8>) -> Encoding {
        self.delta.finish(out);
        Encoding::DELTA_BINARY_PACKED
    }

    fn page_range(&mut self) -> Option<(Vec<u8>, Vec<u8>)> {
        let (min, max) = self.page.take()?;
        self.chunk = widen(self.chunk, &[min, max]);
        let [mut low, mut high] = [Vec::new(), Vec::new()];
        min.plain(&mut low);
        max.plain(&mut high);
        Some((low, high))
    }

    fn finish_statistics(&mut self, nulls: u64) -> Option<Statistics> {
        let range = self.chunk.take();
        self.settings.has_statistics.then(|| Number::statistics(range, nulls))
    }
}
