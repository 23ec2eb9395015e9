//! A frame file in; what went into the pipeline of a recording, in the same order, out, and the trace of it.
//!
//! Everything behind the rings runs as it did, at its own speed: nothing is lost. A file is read up to a tear; what it
//! says is not trusted, and nothing that it says takes more memory than a recording does.

use std::collections::BTreeMap;
use std::io::Read;
use std::sync::{Arc, OnceLock};

use anyhow::{Context, Result, bail, ensure};
use schemas::frames::block::{BlockReader, Stop};
use schemas::frames::{ByteOrder, ClockReading, Frame, Header, MAX_CPUS, MAX_TIME_NS, ProbeRow, Tick};
use schemas::name::refusal;
use schemas::trace::read::{check_events, check_tables};
use schemas::trace::{FORMAT_VERSION, Meta};
use schemas::wire::{Counters, MAX_RECORD};

use super::options::End;
use super::stacks::{Symbol, Symbolizer};
use super::writer::TraceWriter;
use crate::kernel::KernelSymbols;
use crate::source::{EventSource, ProbeCounters, ProbeId};

/// Records that one drain gives at most.
const MAX_DRAIN: usize = 1 << 16;
/// Probes times processors at most: each has a ring of 64 KiB at least when it is recorded.
const MAX_LANES: usize = 1 << 20;
/// Bytes of rows of table `probes` at most.
const MAX_PROBE_BYTES: usize = 64 << 20;
/// Bytes of symbols at most.
const MAX_SYMBOL_BYTES: usize = 256 << 20;
/// Bytes of records that may wait for a watermark: rings of a recording hold no more.
const MAX_STAGED_BYTES: usize = 1 << 30;
/// Of all that was ever counted: sums stay in range.
const MAX_COUNT: u64 = 1 << 61;

/// What is done between two records.
pub(super) enum Step {
    Tick(Tick),
    Count { now_ns: u64, counters: Vec<ProbeCounters> },
    Probe(Box<ProbeRow>),
    Started { start_ns: i64 },
    Clocks(Vec<ClockReading>),
    Cut { watermark_ns: u64 },
}

/// How a file ends.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Ending {
    Whole { now_ns: u64, command_exit_code: Option<i32> },
    Torn { at: u64, why: String },
}

/// Raw frames from a file, or anything else that can be read.
pub struct FrameFile<R> {
    blocks: BlockReader<R>,
    header: Header,
    /// The block that is being read, and how far.
    block: Vec<u8>,
    at: usize,
    counters: BTreeMap<ProbeId, ProbeCounters>,
    /// What the counters of all probes come to.
    counted: u64,
    probes: usize,
    probe_bytes: usize,
    symbols: String,
    /// The names, once they are all read.
    names: Arc<OnceLock<KernelSymbols>>,
    watermark_ns: u64,
    now_ns: u64,
    step: Option<Step>,
    ending: Option<Ending>,
}

impl<R: Read> FrameFile<R> {
    /// Read frames from `reader`. Fails if it does not begin like a frame file, or if this program cannot replay it.
    pub fn new(reader: R) -> Result<Self> {
        let mut blocks = BlockReader::new(reader)?;
        let mut block = Vec::new();
        match blocks.next(&mut block)? {
            Ok(()) => {}
            Err(Stop::End) => bail!("it ends before its header: nothing was recorded"),
            Err(Stop::Torn { why, .. }) => bail!("it has no header: {why}"),
        }
        let mut rest = &block[..];
        let header = match Frame::read(&mut rest)? {
            Some(Frame::Header(header)) => *header,
            _ => bail!("it does not begin with a header"),
        };
        check(&header).context("its header is damaged, or of a newer recorder")?;
        let at = block.len() - rest.len();
        Ok(Self {
            blocks,
            header,
            block,
            at,
            counters: BTreeMap::new(),
            counted: 0,
            probes: 0,
            probe_bytes: 0,
            symbols: String::new(),
            names: Arc::default(),
            watermark_ns: 0,
            now_ns: 0,
            step: None,
            ending: None,
        })
    }

    /// `trace.json` of the recording as it was at its start.
    pub fn meta(&self) -> &Meta {
        &self.header.meta
    }

    /// Bytes of the file that are read.
    pub fn bytes_read(&self) -> u64 {
        self.blocks.bytes_read()
    }

    /// The names of code addresses that the file tells.
    pub fn symbolizer(&self) -> Symbolizer {
        let names = self.names.clone();
        Box::new(move |address| names.get()?.lookup(address).map(Symbol::from))
    }

