//! Frames: all that goes into the pipeline of a recording, so that it can be run again without a kernel.
//!
//! A frame file begins with the eight bytes [`MAGIC`], whose last character is the version of the format. [Blocks](block)
//! follow, and in them frames, one after another; no frame spans two blocks. Integers are little-endian.
//!
//! ```text
//! file  = "ktapefr5" block*
//! block = u32 crc, u8 codec, u32 stored, u32 length, payload[stored]
//! frame = u8 kind, u32 length, payload[length]
//! ```
//!
//! | kind | frame | payload |
//! |---|---|---|
//! | 0 | header | JSON of [`Header`]: the first frame, and the only one of its kind |
//! | 1 | record | u16 probe, u16 cpu, the record as it left the ring |
//! | 2 | tick | u64 watermark, u64 now, u64 age (ns): the end of a drain; what is older than the watermark may be written |
//! | 3 | counters | of one probe: u16 probe, i64 recursion misses and i64 kprobe misses (-1: unknown), u64 unfollowed, u32 cpus, and for each cpu that counted anything u32 cpu and [`Counters`] |
//! | 4 | count | u64 now: the counters as they are by now make rows of tables `counts` and `losses` |
//! | 5 | probe | JSON of [`ProbeRow`]; records of this probe come behind it |
//! | 6 | started | i64 UTC ns: the start that `trace.json` tells |
//! | 7 | clocks | for each reading i64 boot time, i64 UTC minus boot time, i64 boot time minus monotonic time, i64 step (the least i64: none) |
//! | 8 | symbols | lines of `/proc/kallsyms`; before the first record |
//! | 9 | cut | u64 watermark: all that is older is published now, because a snapshot was made |
//! | 10 | end | u64 now, u8 1 and i32 exit code of the command or u8 0: the last frame |
//!
//! Boot times are those of CLOCK_BOOTTIME. A file without an end frame was torn: all frames of its whole blocks are good.

pub mod block;
mod cursor;

use serde::{Deserialize, Serialize};
use zerocopy::{FromBytes, IntoBytes};

use crate::trace::Meta;
use crate::wire::{Counters, MAX_RECORD};
use cursor::Cursor;

/// The first bytes of a frame file.
pub const MAGIC: &[u8; 8] = b"ktapefr6";
/// Most processors that the kernel can be built for.
pub const MAX_CPUS: u32 = 8192;
/// Times behind this (146 years) cannot be: with any offset to UTC they are no timestamps.
pub const MAX_TIME_NS: u64 = 1 << 62;
/// Most text of a symbols frame that [`Frame::write`] makes: longer text comes in several.
pub const SYMBOLS_BYTES: usize = 1 << 20;

/// Order of the bytes in records: that of the machine that recorded them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ByteOrder {
    /// The least first.
    Little,
    /// The greatest first.
    Big,
}

impl ByteOrder {
    /// That of this machine.
    pub const OWN: Self = if cfg!(target_endian = "little") { Self::Little } else { Self::Big };
}

/// What a frame file says about itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// Of records.
    pub byte_order: ByteOrder,
    /// `trace.json` of the recording as it was at the start.
    pub meta: Meta,
}

/// A probe that was tried: a row of table `probes`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeRow {
    /// Its number in the event tables; `None` if it was not attached.
    pub probe: Option<u16>,
    /// Event table.
    pub event: String,
    /// Name of the source in the event's definition.
    pub source: String,
    /// Mechanism, `snapshot` for rows made by the recorder itself.
    pub kind: String,
    /// Function or tracepoint.
    pub target: String,
    /// Why it was not attached, or what is to be known about it.
    pub reason: Option<String>,
    /// UTC nanoseconds.
    pub attached_ns: Option<i64>,
    /// UTC nanoseconds.
    pub detached_ns: Option<i64>,
    /// Filter and columns as the recorder understood them.
    pub program: Option<String>,
}

