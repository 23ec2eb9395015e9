//! Tables `symbols` and `stacks` of the open traces go in, text for an address or a stack comes out.
//!
//! They are read at the first question, straight from Parquet, and kept: an address is 16 bytes and its name.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use anyhow::{Context, Result, anyhow};
use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, UInt64Type};
use arrow_array::{Array, RecordBatch, RecordBatchReader};
use arrow_cast::cast;
use arrow_schema::{DataType, Field, Fields, Schema};
use parquet::arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReader};

use crate::trace::Trace;
use crate::trace::segment::Segment;

/// More addresses or frames than any recording has; beyond it memory would not be bounded.
const MAX_ENTRIES: usize = 8_000_000;
/// More text than any recording has for its addresses, or for its stacks.
const MAX_TEXT_BYTES: usize = 512 << 20;
/// Between the frames of a stack.
const SEPARATOR: &str = " <- ";

/// Names of addresses and texts of stacks, for each trace by itself.
#[derive(Debug)]
pub struct Symbols {
    traces: Vec<OfTrace>,
    /// What may still be read, of all traces together.
    left: Left,
}

#[derive(Debug)]
struct OfTrace {
    trace: Arc<Trace>,
    names: OnceLock<Result<HashMap<u64, String>, String>>,
    stacks: OnceLock<Result<HashMap<i64, String>, String>>,
    folded: OnceLock<Result<HashMap<i64, String>, String>>,
}

#[derive(Debug)]
struct Left {
    addresses: AtomicUsize,
    name_bytes: AtomicUsize,
    stacks: LeftOfStacks,
    folded: LeftOfStacks,
}

#[derive(Debug)]
struct LeftOfStacks {
    frames: AtomicUsize,
    bytes: AtomicUsize,
}

impl Default for LeftOfStacks {
    fn default() -> Self {
        Self { frames: AtomicUsize::new(MAX_ENTRIES), bytes: AtomicUsize::new(MAX_TEXT_BYTES) }
    }
}

/// Take `wanted` from what is left.
///
/// Fails with `too_much` if that is not enough.
pub fn take(left: &AtomicUsize, wanted: usize, too_much: &'static str) -> Result<()> {
    let taken = left.try_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(wanted));
    taken.map(|_| ()).map_err(|_| anyhow!(too_much))
}

impl Symbols {
    /// The symbols of `traces`, not read yet.
    pub fn new(traces: Vec<Arc<Trace>>) -> Self {
        let of_trace = |trace| {
            let (names, stacks, folded) = (OnceLock::new(), OnceLock::new(), OnceLock::new());
            OfTrace { trace, names, stacks, folded }
        };
        let left = Left {
            addresses: AtomicUsize::new(MAX_ENTRIES),
            name_bytes: AtomicUsize::new(MAX_TEXT_BYTES),
            stacks: LeftOfStacks::default(),
            folded: LeftOfStacks::default(),
        };
        Self { traces: traces.into_iter().map(of_trace).collect(), left }
    }

    /// The traces whose symbols these are.
    pub fn traces(&self) -> impl Iterator<Item = &Arc<Trace>> {
        self.traces.iter().map(|of| &of.trace)
    }

    /// Number of the trace of that name.
    ///
    /// Fails if there is none.
    pub fn trace_named(&self, name: &str) -> Result<usize, String> {
        let found = self.traces.iter().position(|of| of.trace.name() == name);
        found.ok_or_else(|| {
            format!("no trace '{}' is open: table traces has their names", name.escape_debug())
        })
    }

    /// Name of every address of the trace with that number.
    pub fn names(&self, number: usize) -> Result<&HashMap<u64, String>, String> {
        let of = self.of(number)?;
        let read = || read_names(&of.trace, &self.left).map_err(|e| format!("{e:#}"));
        of.names.get_or_init(read).as_ref().map_err(Clone::clone)
    }

    /// Text of every stack of the trace with that number: names of its frames, innermost first.
    pub fn stacks(&self, number: usize) -> Result<&HashMap<i64, String>, String> {
        let of = self.of(number)?;
        let names = self.names(number)?;
        let read = || read_stacks(&of.trace, names, &self.left.stacks, join).map_err(|e| format!("{e:#}"));
        of.stacks.get_or_init(read).as_ref().map_err(Clone::clone)
    }

