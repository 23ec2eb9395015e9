//! A trace being written in, a closed one and what it holds out.

use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use anyhow::{Result, anyhow, ensure};
use schemas::frames::Frame;
use schemas::trace::{PROBES, State};

use super::TraceWriter;
use crate::pipeline::compact;
use crate::pipeline::failure;
use crate::pipeline::job::Job;
use crate::pipeline::meta::write_meta;
use crate::pipeline::options::{End, Summary};
use crate::pipeline::probes;
use crate::pipeline::progress::Progress;

impl TraceWriter {
    /// Write what is left, say how it ended, merge small segments. A failure to write is in the summary.
    pub fn close(mut self, end: End) -> Result<Summary> {
        let End { command_exit_code, counters, is_torn, is_hurried } = end;
        self.priority.end();
        self.wait_for_room();
        for event in 0..self.events.len() {
            self.cut(event, None);
            self.publish(event, None);
        }
        let now_ns = self.now_ns();
        let end_ns = self.utc_ns(now_ns);
        for row in self.probes.iter_mut().filter(|row| row.probe.is_some()) {
            row.detached_ns.get_or_insert(end_ns);
        }
        self.wait_for_encoder();
        // Only now it is known what the disk has lost; on a full one there is room to say it.
        self.reserve = None;
        if self.progress.lock().failure.is_some() {
            self.settle();
        }
        self.send(0, Job::Retry);
        self.send(0, Job::ReplaceSide { table: PROBES, batch: probes::batch(&self.probes)? });
        self.clock(true)?;
        self.count(&counters, now_ns, true)?;
        self.log(|| Frame::End { now_ns, command_exit_code });
        let not_kept = self.frames.take().and_then(|frames| frames.finish().err());
        self.send(0, Job::Finish);
        self.end_encoder();
        let Progress { mut failure, is_unfinished, .. } = self.progress.lock().clone();
        // Without its last counts nobody knows what was lost: a trace that is not closed says so.
        self.meta.state = match (is_unfinished, is_torn) {
            (true, _) => State::Open,
            (false, true) => State::Recovered,
            (false, false) => State::Closed,
        };
        let kept = self.kept.lock().clone();
        self.meta.kept_from_ns = kept.from_ns;
        self.meta.end_ns = Some(end_ns);
        self.meta.command_exit_code = command_exit_code;
        if let Err(error) = write_meta(&self.dir, &self.meta) {
            failure.get_or_insert(Arc::new(error));
        }
        // After a failure it would only say the same again.
        let mut not_compacted = kept.problem.filter(|_| failure.is_none());
        if failure.is_none()
            && self.compact_at_close
            && let Err(error) = compact::compact_tables(&self.dir, &self.meta, &mut |_, _| {
                ensure!(!is_hurried.load(Ordering::Relaxed), "there was no time");
                Ok(())
            })
        {
            not_compacted = Some(format!("{error:#}"));
        }
        // What cannot be looked at any more is as it was published.
        let progress = self.progress.lock().clone();
        let (bytes, segments) =
            compact::size_of_trace(&self.dir).unwrap_or((progress.bytes, progress.segments));
        let events = self.counts.totals().clone();
        let failure = failure.map(|failure| Arc::new(anyhow!(failure::line(&failure, &self.dir))));
        Ok(Summary {
            events,
            bytes,
            segments,
            kept_from_ns: kept.from_ns,
            unknown_cgroups: progress.unknown_cgroups,
            clock_steps: self.clock_steps.clone(),
            failure,
            not_compacted,
            not_kept: not_kept.map(|error| format!("{error:#}")),
        })
    }

    /// Let the file system finish what was removed: one that copies on write gives room and quota back only then.
    fn settle(&self) {
        // If it fails, what is written next fails too and is told.
        let _ = File::open(&self.dir).map(nix::unistd::syncfs);
    }

    pub(super) fn wait_for_encoder(&self) {
        let (reply, answer) = std::sync::mpsc::channel();
        self.send(0, Job::Answer(reply));
        // The sender is dropped, and this ends, also when the encoder is gone.
        let _ = answer.recv();
    }

    fn end_encoder(&mut self) {
        drop(self.queue.take());
        if let Some(encoder) = self.encoder.take()
            && encoder.join().is_err()
        {
            let mut progress = self.progress.lock();
            progress.is_unfinished = true;
            progress.fail(anyhow!("the encoder's thread has died"));
        }
    }
}
