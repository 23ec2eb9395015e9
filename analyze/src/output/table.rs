//! Writes batches as columns of text for people.

use std::borrow::Cow;
use std::io::Write;

use anyhow::Result;
use arrow_array::{Array, RecordBatch};
use arrow_cast::display::{ArrayFormatter, FormatOptions};
use arrow_schema::DataType;
use schemas::column::Notation;
use unicode_width::UnicodeWidthStr;

use super::Rows;
use super::shape::{Shape, listed, numbers};

/// The widths of columns come from this many rows; later rows may be wider.
const SAMPLE_ROWS: usize = 2000;
const GAP: &str = "  ";
/// No column is cut to less than this.
const MIN_CUT: usize = 8;
/// Stands where text is cut.
const CUT: char = '…';

/// Keeps the first rows to learn the widths, then writes as rows come.
pub struct TableWriter<W: Write> {
    out: W,
    shape: Shape,
    sample: Vec<Vec<String>>,
    widths: Option<Vec<usize>>,
    screen: Option<usize>,
    /// Text in columns that may be cut is cut to this width.
    limit: usize,
}

impl<W: Write> TableWriter<W> {
    /// Rows of `shape` to `out`. On a terminal of `screen` columns text that does not fit is cut; elsewhere nothing is.
    pub fn new(shape: Shape, out: W, screen: Option<usize>) -> Self {
        Self { out, shape, sample: Vec::new(), widths: None, screen, limit: usize::MAX }
    }

    fn row(&mut self, widths: &[usize], cells: &[String]) -> Result<()> {
        let mut line = String::new();
        for (i, ((field, width), cell)) in
            self.shape.schema.fields().iter().zip(widths).zip(cells).enumerate()
        {
            let gap = if i == 0 { "" } else { GAP };
            let cell =
                if can_cut(field.data_type()) { cut(cell, self.limit) } else { Cow::Borrowed(&**cell) };
            let pad = " ".repeat(width.saturating_sub(cell.width()));
            if field.data_type().is_numeric() {
                line.extend([gap, &pad, &cell]);
            } else {
                line.extend([gap, &cell, &pad]);
            }
        }
        writeln!(self.out, "{}", line.trim_end())?;
        Ok(())
    }

    fn begin(&mut self) -> Result<()> {
        let header: Vec<String> = self.shape.schema.fields().iter().map(|f| escape(f.name())).collect();
        let sample = std::mem::take(&mut self.sample);
        let mut widths: Vec<usize> = header.iter().map(|h| h.width()).collect();
        for row in &sample {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.width());
            }
        }
        if let Some(screen) = self.screen {
            let fields = self.shape.schema.fields().iter();
            let columns: Vec<(usize, bool)> =
                widths.iter().copied().zip(fields.map(|field| can_cut(field.data_type()))).collect();
            self.limit = limit(&columns, screen);
            for (width, (_, can_cut)) in widths.iter_mut().zip(&columns) {
                *width = if *can_cut { (*width).min(self.limit) } else { *width };
            }
        }
        self.row(&widths, &header)?;
        for row in &sample {
            self.row(&widths, row)?;
        }
        self.widths = Some(widths);
        Ok(())
    }
}

impl<W: Write> Rows for TableWriter<W> {
    /// Write a batch, or keep it for the widths.
    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let columns: Vec<Vec<String>> = self
            .shape
            .notations
            .iter()
            .zip(batch.columns())
            .map(|(notation, column)| texts(*notation, column.as_ref()))
            .collect::<Result<_>>()?;
        for row in 0..batch.num_rows() {
            let cells: Vec<String> = columns.iter().map(|c| c[row].clone()).collect();
            match self.widths.take() {
                None => self.sample.push(cells),
                Some(widths) => {
                    self.row(&widths, &cells)?;
                    self.widths = Some(widths);
                }
            }
        }
        if self.widths.is_none() && self.sample.len() >= SAMPLE_ROWS {
            self.begin()?;
        }
        Ok(())
    }

    /// Write what is left.
    fn finish(mut self: Box<Self>) -> Result<()> {
        if self.widths.is_none() {
            self.begin()?;
        }
        self.out.flush()?;
        Ok(())
    }
}

/// Text can; of a number or a time, a part would be another one.
fn can_cut(ty: &DataType) -> bool {
    match ty {
        DataType::Dictionary(_, value) => can_cut(value),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::List(_) | DataType::Binary => {
            true
        }
        _ => false,
    }
}

/// The width that columns which can be cut may have at most, so that a line fits `screen`.
fn limit(columns: &[(usize, bool)], screen: usize) -> usize {
    let line = |limit: usize| -> usize {
        let widths =
            columns.iter().map(|(width, can_cut)| if *can_cut { (*width).min(limit) } else { *width });
        widths.sum::<usize>() + GAP.len() * columns.len().saturating_sub(1)
    };
    match line(usize::MAX) <= screen {
        true => usize::MAX,
        false => {
            (MIN_CUT..=screen.max(MIN_CUT)).rev().find(|limit| line(*limit) <= screen).unwrap_or(MIN_CUT)
        }
    }
}

fn cut(text: &str, limit: usize) -> Cow<'_, str> {
    if limit == usize::MAX || text.width() <= limit {
        return Cow::Borrowed(text);
    }
    let mut short = String::new();
    for c in text.chars() {
        short.push(c);
        if short.width() >= limit {
            short.pop();
            break;
        }
    }
    short.push(CUT);
    Cow::Owned(short)
}

/// The values as people read them.
pub fn texts(notation: Notation, array: &dyn Array) -> Result<Vec<String>> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_text_is_cut_with_a_sign_and_only_as_far_as_needed() {
        assert_eq!(limit(&[(30, false), (40, true)], 72), usize::MAX);
        assert_eq!(limit(&[(30, false), (40, true)], 71), 39);
        assert_eq!(limit(&[(10, true), (90, true), (60, true)], 104), 45);
        assert_eq!(limit(&[(30, false), (40, true)], 20), MIN_CUT);
        assert_eq!(cut("/usr/share/doc", 8), "/usr/sh…");
        assert_eq!(cut("/usr/share/doc", 14), "/usr/share/doc");
        assert_eq!(cut("漢字漢字漢字", 8), "漢字漢…");
    }
}
