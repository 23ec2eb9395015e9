//! Tables `symbols` and `stacks` of the open traces go in, text for an address or a stack comes out.
//!
//! They are read at the first question, straight from Parquet, and kept: an address is 16 bytes and its name.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use anyhow::{Context, Result, ensure};
use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, UInt64Type};
use arrow_array::{Array, RecordBatch};
use arrow_cast::cast;
use arrow_schema::{DataType, Field, Fields, Schema};
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
};

use crate::file::Reader;
use crate::trace::Trace;

/// More addresses or frames than any recording has; beyond it memory would not be bounded.
const MAX_ENTRIES: usize = 8_000_000;
/// More text than any recording has for its addresses, or for its stacks.
const MAX_TEXT_BYTES: usize = 512 << 20;

/// Names of addresses and texts of stacks.
#[derive(Debug)]
pub struct Symbols {
    traces: Vec<Arc<Trace>>,
    names: OnceLock<Result<HashMap<u64, String>, String>>,
    stacks: OnceLock<Result<HashMap<i64, String>, String>>,
    folded: OnceLock<Result<HashMap<i64, String>, String>>,
}

impl Symbols {
    /// The symbols of `traces`, not read yet.
    pub fn new(traces: Vec<Arc<Trace>>) -> Self {
        Self { traces, names: OnceLock::new(), stacks: OnceLock::new(), folded: OnceLock::new() }
    }

    /// The traces whose symbols these are.
    pub fn traces(&self) -> &[Arc<Trace>] {
        &self.traces
    }

    /// Name of every address. An address that has different names in different traces has none.
    pub fn names(&self) -> Result<&HashMap<u64, String>, String> {
        self.names
            .get_or_init(|| self.read_names().map_err(|e| format!("{e:#}")))
            .as_ref()
            .map_err(Clone::clone)
    }

    /// Text of every stack: names of its frames, innermost first.
    pub fn stacks(&self) -> Result<&HashMap<i64, String>, String> {
        self.stacks
            .get_or_init(|| self.read_stacks(join).map_err(|e| format!("{e:#}")))
            .as_ref()
            .map_err(Clone::clone)
    }

    /// Functions of every stack, outermost first, as flame graphs take them.
    pub fn folded(&self) -> Result<&HashMap<i64, String>, String> {
        self.folded
            .get_or_init(|| self.read_stacks(fold).map_err(|e| format!("{e:#}")))
            .as_ref()
            .map_err(Clone::clone)
    }

    fn read_names(&self) -> Result<HashMap<u64, String>> {
        let mut names: HashMap<u64, String> = HashMap::new();
        let mut left = MAX_TEXT_BYTES;
        each_batch(self.traces.iter().map(|trace| &**trace), "symbols", |batch| {
            let addrs = column(batch, "addr", &DataType::UInt64)?;
            let texts = column(batch, "name", &DataType::Utf8View)?;
            let offsets = column(batch, "offset_bytes", &DataType::Int64)?;
            let modules = column(batch, "module", &DataType::Utf8View)?;
            let (addrs, offsets) = (addrs.as_primitive::<UInt64Type>(), offsets.as_primitive::<Int64Type>());
            let (texts, modules) = (texts.as_string_view(), modules.as_string_view());
            for row in 0..batch.num_rows() {
                if addrs.is_null(row) || texts.is_null(row) {
                    continue;
                }
                let mut name = texts.value(row).to_owned();
                if offsets.is_valid(row) && offsets.value(row) != 0 {
                    name = format!("{name}+0x{:x}", offsets.value(row));
                }
                if modules.is_valid(row) {
                    name = format!("{name} [{}]", modules.value(row));
                }
                left = left.checked_sub(name.len()).context("table symbols has too much text")?;
                names
                    .entry(addrs.value(row))
                    .and_modify(|known| {
                        if *known != name {
                            *known = hex(addrs.value(row));
                        }
                    })
                    .or_insert(name);
            }
            ensure!(names.len() <= MAX_ENTRIES, "table symbols has too many rows");
            Ok(())
        })?;
        Ok(names)
    }

