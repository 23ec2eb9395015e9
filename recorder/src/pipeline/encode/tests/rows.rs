//! A schema in, random rows of such a table out.

use std::sync::Arc;

use arrow_array::builder::{ListBuilder, StringDictionaryBuilder, UInt64Builder};
use arrow_array::types::{
    ArrowPrimitiveType, Int32Type, Int64Type, TimestampNanosecondType, UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{ArrayRef, BooleanArray, PrimitiveArray, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, SchemaRef};

use super::super::super::random::Random;

/// The most items of a list.
const LONGEST: u64 = 127;

/// Rows of `schema` that have at most `distinct` values in each column; a column `ts` rises from `start_ts` on.
pub fn random(schema: &SchemaRef, rows: usize, distinct: u64, start_ts: i64) -> RecordBatch {
    let mut random = Random(0x9e37_79b9_7f4a_7c15 ^ rows as u64 ^ start_ts.cast_unsigned() << 20);
    let columns = schema.fields().iter().map(|field| column(field, rows, distinct, start_ts, &mut random));
    RecordBatch::try_new(schema.clone(), columns.collect()).unwrap()
}

fn column(field: &Field, rows: usize, distinct: u64, start_ts: i64, random: &mut Random) -> ArrayRef {
    if field.name() == "ts" {
        let mut ts = start_ts;
        let rising: PrimitiveArray<TimestampNanosecondType> = (0..rows)
            .map(|_| {
                ts += random.below(3000).cast_signed();
                Some(ts)
            })
            .collect();
        return Arc::new(rising.with_timezone("UTC"));
    }
    let values: Vec<Option<u64>> = (0..rows)
        .map(|_| (!field.is_nullable() || random.below(5) > 0).then(|| random.below(distinct)))
        .collect();
    let text = |value: &u64| format!("name {value} \u{e9}");
    match field.data_type() {
        DataType::UInt16 => numbers::<UInt16Type>(&values, |value| value as u16),
        DataType::UInt32 => numbers::<UInt32Type>(&values, |value| value as u32),
        DataType::UInt64 => numbers::<UInt64Type>(&values, |value| value.wrapping_mul(0x1_0000_0001)),
        DataType::Int64 => numbers::<Int64Type>(&values, |value| value.cast_signed() - 3),
        DataType::Timestamp(..) => {
            let times = values.iter().map(|value| value.map(u64::cast_signed));
            Arc::new(times.collect::<PrimitiveArray<TimestampNanosecondType>>().with_timezone("UTC"))
        }
        DataType::Boolean => {
            Arc::new(values.iter().map(|value| value.map(|value| value % 3 == 0)).collect::<BooleanArray>())
        }
        DataType::Utf8 => {
            Arc::new(values.iter().map(|value| value.as_ref().map(text)).collect::<StringArray>())
        }
        DataType::Dictionary(..) => {
            let mut texts = StringDictionaryBuilder::<Int32Type>::new();
            values.iter().for_each(|value| texts.append_option(value.as_ref().map(text)));
            Arc::new(texts.finish())
        }
        DataType::List(item) => {
            let mut lists = ListBuilder::new(UInt64Builder::new()).with_field(item.clone());
            for _ in 0..rows {
                let items = random.below(LONGEST + 1) * random.below(2);
                (0..items).for_each(|_| lists.values().append_value(random.below(distinct)));
                lists.append(true);
            }
            Arc::new(lists.finish())
        }
        other => panic!("no rows of {other}"),
    }
}

fn numbers<T: ArrowPrimitiveType>(values: &[Option<u64>], number: impl Fn(u64) -> T::Native) -> ArrayRef {
    Arc::new(values.iter().map(|value| value.map(&number)).collect::<PrimitiveArray<T>>())
}
