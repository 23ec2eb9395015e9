//! Batches go in, columns of text for people come out.

use std::io::Write;

use anyhow::Result;
use arrow_array::cast::AsArray;
use arrow_array::types::UInt64Type;
use arrow_array::{Array, RecordBatch};
use arrow_cast::cast;
use arrow_cast::display::{ArrayFormatter, FormatOptions};
use arrow_schema::{DataType, Field, SchemaRef};

/// The widths of columns come from this many rows; later rows may be wider.
const SAMPLE_ROWS: usize = 2000;
/// A last column wider than this does not widen the others' lines; it is never cut.
const GAP: &str = "  ";

/// Keeps the first rows to learn the widths, then writes as rows come.
pub struct TableWriter<W: Write> {
    out: W,
    schema: SchemaRef,
    sample: Vec<Vec<String>>,
    widths: Option<Vec<usize>>,
}

impl<W: Write> TableWriter<W> {
    /// Rows of `schema` to `out`.
    pub fn new(schema: SchemaRef, out: W) -> Self {
        Self { out, schema, sample: Vec::new(), widths: None }
    }

    /// Write a batch, or keep it for the widths.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let columns: Vec<Vec<String>> = self
            .schema
            .fields()
            .iter()
            .zip(batch.columns())
            .map(|(f, c)| texts(f, c.as_ref()))
            .collect::<Result<_>>()?;
        for row in 0..batch.num_rows() {
            let cells = columns.iter().map(|c| c[row].clone()).collect();
            match &self.widths {
                None => self.sample.push(cells),
                Some(widths) => write_row(&mut self.out, &self.schema, widths, &cells)?,
            }
        }
        if self.widths.is_none() && self.sample.len() >= SAMPLE_ROWS {
            self.begin()?;
        }
        Ok(())
    }

    /// Write what is left.
    pub fn finish(mut self) -> Result<()> {
        if self.widths.is_none() {
            self.begin()?;
        }
        self.out.flush()?;
        Ok(())
    }

    fn begin(&mut self) -> Result<()> {
        let header: Vec<String> = self.schema.fields().iter().map(|f| escape(f.name())).collect();
        let sample = std::mem::take(&mut self.sample);
        let mut widths: Vec<usize> = header.iter().map(|h| h.chars().count()).collect();
        for row in &sample {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        write_row(&mut self.out, &self.schema, &widths, &header)?;
        for row in &sample {
            write_row(&mut self.out, &self.schema, &widths, row)?;
        }
        self.widths = Some(widths);
        Ok(())
    }
}

fn write_row(out: &mut impl Write, schema: &SchemaRef, widths: &[usize], cells: &[String]) -> Result<()> {
    let mut line = String::new();
    for (i, ((field, width), cell)) in schema.fields().iter().zip(widths).zip(cells).enumerate() {
        let gap = if i == 0 { "" } else { GAP };
        let pad = " ".repeat(width.saturating_sub(cell.chars().count()));
        if field.data_type().is_numeric() {
            line += &format!("{gap}{pad}{cell}");
        } else {
            line += &format!("{gap}{cell}{pad}");
        }
    }
    writeln!(out, "{}", line.trim_end())?;
    Ok(())
}

fn texts(field: &Field, array: &dyn Array) -> Result<Vec<String>> {
    let kind = field.metadata().get("ktape_type").map_or("", String::as_str);
    if kind == "sym" || (kind.starts_with('x') && field.data_type().is_integer()) {
        let numbers = cast(array, &DataType::UInt64)?;
        let numbers = numbers.as_primitive::<UInt64Type>();
        return Ok(numbers.iter().map(|n| n.map_or(String::new(), |n| format!("0x{n:x}"))).collect());
    }
    let options = FormatOptions::default().with_display_error(true);
    let formatter = ArrayFormatter::try_new(array, &options)?;
    Ok((0..array.len()).map(|row| escape(&formatter.value(row).to_string())).collect())
}

/// Names of processes and paths come from anyone: they must not steer the terminal.
fn escape(text: &str) -> String {
    if !text.contains(char::is_control) {
        return text.to_owned();
    }
    text.chars()
        .map(|c| if c.is_control() { c.escape_default().to_string() } else { c.to_string() })
        .collect()
}
