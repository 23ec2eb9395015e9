//! Batches go in, text in the format asked for comes out, as they arrive.

mod table;

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
    /// Comma-separated, with a header line.
    Csv,
    /// One JSON array of objects; NULL values are left out.
    Json,
    /// One JSON object per line; NULL values are left out.
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
    Csv(Box<arrow_csv::Writer<W>>, Option<SchemaRef>),
    /// See [`Format::Json`].
    Json(arrow_json::ArrayWriter<W>),
    /// See [`Format::Ndjson`].
    Ndjson(arrow_json::LineDelimitedWriter<W>),
}

impl<W: Write> Writer<W> {
    /// Rows of `schema` are to be written to `out`.
    pub fn new(format: Format, schema: &SchemaRef, out: W) -> Self {
        match format {
            Format::Table => Self::Table(table::TableWriter::new(schema.clone(), out)),
            Format::Csv => {
                let writer = arrow_csv::WriterBuilder::new().with_header(true).build(out);
                Self::Csv(Box::new(writer), Some(schema.clone()))
            }
            Format::Json => Self::Json(arrow_json::ArrayWriter::new(out)),
            Format::Ndjson => Self::Ndjson(arrow_json::LineDelimitedWriter::new(out)),
        }
    }

    /// Write a batch.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        match self {
            Self::Table(writer) => writer.write(batch)?,
            Self::Csv(writer, header) => {
                *header = None;
                writer.write(batch)?;
            }
            Self::Json(writer) => writer.write(batch)?,
            Self::Ndjson(writer) => writer.write(batch)?,
        }
        Ok(())
    }

    /// Write what must follow the last row.
    pub fn finish(self) -> Result<()> {
        match self {
            Self::Table(writer) => writer.finish()?,
            Self::Csv(mut writer, header) => {
                if let Some(schema) = header {
                    writer.write(&RecordBatch::new_empty(schema))?;
                }
                writer.into_inner().flush()?;
            }
            Self::Json(mut writer) => {
                writer.finish()?;
                let mut out = writer.into_inner();
                out.write_all(b"\n")?;
                out.flush()?;
            }
            Self::Ndjson(mut writer) => {
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
