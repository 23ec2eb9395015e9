//! Writes batches as a Parquet file or an Arrow IPC stream. Docs, units and types of the columns travel along.

use std::io::Write;
use std::sync::Arc;

use anyhow::Result;
use arrow_array::RecordBatch;
use arrow_ipc::writer::StreamWriter;
use arrow_schema::{Field, Schema, SchemaRef};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use schemas::trace::{TABLE_KEY, table_json};

use super::Rows;
use super::shape::Shape;

/// The schema of `shape`. What a plan says of NULLs is not promised by every operator, so all columns may have some.
fn schema(shape: &Shape) -> SchemaRef {
    let fields = shape.schema.fields().iter();
    let fields: Vec<Field> = fields.map(|field| field.as_ref().clone().with_nullable(true)).collect();
    Arc::new(Schema::new_with_metadata(fields, shape.schema.metadata().clone()))
}

fn titled(schema: &SchemaRef, batch: &RecordBatch) -> Result<RecordBatch> {
    Ok(RecordBatch::try_new(schema.clone(), batch.columns().to_vec())?)
}

/// See [`super::Format::Parquet`].
pub struct ParquetWriter<W: Write + Send> {
    writer: ArrowWriter<W>,
    schema: SchemaRef,
}

impl<W: Write + Send> ParquetWriter<W> {
    /// Rows of `shape` to `out`.
    ///
    /// Fails if a column has a type that Parquet does not have.
    pub fn new(shape: Shape, out: W) -> Result<Self> {
        let schema = schema(&shape);
        let table = KeyValue::new(TABLE_KEY.to_owned(), table_json(&schema));
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::try_new(1)?))
            .set_key_value_metadata(Some(vec![table]))
            .build();
        Ok(Self { writer: ArrowWriter::try_new(out, schema.clone(), Some(properties))?, schema })
    }
}

impl<W: Write + Send> Rows for ParquetWriter<W> {
    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        Ok(self.writer.write(&titled(&self.schema, batch)?)?)
    }

    fn finish(mut self: Box<Self>) -> Result<()> {
        self.writer.finish()?;
        Ok(self.writer.inner_mut().flush()?)
    }
}

/// See [`super::Format::Arrow`].
pub struct IpcWriter<W: Write> {
    writer: StreamWriter<W>,
    schema: SchemaRef,
}

impl<W: Write> IpcWriter<W> {
    /// Rows of `shape` to `out`.
    ///
    /// Fails if `out` cannot be written.
    pub fn new(shape: Shape, out: W) -> Result<Self> {
        let schema = schema(&shape);
        Ok(Self { writer: StreamWriter::try_new(out, &schema)?, schema })
    }
}

impl<W: Write> Rows for IpcWriter<W> {
    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        Ok(self.writer.write(&titled(&self.schema, batch)?)?)
    }

    fn finish(mut self: Box<Self>) -> Result<()> {
        self.writer.finish()?;
        Ok(self.writer.get_mut().flush()?)
    }
}
