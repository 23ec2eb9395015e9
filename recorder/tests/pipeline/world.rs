//! A made-up machine whose time runs as fast as it is asked, as a source of records; and whether a trace of it holds
//! together.
//!
//! Event `tick` has a running number, a stack and an address of code that is new every few seconds, and the name that
//! its process has at that time; event `processes` is what the recorder needs to know of them. Process ids are few, so
//! that they are used again and again.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::common::*;
use anyhow::Result;
use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use arrow_array::types::*;
use arrow_schema::DataType;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use recorder::pipeline::{Cgroup, Options, RecordBuilder, Symbol, TraceWriter, read_meta};
use recorder::source::{EventSource, ProbeCounters, ProbeId};
use schemas::column::Layout;
use schemas::trace::State;
use schemas::wire::Counters;

pub const S: u64 = 1_000_000_000;
const CPUS: u16 = 2;
const TICK: ProbeId = 0;
const PROCESSES: ProbeId = 1;
/// Process ids there are; about half of them are in use.
const PIDS: u32 = 120;
/// The first ones never end: their birth is long gone when the recording ends.
const IMMORTAL: u32 = 10;
const SYMBOLS_PER_ERA: u64 = 40;

pub struct World {
    pub now_ns: u64,
    step_ns: u64,
    ticks_per_step: u64,
    era_ns: u64,
    layouts: Vec<Layout>,
    random: u64,
    value: u64,
    births: u64,
    alive: BTreeMap<u32, u64>,
    pending: VecDeque<(ProbeId, u16, Vec<u8>)>,
    counters: Vec<Vec<Counters>>,
}

impl World {
    /// `ticks` in each `step_ns`; code changes every `era_ns`.
    pub fn new(step_ns: u64, ticks: u64, era_ns: u64) -> Self {
        let columns = [
            ("value", "u64"),
            ("stack", "kstack[8]"),
            ("place", "sym"),
            ("comm", "string[15]"),
            ("cgroup_id", "u64"),
        ];
        let tick = layout("tick", &columns);
        let columns = [
            ("ev", "enum(snapshot,fork,exec,exit,rename)"),
            ("comm", "string[15]"),
            ("filename", "string[31]"),
            ("cgroup_id", "u64"),
        ];
        let mut world = Self {
            now_ns: 10 * S,
            step_ns,
            ticks_per_step: ticks,
            era_ns,
            layouts: vec![tick, layout("processes", &columns)],
            random: 0x2545_f491_4f6c_dd1d,
            value: 0,
            births: 0,
            alive: BTreeMap::new(),
            pending: VecDeque::new(),
            counters: vec![vec![Counters::default(); usize::from(CPUS)]; 2],
        };
        (1..=PIDS / 2).for_each(|pid| world.birth(pid, "snapshot", 10 * S));
        world
    }

    pub fn writer(&self, dir: &Path, options: Options) -> TraceWriter {
        let options = Options {
            is_live: false,
            symbolizer: Box::new(|addr| {
                Some(Symbol { name: format!("f{addr}"), offset_bytes: 0, module: None })
            }),
            cgroups: Box::new(|id| Some(Cgroup { path: format!("/{id}"), container_id: None })),
            ..options
        };
        let mut writer = TraceWriter::create(dir, meta(self.layouts.clone(), 0), options).unwrap();
        writer.add_probe(probe(TICK, "tick")).unwrap();
        writer.add_probe(probe(PROCESSES, "processes")).unwrap();
        writer
    }

    /// Run for so many seconds of its own time; `each` after every step.
    pub fn run(
        &mut self,
        writer: &mut TraceWriter,
        seconds: u64,
        mut each: impl FnMut(&mut TraceWriter, u64),
    ) {
        let end_ns = self.now_ns + seconds * S;
        while self.now_ns < end_ns {
            writer.pump(self).unwrap();
            each(writer, self.now_ns);
        }
    }

    /// Ticks so far.
    pub fn ticks(&self) -> u64 {
        self.value
    }

    fn random(&mut self, below: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % below
    }

    fn record(&mut self, probe: ProbeId, build: impl FnOnce(&Layout, u32) -> Vec<u8>) {
        let cpu = self.random(u64::from(CPUS)) as u16;
        let counters = &mut self.counters[usize::from(probe)][usize::from(cpu)];
        let record = build(&self.layouts[usize::from(probe)], counters.recorded as u32);
        counters.fired += 1;
        counters.recorded += 1;
        self.pending.push_back((probe, cpu, record));
    }

    fn birth(&mut self, pid: u32, ev: &str, ts_ns: u64) {
        self.births += 1;
        let birth = self.births;
        self.alive.insert(pid, birth);
        self.process(pid, ev, ts_ns, birth);
        self.process(pid, "exec", ts_ns + 1, birth);
    }

    fn process(&mut self, pid: u32, ev: &str, ts_ns: u64, birth: u64) {
        self.record(PROCESSES, |layout, seq| {
            let row = RecordBuilder::new(layout, ts_ns).seq(seq).task(pid, pid).set_text("ev", ev);
            let row = row.set_text("comm", &format!("p{birth}")).set_u64("cgroup_id", 7000 + birth % 50);
            let row = if ev == "exec" { row.set_text("filename", &format!("/bin/{birth}")) } else { row };
            row.build()
        });
    }

