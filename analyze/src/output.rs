//! Batches go in, text in the format asked for comes out, as they arrive.

mod shape;
mod table;

pub use shape::Shape;

use std::io::{self, Write};

use anyhow::Result;
use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use clap::ValueEnum;

/// How rows are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Columns for people; addresses in hexadecimal, control characters escaped.
    #[default]
    Table,
    /// Comma-separated, with a header line; numbers in decimal.
    Csv,
    /// One JSON array of objects; NULL values are left out. Addresses and identifiers of 64 bits are strings, because many
    /// readers change numbers beyond 2^53.
    Json,
    /// One JSON object per line, with the same values.
    Ndjson,
}

impl Format {
    /// Is it read by people, so that notes belong on stdout.
    pub fn is_for_people(self) -> bool {
        self == Self::Table
    }
}

/// Writes the rows of one answer.
pub enum Writer<W: Write> {
    /// See [`Format::Table`].
    Table(table::TableWriter<W>),
    /// See [`Format::Csv`].
    Csv(Box<arrow_csv::Writer<W>>, Shape, Option<SchemaRef>),
    /// See [`Format::Json`].
    Json(arrow_json::ArrayWriter<W>, Shape),
    /// See [`Format::Ndjson`].
    Ndjson(arrow_json::LineDelimitedWriter<W>, Shape),
}

impl<W: Write> Writer<W> {
    /// Rows of `shape` are to be written to `out`.
    pub fn new(format: Format, shape: Shape, out: W) -> Self {
        match format {
            Format::Table => Self::Table(table::TableWriter::new(shape, out)),
            Format::Csv => {
                let writer = arrow_csv::WriterBuilder::new().with_header(true).build(out);
                let header = Some(shape.schema.clone());
                Self::Csv(Box::new(writer), shape, header)
            }
            Format::Json => Self::Json(arrow_json::ArrayWriter::new(out), shape),
            Format::Ndjson => Self::Ndjson(arrow_json::LineDelimitedWriter::new(out), shape),
        }
    }

    /// Write a batch.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        match self {
            Self::Table(writer) => writer.write(batch)?,
            Self::Csv(writer, shape, header) => {
                *header = None;
                writer.write(&shape.for_csv(batch)?)?;
            }
            Self::Json(writer, shape) => writer.write(&shape.for_json(batch)?)?,
            Self::Ndjson(writer, shape) => writer.write(&shape.for_json(batch)?)?,
        }
        Ok(())
    }

    /// Write what must follow the last row.
    pub fn finish(self) -> Result<()> {
        match self {
            Self::Table(writer) => writer.finish()?,
            Self::Csv(mut writer, shape, header) => {
                if let Some(schema) = header {
                    writer.write(&shape.for_csv(&RecordBatch::new_empty(schema))?)?;
                }
                writer.into_inner().flush()?;
            }
            Self::Json(mut writer, _) => {
                writer.finish()?;
                let mut out = writer.into_inner();
                out.write_all(b"\n")?;
                out.flush()?;
            }
            Self::Ndjson(mut writer, _) => {
                writer.finish()?;
                writer.into_inner().flush()?;
            }
        }
        Ok(())
    }
}

/// Was `error` a pipe that the reader closed: then there is nothing wrong.
pub fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        let io = cause.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe);
        io || cause.to_string().contains("Broken pipe")
    })
}
