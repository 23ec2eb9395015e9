//! `percentile(x, share)` and `percentiles(x, share, ...)`: aggregates of SQL over [`Values`].

use std::fmt::Debug;
use std::sync::Arc;

use arrow_array::builder::BinaryBuilder;
use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int64Type, TimestampNanosecondType, UInt64Type};
use arrow_array::{
    Array, ArrayRef, BooleanArray, Float64Array, Int64Array, ListArray, TimestampNanosecondArray, UInt64Array,
};
use arrow_buffer::OffsetBuffer;
use arrow_cast::cast;
use arrow_schema::{DataType, Field, FieldRef, TimeUnit};
use datafusion::common::{Result, ScalarValue, plan_err};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, EmitTo, GroupsAccumulator, Signature, Volatility,
};
use datafusion::physical_expr::expressions::Literal;

use super::values::{Share, Values};

/// The aggregate of one share, or of several.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Percentile {
    is_list: bool,
    signature: Signature,
}

/// `percentile(x, share)`: the smallest value that is not exceeded by that share.
pub fn percentile() -> AggregateUDF {
    AggregateUDF::from(Percentile {
        is_list: false,
        signature: Signature::user_defined(Volatility::Immutable),
    })
}

/// `percentiles(x, share, ...)`: a list of them.
pub fn percentiles() -> AggregateUDF {
    AggregateUDF::from(Percentile {
        is_list: true,
        signature: Signature::user_defined(Volatility::Immutable),
    })
}

impl Percentile {
    fn shares(&self, args: &AccumulatorArgs) -> Result<Vec<Share>> {
        let share = |expr: &Arc<dyn datafusion::physical_expr::PhysicalExpr>| {
            let value = expr.downcast_ref::<Literal>().map(|literal| literal.value());
            match value.map(|value| value.cast_to(&DataType::Float64)) {
                Some(Ok(ScalarValue::Float64(Some(share)))) if Share::new(share).is_some() => {
                    Share::new(share)
                }
                _ => None,
            }
        };
        match args.exprs.iter().skip(1).map(share).collect() {
            Some(shares) => Ok(shares),
            None => plan_err!(
                "{}: a share is a number from 0 to 1, the same for all rows: {0}(gap_ns, 0.99)",
                self.name()
            ),
        }
    }
}

impl AggregateUDFImpl for Percentile {
    fn name(&self) -> &str {
        if self.is_list { "percentiles" } else { "percentile" }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        let wrong = || plan_err!("write {0}(x, 0.99), where x is a number or a time", self.name());
        let [of, shares @ ..] = types else { return wrong() };
        if shares.is_empty() || (!self.is_list && shares.len() > 1) {
            return wrong();
        }
        let of = match of {
            DataType::UInt64 => DataType::UInt64,
            ty if ty.is_integer() || ty.is_null() => DataType::Int64,
            ty if ty.is_floating() || matches!(ty, DataType::Decimal128(..)) => DataType::Float64,
            ty @ DataType::Timestamp(TimeUnit::Nanosecond, _) => ty.clone(),
            _ => return wrong(),
        };
        Ok(std::iter::once(of).chain(shares.iter().map(|_| DataType::Float64)).collect())
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        let of = types[0].clone();
        Ok(if self.is_list { DataType::List(Arc::new(Field::new_list_field(of, true))) } else { of })
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        Ok(vec![Arc::new(Field::new(format!("{}[values]", args.name), DataType::Binary, true))])
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        let shares = self.shares(&args)?;
        let ty = args.exprs[0].data_type(args.schema)?;
        Ok(Box::new(One { values: Values::default(), shares, ty, is_list: self.is_list }))
    }

