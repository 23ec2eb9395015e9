//! Arrow batches in, lines of text or JSON out: events as they happen, under the names and types that SQL has.

use std::fmt::Write as _;
use std::io::{self, Write};

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Int8Type, Int16Type, Int32Type, Int64Type, TimestampNanosecondType, UInt8Type, UInt16Type, UInt32Type,
    UInt64Type,
};
use arrow_array::{Array, RecordBatch};
use arrow_schema::{DataType, Field};
use schemas::column::{Notation, Type};

use crate::cli::args::PrintFormat;
use crate::snapshot::clock;

/// Columns that a line of text does not show: they serve to account for losses.
const UNPRINTED: [&str; 4] = ["probe", "seq", "faults", "cuts"];
/// Columns that a line of text starts with, before the event's own.
const HEAD: [&str; 6] = ["ts", "cpu", "ctx", "pid", "tid", "comm"];

/// Prints batches to `W`.
pub struct Printer<W: Write> {
    out: W,
    format: PrintFormat,
    line: String,
}

impl<W: Write> Printer<W> {
    /// Lines in `format` go to `out`.
    pub fn new(out: W, format: PrintFormat) -> Self {
        Self { out, format, line: String::new() }
    }

    /// Print all rows of a batch of `event`. Fails if `out` does; a broken pipe means that nobody reads any more.
    pub fn print(&mut self, event: &str, batch: &RecordBatch) -> io::Result<()> {
        for row in 0..batch.num_rows() {
            self.line.clear();
            match self.format {
                PrintFormat::Text => text_line(&mut self.line, event, batch, row),
                PrintFormat::Ndjson => json_line(&mut self.line, event, batch, row),
            }
            self.line.push('\n');
            self.out.write_all(self.line.as_bytes())?;
        }
        self.out.flush()
    }
}

/// One value of a table.
enum Cell<'a> {
    Null,
    Signed(i64),
    Unsigned(u64),
    Bool(bool),
    Text(&'a str),
    Bytes(&'a [u8]),
    /// UTC nanoseconds.
    Time(i64),
}

fn cell(array: &dyn Array, row: usize) -> Cell<'_> {
    if array.is_null(row) {
        return Cell::Null;
    }
    match array.data_type() {
        DataType::UInt8 => Cell::Unsigned(array.as_primitive::<UInt8Type>().value(row).into()),
        DataType::UInt16 => Cell::Unsigned(array.as_primitive::<UInt16Type>().value(row).into()),
        DataType::UInt32 => Cell::Unsigned(array.as_primitive::<UInt32Type>().value(row).into()),
        DataType::UInt64 => Cell::Unsigned(array.as_primitive::<UInt64Type>().value(row)),
        DataType::Int8 => Cell::Signed(array.as_primitive::<Int8Type>().value(row).into()),
        DataType::Int16 => Cell::Signed(array.as_primitive::<Int16Type>().value(row).into()),
        DataType::Int32 => Cell::Signed(array.as_primitive::<Int32Type>().value(row).into()),
        DataType::Int64 => Cell::Signed(array.as_primitive::<Int64Type>().value(row)),
        DataType::Boolean => Cell::Bool(array.as_boolean().value(row)),
        DataType::Utf8 => Cell::Text(array.as_string::<i32>().value(row)),
        DataType::Binary => Cell::Bytes(array.as_binary::<i32>().value(row)),
        DataType::Timestamp(..) => Cell::Time(array.as_primitive::<TimestampNanosecondType>().value(row)),
        DataType::Dictionary(..) => {
            let dictionary = array.as_dictionary::<Int32Type>();
            match usize::try_from(dictionary.keys().value(row)) {
                Ok(key) => cell(dictionary.values().as_ref(), key),
                Err(_) => Cell::Null,
            }
        }
        _ => Cell::Null,
    }
}

fn named<'a>(batch: &'a RecordBatch, name: &str, row: usize) -> Cell<'a> {
    batch.column_by_name(name).map_or(Cell::Null, |array| cell(array.as_ref(), row))
}