    /// Read the next frame. `None`: a record, which `visit` has seen, or nothing that needs doing.
    fn frame(&mut self, visit: &mut dyn FnMut(ProbeId, u16, &[u8])) -> Result<Option<Step>> {
        if self.at == self.block.len() {
            self.at = 0;
            if let Err(stop) = self.blocks.next(&mut self.block).context("cannot read frames")? {
                self.block.clear();
                self.ending = Some(match stop {
                    Stop::End => {
                        Ending::Torn { at: self.blocks.bytes_read(), why: "the end is missing".to_owned() }
                    }
                    Stop::Torn { at, why } => Ending::Torn { at, why },
                });
                return Ok(None);
            }
        }
        let mut rest = &self.block[self.at..];
        let frame = Frame::read(&mut rest)?;
        self.at = self.block.len() - rest.len();
        let Some(frame) = frame else { return Ok(None) };
        let is_symbols = matches!(frame, Frame::Symbols(_));
        if !is_symbols && self.names.get().is_none() {
            let text = std::mem::take(&mut self.symbols);
            let _ = self.names.set(KernelSymbols::parse(&text));
        }
        let cpus = self.header.meta.cpus;
        Ok(match frame {
            Frame::Record { probe, cpu, record } => {
                ensure!(u32::from(cpu) < cpus, "a record is of cpu {cpu}, the recorded machine has {cpus}");
                visit(probe, cpu, record);
                None
            }
            Frame::Header(_) => bail!("there is a second header"),
            Frame::Symbols(text) => {
                ensure!(self.names.get().is_none(), "names of addresses come behind other frames");
                ensure!(
                    self.symbols.len() + text.len() <= MAX_SYMBOL_BYTES,
                    "there are too many names of addresses"
                );
                self.symbols.push_str(text);
                None
            }
            Frame::Tick(tick) => {
                self.watermark_ns = self.watermark_ns.max(tick.watermark_ns);
                self.now_ns = tick.now_ns;
                Some(Step::Tick(tick))
            }
            Frame::Counters(counters) => {
                self.take_counters(counters)?;
                None
            }
            Frame::Count { now_ns } => Some(Step::Count { now_ns, counters: self.counters()? }),
            Frame::Probe(row) => {
                let ProbeRow { event, source, kind, target, reason, program, .. } = &*row;
                let texts =
                    [Some(event), Some(source), Some(kind), Some(target), reason.as_ref(), program.as_ref()];
                self.probe_bytes +=
                    size_of::<ProbeRow>() + texts.into_iter().flatten().map(String::len).sum::<usize>();
                self.probes += usize::from(row.probe.is_some());
                ensure!(
                    self.probe_bytes <= MAX_PROBE_BYTES && self.probes * cpus as usize <= MAX_LANES,
                    "there are more probes than can have been attached"
                );
                Some(Step::Probe(row))
            }
            Frame::Started { start_ns } => {
                check_time(start_ns)?;
                Some(Step::Started { start_ns })
            }
            Frame::Clocks(readings) => Some(Step::Clocks(readings)),
            Frame::Cut { watermark_ns } => Some(Step::Cut { watermark_ns }),
            Frame::End { now_ns, command_exit_code } => {
                self.ending = Some(Ending::Whole { now_ns, command_exit_code });
                None
            }
        })
    }

    /// Counters of a probe as they are now: none is less than it was.
    fn take_counters(&mut self, counters: ProbeCounters) -> Result<()> {
        let cpus = self.header.meta.cpus as usize;
        ensure!(counters.per_cpu.len() <= cpus, "a probe has counted on more cpus than there are");
        ensure!(self.counters.len() <= self.probes, "there are counters of more probes than were attached");
        let before = self.counters.entry(counters.probe).or_default();
        let falls = |(now, before): (&Counters, &Counters)| {
            numbers(now).zip(numbers(before)).any(|(now, before)| now < before)
        };
        ensure!(
            counters.per_cpu.len() >= before.per_cpu.len()
                && !counters.per_cpu.iter().zip(&before.per_cpu).any(falls),
            "probe {} has counted less than before",
            counters.probe
        );
        let sum = |counters: &ProbeCounters| {
            let misses = [counters.recursion_misses, counters.kprobe_misses];
            let others = [counters.sample_misses, counters.unfollowed];
            let all =
                counters.per_cpu.iter().flat_map(numbers).chain(misses.into_iter().flatten()).chain(others);
            all.fold(0, u64::saturating_add)
        };
        // What was skipped may seem to fall for a moment, and counts as much as it ever rose.
        self.counted = (self.counted.saturating_sub(sum(before))).saturating_add(sum(&counters));
        ensure!(self.counted <= MAX_COUNT, "the counters of probe {} are impossible", counters.probe);
        *before = counters;
        Ok(())
    }
}