    fn step(&mut self) {
        let start_ns = self.now_ns;
        let each_ns = self.step_ns / (self.ticks_per_step + 2);
        let pid = (IMMORTAL + 1) + self.random(u64::from(PIDS - IMMORTAL)) as u32;
        match self.alive.remove(&pid) {
            Some(birth) => self.process(pid, "exit", start_ns, birth),
            None => self.birth(pid, "fork", start_ns),
        }
        for i in 1..=self.ticks_per_step {
            let ts_ns = start_ns + i * each_ns;
            let nth = self.random(self.alive.len() as u64) as usize;
            let (pid, birth) = self.alive.iter().nth(nth).map(|(pid, birth)| (*pid, *birth)).unwrap();
            let code = ts_ns / self.era_ns * SYMBOLS_PER_ERA;
            let frames: Vec<u64> = (0..4).map(|_| 1000 + code + self.random(SYMBOLS_PER_ERA)).collect();
            let place = 1000 + code + self.random(SYMBOLS_PER_ERA);
            let value = self.value;
            self.value += 1;
            self.record(TICK, |layout, seq| {
                let row = RecordBuilder::new(layout, ts_ns).seq(seq).task(pid, pid).set_u64("value", value);
                let row = row.set_stack("stack", &frames).set_u64("place", place);
                row.set_text("comm", &format!("p{birth}")).set_u64("cgroup_id", 100 + code % 5000).build()
            });
        }
        self.now_ns = start_ns + self.step_ns;
    }
}

impl EventSource for World {
    fn drain(&mut self, visit: &mut dyn FnMut(ProbeId, u16, &[u8])) -> Result<u64> {
        self.step();
        self.pending.drain(..).for_each(|(probe, cpu, record)| visit(probe, cpu, &record));
        Ok(self.now_ns)
    }

    fn counters(&mut self) -> Result<Vec<ProbeCounters>> {
        let counters = |(probe, per_cpu): (usize, &Vec<Counters>)| ProbeCounters {
            probe: probe as ProbeId,
            per_cpu: per_cpu.clone(),
            recursion_misses: None,
            kprobe_misses: Some(0),
            unfollowed: 0,
        };
        Ok(self.counters.iter().enumerate().map(counters).collect())
    }

    fn finished(&self) -> bool {
        false
    }
}

/// What a trace holds, read while it may be written.
pub struct Look {
    pub values: Vec<u64>,
    pub times: Vec<i64>,
    pub kept_from_ns: Option<i64>,
}

/// Read the whole trace and fail unless it holds together. One whose files vanish meanwhile is read again.
pub fn look(dir: &Path) -> Look {
    let started = Instant::now();
    loop {
        let before = read_meta(dir).unwrap();
        if let Some(look) = read(dir)
            && read_meta(dir).unwrap().kept_from_ns == before.kept_from_ns
        {
            return look.check(before.state == State::Closed, before.kept_from_ns);
        }
        assert!(started.elapsed() < Duration::from_secs(60), "the trace cannot be read");
    }
}

struct Tables(HashMap<&'static str, Vec<RecordBatch>>);

/// `None` if a file that was listed is gone.
fn read(dir: &Path) -> Option<Tables> {
    let names = ["tick", "processes", "counts", "stacks", "symbols", "cgroups"];
    let mut tables = HashMap::new();
    for name in names {
        let mut paths: Vec<(u64, PathBuf)> = std::fs::read_dir(dir.join(name))
            .ok()?
            .map(|entry| entry.unwrap().path())
            .filter_map(|path| {
                Some((path.file_name()?.to_str()?.strip_suffix(".parquet")?.parse().ok()?, path))
            })
            .collect();
        paths.sort();
        let batches = paths.iter().map(|(_, path)| read_segment_if_there(path));
        tables.insert(name, batches.collect::<Option<Vec<_>>>()?.concat());
    }
    Some(Tables(tables))
}

/// `None` if it is gone.
fn read_segment_if_there(path: &Path) -> Option<Vec<RecordBatch>> {
    // Open, it can be read to its end whatever becomes of its name.
    let file = match std::fs::File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return None,
        file => file.unwrap(),
    };
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap();
    Some(reader.map(Result::unwrap).collect())
}

impl Tables {
    fn check(&self, is_closed: bool, kept_from_ns: Option<i64>) -> Look {
        let stacks = self.unique("stacks", "stack_id");
        let symbols = self.unique("symbols", "addr");
        let cgroups = self.unique("cgroups", "cgroup_id");
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

    /// Ids of a table; each must be there once.
    fn unique(&self, table: &str, column: &str) -> HashSet<u64> {
        let mut ids = HashSet::new();
        for id in self.0[table].iter().flat_map(|batch| numbers(batch, column)) {
            assert!(ids.insert(id), "{id} is in table {table} twice");
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

/// Fail unless table counts of the closed trace in `dir` tells of exactly the rows that are there.
pub fn assert_counts_balance(dir: &Path) {
    let tables = read(dir).unwrap();
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

fn numbers(batch: &RecordBatch, name: &str) -> Vec<u64> {
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