fn text_line(line: &mut String, event: &str, batch: &RecordBatch, row: usize) {
    let number = |name: &str| match named(batch, name, row) {
        Cell::Unsigned(value) => value.to_string(),
        _ => "-".to_owned(),
    };
    let time = match named(batch, "ts", row) {
        Cell::Time(ns) => clock::time_of_day(ns),
        _ => String::new(),
    };
    let comm = match named(batch, "comm", row) {
        Cell::Text(comm) => plain(comm),
        // An interrupt has no name but its kind.
        _ => match named(batch, "ctx", row) {
            Cell::Text(ctx) if ctx != "task" => format!("<{ctx}>"),
            _ => "-".to_owned(),
        },
    };
    // Writing to a String cannot fail.
    let _ = write!(line, "{time} {:>3} {comm:<15} {:>7} {event:<10}", number("cpu"), number("pid"));
    if number("tid") != number("pid") {
        let _ = write!(line, " tid={}", number("tid"));
    }
    for (field, array) in batch.schema_ref().fields().iter().zip(batch.columns()) {
        let name = field.name().as_str();
        if UNPRINTED.contains(&name) || HEAD.contains(&name) {
            continue;
        }
        let _ = match cell(array.as_ref(), row) {
            Cell::Null => Ok(()),
            Cell::Signed(value) => write!(line, " {name}={value}"),
            Cell::Unsigned(value) if Notation::of(field) == Notation::Hexadecimal => {
                write!(line, " {name}={value:#x}")
            }
            Cell::Unsigned(value) => write!(line, " {name}={value}"),
            Cell::Bool(value) => write!(line, " {name}={value}"),
            Cell::Text(value) => write!(line, " {name}={}", plain(value)),
            Cell::Bytes(value) => match numbers(field, value) {
                Some((numbers, _)) => write!(line, " {name}=[{}]", numbers.join(",")),
                None => write!(line, " {name}={}", hexadecimal(value)),
            },
            Cell::Time(ns) => write!(line, " {name}={}", clock::iso(ns)),
        };
    }
}

fn json_line(line: &mut String, event: &str, batch: &RecordBatch, row: usize) {
    let _ = write!(line, "{{\"event\":{}", serde_json::Value::from(event));
    for (field, array) in batch.schema_ref().fields().iter().zip(batch.columns()) {
        let _ = write!(line, ",{}:", serde_json::Value::from(field.name().as_str()));
        let notation = Notation::of(field);
        // The same columns are text as in the JSON of `analyze`.
        let notation = if notation.is_text_in_json(field.data_type()) { notation } else { Notation::Amount };
        let _ = match cell(array.as_ref(), row) {
            Cell::Null => write!(line, "null"),
            Cell::Unsigned(value) if notation == Notation::Hexadecimal => write!(line, "\"{value:#x}\""),
            Cell::Unsigned(value) if notation == Notation::Identifier => write!(line, "\"{value}\""),
            Cell::Signed(value) if notation == Notation::Identifier => write!(line, "\"{value}\""),
            Cell::Signed(value) => write!(line, "{value}"),
            Cell::Unsigned(value) => write!(line, "{value}"),
            Cell::Bool(value) => write!(line, "{value}"),
            Cell::Text(value) => write!(line, "{}", serde_json::Value::from(value)),
            Cell::Bytes(value) => match numbers(field, value) {
                Some((numbers, true)) => write!(line, "[\"{}\"]", numbers.join("\",\"")),
                Some((numbers, false)) => write!(line, "[{}]", numbers.join(",")),
                None => write!(line, "\"{}\"", hexadecimal(value)),
            },
            Cell::Time(ns) => write!(line, "\"{}\"", clock::iso(ns)),
        };
    }
    line.push('}');
}

