//! A frame file in, the same raw records, watermarks and counters as the live source gave out; and the tee that
//! writes such a file. Everything after the rings is tested and measured with it, without a kernel.
//!
//! The file: eight bytes `ktapefr2`; u32 length and JSON of [`FrameHeader`]; then frames, each a byte that says what
//! follows: 1 record (u16 probe, u16 cpu, u32 length, bytes), 2 end of a drain (u64 watermark), 3 counters of one
//! probe (u16 probe, i64 recursion misses and i64 kprobe misses or -1, u64 unfollowed processes, u32 cpus, as many
//! `Counters`). Integers are little-endian.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, BufWriter, ErrorKind, Read, Write};
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use schemas::trace::Meta;
use schemas::wire::{Counters, MAX_RECORD};
use serde::{Deserialize, Serialize};
use zerocopy::{FromBytes, IntoBytes};

use super::probes::ProbeRow;
use crate::source::{EventSource, ProbeCounters, ProbeId};

const MAGIC: &[u8; 8] = b"ktapefr2";
const RECORD: u8 = 1;
const WATERMARK: u8 = 2;
const COUNTERS: u8 = 3;
const MAX_HEADER: u32 = 16 << 20;
const MAX_CPUS: u32 = 8192;
/// Records of a drain at most, so that one step of a replay is bounded whatever the file says.
const MAX_DRAIN: usize = 1 << 16;

/// What a frame file says about itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FrameHeader {
    /// Of the recording it was taken from.
    pub meta: Meta,
    /// Its probes.
    pub probes: Vec<ProbeRow>,
}

/// Raw frames from a file (or any reader).
pub struct FrameFile<R = BufReader<File>> {
    header: FrameHeader,
    reader: R,
    record: Vec<u8>,
    counters: BTreeMap<ProbeId, ProbeCounters>,
    watermark_ns: u64,
    is_finished: bool,
}

impl FrameFile {
    /// Open the frame file at `path`.
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).with_context(|| format!("cannot open '{}'", path.display()))?;
        FrameFile::new(BufReader::with_capacity(1 << 20, file))
            .with_context(|| format!("cannot read '{}'", path.display()))
    }
}

impl<R: Read> FrameFile<R> {
    /// Read frames from `reader`. Fails if it does not begin like a frame file.
    pub fn new(mut reader: R) -> Result<Self> {
        let magic: [u8; 8] = read_array(&mut reader).context("not a frame file")?;
        ensure!(magic == *MAGIC, "not a frame file: it does not begin with {}", MAGIC.escape_ascii());
        let length = u32::from_le_bytes(read_array(&mut reader)?);
        ensure!(length <= MAX_HEADER, "the header has {length} bytes, at most {MAX_HEADER} are possible");
        let mut json = vec![0; length as usize];
        reader.read_exact(&mut json).context("the header is cut")?;
        let header = serde_json::from_slice(&json).context("the header is not readable")?;
        Ok(Self {
            header,
            reader,
            record: Vec::new(),
            counters: BTreeMap::new(),
            watermark_ns: 0,
            is_finished: false,
        })
    }

    /// What the file says about itself.
    pub fn header(&self) -> &FrameHeader {
        &self.header
    }

    fn record(&mut self) -> Result<(ProbeId, u16)> {
        let probe = u16::from_le_bytes(read_array(&mut self.reader)?);
        let cpu = u16::from_le_bytes(read_array(&mut self.reader)?);
        let length = u32::from_le_bytes(read_array(&mut self.reader)?) as usize;
        ensure!(length <= MAX_RECORD, "a record of {length} bytes, at most {MAX_RECORD} are possible");
        self.record.resize(length, 0);
        self.reader.read_exact(&mut self.record).context("a record is cut")?;
        Ok((probe, cpu))
    }

    fn counters_frame(&mut self) -> Result<()> {
        let reader = &mut self.reader;
        let probe = u16::from_le_bytes(read_array(reader)?);
        let misses = [i64::from_le_bytes(read_array(reader)?), i64::from_le_bytes(read_array(reader)?)];
        let [recursion_misses, kprobe_misses] = misses.map(|n| u64::try_from(n).ok());
        let unfollowed = u64::from_le_bytes(read_array(reader)?);
        let cpus = u32::from_le_bytes(read_array(reader)?);
        ensure!(cpus <= MAX_CPUS, "counters of {cpus} cpus, at most {MAX_CPUS} are possible");
        let mut per_cpu = Vec::with_capacity(cpus as usize);
        for _ in 0..cpus {
            let bytes: [u8; size_of::<Counters>()] = read_array(reader).context("counters are cut")?;
            per_cpu.push(Counters::read_from_bytes(&bytes).unwrap_or_default());
        }
        let counters = ProbeCounters { probe, per_cpu, recursion_misses, kprobe_misses, unfollowed };
        self.counters.insert(probe, counters);
        Ok(())
    }
}