/// Counters of one probe.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProbeCounters {
    /// Which probe.
    pub probe: u16,
    /// Index = CPU.
    pub per_cpu: Vec<Counters>,
    /// Times the kernel skipped the program because one was running already, since the attachment; `None`: this
    /// kernel does not say.
    pub recursion_misses: Option<u64>,
    /// Times the kernel could not run a kprobe or kretprobe; `None` if it does not say, 0 for other kinds.
    pub kprobe_misses: Option<u64>,
    /// Samples that were due and did not come; 0 for other kinds.
    pub sample_misses: u64,
    /// Processes that are not recorded although their parent is, because the pid set was full.
    pub unfollowed: u64,
}

/// The end of a drain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tick {
    /// Boot time (ns) before which nothing is still to come.
    pub watermark_ns: u64,
    /// Boot time (ns) of the drain.
    pub now_ns: u64,
}

/// The clocks of the recorded machine at one time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockReading {
    /// CLOCK_BOOTTIME.
    pub boottime_ns: i64,
    /// CLOCK_REALTIME minus CLOCK_BOOTTIME.
    pub utc_minus_boottime_ns: i64,
    /// CLOCK_BOOTTIME minus CLOCK_MONOTONIC.
    pub boottime_minus_monotonic_ns: i64,
    /// How far the wall clock was set since the reading before, if it was.
    pub step_ns: Option<i64>,
}

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// What the file says about itself.
    Header(Box<Header>),
    /// A record.
    Record {
        /// Of which probe.
        probe: u16,
        /// Of which processor's ring.
        cpu: u16,
        /// Header and columns.
        record: &'a [u8],
    },
    /// The end of a drain.
    Tick(Tick),
    /// What one probe has counted by now.
    Counters(ProbeCounters),
    /// Counters become rows.
    Count {
        /// Boot time (ns).
        now_ns: u64,
    },
    /// A probe that was tried.
    Probe(Box<ProbeRow>),
    /// The start of the recording.
    Started {
        /// UTC ns.
        start_ns: i64,
    },
    /// Rows of table `clock`.
    Clocks(Vec<ClockReading>),
    /// Names of code addresses.
    Symbols(&'a str),
    /// Rows before this time are published.
    Cut {
        /// Boot time (ns).
        watermark_ns: u64,
    },
    /// The recording has ended.
    End {
        /// Boot time (ns).
        now_ns: u64,
        /// Of the command, if there was one.
        command_exit_code: Option<i32>,
    },
}

/// Why bytes are no frame.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// It is longer than what is there.
    #[error("a frame ends within its {0}")]
    Short(&'static str),
    /// It is shorter than it says.
    #[error("a frame has {0} bytes too many")]
    Long(usize),
    /// A later version's.
    #[error("a frame is of unknown kind {0}")]
    Kind(u8),
    /// No value that this can have.
    #[error("a frame's {what} is {value}, the limit is {limit}")]
    Limit {
        /// Part of the frame.
        what: &'static str,
        /// Its value.
        value: u64,
        /// The largest that can be.
        limit: u64,
    },
    /// JSON that is not what it should be.
    #[error("a frame's {0} cannot be read")]
    Json(&'static str, #[source] serde_json::Error),
    /// Bytes that are no text.
    #[error("a frame's symbols are no text")]
    Text,
}

const RECORD: u8 = 1;
const NO_STEP: i64 = i64::MIN;

/// Put a record frame behind `out`.
pub fn write_record(out: &mut Vec<u8>, probe: u16, cpu: u16, record: &[u8]) {
    out.push(RECORD);
    out.extend_from_slice(&(record.len() as u32 + 4).to_le_bytes());
    out.extend_from_slice(&probe.to_le_bytes());
    out.extend_from_slice(&cpu.to_le_bytes());
    out.extend_from_slice(record);
}

/// A symbols frame or several, each of whole lines of `text`, as far as lines are not longer than a frame.
pub fn symbols_frames(text: &str) -> impl Iterator<Item = Frame<'_>> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let end = rest.floor_char_boundary(SYMBOLS_BYTES);
        let end = if end < rest.len() { rest[..end].rfind('\n').map_or(end, |at| at + 1) } else { end };
        let (first, after) = rest.split_at(end);
        rest = after;
        (!first.is_empty()).then_some(Frame::Symbols(first))
    })
}

