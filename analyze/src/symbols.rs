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
use arrow_schema::DataType;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::trace::Trace;

/// More addresses or frames than any recording has; beyond it memory would not be bounded.
const MAX_ENTRIES: usize = 8_000_000;

/// Names of addresses and texts of stacks.
#[derive(Debug)]
pub struct Symbols {
    traces: Vec<Arc<Trace>>,
    names: OnceLock<Result<HashMap<u64, String>, String>>,
    stacks: OnceLock<Result<HashMap<i64, String>, String>>,
}

impl Symbols {
    /// The symbols of `traces`, not read yet.
    pub fn new(traces: Vec<Arc<Trace>>) -> Self {
        Self { traces, names: OnceLock::new(), stacks: OnceLock::new() }
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
            .get_or_init(|| self.read_stacks().map_err(|e| format!("{e:#}")))
            .as_ref()
            .map_err(Clone::clone)
    }

    fn read_names(&self) -> Result<HashMap<u64, String>> {
        let mut names: HashMap<u64, String> = HashMap::new();
        self.each("symbols", |batch| {
            let addrs = column(batch, "addr", &DataType::UInt64)?;
            let texts = column(batch, "name", &DataType::Utf8)?;
            let offsets = column(batch, "offset_bytes", &DataType::Int64)?;
            let modules = column(batch, "module", &DataType::Utf8)?;
            let (addrs, offsets) = (addrs.as_primitive::<UInt64Type>(), offsets.as_primitive::<Int64Type>());
            let (texts, modules) = (texts.as_string::<i32>(), modules.as_string::<i32>());
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

    fn read_stacks(&self) -> Result<HashMap<i64, String>> {
        let names = self.names().map_err(anyhow::Error::msg)?;
        let mut stacks = HashMap::new();
        let mut frames_read = 0;
        self.each("stacks", |batch| {
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
                let text: Vec<String> = frames.values().iter().map(|f| name_of(names, *f)).collect();
                stacks.entry(ids.value(row)).or_insert_with(|| text.join(" <- "));
            }
            ensure!(frames_read <= MAX_ENTRIES, "table stacks has too many frames");
            Ok(())
        })?;
        Ok(stacks)
    }

    fn each(&self, table: &str, mut visit: impl FnMut(&RecordBatch) -> Result<()>) -> Result<()> {
        for segment in self.traces.iter().filter_map(|t| t.table(table)).flat_map(|t| &t.segments) {
            let name = || segment.file.path.display().to_string();
            let reader = segment.file.reader().with_context(name)?;
            for batch in ParquetRecordBatchReaderBuilder::try_new(reader)
                .with_context(name)?
                .build()
                .with_context(name)?
            {
                visit(&batch.with_context(name)?).with_context(name)?;
            }
        }
        Ok(())
    }
}

/// The name of `addr`, or the address itself.
pub fn name_of(names: &HashMap<u64, String>, addr: u64) -> String {
    names.get(&addr).cloned().unwrap_or_else(|| hex(addr))
}

fn hex(addr: u64) -> String {
    format!("0x{addr:x}")
}

fn column(batch: &RecordBatch, name: &str, ty: &DataType) -> Result<arrow_array::ArrayRef> {
    let column = batch.column_by_name(name).with_context(|| format!("column {name} is missing"))?;
    Ok(cast(column, ty)?)
}
