//! Writes batches as a Markdown table, with the values as in a table for people.

use std::io::Write;

use anyhow::Result;
use arrow_array::RecordBatch;

use super::Rows;
use super::shape::Shape;
use super::table::texts;

/// Writes rows as they come: Markdown does not ask for columns of one width.
pub struct MarkdownWriter<W> {
    out: W,
    shape: Shape,
    has_header: bool,
}

impl<W: Write> MarkdownWriter<W> {
    /// Rows of `shape` to `out`.
    pub fn new(shape: Shape, out: W) -> Self {
        Self { out, shape, has_header: false }
    }

    fn header(&mut self) -> Result<()> {
        if std::mem::replace(&mut self.has_header, true) {
            return Ok(());
        }
        let fields = self.shape.schema.fields();
        let names: Vec<String> = fields.iter().map(|field| escape(field.name())).collect();
        let rules = fields.iter().map(|f| if f.data_type().is_numeric() { "---:" } else { "---" });
        let rules: Vec<&str> = rules.collect();
        writeln!(self.out, "| {} |", names.join(" | "))?;
        Ok(writeln!(self.out, "| {} |", rules.join(" | "))?)
    }
}

impl<W: Write> Rows for MarkdownWriter<W> {
    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        self.header()?;
        let columns = self.shape.notations.iter().zip(batch.columns());
        let columns: Vec<Vec<String>> =
            columns.map(|(notation, column)| texts(*notation, column.as_ref())).collect::<Result<_>>()?;
        for row in 0..batch.num_rows() {
            let cells: Vec<String> = columns.iter().map(|column| escape(&column[row])).collect();
            writeln!(self.out, "| {} |", cells.join(" | "))?;
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> Result<()> {
        self.header()?;
        Ok(self.out.flush()?)
    }
}

/// Text that Markdown shows as it is. An underscore within a word needs nothing.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    let mut before = ' ';
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let is_within = before.is_alphanumeric() && chars.peek().is_some_and(|next| next.is_alphanumeric());
        if matches!(c, '\\' | '`' | '*' | '|' | '<' | '[') || (c == '_' && !is_within) {
            escaped.push('\\');
        }
        escaped.push(c);
        before = c;
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::escape;

    #[test]
    fn nothing_in_a_cell_is_markdown() {
        assert_eq!(escape("do_sys_open"), "do_sys_open");
        assert_eq!(escape("__GFP_ZERO|x"), "\\_\\_GFP_ZERO\\|x");
        assert_eq!(escape("a\\b <i> [x]"), "a\\\\b \\<i> \\[x]");
    }
}