    /// Functions of every stack of the trace with that number: outermost first, as flame graphs take them.
    pub fn folded(&self, number: usize) -> Result<&HashMap<i64, String>, String> {
        let of = self.of(number)?;
        let names = self.names(number)?;
        let read = || read_stacks(&of.trace, names, &self.left.folded, fold).map_err(|e| format!("{e:#}"));
        of.folded.get_or_init(read).as_ref().map_err(Clone::clone)
    }

    fn of(&self, number: usize) -> Result<&OfTrace, String> {
        self.traces.get(number).ok_or_else(|| format!("there is no trace number {number}"))
    }
}

fn read_names(trace: &Trace, left: &Left) -> Result<HashMap<u64, String>> {
    let mut names: HashMap<u64, String> = HashMap::new();
    each_batch([trace], "symbols", |batch| {
        let addrs = column(batch, "addr", &DataType::UInt64)?;
        let texts = column(batch, "name", &DataType::Utf8View)?;
        let offsets = column(batch, "offset_bytes", &DataType::Int64)?;
        let modules = column(batch, "module", &DataType::Utf8View)?;
        let (addrs, offsets) = (addrs.as_primitive::<UInt64Type>(), offsets.as_primitive::<Int64Type>());
        let (texts, modules) = (texts.as_string_view(), modules.as_string_view());
        take(&left.addresses, batch.num_rows(), "table symbols has too many rows")?;
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
            take(&left.name_bytes, name.len(), "table symbols has too much text")?;
            names
                .entry(addrs.value(row))
                .and_modify(|known| {
                    // Told twice, and differently: a module took the place of another.
                    if *known != name {
                        *known = hex(addrs.value(row));
                    }
                })
                .or_insert(name);
        }
        Ok(())
    })?;
    Ok(names)
}

fn read_stacks(
    trace: &Trace,
    names: &HashMap<u64, String>,
    left: &LeftOfStacks,
    text: fn(&[String]) -> String,
) -> Result<HashMap<i64, String>> {
    let mut stacks = HashMap::new();
    each_batch([trace], "stacks", |batch| {
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
            take(&left.frames, frames.len(), "table stacks has too many frames")?;
            let mut texts = Vec::with_capacity(frames.len());
            for frame in frames.values() {
                let name = name_of(names, *frame);
                take(&left.bytes, name.len() + SEPARATOR.len(), "table stacks has too many long names")?;
                texts.push(name);
            }
            let text = text(&texts);
            // In a later epoch it can be there once more, the same.
            stacks.insert(ids.value(row), text);
        }
        Ok(())
    })?;
    Ok(stacks)
}

/// Let `visit` see all rows of that table of `traces`. Fails if they cannot be read, or `visit` does.
pub fn each_batch<'a>(
    traces: impl IntoIterator<Item = &'a Trace>,
    table: &str,
    mut visit: impl FnMut(&RecordBatch) -> Result<()>,
) -> Result<()> {
    for segment in traces.into_iter().filter_map(|t| t.table(table)).flat_map(|t| &t.segments) {
        let name = || segment.file.path.display().to_string();
        for batch in batches(segment)? {
            visit(&batch.with_context(name)?).with_context(name)?;
        }
    }
    Ok(())
}

/// Rows with texts as they are in the file: one that many rows have is there once.
fn batches(segment: &Segment) -> Result<ParquetRecordBatchReader> {
    let name = || segment.file.path.display().to_string();
    let found = segment.rows(ArrowReaderOptions::new())?.schema();
    let view = |field: &Field| match field.data_type() {
        DataType::Dictionary(_, value) if **value == DataType::Utf8 => DataType::Utf8View,
        DataType::Utf8 | DataType::LargeUtf8 => DataType::Utf8View,
        other => other.clone(),
    };
    let fields = found.fields().iter();
    let fields: Fields = fields.map(|field| field.as_ref().clone().with_data_type(view(field))).collect();
    let schema = Schema::new_with_metadata(fields, found.metadata().clone());
    segment.rows(ArrowReaderOptions::new().with_schema(Arc::new(schema))).with_context(name)
}

/// `read+0x1 <- main+0x2`
fn join(frames: &[String]) -> String {
    frames.join(SEPARATOR)
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
