//! Reads a CSV file of the user's own: its columns and their values.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Error, Result, anyhow};
use arrow_array::RecordBatch;
use arrow_array::builder::StringBuilder;
use arrow_schema::{Schema, SchemaRef};
use csv::{ErrorKind, Reader, ReaderBuilder, StringRecord};

use super::infer::{Kind, Seen, Unit};
use super::stream::{BATCH_ROWS, Batches, Source, noted, with_lines};
use super::{check_epochs, column_names};

/// A CSV file with a header line.
#[derive(Debug)]
pub struct Csv {
    path: PathBuf,
    separator: u8,
    schema: SchemaRef,
    kinds: Vec<Kind>,
}

impl Csv {
    /// Read `path` for the types of its columns.
    ///
    /// Fails if a line is none, naming it.
    pub fn infer(path: &Path, separator: u8, epochs: &[(&str, Unit)]) -> Result<Self> {
        let mut reader = reader(path, separator)?;
        let header = reader.headers().map_err(|error| explain(error, path))?;
        let names = column_names(header.iter().map(str::to_owned))
            .with_context(|| format!("{} line 1", path.display()))?;
        check_epochs(epochs, &names)?;
        let told = |name: &str| epochs.iter().find(|(column, _)| *column == name).map(|(_, unit)| *unit);
        let units: Vec<(Option<Unit>, Option<Unit>)> =
            names.iter().map(|name| (told(name), Unit::of_column(name))).collect();
        let mut seen = vec![Seen::default(); names.len()];
        let mut record = StringRecord::new();
        while reader.read_record(&mut record).map_err(|error| explain(error, path))? {
            for ((seen, (told, named)), value) in seen.iter_mut().zip(&units).zip(&record) {
                if !value.is_empty() {
                    seen.value(value, told.or(*named));
                }
            }
        }
        let mut kinds = Vec::new();
        for ((seen, (told, named)), name) in seen.iter().zip(&units).zip(&names) {
            let kind = seen.kind(*told, *named);
            kinds.push(kind.with_context(|| format!("{} column {name}", path.display()))?);
        }
        let doc = format!("from {}", path.display());
        let fields: Vec<_> = names.iter().zip(&kinds).map(|(name, kind)| kind.field(name, &doc)).collect();
        Ok(Self { path: path.to_owned(), separator, schema: Arc::new(Schema::new(fields)), kinds })
    }
}

impl Source for Csv {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn note(&self) -> String {
        noted(&self.schema, &self.kinds.iter().map(|kind| kind.text()).collect::<Vec<_>>())
    }

    fn batches(&self) -> Result<Batches> {
        let mut reader = reader(&self.path, self.separator)?;
        reader.headers().map_err(|error| explain(error, &self.path))?;
        let (path, schema, kinds) = (self.path.clone(), self.schema.clone(), self.kinds.clone());
        Ok(Box::new(std::iter::from_fn(move || batch(&mut reader, &path, &schema, &kinds).transpose())))
    }
}

/// The next rows; `None` behind the last.
fn batch(
    reader: &mut Reader<File>,
    path: &Path,
    schema: &SchemaRef,
    kinds: &[Kind],
) -> Result<Option<RecordBatch>> {
    let mut columns: Vec<StringBuilder> = kinds.iter().map(|_| StringBuilder::new()).collect();
    let mut lines = Vec::new();
    let mut record = StringRecord::new();
    while lines.len() < BATCH_ROWS && reader.read_record(&mut record).map_err(|error| explain(error, path))? {
        for (column, value) in columns.iter_mut().zip(&record) {
            column.append_option((!value.is_empty()).then_some(value));
        }
        lines.push(record.position().map_or(0, csv::Position::line));
    }
    if lines.is_empty() {
        return Ok(None);
    }
    let texts = columns.iter_mut().map(StringBuilder::finish);
    let arrays = texts.zip(kinds).zip(schema.fields());
    let arrays = arrays.map(|((texts, kind), field)| with_lines(*kind, &texts, field, path, &lines));
    Ok(Some(RecordBatch::try_new(schema.clone(), arrays.collect::<Result<_>>()?)?))
}

fn reader(path: &Path, separator: u8) -> Result<Reader<File>> {
    let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(ReaderBuilder::new().delimiter(separator).buffer_capacity(1 << 16).from_reader(file))
}

fn explain(error: csv::Error, path: &Path) -> Error {
    let line = error.position().map_or(1, csv::Position::line);
    let place = format!("{} line {line}", path.display());
    match error.kind() {
        ErrorKind::UnequalLengths { expected_len, len, .. } => anyhow!(
            "{place}: it has {len} fields, and the header has {expected_len}: put fields that have a comma in quotes"
        ),
        ErrorKind::Utf8 { err, .. } => {
            anyhow!("{place}: field {} is not UTF-8: convert the file", err.field() + 1)
        }
        _ => anyhow!("{place}: {error}"),
    }
}