impl<'a> Frame<'a> {
    fn kind(&self) -> u8 {
        match self {
            Self::Header(_) => 0,
            Self::Record { .. } => RECORD,
            Self::Tick(_) => 2,
            Self::Counters(_) => 3,
            Self::Count { .. } => 4,
            Self::Probe(_) => 5,
            Self::Started { .. } => 6,
            Self::Clocks(_) => 7,
            Self::Symbols(_) => 8,
            Self::Cut { .. } => 9,
            Self::End { .. } => 10,
        }
    }

    /// Put this frame behind `out`. Fails if it holds text that JSON cannot.
    pub fn write(&self, out: &mut Vec<u8>) -> Result<(), FrameError> {
        if let Self::Record { probe, cpu, record } = self {
            write_record(out, *probe, *cpu, record);
            return Ok(());
        }
        out.push(self.kind());
        let length_at = out.len();
        out.extend_from_slice(&[0; 4]);
        self.write_payload(out)?;
        let length = (out.len() - length_at - 4) as u32;
        out[length_at..length_at + 4].copy_from_slice(&length.to_le_bytes());
        Ok(())
    }

    fn write_payload(&self, out: &mut Vec<u8>) -> Result<(), FrameError> {
        let mut u64s = |numbers: &[u64]| numbers.iter().for_each(|n| out.extend_from_slice(&n.to_le_bytes()));
        match self {
            Self::Header(header) => {
                serde_json::to_writer(out, header).map_err(|e| FrameError::Json("header", e))?
            }
            Self::Record { .. } => {}
            Self::Tick(Tick { watermark_ns, now_ns }) => {
                u64s(&[*watermark_ns, *now_ns]);
            }
            Self::Counters(counters) => write_counters(out, counters),
            Self::Count { now_ns } => u64s(&[*now_ns]),
            Self::Probe(row) => serde_json::to_writer(out, row).map_err(|e| FrameError::Json("probe", e))?,
            Self::Started { start_ns } => u64s(&[start_ns.cast_unsigned()]),
            Self::Clocks(readings) => {
                for reading in readings {
                    let ClockReading {
                        boottime_ns,
                        utc_minus_boottime_ns,
                        boottime_minus_monotonic_ns,
                        step_ns,
                    } = *reading;
                    let numbers = [
                        boottime_ns,
                        utc_minus_boottime_ns,
                        boottime_minus_monotonic_ns,
                        step_ns.unwrap_or(NO_STEP),
                    ];
                    u64s(&numbers.map(i64::cast_unsigned));
                }
            }
            Self::Symbols(text) => out.extend_from_slice(text.as_bytes()),
            Self::Cut { watermark_ns } => u64s(&[*watermark_ns]),
            Self::End { now_ns, command_exit_code } => {
                u64s(&[*now_ns]);
                out.push(u8::from(command_exit_code.is_some()));
                if let Some(code) = command_exit_code {
                    out.extend_from_slice(&code.to_le_bytes());
                }
            }
        }
        Ok(())
    }

    /// The frame at the beginning of `bytes`, which is taken off. `None`: there are no bytes. Fails if they are no frame.
    pub fn read(bytes: &mut &'a [u8]) -> Result<Option<Self>, FrameError> {
        if bytes.is_empty() {
            return Ok(None);
        }
        let mut frame = Cursor::new(bytes);
        let kind = frame.u8("kind")?;
        let length = frame.u32("length")? as usize;
        let mut payload = Cursor::new(frame.take(length, "payload")?);
        *bytes = frame.rest();
        let frame = Self::read_payload(kind, &mut payload)?;
        match payload.rest().len() {
            0 => Ok(Some(frame)),
            more => Err(FrameError::Long(more)),
        }
    }