impl<R: Read> EventSource for FrameFile<R> {
    fn drain(&mut self, visit: &mut dyn FnMut(ProbeId, u16, &[u8])) -> Result<u64> {
        for _ in 0..MAX_DRAIN {
            let mut kind = [0];
            match self.reader.read_exact(&mut kind) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
                    self.is_finished = true;
                    return Ok(u64::MAX);
                }
                Err(error) => return Err(error).context("cannot read frames"),
            }
            match kind[0] {
                RECORD => {
                    let (probe, cpu) = self.record()?;
                    visit(probe, cpu, &self.record);
                }
                WATERMARK => {
                    let watermark = u64::from_le_bytes(read_array(&mut self.reader)?);
                    self.watermark_ns = watermark;
                    return Ok(watermark);
                }
                COUNTERS => self.counters_frame()?,
                other => bail!("a frame of unknown kind {other}"),
            }
        }
        Ok(self.watermark_ns)
    }

    fn counters(&mut self) -> Result<Vec<ProbeCounters>> {
        Ok(self.counters.values().cloned().collect())
    }

    fn finished(&self) -> bool {
        self.is_finished
    }
}

fn read_array<const N: usize>(reader: &mut impl Read) -> Result<[u8; N]> {
    let mut bytes = [0; N];
    reader.read_exact(&mut bytes).context("the file is cut")?;
    Ok(bytes)
}

/// Passes a source on and keeps what it gave.
pub struct Tee<S, W: Write = BufWriter<File>> {
    source: S,
    writer: W,
    /// A failure to write does not disturb the recording; it is told at the end.
    failure: Option<std::io::Error>,
}

impl<S: EventSource, W: Write> Tee<S, W> {
    /// Pass `source` on and write its frames to `writer`.
    pub fn new(source: S, mut writer: W, header: &FrameHeader) -> Result<Self> {
        let json = serde_json::to_vec(header).context("cannot describe the frames")?;
        writer.write_all(MAGIC)?;
        writer.write_all(&(json.len() as u32).to_le_bytes())?;
        writer.write_all(&json)?;
        Ok(Self { source, writer, failure: None })
    }

    /// Write the last frames. Fails if any could not be written.
    pub fn finish(mut self) -> Result<(S, W)> {
        let flushed = self.writer.flush();
        if let Some(error) = self.failure.or(flushed.err()) {
            return Err(error).context("cannot write frames");
        }
        Ok((self.source, self.writer))
    }
}

fn write_record(writer: &mut impl Write, probe: ProbeId, cpu: u16, record: &[u8]) -> std::io::Result<()> {
    writer.write_all(&[RECORD])?;
    writer.write_all(&probe.to_le_bytes())?;
    writer.write_all(&cpu.to_le_bytes())?;
    writer.write_all(&(record.len() as u32).to_le_bytes())?;
    writer.write_all(record)
}

fn write_counters(writer: &mut impl Write, counters: &ProbeCounters) -> std::io::Result<()> {
    let ProbeCounters { probe, per_cpu, recursion_misses, kprobe_misses, unfollowed } = counters;
    writer.write_all(&[COUNTERS])?;
    writer.write_all(&probe.to_le_bytes())?;
    for misses in [recursion_misses, kprobe_misses] {
        writer.write_all(&misses.map_or(-1, |n| n as i64).to_le_bytes())?;
    }
    writer.write_all(&unfollowed.to_le_bytes())?;
    writer.write_all(&(per_cpu.len() as u32).to_le_bytes())?;
    per_cpu.iter().try_for_each(|counters| writer.write_all(counters.as_bytes()))
}

impl<S: EventSource, W: Write> EventSource for Tee<S, W> {
    fn drain(&mut self, visit: &mut dyn FnMut(ProbeId, u16, &[u8])) -> Result<u64> {
        let Self { source, writer, failure } = self;
        let watermark = source.drain(&mut |probe, cpu, record| {
            if failure.is_none() {
                *failure = write_record(writer, probe, cpu, record).err();
            }
            visit(probe, cpu, record);
        })?;
        if failure.is_none() {
            *failure = writer
                .write_all(&[WATERMARK])
                .and_then(|()| writer.write_all(&watermark.to_le_bytes()))
                .err();
        }
        Ok(watermark)
    }

    fn pause(&mut self, lanes: &[(ProbeId, u16)], watermark_ns: u64) {
        self.source.pause(lanes, watermark_ns);
    }

    fn counters(&mut self) -> Result<Vec<ProbeCounters>> {
        let counters = self.source.counters()?;
        if self.failure.is_none() {
            self.failure = counters.iter().try_for_each(|c| write_counters(&mut self.writer, c)).err();
        }
        Ok(counters)
    }

    fn finished(&self) -> bool {
        self.source.finished()
    }
}