fn numbers(counters: &Counters) -> impl Iterator<Item = u64> + use<> {
    let Counters { fired, filtered, recorded, lost, faults, cuts, stack_faults, map_full, no_return } =
        *counters;
    [fired, filtered, recorded, faults, cuts, stack_faults, map_full, no_return].into_iter().chain(lost)
}

impl<R: Read> EventSource for FrameFile<R> {
    /// The records up to the next [`Step`], or some of them.
    fn drain(&mut self, visit: &mut dyn FnMut(ProbeId, u16, &[u8])) -> Result<u64> {
        for _ in 0..MAX_DRAIN {
            if self.ending.is_some() || self.step.is_some() {
                break;
            }
            self.step = self.frame(visit)?;
        }
        Ok(self.watermark_ns)
    }

    fn counters(&mut self) -> Result<Vec<ProbeCounters>> {
        Ok(self.counters.values().cloned().collect())
    }

    fn finished(&self) -> bool {
        self.ending.is_some()
    }
}

fn check_time(ns: i64) -> Result<()> {
    ensure!(ns.unsigned_abs() <= MAX_TIME_NS / 2, "{ns} ns is no time");
    Ok(())
}

/// Fails if a header is not one that a recorder writes.
fn check(header: &Header) -> Result<()> {
    let Header { byte_order, meta } = header;
    ensure!(
        *byte_order == ByteOrder::OWN,
        "its records are of a machine with another order of bytes: replay them on one like that"
    );
    ensure!(
        meta.format_version <= FORMAT_VERSION,
        "it is of format {}, this recorder knows {FORMAT_VERSION} and older: use a newer one",
        meta.format_version
    );
    ensure!((1..=MAX_CPUS).contains(&meta.cpus), "{} cpus cannot be", meta.cpus);
    [meta.utc_minus_boottime_ns, meta.start_ns].into_iter().try_for_each(check_time)?;
    check_events(&meta.events)?;
    check_tables(&meta.events)?;
    for layout in &meta.events {
        if let Some(why) = refusal(&layout.event) {
            bail!(why);
        }
        let size = layout.record_size as usize;
        ensure!(
            size <= MAX_RECORD && size.is_multiple_of(8),
            "event '{}': records of {size} bytes cannot be",
            layout.event
        );
    }
    Ok(())
}

/// What a replay came to.
pub struct Replayed {
    /// For [`TraceWriter::close`].
    pub end: End,
    /// Where the file is torn and what is wrong there, if it is.
    pub torn: Option<String>,
}

/// Feed all of `source` to `writer`, and call `look` now and then with the number of records. Fails if a frame is not
/// one that a recorder writes, if the trace cannot be written, or if `look` does.
pub fn replay<R: Read>(
    source: &mut FrameFile<R>,
    writer: &mut TraceWriter,
    look: &mut dyn FnMut(u64, &TraceWriter) -> Result<()>,
) -> Result<Replayed> {
    let mut records = 0;
    while !source.finished() {
        let mut failure = None;
        source.drain(&mut |probe, cpu, record| {
            records += 1;
            if failure.is_none() {
                failure = writer.feed(probe, cpu, record).err();
            }
        })?;
        if let Some(error) = failure {
            return Err(error);
        }
        ensure!(
            writer.staged_bytes() <= MAX_STAGED_BYTES,
            "more than {} MiB of records wait for a watermark: no recording is like that",
            MAX_STAGED_BYTES >> 20
        );
        if let Some(step) = source.step.take() {
            writer.apply(step)?;
        }
        look(records, writer)?;
    }
    let counters = source.counters()?;
    Ok(match source.ending.clone() {
        Some(Ending::Whole { now_ns, command_exit_code }) => {
            writer.replayed_until(now_ns);
            Replayed { end: End { command_exit_code, counters, ..End::default() }, torn: None }
        }
        torn => {
            writer.replayed_until(source.now_ns);
            let counters = writer.with_all_fed(counters);
            let torn = match torn {
                Some(Ending::Torn { at, why }) => format!("{why} at byte {at}"),
                _ => "the end is missing".to_owned(),
            };
            Replayed { end: End { counters, is_torn: true, ..End::default() }, torn: Some(torn) }
        }
    })
}
