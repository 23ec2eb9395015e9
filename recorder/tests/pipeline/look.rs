//! A trace of a made-up machine in; whether it holds together, as a plain reader sees it, out.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::File;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::common::*;
use crate::held::held;
use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use arrow_array::types::*;
use arrow_schema::DataType;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use schemas::trace::State;
use schemas::trace::log::Contents;
use schemas::trace::read::Description;

/// What a trace holds, read while it may be written.
pub struct Look {
    pub values: Vec<u64>,
    pub times: Vec<i64>,
    pub kept_from_ns: Option<i64>,
}

/// Read the whole trace and fail unless it holds together. One whose files vanish meanwhile is read again.
pub fn look(dir: &Path) -> Look {
    let (tables, contents) = read(dir);
    tables.check(&contents)
}

struct Tables(HashMap<&'static str, Vec<RecordBatch>>);

/// All tables as of one commit.
fn read(dir: &Path) -> (Tables, Contents) {
    let started = Instant::now();
    loop {
        let Description { contents, .. } = description(dir);
        let all: Option<Vec<(String, File)>> = contents
            .visible()
            .iter()
            .map(|segment| Some((segment.table.clone(), File::open(dir.join(segment.path())).ok()?)))
            .collect();
        if let Some(all) = all {
            let names = ["tick", "processes", "counts", "stacks", "symbols", "cgroups"];
            let mut tables: HashMap<&str, Vec<RecordBatch>> = names.map(|name| (name, Vec::new())).into();
            for (table, file) in all {
                if let Some(rows) = tables.get_mut(table.as_str()) {
                    rows.extend(batches(file));
                }
            }
            return (Tables(tables), contents);
        }
        assert!(started.elapsed() < Duration::from_secs(60), "the trace cannot be read");
    }
}

fn batches(file: File) -> Vec<RecordBatch> {
    ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap().map(Result::unwrap).collect()
}

/// All rows of a table of a trace that may be written. If it changes meanwhile it is read again.
pub fn read_open_table(dir: &Path, table: &str) -> RecordBatch {
    let started = Instant::now();
    loop {
        let held = held(dir, table);
        let rows: Option<Vec<RecordBatch>> =
            held.map(|held| held.into_iter().flat_map(|(_, file)| batches(file)).collect());
        if let Some(rows) = rows.filter(|rows| !rows.is_empty()) {
            return arrow_select::concat::concat_batches(&rows[0].schema(), &rows).unwrap();
        }
        assert!(started.elapsed() < Duration::from_secs(60), "table {table} cannot be read");
    }
}

impl Tables {
    fn check(&self, contents: &Contents) -> Look {
        let is_closed = contents.status.state == State::Closed;
        let kept_from_ns = contents.status.kept_from_ns;
        // Each epoch has those that its rows name; of a trace that is closed and merged they are one.
        let is_one = contents.epochs().len() <= 1;
        let unique = |table, column| self.ids(table, column, is_one);
        let stacks = unique("stacks", "stack_id");
        let symbols = unique("symbols", "addr");
        let cgroups = unique("cgroups", "cgroup_id");
        let mut frames_of = HashMap::new();
        for batch in &self.0["stacks"] {
            for (id, frames) in numbers(batch, "stack_id").iter().zip(batch["frames"].as_list::<i32>().iter())
            {
                frames_of.insert(*id, frames.unwrap().as_primitive::<UInt64Type>().values().to_vec());
            }
        }
        let mut look = Look { values: Vec::new(), times: Vec::new(), kept_from_ns };
        let names = self.names();
        // Rows of processes may come up to a second after those of the tick that they explain.
        let all = self.0["processes"].iter().filter_map(|batch| times(batch).last().copied()).max();
        let until_ns = if is_closed { i64::MAX } else { all.unwrap_or(0) };
        for batch in &self.0["tick"] {
            let comm = arrow_cast_text(batch.column_by_name("comm").unwrap());
            let (values, ts, pids) = (numbers(batch, "value"), times(batch), numbers(batch, "pid"));
            for (name, known) in [("stack", &stacks), ("place", &symbols), ("cgroup_id", &cgroups)] {
                for (value, id) in values.iter().zip(numbers(batch, name)) {
                    assert!(known.contains(&id), "tick {value}: {name} {id} is nowhere");
                }
            }
            for (value, id) in values.iter().zip(numbers(batch, "stack")) {
                let unnamed = frames_of[&id].iter().find(|addr| !symbols.contains(addr));
                assert_eq!(unnamed, None, "tick {value}: stack {id} has an address without a name");
            }
            for row in 0..values.len() {
                if ts[row] > until_ns {
                    break;
                }
                let at = (pids[row], ts[row]);
                let known = names.get(&at.0).and_then(|names| names.range(..=at.1).next_back());
                let name = known.map(|(_, name)| name.as_str());
                assert_eq!(name, Some(comm.as_string::<i32>().value(row)), "tick {} at {at:?}", values[row]);
            }
            look.values.extend(values);
            look.times.extend(ts);
        }
        let gap = look.values.windows(2).find(|pair| pair[1] != pair[0] + 1);
        assert!(gap.is_none(), "between {gap:?} rows are missing or doubled");
        assert!(look.times.is_sorted());
        let carried: Vec<u64> =
            self.0["processes"].iter().flat_map(|batch| numbers(batch, "cgroup_id")).collect();
        assert!(carried.iter().all(|id| cgroups.contains(id)), "a cgroup of a process is missing");
        look
    }

    /// Ids of a table; each must be there once if there `is_one` epoch.
    fn ids(&self, table: &str, column: &str, is_one: bool) -> HashSet<u64> {
        let mut ids = HashSet::new();
        for id in self.0[table].iter().flat_map(|batch| numbers(batch, column)) {
            assert!(ids.insert(id) || !is_one, "{id} is in table {table} twice");
        }
        ids
    }

    /// Names of processes by the time from which on they have them; none after an exit. Also: a program for each.
    fn names(&self) -> HashMap<u64, BTreeMap<i64, String>> {
        let mut names: HashMap<u64, BTreeMap<i64, String>> = HashMap::new();
        for batch in &self.0["processes"] {
            let text = |name: &str| arrow_cast_text(batch.column_by_name(name).unwrap());
            let (ev, comm, file) = (text("ev"), text("comm"), text("filename"));
            let (ev, comm, file) = (ev.as_string::<i32>(), comm.as_string::<i32>(), file.as_string::<i32>());
            for (row, (pid, ts)) in numbers(batch, "pid").into_iter().zip(times(batch)).enumerate() {
                let name = if ev.value(row) == "exit" { "" } else { comm.value(row) };
                names.entry(pid).or_default().insert(ts, name.to_owned());
                if ev.value(row) == "exec" {
                    assert_eq!(file.value(row), format!("/bin/{}", &comm.value(row)[1..]));
                }
            }
        }
        names
    }

    fn rows_by_source(&self, table: &str) -> BTreeMap<(u64, u64), i64> {
        let mut rows = BTreeMap::new();
        for batch in &self.0[table] {
            for source in numbers(batch, "probe").into_iter().zip(numbers(batch, "cpu")) {
                *rows.entry(source).or_default() += 1;
            }
        }
        rows
    }
}

/// Fail unless table counts of the trace in `dir` tells of exactly the rows that are there. So it does at any time.
pub fn assert_counts_balance(dir: &Path) {
    let (tables, _) = read(dir);
    let mut told: BTreeMap<(u64, u64), i64> = BTreeMap::new();
    for batch in &tables.0["counts"] {
        let sources = numbers(batch, "probe").into_iter().zip(numbers(batch, "cpu"));
        let column = |name: &str| batch[name].as_primitive::<Int64Type>().values().to_vec();
        let (seen, recorded, lost) = (column("seen"), column("recorded"), column("lost"));
        for (row, source) in sources.enumerate() {
            assert_eq!(seen[row], recorded[row] + lost[row]);
            assert_eq!(lost[row], 0, "nothing was lost");
            *told.entry(source).or_default() += recorded[row];
        }
    }
    let mut there = tables.rows_by_source("tick");
    there.extend(tables.rows_by_source("processes"));
    assert_eq!(told, there, "rows told and rows there, by probe and cpu");
}

pub fn numbers(batch: &RecordBatch, name: &str) -> Vec<u64> {
    let column = batch.column_by_name(name).unwrap_or_else(|| panic!("no column {name}"));
    match column.data_type() {
        DataType::UInt16 => {
            column.as_primitive::<UInt16Type>().values().iter().map(|v| u64::from(*v)).collect()
        }
        DataType::UInt32 => {
            column.as_primitive::<UInt32Type>().values().iter().map(|v| u64::from(*v)).collect()
        }
        DataType::Int64 => {
            column.as_primitive::<Int64Type>().values().iter().map(|v| v.cast_unsigned()).collect()
        }
        _ => column.as_primitive::<UInt64Type>().values().to_vec(),
    }
}
