//! Keeps the rows of table processes that identify the processes which are alive.
//!
//! Of a process the latest row of each kind stays (its birth or snapshot, its program, its name), until it exits or
//! another one is born under its number.

use std::collections::{BTreeMap, HashMap, HashSet};

use anyhow::{Context, Result};
use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type, UInt16Type, UInt64Type};
use arrow_array::{
    Array, Int32Array, RecordBatch, StringArray, TimestampNanosecondArray, UInt32Array, new_null_array,
};
use arrow_schema::Field;
use arrow_select::interleave::interleave_record_batch;
use schemas::column::{COUNT, Type};
use schemas::trace::PROCESSES;

use crate::source::ProbeId;

/// Rows that are looked through together: often enough that what has died does not pile up.
const MOST_WAITING: usize = 1 << 16;

/// Batch and row.
type At = (usize, usize);

/// Rows of processes that are alive.
#[derive(Default)]
pub struct Alive {
    rows: Option<RecordBatch>,
    /// What came since.
    waiting: Vec<RecordBatch>,
    waiting_rows: usize,
}

impl Alive {
    /// Take rows that come after those so far, or late.
    pub fn take(&mut self, batch: RecordBatch) -> Result<()> {
        self.waiting_rows += batch.num_rows();
        self.waiting.push(batch);
        if self.waiting_rows >= MOST_WAITING { self.settle() } else { Ok(()) }
    }

    fn settle(&mut self) -> Result<()> {
        let waiting = std::mem::take(&mut self.waiting);
        self.waiting_rows = 0;
        let batches: Vec<&RecordBatch> = self.rows.iter().chain(&waiting).collect();
        let rows = batches.iter().map(|batch| Rows::of(batch)).collect::<Result<Vec<_>>>()?;
        let mut all: Vec<At> = rows
            .iter()
            .enumerate()
            .flat_map(|(i, rows)| (0..rows.ts.len()).map(move |row| (i, row)))
            .collect();
        all.sort_by_key(|&(i, row)| rows[i].ts.value(row));
        let mut alive: HashMap<u32, BTreeMap<&str, At>> = HashMap::new();
        for at @ (i, row) in all {
            let process = alive.entry(rows[i].pids.value(row)).or_default();
            let kind = rows[i].kind(row);
            if matches!(kind, "exit" | "fork" | "snapshot") {
                process.clear();
            }
            if kind != "exit" {
                process.insert(kind, at);
            }
        }
        let mut order: Vec<At> = alive.values().flat_map(|kinds| kinds.values().copied()).collect();
        order.sort_by_key(|&(i, row)| (rows[i].ts.value(row), i, row));
        if !batches.is_empty() {
            self.rows = Some(interleave_record_batch(&batches, &order)?);
        }
        Ok(())
    }

    /// The rows in their order, if there are any. Their stacks are NULL: who a process is does not depend on them, and
    /// table stacks need not have them.
    pub fn rows(&mut self) -> Result<Option<RecordBatch>> {
        self.settle()?;
        let Some(rows) = self.rows.as_ref().filter(|rows| rows.num_rows() > 0) else { return Ok(None) };
        let is_stack = |field: &Field| {
            let ty = field.metadata().get("ktape_type").and_then(|ty| ty.parse().ok());
            matches!(ty, Some(Type::KernelStack(_) | Type::UserStack(_)))
        };
        let schema = rows.schema();
        let columns = schema.fields().iter().zip(rows.columns()).map(|(field, column)| {
            if is_stack(field) { new_null_array(field.data_type(), rows.num_rows()) } else { column.clone() }
        });
        Ok(Some(RecordBatch::try_new(schema.clone(), columns.collect())?))
    }
}

/// Rows of `batch` by probe and CPU, or the events that they stand for, if they are those of an aggregated event.
pub fn sources(batch: &RecordBatch, is_aggregate: bool) -> Result<BTreeMap<(ProbeId, u16), u64>> {
    let number = |name| column(batch, name)?.as_primitive_opt::<UInt16Type>().context("it is no u16");
    let (probes, cpus) = (number("probe")?, number("cpu")?);
    let counts =
        is_aggregate.then(|| column(batch, COUNT)?.as_primitive_opt::<Int64Type>().context("it is no i64"));
    let counts = counts.transpose()?;
    let mut sources = BTreeMap::new();
    for row in 0..batch.num_rows() {
        let events = counts.map_or(1, |counts| counts.value(row).cast_unsigned());
        *sources.entry((probes.value(row), cpus.value(row))).or_default() += events;
    }
    Ok(sources)
}

/// The cgroups that `batch` names.
pub fn cgroups(batch: &RecordBatch) -> Result<HashSet<u64>> {
    let ids = column(batch, "cgroup_id")?.as_primitive_opt::<UInt64Type>().context("it is no u64")?;
    Ok(ids.iter().flatten().collect())
}

fn column<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a dyn Array> {
    let column = batch.column_by_name(name);
    Ok(column.with_context(|| format!("table {PROCESSES} has no column {name}"))?.as_ref())
}

/// The columns that are looked at.
struct Rows<'a> {
    ts: &'a TimestampNanosecondArray,
    pids: &'a UInt32Array,
    kinds: &'a Int32Array,
    names: &'a StringArray,
}

impl<'a> Rows<'a> {
    fn of(batch: &'a RecordBatch) -> Result<Self> {
        let kinds = column(batch, "ev")?.as_dictionary_opt::<Int32Type>().context("ev is no text")?;
        Ok(Self {
            ts: column(batch, "ts")?.as_primitive_opt().context("ts is no time")?,
            pids: column(batch, "pid")?.as_primitive_opt().context("pid is no u32")?,
            kinds: kinds.keys(),
            names: kinds.values().as_string_opt().context("ev is no text")?,
        })
    }

    /// What happened; a row that does not say it is kept like a kind of its own.
    fn kind(&self, row: usize) -> &'a str {
        let key = self.kinds.is_valid(row).then(|| self.kinds.value(row) as usize);
        key.filter(|&key| key < self.names.len()).map_or("", |key| self.names.value(key))
    }
}
