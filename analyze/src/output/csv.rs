//! Writes batches as CSV, in which NULL (nothing) and empty text (`""`) differ.

use std::io::Write;

use anyhow::Result;
use arrow_array::{Array, RecordBatch};
use arrow_cast::display::{ArrayFormatter, FormatOptions};

use super::Rows;
use super::shape::Shape;

/// Writes a header line, then a line for each row. The `csv` crate cannot quote one empty field and not another.
pub struct CsvWriter<W> {
    out: W,
    shape: Shape,
    has_header: bool,
}

impl<W: Write> CsvWriter<W> {
    /// Rows of `shape` to `out`.
    pub fn new(shape: Shape, out: W) -> Self {
        Self { out, shape, has_header: false }
    }

    fn header(&mut self) -> Result<()> {
        if !self.has_header {
            self.has_header = true;
            let mut line = String::new();
            for (i, field) in self.shape.schema.fields().iter().enumerate() {
                push(&mut line, i, field.name());
            }
            writeln!(self.out, "{line}")?;
        }
        Ok(())
    }
}

impl<W: Write> Rows for CsvWriter<W> {
    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        self.header()?;
        let batch = self.shape.for_csv(batch)?;
        let options = FormatOptions::default();
        let columns = batch.columns().iter();
        let columns = columns.map(|column| {
            // Those of a column that has nothing but NULL, too.
            Ok((column.logical_nulls(), ArrayFormatter::try_new(column, &options)?))
        });
        let columns = columns.collect::<Result<Vec<_>>>()?;
        let (mut line, mut text) = (String::new(), String::new());
        for row in 0..batch.num_rows() {
            line.clear();
            for (i, (nulls, formatter)) in columns.iter().enumerate() {
                if nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)) {
                    line.push_str(if i == 0 { "" } else { "," });
                    continue;
                }
                text.clear();
                formatter.value(row).write(&mut text)?;
                push(&mut line, i, &text);
            }
            writeln!(self.out, "{line}")?;
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> Result<()> {
        self.header()?;
        Ok(self.out.flush()?)
    }
}

/// Append the field number `i`, in quotes where it would be read as something else without them.
fn push(line: &mut String, i: usize, text: &str) {
    if i > 0 {
        line.push(',');
    }
    if text.is_empty() || text.contains([',', '"', '\n', '\r']) {
        line.extend(["\"", &text.replace('"', "\"\""), "\""]);
    } else {
        line.push_str(text);
    }
}
