//! A modelled load in; frames of it, as a recorder keeps them, out. What is modelled are recordings of this repository's
//! own workloads, so that large traces are the same on every machine and need no kernel.

mod kmem;
mod packets;
mod slabs;

use std::io::{self, Write};

use anyhow::{Context, Result};
use clap::ValueEnum;
use schemas::column::Layout;
use schemas::frames::block::{BYTES, BlockWriter, Codec};
use schemas::frames::{
    ByteOrder, Frame, Header, ProbeCounters, ProbeRow, Tick, symbols_frames, write_record,
};
use schemas::record::RecordBuilder;
use schemas::trace::{CGROUP_CHANGES, FORMAT_VERSION, Meta, PROCESSES, State};
use schemas::wire::{Counters, lost};

/// Processors of the modelled machine.
const CPUS: u16 = 2;
/// Boot time of the start.
const START_NS: u64 = 10_000_000_000_000;
/// UTC of the start: 2027-01-15T08:00:00Z.
const UTC_START_NS: i64 = 1_800_000_000_000_000_000;
const TICK_NS: u64 = 1_000_000;
const COUNT_NS: u64 = 1_000_000_000;

/// A load that is modelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Load {
    /// `workload churn`: kernel memory under files made, written and removed.
    Kmem,
    /// `workload packets`: bursts of datagrams on loopback.
    Packets,
}

impl Load {
    /// Its event.
    pub fn event(self) -> &'static str {
        match self {
            Self::Kmem => "kmem",
            Self::Packets => "packets",
        }
    }

    /// Write frames of `rows` events or some more.
    pub fn write(self, rows: u64, out: impl Write) -> Result<()> {
        match self {
            Self::Kmem => kmem::write(rows, out),
            Self::Packets => packets::write(rows, out),
        }
    }

    /// What the frames depend on: whoever changes any of it gets other traces.
    pub fn sources() -> [&'static str; 5] {
        [
            include_str!("frames.rs"),
            include_str!("frames/kmem.rs"),
            include_str!("frames/packets.rs"),
            include_str!("frames/slabs.rs"),
            include_str!("../../../schemas/src/frames.rs"),
        ]
    }
}

/// xorshift64: the same numbers everywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }

    /// Once in `n` times.
    fn once_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

/// A probe and a processor.
#[derive(Clone, Copy, Default)]
struct Lane {
    seq: u32,
    counters: Counters,
}

/// What the model does, as frames.
struct Feed<W> {
    blocks: BlockWriter<W>,
    block: Vec<u8>,
    lanes: Vec<[Lane; CPUS as usize]>,
    rows: u64,
    next_tick_ns: u64,
    next_count_ns: u64,
}

impl<W: Write> Feed<W> {
    /// Begin a file about the event of `layout`, whose addresses `symbols` names, observed by `probes`, numbered as they
    /// come.
    fn new(out: W, layout: &Layout, symbols: &str, probes: &[(&str, &str, &str)]) -> Result<Self> {
        let mut layouts = schemas::layouts::builtin(&[])?;
        let mut of = |name: &str| layouts.remove(name).with_context(|| format!("there is no event {name}"));
        let (processes, cgroups) = (of(PROCESSES)?, of(CGROUP_CHANGES)?);
        let blocks = BlockWriter::new(out, Codec::Plain)?;
        let lanes = vec![[Lane::default(); CPUS as usize]; probes.len() + 2];
        let next_count_ns = START_NS + COUNT_NS;
        let mut feed =
            Self { blocks, block: Vec::new(), lanes, rows: 0, next_tick_ns: START_NS, next_count_ns };
        let meta = meta(vec![layout.clone(), cgroups.clone(), processes.clone()]);
        feed.frame(&Frame::Header(Box::new(Header { byte_order: ByteOrder::OWN, meta })))?;
        for frame in symbols_frames(symbols) {
            feed.frame(&frame)?;
        }
        let own =
            probes.iter().map(|(source, kind, target)| (layout.event.as_str(), *source, *kind, *target));
        let snapshots = [
            (CGROUP_CHANGES, "snapshot", "snapshot", "cgroup2"),
            (PROCESSES, "snapshot", "snapshot", "/proc"),
        ];
        for (probe, (event, source, kind, target)) in (0..).zip(own.chain(snapshots)) {
            feed.frame(&Frame::Probe(Box::new(ProbeRow {
                probe: Some(probe),
                event: event.to_owned(),
                source: source.to_owned(),
                kind: kind.to_owned(),
                target: target.to_owned(),
                attached_ns: Some(UTC_START_NS),
                ..ProbeRow::default()
            })))?;
        }
        let root = RecordBuilder::new(&cgroups, START_NS).set_text("ev", "snapshot").set_u64("id", 1);
        let process = RecordBuilder::new(&processes, START_NS)
            .task(PID, PID)
            .set_text("ev", "snapshot")
            .set_text("comm", COMM)
            .set_u64("cgroup_id", 1);
        let first = probes.len() as u16;
        write_record(&mut feed.block, first, 0, &root.set_text("name", "").set_text("path", "/").build());
        write_record(&mut feed.block, first + 1, 0, &process.build());
        Ok(feed)
    }

