//! Writes batches in the format that was asked for, as they arrive, to standard output or to a file.

mod columnar;
mod csv;
mod destination;
mod json;
mod markdown;
mod shape;
mod table;

pub use destination::{Destination, remove_unfinished};
pub use shape::Shape;

use std::collections::HashSet;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};

use anyhow::{Result, bail, ensure};
use arrow_array::RecordBatch;
use clap::ValueEnum;

/// How rows are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Columns for people; addresses in hexadecimal, control characters escaped. Whole, but on a terminal text that
    /// does not fit is cut and ends with `…`.
    #[default]
    Table,
    /// Comma-separated, with a header line; numbers in decimal. NULL is nothing, empty text is `""`.
    Csv,
    /// One JSON array of objects; NULL values are left out. Addresses and identifiers of 64 bits are strings, because many
    /// readers change numbers beyond 2^53.
    Json,
    /// One JSON object per line, with the same values.
    Ndjson,
    /// A table for Markdown.
    Markdown,
    /// A Parquet file, with the docs and units of the columns.
    Parquet,
    /// An Arrow IPC stream, with the docs and units of the columns.
    Arrow,
}

impl Format {
    /// Is it read by people, so that remarks belong below the rows.
    pub fn is_for_people(self) -> bool {
        self == Self::Table
    }

    /// Is it not text.
    pub fn is_binary(self) -> bool {
        matches!(self, Self::Parquet | Self::Arrow)
    }

    /// The format that the ending of a file's name says.
    ///
    /// Fails if it says none.
    pub fn of_file(path: &Path) -> Result<Self> {
        let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
        Ok(match ending.to_ascii_lowercase().as_str() {
            "txt" => Self::Table,
            "csv" => Self::Csv,
            "json" => Self::Json,
            "ndjson" | "jsonl" => Self::Ndjson,
            "md" => Self::Markdown,
            "parquet" => Self::Parquet,
            "arrow" | "arrows" => Self::Arrow,
            _ => bail!(
                "{}: the name does not say in which format: end it with .csv, .json, .ndjson, .md, .parquet, .arrow or \
                 .txt, or give --format",
                path.display()
            ),
        })
    }

    fn has_names(self) -> bool {
        matches!(self, Self::Json | Self::Ndjson | Self::Parquet | Self::Arrow)
    }
}

/// Where rows go and how.
#[derive(Clone, Debug, Default)]
pub struct Target {
    /// How they are written.
    pub format: Format,
    /// The file they go to; `None` is stdout.
    pub file: Option<PathBuf>,
}

impl Target {
    /// Rows in `format` to `file`; the ending of its name chooses the format if none is given.
    ///
    /// Fails if neither says a format, or a format that is no text would go to a terminal.
    pub fn new(format: Option<Format>, file: Option<PathBuf>) -> Result<Self> {
        let format = match (format, &file) {
            (Some(format), _) => format,
            (None, Some(path)) => Format::of_file(path)?,
            (None, None) => Format::default(),
        };
        ensure!(
            file.is_some() || !format.is_binary() || !io::stdout().is_terminal(),
            "rows in this format are not for a terminal: write them to a file with -o FILE, or into a pipe"
        );
        Ok(Self { format, file })
    }

    /// Remarks stand below the rows, and not beside them on stderr.
    pub fn has_remarks(&self) -> bool {
        self.format.is_for_people() && self.file.is_none()
    }

    /// Do the rows appear on a terminal.
    pub fn is_terminal(&self) -> bool {
        self.file.is_none() && io::stdout().is_terminal()
    }

    /// A writer of rows of `shape` to `out`.
    ///
    /// Fails if two columns have one name, and the format finds values by the name of their column.
    pub fn writer<'a>(&self, shape: Shape, out: impl Write + Send + 'a) -> Result<Box<dyn Rows + 'a>> {
        if self.format.has_names() {
            let mut names = HashSet::new();
            if let Some(field) = shape.schema.fields().iter().find(|field| !names.insert(field.name())) {
                bail!("two columns are called '{}': give one of them another name with AS", field.name());
            }
        }
        Ok(match self.format {
            Format::Table => {
                let size = self.is_terminal().then(terminal_size::terminal_size).flatten();
                Box::new(table::TableWriter::new(shape, out, size.map(|(width, _)| usize::from(width.0))))
            }
            Format::Csv => Box::new(csv::CsvWriter::new(shape, out)),
            Format::Json => Box::new(json::JsonWriter::new(shape, out)),
            Format::Ndjson => Box::new(json::NdjsonWriter::new(shape, out)),
            Format::Markdown => Box::new(markdown::MarkdownWriter::new(shape, out)),
            Format::Parquet => Box::new(columnar::ParquetWriter::new(shape, out)?),
            Format::Arrow => Box::new(columnar::IpcWriter::new(shape, out)?),
        })
    }
}

/// Writes the rows of one answer.
pub trait Rows {
    /// Write a batch.
    fn write(&mut self, batch: &RecordBatch) -> Result<()>;
    /// Write what must follow the last row.
    fn finish(self: Box<Self>) -> Result<()>;
}

/// Was `error` a pipe that the reader closed: then there is nothing wrong.
pub fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        let io = cause.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe);
        io || cause.to_string().contains("Broken pipe")
    })
}
