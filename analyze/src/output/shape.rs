//! The columns of an answer: their titles, and how their values are written in each format.

use std::sync::Arc;

use anyhow::Result;
use arrow_array::cast::AsArray;
use arrow_array::types::UInt64Type;
use arrow_array::{Array, ArrayRef, ListArray, RecordBatch, StringArray};
use arrow_cast::cast;
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use schemas::column::Notation;

/// The columns of an answer.
#[derive(Clone, Debug)]
pub struct Shape {
    /// With the titles that are shown.
    pub schema: SchemaRef,
    /// How the numbers of each column are written.
    pub notations: Vec<Notation>,
}

impl Shape {
    /// With the types of the rows that come: planning may make other numbers of them than the query's plan says.
    pub fn typed_as(self, rows: &Schema) -> Self {
        let fields = self.schema.fields().iter().zip(rows.fields());
        let fields: Vec<Field> = fields
            .map(|(field, row)| field.as_ref().clone().with_data_type(row.data_type().clone()))
            .collect();
        let schema = Arc::new(Schema::new_with_metadata(fields, self.schema.metadata().clone()));
        Self { schema, ..self }
    }

    /// `batch` as JSON has it: identifiers and addresses of 64 bits are text.
    pub fn for_json(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        self.convert(batch, |notation, array| match is_text(notation, array.data_type()) {
            true => written(notation, array),
            false => Ok(array.clone()),
        })
    }

    /// `batch` as CSV has it: numbers in decimal, lists as text.
    pub fn for_csv(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        self.convert(batch, |notation, array| match array.data_type() {
            DataType::List(_) => {
                let values = listed(notation, array)?;
                Ok(Arc::new(values.into_iter().collect::<StringArray>()))
            }
            _ => Ok(array.clone()),
        })
    }

    fn convert(
        &self,
        batch: &RecordBatch,
        of: impl Fn(Notation, &ArrayRef) -> Result<ArrayRef>,
    ) -> Result<RecordBatch> {
        let columns = self.notations.iter().zip(batch.columns());
        let columns: Vec<ArrayRef> =
            columns.map(|(notation, array)| of(*notation, array)).collect::<Result<_>>()?;
        let fields = self.schema.fields().iter().zip(&columns);
        let fields: Vec<Field> =
            fields.map(|(field, array)| Field::new(field.name(), array.data_type().clone(), true)).collect();
        let options = arrow_array::RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        Ok(RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options)?)
    }
}

/// Is it text in JSON, or a list of texts?
fn is_text(notation: Notation, ty: &DataType) -> bool {
    match ty {
        DataType::List(item) => is_text(notation, item.data_type()),
        // Sums of an address and a number.
        DataType::Decimal128(_, 0) => notation != Notation::Amount,
        other => notation.is_text_in_json(other),
    }
}

/// The values as text, or the lists as lists of texts.
fn written(notation: Notation, array: &ArrayRef) -> Result<ArrayRef> {
    if let Some(list) = array.as_list_opt::<i32>() {
        let values = written(notation, list.values())?;
        let item = Arc::new(Field::new("item", values.data_type().clone(), true));
        return Ok(Arc::new(ListArray::try_new(
            item,
            list.offsets().clone(),
            values,
            list.nulls().cloned(),
        )?));
    }
    Ok(Arc::new(numbers(notation, array.as_ref())?.into_iter().collect::<StringArray>()))
}

/// Whole numbers in their notation; `None` is NULL.
pub fn numbers(notation: Notation, array: &dyn Array) -> Result<Vec<Option<String>>> {
    let decimal = cast(array, &DataType::Utf8)?;
    let decimal = decimal.as_string::<i32>().iter().map(|text| text.map(str::to_owned));
    if notation != Notation::Hexadecimal {
        return Ok(decimal.collect());
    }
    // What is negative stays as it is.
    let unsigned = cast(array, &DataType::UInt64)?;
    let unsigned = unsigned.as_primitive::<UInt64Type>().iter();
    Ok(decimal.zip(unsigned).map(|(text, number)| number.map(|n| format!("0x{n:x}")).or(text)).collect())
}

/// Lists of whole numbers as text, `[0x1f, 0x20]`.
pub fn listed(notation: Notation, array: &dyn Array) -> Result<Vec<Option<String>>> {
    let list = array.as_list::<i32>();
    let values = match list.values().data_type() {
        ty if ty.is_integer() => numbers(notation, list.values())?,
        _ => {
            let texts = cast(list.values(), &DataType::Utf8)?;
            texts.as_string::<i32>().iter().map(|text| text.map(str::to_owned)).collect()
        }
    };
    let text = |row: usize| {
        let range = list.value_offsets()[row] as usize..list.value_offsets()[row + 1] as usize;
        let items: Vec<&str> = values[range].iter().map(|v| v.as_deref().unwrap_or("NULL")).collect();
        format!("[{}]", items.join(", "))
    };
    Ok((0..list.len()).map(|row| list.is_valid(row).then(|| text(row))).collect())
}
