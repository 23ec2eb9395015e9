//! Reads a file of the user's own that has a JSON object on each line.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, anyhow};
use arrow_array::cast::AsArray;
use arrow_array::{ArrayRef, RecordBatch};
use arrow_json::ReaderBuilder;
use arrow_json::reader::{Decoder, infer_json_schema_from_iterator};
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef};
use serde_json::{Map, Value};

use super::infer::{Kind, Seen, Unit};
use super::stream::{BATCH_ROWS, Batches, Source, noted, with_lines};
use super::{check_epochs, column_names};

/// More than a line of any log; beyond it memory would not be bounded.
const MAX_LINE_BYTES: usize = 64 << 20;

/// A file of JSON objects, one on each line.
#[derive(Debug)]
pub struct Json {
    path: PathBuf,
    schema: SchemaRef,
    /// What the decoder reads: scalars as text, lists and objects as they are.
    read: SchemaRef,
    /// `None`: a list or an object.
    kinds: Vec<Option<Kind>>,
}

struct Lines {
    reader: BufReader<File>,
    path: PathBuf,
    number: u64,
    text: Vec<u8>,
}

impl Lines {
    fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(Self { reader: BufReader::new(file), path: path.to_owned(), number: 0, text: Vec::new() })
    }

    fn place(&self) -> String {
        format!("{} line {}", self.path.display(), self.number)
    }

    /// The next line that is not empty.
    fn next(&mut self) -> Result<Option<&[u8]>> {
        loop {
            self.text.clear();
            let mut limited = std::io::Read::take(&mut self.reader, MAX_LINE_BYTES as u64 + 1);
            let read = limited.read_until(b'\n', &mut self.text);
            self.number += 1;
            if read.with_context(|| self.place())? == 0 {
                return Ok(None);
            }
            if self.text.len() > MAX_LINE_BYTES {
                return Err(anyhow!("{}: it is longer than 64 MiB: write one object a line", self.place()));
            }
            if !self.text.trim_ascii().is_empty() {
                return Ok(Some(&self.text));
            }
        }
    }

    fn object(&mut self) -> Result<Option<Map<String, Value>>> {
        let Some(text) = self.next()? else { return Ok(None) };
        let found = serde_json::from_slice(text);
        match found.with_context(|| format!("{}: it is no JSON", self.place()))? {
            Value::Object(object) => Ok(Some(object)),
            _ => Err(anyhow!("{}: it is no JSON object: write {{\"name\": value}}", self.place())),
        }
    }
}

impl Json {
    /// Read `path` for the types of its columns.
    ///
    /// Fails if a line is no object, naming it.
    pub fn infer(path: &Path, epochs: &[(&str, Unit)]) -> Result<Self> {
        let mut lines = Lines::open(path)?;
        let mut seen: Vec<(String, Seen)> = Vec::new();
        let told = |name: &str| {
            let name = name.to_ascii_lowercase();
            epochs.iter().find(|(column, _)| *column == name).map(|(_, unit)| *unit)
        };
        let mut failed = None;
        let objects = std::iter::from_fn(|| match lines.object() {
            Ok(object) => object,
            Err(error) => {
                failed = Some(error);
                None
            }
        });
        let objects = objects.map(|object| {
            for (name, value) in &object {
                let at = seen.iter().position(|(known, _)| known == name).unwrap_or_else(|| {
                    seen.push((name.clone(), Seen::default()));
                    seen.len() - 1
                });
                let unit = told(name).or_else(|| Unit::of_column(&name.to_ascii_lowercase()));
                match value {
                    Value::Number(number) => seen[at].1.value(&number.to_string(), unit),
                    Value::Bool(value) => seen[at].1.value(&value.to_string(), unit),
                    Value::String(text) if unit.is_some() => seen[at].1.value(text, unit),
                    Value::String(text) => seen[at].1.text(text),
                    Value::Null | Value::Array(_) | Value::Object(_) => {}
                }
            }
            Ok::<_, ArrowError>(Value::Object(object))
        });
        let inferred = infer_json_schema_from_iterator(objects);
        if let Some(error) = failed {
            return Err(error);
        }
        let inferred = inferred.with_context(|| path.display().to_string())?;
        let names = column_names(inferred.fields().iter().map(|field| field.name().clone()))
            .with_context(|| path.display().to_string())?;
        check_epochs(epochs, &names)?;
        let doc = format!("from {}", path.display());
        let (mut read, mut fields, mut kinds) = (Vec::new(), Vec::new(), Vec::new());
        for (field, name) in inferred.fields().iter().zip(&names) {
            if field.data_type().is_nested() {
                read.push(field.as_ref().clone());
                fields.push(schemas::column::field(name, field.data_type().clone(), true, None, &doc));
                kinds.push(None);
                continue;
            }
            let found = seen.iter().find(|(known, _)| known == field.name()).map(|(_, seen)| seen.clone());
            let kind = found.unwrap_or_default().kind(told(name), Unit::of_column(name));
            let kind = kind.with_context(|| format!("{} column {name}", path.display()))?;
            read.push(Field::new(field.name(), DataType::Utf8, true));
            fields.push(kind.field(name, &doc));
            kinds.push(Some(kind));
        }
        let (schema, read) = (Arc::new(Schema::new(fields)), Arc::new(Schema::new(read)));
        Ok(Self { path: path.to_owned(), schema, read, kinds })
    }
}

impl Source for Json {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn note(&self) -> String {
        let text = |kind: &Option<Kind>| kind.map_or_else(|| "list or object".to_owned(), Kind::text);
        noted(&self.schema, &self.kinds.iter().map(text).collect::<Vec<_>>())
    }

    fn batches(&self) -> Result<Batches> {
        let decoder = ReaderBuilder::new(self.read.clone()).with_coerce_primitive(true).build_decoder()?;
        let mut lines = Lines::open(&self.path)?;
        let (mut decoder, schema, kinds) = (decoder, self.schema.clone(), self.kinds.clone());
        Ok(Box::new(std::iter::from_fn(move || batch(&mut lines, &mut decoder, &schema, &kinds).transpose())))
    }
}

/// The next rows; `None` behind the last.
fn batch(
    lines: &mut Lines,
    decoder: &mut Decoder,
    schema: &SchemaRef,
    kinds: &[Option<Kind>],
) -> Result<Option<RecordBatch>> {
    let mut numbers = Vec::new();
    while numbers.len() < BATCH_ROWS {
        let Some(text) = lines.next()? else { break };
        let decoded = decoder.decode(text);
        decoded.with_context(|| lines.place())?;
        numbers.push(lines.number);
    }
    let Some(batch) = decoder.flush().with_context(|| lines.place())? else { return Ok(None) };
    let columns = batch.columns().iter().zip(kinds).zip(schema.fields());
    let columns = columns.map(|((column, kind), field)| match kind {
        Some(kind) => with_lines(*kind, column.as_string(), field, &lines.path, &numbers),
        None => Ok(column.clone()),
    });
    let columns: Vec<ArrayRef> = columns.collect::<Result<_>>()?;
    Ok(Some(RecordBatch::try_new(schema.clone(), columns)?))
}