    fn frame(&mut self, frame: &Frame<'_>) -> Result<()> {
        frame.write(&mut self.block)?;
        Ok(())
    }

    /// One event at `ts_ns`, which is not before those before it.
    fn record(&mut self, probe: u16, cpu: u16, ts_ns: u64, record: &mut [u8]) -> Result<()> {
        let lane = &mut self.lanes[usize::from(probe)][usize::from(cpu)];
        record[..8].copy_from_slice(&ts_ns.to_ne_bytes());
        record[16..20].copy_from_slice(&lane.seq.to_ne_bytes());
        lane.seq = lane.seq.wrapping_add(1);
        lane.counters.fired += 1;
        lane.counters.recorded += 1;
        self.rows += 1;
        if ts_ns >= self.next_tick_ns {
            self.tick(ts_ns)?;
        }
        write_record(&mut self.block, probe, cpu, record);
        Ok(())
    }

    /// One event that found no room in its ring.
    fn lose(&mut self, probe: u16, cpu: u16) {
        let lane = &mut self.lanes[usize::from(probe)][usize::from(cpu)];
        lane.seq = lane.seq.wrapping_add(1);
        lane.counters.fired += 1;
        lane.counters.lost[lost::RING_FULL] += 1;
    }

    fn tick(&mut self, now_ns: u64) -> Result<()> {
        self.next_tick_ns = now_ns + TICK_NS;
        self.frame(&Frame::Tick(Tick { watermark_ns: now_ns, now_ns }))?;
        if now_ns >= self.next_count_ns {
            self.next_count_ns = now_ns + COUNT_NS;
            self.counters()?;
            self.frame(&Frame::Count { now_ns })?;
        }
        if self.block.len() >= BYTES {
            self.flush()?;
        }
        Ok(())
    }

    fn counters(&mut self) -> Result<()> {
        // The last two are no probes of the kernel.
        for probe in 0..self.lanes.len() - 2 {
            let counters = ProbeCounters {
                probe: probe as u16,
                per_cpu: self.lanes[probe].map(|lane| lane.counters).to_vec(),
                recursion_misses: Some(0),
                kprobe_misses: Some(0),
                sample_misses: 0,
                unfollowed: 0,
            };
            self.frame(&Frame::Counters(counters))?;
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.blocks.write(&self.block)?;
        self.block.clear();
        Ok(())
    }

    /// The recording ends.
    fn end(mut self, now_ns: u64) -> Result<()> {
        self.counters()?;
        self.frame(&Frame::End { now_ns, command_exit_code: Some(0) })?;
        self.flush()?;
        self.blocks.finish()?;
        Ok(())
    }
}

#[cfg(test)]
mod tests;

/// The process that makes the load.
const PID: u32 = 4711;
const COMM: &str = "xtask";

fn meta(events: Vec<Layout>) -> Meta {
    Meta {
        format_version: FORMAT_VERSION,
        recorder_version: env!("CARGO_PKG_VERSION").to_owned(),
        state: State::Open,
        host: "model".to_owned(),
        kernel_release: "modelled".to_owned(),
        machine: "x86_64".to_owned(),
        boot_id: String::new(),
        cpus: CPUS.into(),
        utc_minus_boottime_ns: UTC_START_NS - START_NS as i64,
        start_ns: UTC_START_NS,
        end_ns: None,
        command_line: ["cargo", "xtask", "bench", "analyze"].map(str::to_owned).to_vec(),
        command_exit_code: None,
        recorder_pid: 0,
        kept_from_ns: None,
        gfp_flags: Vec::new(),
        frozen: None,
        events,
    }
}
