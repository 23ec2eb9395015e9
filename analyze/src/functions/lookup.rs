//! Looks up in the tables of the open traces who had a process id, and to which container a cgroup belongs.
//!
//! Each is read at the first question, straight from Parquet, and kept.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, OnceLock};

use anyhow::Context;
use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type, UInt32Type, UInt64Type};
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_cast::cast;
use arrow_schema::DataType;
use datafusion::common::Result;
use schemas::column::text_dictionary;
use schemas::trace::PROCESSES;

use super::failed;
use crate::trace::Trace;
use crate::trace::symbols::{Symbols, column, each_batch, take};

/// More rows than any recording has of processes or cgroups; beyond it memory would not be bounded.
const MAX_ENTRIES: usize = 8_000_000;

type Read<T> = OnceLock<std::result::Result<T, String>>;

/// What functions look up, for each trace by itself.
#[derive(Debug)]
pub struct Lookups {
    symbols: Arc<Symbols>,
    traces: Vec<Arc<Trace>>,
    processes: Vec<Read<Processes>>,
    containers: Vec<Read<HashMap<u64, String>>>,
    /// Rows that may still be read, of all traces together.
    left_processes: AtomicUsize,
    left_cgroups: AtomicUsize,
}

impl Lookups {
    /// Those of the traces behind `symbols`, not read yet.
    pub fn new(symbols: Arc<Symbols>) -> Self {
        let traces: Vec<Arc<Trace>> = symbols.traces().cloned().collect();
        let processes = traces.iter().map(|_| OnceLock::new()).collect();
        let containers = traces.iter().map(|_| OnceLock::new()).collect();
        let (left_processes, left_cgroups) = (AtomicUsize::new(MAX_ENTRIES), AtomicUsize::new(MAX_ENTRIES));
        Self { symbols, traces, processes, containers, left_processes, left_cgroups }
    }

    /// Names of addresses and texts of stacks.
    pub fn symbols(&self) -> &Arc<Symbols> {
        &self.symbols
    }

    /// The open traces.
    pub fn traces(&self) -> &[Arc<Trace>] {
        &self.traces
    }

    /// For each of `rows` rows the number of the trace that its value in `trace`, a name or a number, means; `None` if there
    /// is no such argument and several traces are open.
    ///
    /// Fails if no such trace is open.
    pub fn numbers(&self, trace: Option<&ArrayRef>, rows: usize) -> Result<Option<Vec<Option<usize>>>> {
        let Some(trace) = trace else {
            return Ok((self.traces.len() == 1).then(|| vec![Some(0); rows]));
        };
        if *trace.data_type() == DataType::Int32 {
            let known = |number: i32| usize::try_from(number).ok().filter(|n| *n < self.traces.len());
            let number = |number: Option<i32>| {
                let known = |n: i32| known(n).ok_or_else(|| failed(format!("there is no trace number {n}")));
                number.map(known).transpose()
            };
            return Ok(Some(trace.as_primitive::<Int32Type>().iter().map(number).collect::<Result<_>>()?));
        }
        let trace = cast(trace, &text_dictionary())?;
        let trace = trace.as_dictionary::<Int32Type>();
        let names = trace.values().as_string::<i32>().iter();
        let number = |name: Option<&str>| name.map(|name| self.symbols.trace_named(name)).transpose();
        let numbers: Vec<Option<usize>> = names.map(number).collect::<Result<_, _>>().map_err(failed)?;
        let row = |key: Option<i32>| numbers.get(usize::try_from(key?).ok()?).copied().flatten();
        Ok(Some(trace.keys().iter().map(row).collect()))
    }

    /// [`Self::numbers`] for a function whose value means something else in each trace; `call` is how it is told of which.
    ///
    /// Fails if several traces are open and it is not told.
    pub fn needed(&self, call: &str, trace: Option<&ArrayRef>, rows: usize) -> Result<Vec<Option<usize>>> {
        self.numbers(trace, rows)?.ok_or_else(|| {
            let count = self.traces.len();
            failed(format!(
                "{count} traces are open, and a number means another thing in each: write {call} with the trace of the row"
            ))
        })
    }

    /// The processes of the trace with that number.
    pub fn processes(&self, number: usize) -> std::result::Result<&Processes, String> {
        let read = || Processes::read(&self.traces[number], &self.left_processes);
        let read = || read().map_err(|error| format!("{error:#}"));
        self.processes[number].get_or_init(read).as_ref().map_err(Clone::clone)
    }

    /// The containers of the cgroups of the trace with that number.
    pub fn containers(&self, number: usize) -> std::result::Result<&HashMap<u64, String>, String> {
        let read = || containers(&self.traces[number], &self.left_cgroups);
        let read = || read().map_err(|error| format!("{error:#}"));
        self.containers[number].get_or_init(read).as_ref().map_err(Clone::clone)
    }
}