    fn read_payload(kind: u8, payload: &mut Cursor<'a>) -> Result<Self, FrameError> {
        Ok(match kind {
            0 => Self::Header(payload.json("header")?),
            RECORD => {
                let (probe, cpu, record) = (payload.u16("probe")?, payload.u16("cpu")?, payload.all());
                limit("record size", record.len() as u64, MAX_RECORD as u64)?;
                Self::Record { probe, cpu, record }
            }
            2 => {
                // At the end of a source the watermark is behind all times.
                let watermark_ns = payload.u64("watermark")?;
                let now_ns = payload.time("time")?;
                Self::Tick(Tick { watermark_ns, now_ns })
            }
            3 => Self::Counters(read_counters(payload)?),
            4 => Self::Count { now_ns: payload.time("time")? },
            5 => Self::Probe(payload.json("probe")?),
            6 => Self::Started { start_ns: payload.i64("start")? },
            7 => {
                let mut readings = Vec::new();
                while !payload.rest().is_empty() {
                    let numbers: [i64; 4] = [
                        payload.offset("clock")?,
                        payload.offset("clock")?,
                        payload.offset("clock")?,
                        payload.i64("clock")?,
                    ];
                    let [boottime_ns, utc_minus_boottime_ns, boottime_minus_monotonic_ns, step_ns] = numbers;
                    let step_ns = (step_ns != NO_STEP).then_some(step_ns);
                    readings.push(ClockReading {
                        boottime_ns,
                        utc_minus_boottime_ns,
                        boottime_minus_monotonic_ns,
                        step_ns,
                    });
                }
                Self::Clocks(readings)
            }
            8 => Self::Symbols(str::from_utf8(payload.all()).map_err(|_| FrameError::Text)?),
            9 => Self::Cut { watermark_ns: payload.u64("watermark")? },
            10 => {
                let now_ns = payload.time("time")?;
                let command_exit_code = match payload.u8("exit code")? {
                    0 => None,
                    _ => Some(payload.u32("exit code")?.cast_signed()),
                };
                Self::End { now_ns, command_exit_code }
            }
            other => return Err(FrameError::Kind(other)),
        })
    }
}

fn limit(what: &'static str, value: u64, limit: u64) -> Result<(), FrameError> {
    if value > limit { Err(FrameError::Limit { what, value, limit }) } else { Ok(()) }
}

fn write_counters(out: &mut Vec<u8>, counters: &ProbeCounters) {
    let ProbeCounters { probe, per_cpu, recursion_misses, kprobe_misses, sample_misses, unfollowed } =
        counters;
    out.extend_from_slice(&probe.to_le_bytes());
    for misses in [recursion_misses, kprobe_misses] {
        out.extend_from_slice(&misses.map_or(-1, u64::cast_signed).to_le_bytes());
    }
    for count in [sample_misses, unfollowed] {
        out.extend_from_slice(&count.to_le_bytes());
    }
    out.extend_from_slice(&(per_cpu.len() as u32).to_le_bytes());
    for (cpu, counters) in per_cpu.iter().enumerate().filter(|(_, c)| **c != Counters::default()) {
        out.extend_from_slice(&(cpu as u32).to_le_bytes());
        // On machines of the other byte order the header refuses the file.
        out.extend_from_slice(counters.as_bytes());
    }
}

fn read_counters(payload: &mut Cursor<'_>) -> Result<ProbeCounters, FrameError> {
    let probe = payload.u16("probe")?;
    let misses = [payload.i64("misses")?, payload.i64("misses")?];
    let [recursion_misses, kprobe_misses] = misses.map(|n| u64::try_from(n).ok());
    let (sample_misses, unfollowed) = (payload.u64("samples")?, payload.u64("processes")?);
    let cpus = payload.u32("cpus")?;
    limit("number of cpus", cpus.into(), MAX_CPUS.into())?;
    let mut per_cpu = vec![Counters::default(); cpus as usize];
    while !payload.rest().is_empty() {
        let cpu = payload.u32("cpu")?;
        let bytes = payload.take(size_of::<Counters>(), "counters")?;
        let Some(counters) = per_cpu.get_mut(cpu as usize) else {
            return Err(FrameError::Limit { what: "cpu", value: cpu.into(), limit: u64::from(cpus) });
        };
        *counters = Counters::read_from_bytes(bytes).map_err(|_| FrameError::Short("counters"))?;
    }
    Ok(ProbeCounters { probe, per_cpu, recursion_misses, kprobe_misses, sample_misses, unfollowed })
}

#[cfg(test)]
mod tests;
