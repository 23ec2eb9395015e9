//! A made-up machine whose time runs as fast as it is asked, as a source of records. (`look`: whether a trace of it holds
//! together.)
//!
//! Event `tick` has a running number, a stack and an address of code that is new every few seconds, and the name that
//! its process has at that time; event `processes` is what the recorder needs to know of them. Process ids are few, so
//! that they are used again and again. Event `noise`, if there is one, is many rows of nothing.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;

use crate::common::*;
pub use crate::look::*;
use anyhow::Result;
use recorder::pipeline::{Options, RecordBuilder, Symbol, TraceWriter};
use recorder::source::{EventSource, ProbeCounters, ProbeId};
use schemas::column::Layout;
use schemas::wire::{Counters, lost};

pub const S: u64 = 1_000_000_000;
const CPUS: u16 = 2;
const TICK: ProbeId = 0;
const PROCESSES: ProbeId = 1;
const NOISE: ProbeId = 2;
/// Process ids there are; about half of them are in use.
const PIDS: u32 = 120;
/// The first ones never end: their birth is long gone when the recording ends.
const IMMORTAL: u32 = 10;
const SYMBOLS_PER_ERA: u64 = 40;
/// Of code that comes again. What is met in the time that is kept is less than all, by so many ids that the recorder
/// forgets them before they come again.
const OLD_ERAS: u64 = 10;
const OLD_SYMBOLS_PER_ERA: u64 = 300;

/// Which code runs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Code {
    /// New with each era.
    New,
    /// That of [`OLD_ERAS`] again and again.
    Old,
}

pub struct World {
    pub now_ns: u64,
    step_ns: u64,
    ticks_per_step: u64,
    noise_per_step: u64,
    era_ns: u64,
    code: Code,
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
            noise_per_step: 0,
            era_ns,
            code: Code::New,
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

    /// So many rows of `noise` in each step too.
    pub fn with_noise(mut self, rows: u64) -> Self {
        self.noise_per_step = rows;
        self.layouts.push(layout("noise", &[("value", "u64")]));
        self.counters.push(vec![Counters::default(); usize::from(CPUS)]);
        self
    }

    /// The same few stacks, symbols and cgroups come again and again, after some time.
    pub fn whose_code_comes_again(self) -> Self {
        Self { code: Code::Old, ..self }
    }

    /// The time of the tick with that number.
    pub fn ts_ns(step_ns: u64, ticks: u64, value: u64) -> u64 {
        10 * S + value / ticks * step_ns + (value % ticks + 1) * (step_ns / (ticks + 2))
    }

    pub fn writer(&self, dir: &Path, options: Options) -> TraceWriter {
        let options = Options {
            is_live: false,
            // So little that time does not run ahead of the writer.
            queue_bytes: 32 << 10,
            symbolizer: Box::new(|addr| {
                Some(Symbol { name: format!("f{addr}"), offset_bytes: 0, module: None })
            }),
            ..options
        };
        // Processes before the events that name them: the recorder is not to remove them in this order.
        let events = self.layouts.iter().rev().cloned().collect();
        let mut writer = TraceWriter::create(dir, meta(events, 0), options).unwrap();
        writer.add_probe(probe(TICK, "tick")).unwrap();
        writer.add_probe(probe(PROCESSES, "processes")).unwrap();
        if self.noise_per_step > 0 {
            writer.add_probe(probe(NOISE, "noise")).unwrap();
        }
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

    /// So many ticks did not fit into a ring.
    pub fn lose(&mut self, ticks: u64) {
        let counters = &mut self.counters[usize::from(TICK)][0];
        counters.fired += ticks;
        counters.lost[lost::RING_FULL] += ticks;
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
            let row = row.set_text("comm", format!("p{birth}")).set_u64("cgroup_id", 7000 + birth % 50);
            let row = if ev == "exec" { row.set_text("filename", format!("/bin/{birth}")) } else { row };
            row.build()
        });
    }

    /// Frames of a stack, an address and a cgroup of that era.
    fn code(&mut self, era: u64) -> (Vec<u64>, u64, u64) {
        match self.code {
            Code::New => {
                let code = era * SYMBOLS_PER_ERA;
                let frames = (0..4).map(|_| 1000 + code + self.random(SYMBOLS_PER_ERA)).collect();
                (frames, 1000 + code + self.random(SYMBOLS_PER_ERA), 100 + code % 5000)
            }
            Code::Old => {
                let code = era % OLD_ERAS * OLD_SYMBOLS_PER_ERA;
                let first = self.random(OLD_SYMBOLS_PER_ERA);
                let frames = (0..4).map(|i| 1000 + code + (first + i * 77) % OLD_SYMBOLS_PER_ERA).collect();
                let place = 1000 + code + self.random(OLD_SYMBOLS_PER_ERA);
                (frames, place, 100_000 + code + self.random(OLD_SYMBOLS_PER_ERA))
            }
        }
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
            let (frames, place, cgroup) = self.code(ts_ns / self.era_ns);
            let value = self.value;
            self.value += 1;
            self.record(TICK, |layout, seq| {
                let row = RecordBuilder::new(layout, ts_ns).seq(seq).task(pid, pid).set_u64("value", value);
                let row = row.set_stack("stack", &frames).set_u64("place", place);
                row.set_text("comm", format!("p{birth}")).set_u64("cgroup_id", cgroup).build()
            });
        }
        for i in 1..=self.noise_per_step {
            let ts_ns = start_ns + i * (self.step_ns / (self.noise_per_step + 2));
            self.record(NOISE, |layout, seq| RecordBuilder::new(layout, ts_ns).seq(seq).build());
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
            sample_misses: 0,
            unfollowed: 0,
        };
        Ok(self.counters.iter().enumerate().map(counters).collect())
    }

    fn finished(&self) -> bool {
        false
    }
}
