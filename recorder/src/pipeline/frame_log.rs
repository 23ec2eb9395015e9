//! All that goes into the pipeline in; a frame file of it out, compressed and written by a thread of its own (`frames`).
//!
//! What the disk does not take waits as what the encoder does not take: the drain leaves the rings alone meanwhile. A
//! failure to write ends the file and not the recording, which tells of it at its end.

use std::fs::File;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use schemas::frames::block::{BYTES, BlockWriter, Codec, MAX_BYTES};
use schemas::frames::{ByteOrder, Frame, Header, write_record};
use schemas::trace::Meta;
use schemas::wire::MAX_RECORD;

use super::outbox::Outbox;
use super::priority::Priority;
use super::queue::{Receiver, bounded};
use crate::source::{ProbeCounters, ProbeId};

/// Frames that may wait for the thread that writes them.
const QUEUE_BYTES: usize = 32 << 20;

/// Where frames go.
#[derive(Debug)]
pub struct FramePlace {
    /// A new file, or a pipe.
    pub file: File,
    /// What messages call it.
    pub shown: String,
}

/// Keeps what goes in.
pub struct FrameLog {
    shown: String,
    block: Vec<u8>,
    outbox: Outbox<Vec<u8>>,
    thread: JoinHandle<Result<()>>,
    failure: Option<anyhow::Error>,
}

impl FrameLog {
    /// Begin the file of a recording. Without `waits` nothing here waits for the disk.
    pub fn start(
        place: FramePlace,
        meta: &Meta,
        waits: bool,
        priority: &Priority,
        urgent_after: Duration,
    ) -> Result<Self> {
        let FramePlace { file, shown } = place;
        let (sender, receiver) = bounded(QUEUE_BYTES);
        priority.watch(sender.backlog(), urgent_after);
        let own = priority.clone();
        let thread = std::thread::Builder::new()
            .name("frames".to_owned())
            .spawn(move || {
                let _registered = own.register();
                write(file, &receiver)
            })
            .context("cannot start a thread")?;
        let (outbox, block) = (Outbox::new(sender, waits), Vec::new());
        let mut log = Self { shown, block, outbox, thread, failure: None };
        let header = Header { byte_order: ByteOrder::OWN, meta: meta.clone() };
        log.frame(&Frame::Header(Box::new(header)));
        log.flush();
        Ok(log)
    }

    /// Keep a record.
    pub fn record(&mut self, probe: ProbeId, cpu: u16, record: &[u8]) {
        write_record(&mut self.block, probe, cpu, record);
        self.is_longer();
    }

    /// Keep anything else.
    pub fn frame(&mut self, frame: &Frame<'_>) {
        let before = self.block.len();
        let mut result = frame.write(&mut self.block).map_err(anyhow::Error::from);
        if self.block.len() - before > MAX_BYTES - BYTES - MAX_RECORD {
            result = Err(anyhow!("a frame of {} bytes fits into no block", self.block.len() - before));
        }
        if let Err(error) = result {
            self.block.truncate(before);
            self.failure.get_or_insert(error);
        }
        self.is_longer();
    }

    /// Keep what each probe has counted.
    pub fn counters(&mut self, counters: &[ProbeCounters]) {
        counters.iter().for_each(|counters| self.frame(&Frame::Counters(counters.clone())));
    }

    fn is_longer(&mut self) {
        if self.block.len() >= BYTES {
            self.flush();
        }
    }

    /// Have written what there is.
    pub fn flush(&mut self) {
        if self.block.is_empty() {
            return;
        }
        let next = Vec::with_capacity(BYTES + MAX_RECORD);
        let block = std::mem::replace(&mut self.block, next);
        // A file that is torn in the middle is of no use behind that.
        if self.failure.is_none() {
            // Refused only when the thread has failed; `finish` tells why.
            self.outbox.send(block.len(), block);
        }
    }

    /// Whether there is nothing that waits for room.
    pub fn has_room(&self) -> bool {
        self.outbox.has_room()
    }

    /// From now on wait for room.
    pub fn wait(&self) {
        self.outbox.wait();
    }

    /// Write the last frames. Fails if any could not be written.
    pub fn finish(mut self) -> Result<()> {
        self.flush();
        let Self { shown, outbox, thread, failure, .. } = self;
        drop(outbox);
        let written = thread.join().unwrap_or_else(|_| Err(anyhow!("the thread that writes them has died")));
        failure
            .map_or(written, Err)
            .with_context(|| format!("frames in '{shown}' end early: what was written can be used"))
    }
}

fn write(file: File, blocks: &Receiver<Vec<u8>>) -> Result<()> {
    let mut writer = BlockWriter::new(file, Codec::Zstd)?;
    while let Some((bytes, frames)) = blocks.receive() {
        writer.write(&frames)?;
        blocks.done(bytes);
    }
    let file = writer.finish()?;
    match file.sync_all() {
        // A pipe has nothing to sync.
        Err(error) if error.raw_os_error() != Some(libc::EINVAL) => Err(error.into()),
        _ => Ok(()),
    }
}
