//! Writes batches as JSON: one array of objects, or an object per line.

use std::io::Write;

use anyhow::Result;
use arrow_array::RecordBatch;
use arrow_json::{ArrayWriter, LineDelimitedWriter};

use super::Rows;
use super::shape::Shape;

/// See [`super::Format::Json`].
pub struct JsonWriter<W: Write> {
    writer: ArrayWriter<W>,
    shape: Shape,
}

impl<W: Write> JsonWriter<W> {
    /// Rows of `shape` to `out`.
    pub fn new(shape: Shape, out: W) -> Self {
        Self { writer: ArrayWriter::new(out), shape }
    }
}

impl<W: Write> Rows for JsonWriter<W> {
    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        Ok(self.writer.write(&self.shape.for_json(batch)?)?)
    }

    fn finish(mut self: Box<Self>) -> Result<()> {
        self.writer.finish()?;
        let mut out = self.writer.into_inner();
        out.write_all(b"\n")?;
        Ok(out.flush()?)
    }
}

/// See [`super::Format::Ndjson`].
pub struct NdjsonWriter<W: Write> {
    writer: LineDelimitedWriter<W>,
    shape: Shape,
}

impl<W: Write> NdjsonWriter<W> {
    /// Rows of `shape` to `out`.
    pub fn new(shape: Shape, out: W) -> Self {
        Self { writer: LineDelimitedWriter::new(out), shape }
    }
}

impl<W: Write> Rows for NdjsonWriter<W> {
    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        Ok(self.writer.write(&self.shape.for_json(batch)?)?)
    }

    fn finish(mut self: Box<Self>) -> Result<()> {
        self.writer.finish()?;
        Ok(self.writer.into_inner().flush()?)
    }
}
