//! Batches go in, columns of text for people come out.

use std::io::Write;

use anyhow::Result;
use arrow_array::{Array, RecordBatch};
use arrow_cast::display::{ArrayFormatter, FormatOptions};
use arrow_schema::{DataType, SchemaRef};
use schemas::column::Notation;

use super::shape::{Shape, listed, numbers};

/// The widths of columns come from this many rows; later rows may be wider.
const SAMPLE_ROWS: usize = 2000;
/// A last column wider than this does not widen the others' lines; it is never cut.
const GAP: &str = "  ";

/// Keeps the first rows to learn the widths, then writes as rows come.
pub struct TableWriter<W: Write> {
    out: W,
    shape: Shape,
    sample: Vec<Vec<String>>,
    widths: Option<Vec<usize>>,
}

impl<W: Write> TableWriter<W> {
    /// Rows of `shape` to `out`.
    pub fn new(shape: Shape, out: W) -> Self {
        Self { out, shape, sample: Vec::new(), widths: None }
    }

    /// Write a batch, or keep it for the widths.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let columns: Vec<Vec<String>> = self
            .shape
            .notations
            .iter()
            .zip(batch.columns())
            .map(|(notation, column)| texts(*notation, column.as_ref()))
            .collect::<Result<_>>()?;
        for row in 0..batch.num_rows() {
            let cells = columns.iter().map(|c| c[row].clone()).collect();
            match &self.widths {
                None => self.sample.push(cells),
                Some(widths) => write_row(&mut self.out, &self.shape.schema, widths, &cells)?,
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
        let header: Vec<String> = self.shape.schema.fields().iter().map(|f| escape(f.name())).collect();
        let sample = std::mem::take(&mut self.sample);
        let mut widths: Vec<usize> = header.iter().map(|h| h.chars().count()).collect();
        for row in &sample {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        write_row(&mut self.out, &self.shape.schema, &widths, &header)?;
        for row in &sample {
            write_row(&mut self.out, &self.shape.schema, &widths, row)?;
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

fn texts(notation: Notation, array: &dyn Array) -> Result<Vec<String>> {
    let texts = match array.data_type() {
        DataType::List(_) => listed(notation, array)?,
        ty if ty.is_integer() || matches!(ty, DataType::Decimal128(_, 0)) => numbers(notation, array)?,
        _ => {
            let options = FormatOptions::default().with_display_error(true);
            let formatter = ArrayFormatter::try_new(array, &options)?;
            return Ok((0..array.len()).map(|row| escape(&formatter.value(row).to_string())).collect());
        }
    };
    Ok(texts.into_iter().map(|text| escape(&text.unwrap_or_default())).collect())
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
