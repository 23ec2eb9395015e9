//! `log2_histogram(x)` and `linear_histogram(x, width)`: how many values lie in each interval, as text `from:count`.

use std::collections::BTreeMap;
use std::fmt::Write;

use arrow_array::ArrayRef;
use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_schema::{DataType, Field, FieldRef};
use datafusion::common::{Result, ScalarValue, plan_err};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, Signature, Volatility};
use datafusion::physical_expr::expressions::Literal;

use crate::functions::log2_floor_of;

/// More intervals than this are no histogram.
const MAX_INTERVALS: usize = 100_000;

#[derive(Debug, PartialEq, Eq, Hash)]
struct Histogram {
    is_linear: bool,
    signature: Signature,
}

/// `log2_histogram(x)`: text `e:n e:n ...`, n values from 2^e to 2^(e+1)-1; 0 holds what is smaller too.
pub fn log2_histogram() -> AggregateUDF {
    let signature = Signature::exact(vec![DataType::Int64], Volatility::Immutable);
    AggregateUDF::from(Histogram { is_linear: false, signature })
}

/// `linear_histogram(x, width)`: text `from:n from:n ...`, n values from `from` to `from + width - 1`.
pub fn linear_histogram() -> AggregateUDF {
    let signature = Signature::exact(vec![DataType::Int64, DataType::Int64], Volatility::Immutable);
    AggregateUDF::from(Histogram { is_linear: true, signature })
}

impl AggregateUDFImpl for Histogram {
    fn name(&self) -> &str {
        if self.is_linear { "linear_histogram" } else { "log2_histogram" }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        Ok(vec![Field::new(format!("{}[text]", args.name), DataType::Utf8, true).into()])
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        let width = match args.exprs.get(1) {
            None => None,
            Some(width) => match width.downcast_ref::<Literal>().map(|literal| literal.value()) {
                Some(ScalarValue::Int64(Some(width))) if *width > 0 => Some(*width),
                _ => {
                    return plan_err!(
                        "linear_histogram: the width is a whole number above 0: linear_histogram(x, 1000)"
                    );
                }
            },
        };
        Ok(Box::new(Counts { width, small: [0; 64], counts: BTreeMap::new() }))
    }
}

#[derive(Debug)]
struct Counts {
    /// `None`: powers of two.
    width: Option<i64>,
    /// By power of two.
    small: [u64; 64],
    counts: BTreeMap<i64, u64>,
}

impl Counts {
    fn add(&mut self, value: i64) {
        match self.width {
            None => self.small[log2_floor_of(value) as usize] += 1,
            Some(width) => {
                *self.counts.entry(value.div_euclid(width).saturating_mul(width)).or_default() += 1
            }
        }
    }

    fn text(&self) -> Option<String> {
        let small = self.small.iter().enumerate().filter(|(_, count)| **count > 0);
        let small = small.map(|(power, count)| (power as i64, *count));
        let mut text = String::new();
        for (from, count) in small.chain(self.counts.iter().map(|(from, count)| (*from, *count))) {
            let space = if text.is_empty() { "" } else { " " };
            // Writing into a string does not fail.
            let _ = write!(text, "{space}{from}:{count}");
        }
        (!text.is_empty()).then_some(text)
    }
}

impl Accumulator for Counts {
    fn update_batch(&mut self, columns: &[ArrayRef]) -> Result<()> {
        let values = columns[0].as_primitive::<Int64Type>();
        values.iter().flatten().for_each(|value| self.add(value));
        if self.counts.len() > MAX_INTERVALS {
            return plan_err!(
                "linear_histogram has more than {MAX_INTERVALS} intervals: give a larger width"
            );
        }
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(ScalarValue::Utf8(self.text()))
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.counts.len() * 48
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![ScalarValue::Utf8(self.text())])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let texts = states[0].as_string::<i32>();
        let parts = texts.iter().flatten().flat_map(|text| text.split(' '));
        for (from, count) in parts.filter_map(|part| part.split_once(':')) {
            let (Ok(from), Ok(count)) = (from.parse::<i64>(), count.parse::<u64>()) else { continue };
            match self.width {
                None => self.small[from as usize & 63] += count,
                Some(_) => *self.counts.entry(from).or_default() += count,
            }
        }
        Ok(())
    }
}