/// Which name a process id had when.
#[derive(Debug, Default)]
pub struct Processes {
    by_pid: HashMap<u32, Vec<Since>>,
    names: Vec<String>,
}

/// From when on a process id had which name.
#[derive(Clone, Copy, Debug)]
struct Since {
    ts_ns: i64,
    /// No name: the process had ended, or it is not known.
    name: Option<u32>,
    /// When the process was started, of one that was there before the recording.
    started_ns: Option<i64>,
}

impl Processes {
    fn read(trace: &Trace, left: &AtomicUsize) -> anyhow::Result<Self> {
        let mut known = Self::default();
        let mut numbers: HashMap<String, u32> = HashMap::new();
        let boot_ns = trace.meta.utc_minus_boottime_ns;
        each_batch([trace], PROCESSES, |batch| {
            take(left, batch.num_rows(), "table processes has too many rows")?;
            known.take(batch, boot_ns, &mut numbers)
        })?;
        known.by_pid.values_mut().for_each(|rows| order(rows));
        Ok(known)
    }

    fn take(
        &mut self,
        batch: &RecordBatch,
        boot_ns: i64,
        numbers: &mut HashMap<String, u32>,
    ) -> anyhow::Result<()> {
        let times = column(batch, "ts", &DataType::Int64)?;
        let pids = column(batch, "pid", &DataType::UInt32)?;
        let (evs, comms) = (column(batch, "ev", &DataType::Utf8)?, column(batch, "comm", &DataType::Utf8)?);
        let starts =
            batch.column_by_name("start_boottime_ns").and_then(|c| c.as_primitive_opt::<Int64Type>());
        let (times, pids) = (times.as_primitive::<Int64Type>(), pids.as_primitive::<UInt32Type>());
        let (evs, comms) = (evs.as_string::<i32>(), comms.as_string::<i32>());
        for row in 0..batch.num_rows() {
            if pids.is_null(row) || evs.is_null(row) {
                continue;
            }
            let ev = evs.value(row);
            // At the very time of its end it was still there.
            let ts_ns = times.value(row).saturating_add(i64::from(ev == "exit"));
            let start = starts.filter(|starts| ev == "snapshot" && starts.is_valid(row));
            let started_ns = start.map(|starts| starts.value(row).saturating_add(boot_ns));
            let name = (ev != "exit" && comms.is_valid(row)).then(|| comms.value(row));
            let name = name.map(|name| match numbers.entry(name.to_owned()) {
                Entry::Occupied(known) => *known.get(),
                Entry::Vacant(new) => {
                    self.names.push(name.to_owned());
                    *new.insert(self.names.len() as u32 - 1)
                }
            });
            self.by_pid.entry(pids.value(row)).or_default().push(Since { ts_ns, name, started_ns });
        }
        Ok(())
    }

    /// The name that process `pid` had at `ts_ns`.
    pub fn name(&self, pid: u32, ts_ns: i64) -> Option<&str> {
        let times = self.by_pid.get(&pid)?;
        let after = times.partition_point(|since| since.ts_ns <= ts_ns);
        let since = times.get(after.checked_sub(1)?)?;
        Some(&self.names[since.name? as usize])
    }
}

/// Put the rows of a process id in order. A process of the initial state had its name since its start, unless something
/// happened to it before it was read.
fn order(rows: &mut [Since]) {
    rows.sort_by_key(|since| since.ts_ns);
    for i in 0..rows.len() {
        let before_ns = i.checked_sub(1).map_or(i64::MIN, |before| rows[before].ts_ns);
        if let Some(started_ns) = rows[i].started_ns.filter(|started_ns| *started_ns > before_ns) {
            rows[i].ts_ns = rows[i].ts_ns.min(started_ns);
        }
    }
}

fn containers(trace: &Trace, left: &AtomicUsize) -> anyhow::Result<HashMap<u64, String>> {
    let mut known = HashMap::new();
    each_batch([trace], "cgroups", |batch| {
        take(left, batch.num_rows(), "table cgroups has too many rows")?;
        let ids = column(batch, "cgroup_id", &DataType::UInt64)?;
        let texts = column(batch, "container_id", &DataType::Utf8)?;
        let (ids, texts) = (ids.as_primitive::<UInt64Type>(), texts.as_string::<i32>());
        for (id, text) in ids.iter().zip(texts.iter()) {
            known.extend(id.zip(text.map(str::to_owned)));
        }
        Ok(())
    })
    .context("cannot read table cgroups")?;
    Ok(known)
}
