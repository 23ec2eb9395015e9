//! Rows of either engine in the words of golden files: NULL, times with nine digits, floats as Rust writes them.

use arrow_array::{Array, RecordBatch};
use arrow_cast::display::{ArrayFormatter, FormatOptions};
use arrow_schema::{DataType, Schema};
use sqllogictest::{DBOutput, DefaultColumnType};

/// A value as it stands in a golden file.
pub fn cell(text: Option<&str>) -> String {
    match text {
        None => "NULL".to_owned(),
        Some("") => "(empty)".to_owned(),
        Some(text) => text.to_owned(),
    }
}

/// Rows with the type letter of each column.
pub fn typed(types: &[char], rows: Vec<Vec<String>>) -> DBOutput<DefaultColumnType> {
    let types = types
        .iter()
        .map(|t| match t {
            'I' => DefaultColumnType::Integer,
            'R' => DefaultColumnType::FloatingPoint,
            _ => DefaultColumnType::Text,
        })
        .collect();
    DBOutput::Rows { types, rows }
}

/// The rows of `batches`.
pub fn output(schema: &Schema, batches: &[RecordBatch]) -> anyhow::Result<DBOutput<DefaultColumnType>> {
    let letter = |ty: &DataType| match ty {
        t if t.is_integer() => 'I',
        t if t.is_floating() || matches!(t, DataType::Decimal128(..)) => 'R',
        _ => 'T',
    };
    let types: Vec<char> = schema.fields().iter().map(|f| letter(f.data_type())).collect();
    let options = FormatOptions::new().with_timestamp_tz_format(Some("%Y-%m-%dT%H:%M:%S%.9fZ"));
    let mut rows = Vec::new();
    for batch in batches {
        let formatters: Vec<ArrayFormatter> = batch
            .columns()
            .iter()
            .map(|c| ArrayFormatter::try_new(c.as_ref(), &options))
            .collect::<Result<_, _>>()?;
        for row in 0..batch.num_rows() {
            let value = |(column, f): (&std::sync::Arc<dyn Array>, &ArrayFormatter)| {
                let text = f.value(row).to_string();
                cell((!column.is_null(row)).then_some(text.as_str()))
            };
            rows.push(batch.columns().iter().zip(&formatters).map(value).collect());
        }
    }
    Ok(typed(&types, rows))
}