    fn groups_accumulator_supported(&self, _: AccumulatorArgs) -> bool {
        true
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn GroupsAccumulator>> {
        let shares = self.shares(&args)?;
        let ty = args.exprs[0].data_type(args.schema)?;
        Ok(Box::new(Groups { groups: Vec::new(), bytes: 0, shares, ty, is_list: self.is_list }))
    }
}

/// Values whose order is that of whole numbers.
fn ordered(array: &ArrayRef) -> Result<Int64Array> {
    Ok(match array.data_type() {
        DataType::UInt64 => {
            array.as_primitive::<UInt64Type>().unary(|value| (value ^ (1 << 63)).cast_signed())
        }
        DataType::Float64 => array.as_primitive::<Float64Type>().unary(of_float),
        DataType::Timestamp(..) => {
            array.as_primitive::<TimestampNanosecondType>().reinterpret_cast::<Int64Type>()
        }
        _ => cast(array, &DataType::Int64)?.as_primitive::<Int64Type>().clone(),
    })
}

/// Negative numbers have their bits turned round; it is its own reverse.
fn of_float(value: f64) -> i64 {
    let bits = value.to_bits().cast_signed();
    bits ^ (((bits >> 63).cast_unsigned()) >> 1).cast_signed()
}

fn to_float(value: i64) -> f64 {
    f64::from_bits((value ^ (((value >> 63).cast_unsigned()) >> 1).cast_signed()).cast_unsigned())
}

/// Those values as a column of that type.
fn restored(values: impl Iterator<Item = Option<i64>>, ty: &DataType) -> ArrayRef {
    match ty {
        DataType::UInt64 => {
            let number = |value: i64| value.cast_unsigned() ^ (1 << 63);
            Arc::new(values.map(|value| value.map(number)).collect::<UInt64Array>())
        }
        DataType::Float64 => Arc::new(values.map(|value| value.map(to_float)).collect::<Float64Array>()),
        DataType::Timestamp(_, zone) => {
            Arc::new(values.collect::<TimestampNanosecondArray>().with_timezone_opt(zone.clone()))
        }
        _ => Arc::new(values.collect::<Int64Array>()),
    }
}

/// The answers of groups: a value each, or a list.
fn answers(groups: &mut [Values], shares: &[Share], ty: &DataType, is_list: bool) -> Result<ArrayRef> {
    let found: Vec<Option<i64>> = groups.iter_mut().flat_map(|values| values.at(shares)).collect();
    let values = restored(found.into_iter(), ty);
    if !is_list {
        return Ok(values);
    }
    let lengths = std::iter::repeat_n(shares.len(), groups.len());
    let field = Arc::new(Field::new_list_field(ty.clone(), true));
    Ok(Arc::new(ListArray::try_new(field, OffsetBuffer::from_lengths(lengths), values, None)?))
}

/// All rows are one group.
#[derive(Debug)]
struct One {
    values: Values,
    shares: Vec<Share>,
    ty: DataType,
    is_list: bool,
}

impl Accumulator for One {
    fn update_batch(&mut self, columns: &[ArrayRef]) -> Result<()> {
        ordered(&columns[0])?.iter().flatten().for_each(|value| self.values.push(value));
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let answer = answers(std::slice::from_mut(&mut self.values), &self.shares, &self.ty, self.is_list)?;
        ScalarValue::try_from_array(&answer, 0)
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.values.bytes()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![ScalarValue::Binary(Some(self.values.encoded()))])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        states[0].as_binary::<i32>().iter().flatten().for_each(|bytes| self.values.add_encoded(bytes));
        Ok(())
    }
}

/// Many groups.
#[derive(Debug)]
struct Groups {
    groups: Vec<Values>,
    bytes: usize,
    shares: Vec<Share>,
    ty: DataType,
    is_list: bool,
}

impl Groups {
    fn emit(&mut self, to: EmitTo) -> Vec<Values> {
        let groups = to.take_needed(&mut self.groups);
        self.bytes -= groups.iter().map(Values::bytes).sum::<usize>().min(self.bytes);
        groups
    }

    /// Change a group, and count what it needs.
    fn change(&mut self, group: usize, change: impl FnOnce(&mut Values)) {
        let values = &mut self.groups[group];
        let before = values.bytes();
        change(values);
        self.bytes = self.bytes + values.bytes() - before;
    }
}

impl GroupsAccumulator for Groups {
    fn update_batch(
        &mut self,
        columns: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        count: usize,
    ) -> Result<()> {
        self.groups.resize_with(count, Values::default);
        let values = ordered(&columns[0])?;
        let is_wanted = |row: usize| {
            values.is_valid(row) && filter.is_none_or(|filter| filter.is_valid(row) && filter.value(row))
        };
        for row in (0..values.len()).filter(|row| is_wanted(*row)) {
            self.change(groups[row], |group| group.push(values.value(row)));
        }
        Ok(())
    }

    fn evaluate(&mut self, to: EmitTo) -> Result<ArrayRef> {
        answers(&mut self.emit(to), &self.shares, &self.ty, self.is_list)
    }

    fn state(&mut self, to: EmitTo) -> Result<Vec<ArrayRef>> {
        let mut states = BinaryBuilder::new();
        for values in &mut self.emit(to) {
            states.append_value(values.encoded());
        }
        Ok(vec![Arc::new(states.finish())])
    }

    fn merge_batch(&mut self, states: &[ArrayRef], groups: &[usize], count: usize) -> Result<()> {
        self.groups.resize_with(count, Values::default);
        for (bytes, group) in states[0].as_binary::<i32>().iter().zip(groups) {
            if let Some(bytes) = bytes {
                self.change(*group, |values| values.add_encoded(bytes));
            }
        }
        Ok(())
    }

    fn convert_to_state(&self, columns: &[ArrayRef], filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        let values = ordered(&columns[0])?;
        let mut states = BinaryBuilder::new();
        for row in 0..values.len() {
            let mut one = Values::default();
            if values.is_valid(row) && filter.is_none_or(|filter| filter.is_valid(row) && filter.value(row)) {
                one.push(values.value(row));
            }
            states.append_value(one.encoded());
        }
        Ok(vec![Arc::new(states.finish())])
    }

    fn size(&self) -> usize {
        self.bytes + self.groups.capacity() * size_of::<Values>()
    }
}