/// The numbers in a column of several, and whether JSON has them as text: hexadecimal ones, and those of 64 bits, which
/// many readers change beyond 2^53.
fn numbers(field: &Field, value: &[u8]) -> Option<(Vec<String>, bool)> {
    let Ok(Type::Numbers(item, _)) = field.metadata().get("ktape_type")?.parse() else { return None };
    let number = |raw: &[u8]| {
        let mut word = [0; 8];
        word[..raw.len()].copy_from_slice(raw);
        let unused = 64 - 8 * raw.len() as u32;
        let value = u64::from_le_bytes(word);
        match *item {
            Type::Signed(_) => ((value << unused) as i64 >> unused).to_string(),
            Type::Hex(_) => format!("{value:#x}"),
            _ => value.to_string(),
        }
    };
    let is_text = item.wire_size() == 8 || matches!(*item, Type::Hex(_));
    Some((value.chunks_exact(item.wire_size().into()).map(number).collect(), is_text))
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// `text` as it is, or quoted if it holds anything that would not be one word on a terminal.
fn plain(text: &str) -> String {
    let is_word = !text.is_empty() && text.chars().all(|c| !c.is_whitespace() && !c.is_control() && c != '"');
    if is_word { text.to_owned() } else { format!("{text:?}") }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{
        ArrayRef, BinaryArray, BooleanArray, DictionaryArray, StringArray, TimestampNanosecondArray,
        UInt16Array, UInt32Array, UInt64Array,
    };
    use schemas::column::{Column, Layout};

    use super::*;

    fn batch() -> RecordBatch {
        let column = |name: &str, ty: &str| Column {
            name: name.into(),
            ty: ty.parse().unwrap(),
            unit: None,
            doc: String::new(),
            offset: 0,
            bit: 0,
        };
        let columns = [
            ("path", "ustring"),
            ("ret", "s32"),
            ("flags", "x64"),
            ("ok", "bool"),
            ("raw", "hex[2]"),
            ("pair", "s16[2]"),
            ("comm_", "string[15]"),
            ("comm", "char[16]"),
        ];
        let columns = columns.map(|(name, ty)| column(name, ty)).to_vec();
        let (layout, _) = Layout::new("mkdirs", "", columns, |_| false);
        let comm: DictionaryArray<Int32Type> = ["a b"].into_iter().collect();
        let arrays: Vec<ArrayRef> = vec![
            Arc::new(TimestampNanosecondArray::from(vec![1_795_182_905_000_000_042]).with_timezone("UTC")),
            Arc::new(UInt16Array::from(vec![1])),
            Arc::new(["task"].into_iter().collect::<DictionaryArray<Int32Type>>()),
            Arc::new(UInt32Array::from(vec![17])),
            Arc::new(UInt32Array::from(vec![18])),
            Arc::new(UInt16Array::from(vec![0])),
            Arc::new(UInt64Array::from(vec![5])),
            Arc::new(UInt32Array::from(vec![0])),
            Arc::new(UInt32Array::from(vec![0])),
            Arc::new(StringArray::from(vec!["/tmp/\u{1b}[31m"])),
            Arc::new(arrow_array::Int32Array::from(vec![None::<i32>])),
            Arc::new(UInt64Array::from(vec![255])),
            Arc::new(BooleanArray::from(vec![true])),
            Arc::new(BinaryArray::from(vec![&b"\x01\xff"[..]])),
            Arc::new(BinaryArray::from(vec![&b"\x01\0\xff\xff"[..]])),
            Arc::new(StringArray::from(vec!["the\\xffvictim"])),
            Arc::new(comm),
        ];
        RecordBatch::try_new(Arc::new(layout.schema()), arrays).unwrap()
    }

    fn printed(format: PrintFormat) -> String {
        let mut out = Vec::new();
        Printer::new(&mut out, format).print("mkdirs", &batch()).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_line_of_text_has_no_nulls_and_cannot_steer_the_terminal() {
        assert_eq!(
            printed(PrintFormat::Text),
            "13:55:05.000000042   1 \"a b\"                17 mkdirs     tid=18 path=\"/tmp/\\u{1b}[31m\" flags=0xff \
             ok=true raw=01ff pair=[1,-1] comm_=the\\xffvictim\n"
        );
    }

    #[test]
    fn a_line_of_json_has_every_column_with_its_type() {
        assert_eq!(
            printed(PrintFormat::Ndjson),
            "{\"event\":\"mkdirs\",\"ts\":\"2026-11-20T13:55:05.000000042Z\",\"cpu\":1,\"ctx\":\"task\",\"pid\":17,\"tid\":18,\
             \"probe\":0,\"seq\":5,\"faults\":0,\"cuts\":0,\"path\":\"/tmp/\\u001b[31m\",\"ret\":null,\"flags\":\"0xff\",\"ok\":true,\
             \"raw\":\"01ff\",\"pair\":[1,-1],\"comm_\":\"the\\\\xffvictim\",\"comm\":\"a b\"}\n"
        );
    }
}