    fn read_stacks(&self, text: fn(&[String]) -> String) -> Result<HashMap<i64, String>> {
        let names = self.names().map_err(anyhow::Error::msg)?;
        let mut stacks = HashMap::new();
        let (mut frames_read, mut left) = (0, MAX_TEXT_BYTES);
        each_batch(self.traces.iter().map(|trace| &**trace), "stacks", |batch| {
            let ids = column(batch, "stack_id", &DataType::Int64)?;
            let ids = ids.as_primitive::<Int64Type>();
            let lists = batch.column_by_name("frames").context("column frames is missing")?;
            let lists = lists.as_list_opt::<i32>().context("column frames is no list")?;
            for row in 0..batch.num_rows() {
                if ids.is_null(row) || lists.is_null(row) {
                    continue;
                }
                let frames = cast(&lists.value(row), &DataType::UInt64)?;
                let frames = frames.as_primitive::<UInt64Type>();
                frames_read += frames.len();
                ensure!(frames_read <= MAX_ENTRIES, "table stacks has too many frames");
                let texts: Vec<String> = frames.values().iter().map(|frame| name_of(names, *frame)).collect();
                let text = text(&texts);
                left = left.checked_sub(text.len()).context("table stacks has too many long names")?;
                stacks.entry(ids.value(row)).or_insert(text);
            }
            Ok(())
        })?;
        Ok(stacks)
    }
}

/// Let `visit` see all rows of that table of `traces`. Fails if they cannot be read, or `visit` does.
pub fn each_batch<'a>(
    traces: impl IntoIterator<Item = &'a Trace>,
    table: &str,
    mut visit: impl FnMut(&RecordBatch) -> Result<()>,
) -> Result<()> {
    for segment in traces.into_iter().filter_map(|t| t.table(table)).flat_map(|t| &t.segments) {
        let name = || segment.file.path.display().to_string();
        let batches = segment.file.reader().map_err(Into::into).and_then(batches).with_context(name)?;
        for batch in batches {
            visit(&batch.with_context(name)?).with_context(name)?;
        }
    }
    Ok(())
}

/// Rows with texts as they are in the file: one that many rows have is there once.
fn batches(reader: Reader) -> Result<ParquetRecordBatchReader> {
    let found = ArrowReaderMetadata::load(&reader, ArrowReaderOptions::new())?;
    let view = |field: &Field| match field.data_type() {
        DataType::Dictionary(_, value) if **value == DataType::Utf8 => DataType::Utf8View,
        DataType::Utf8 | DataType::LargeUtf8 => DataType::Utf8View,
        other => other.clone(),
    };
    let fields = found.schema().fields().iter();
    let fields: Fields = fields.map(|field| field.as_ref().clone().with_data_type(view(field))).collect();
    let schema = Schema::new_with_metadata(fields, found.schema().metadata().clone());
    let options = ArrowReaderOptions::new().with_schema(Arc::new(schema));
    let metadata = ArrowReaderMetadata::try_new(found.metadata().clone(), options)?;
    Ok(ParquetRecordBatchReaderBuilder::new_with_metadata(reader, metadata).build()?)
}

/// `read+0x1 <- main+0x2`
fn join(frames: &[String]) -> String {
    frames.join(" <- ")
}

/// `main;read`: without offset and module, which would tell places of one function apart.
fn fold(frames: &[String]) -> String {
    let function = |frame: &String| {
        let end = frame.find("+0x").or_else(|| frame.find(" [")).unwrap_or(frame.len());
        frame[..end].replace(';', ":")
    };
    frames.iter().rev().map(function).collect::<Vec<_>>().join(";")
}

/// The name of `addr`, or the address itself.
pub fn name_of(names: &HashMap<u64, String>, addr: u64) -> String {
    names.get(&addr).cloned().unwrap_or_else(|| hex(addr))
}

fn hex(addr: u64) -> String {
    format!("0x{addr:x}")
}

/// A column, as that type. Fails if it is not there, or is of another kind.
pub fn column(batch: &RecordBatch, name: &str, ty: &DataType) -> Result<arrow_array::ArrayRef> {
    let column = batch.column_by_name(name).with_context(|| format!("column {name} is missing"))?;
    Ok(cast(column, ty)?)
}
