//! A trace being written in, a closed one and what it holds out.

use std::fs::File;
use std::sync::Arc;

use anyhow::{Result, anyhow};
use schemas::frames::Frame;
use schemas::trace::State;
use schemas::trace::log::Status;

use super::{Pending, TraceWriter};
use crate::pipeline::counts::Counts;
use crate::pipeline::failure;
use crate::pipeline::job::Job;
use crate::pipeline::options::{End, Summary};

impl TraceWriter {
    /// Write what is left, say how it ended, merge small segments. A failure to write is in the summary.
    pub fn close(mut self, end: End) -> Result<Summary> {
        let End { command_exit_code, counters, is_torn, is_hurried } = end;
        self.priority.end();
        self.wait_for_room();
        let now_ns = self.now_ns();
        let end_ns = self.utc_ns(now_ns);
        self.commit(None, &counters, now_ns, None)?;
        self.wait_for_encoder();
        // Only when the disk has it, or has not, it is known what is lost. On a full one there is room to say it.
        let is_written = self.store.settle().is_ok();
        self.reserve = None;
        if !is_written {
            self.settle_disk();
            self.send(0, Job::Retry);
            self.wait_for_encoder();
            self.take_back()?;
        }
        for row in self.probes.iter_mut().filter(|row| row.probe.is_some()) {
            row.detached_ns.get_or_insert(end_ns);
        }
        self.probes_are_dirty = true;
        self.clock(true)?;
        self.count(&counters, now_ns, true)?;
        self.log(|| Frame::End { now_ns, command_exit_code });
        let not_kept = self.frames.take().and_then(|frames| frames.finish().err());
        let status = Status {
            start_ns: Some(self.meta.start_ns),
            end_ns: Some(end_ns),
            command_exit_code,
            ..Status::default()
        };
        self.send_commit(now_ns, now_ns, None, Some(status));
        self.wait_for_encoder();
        // What is known is there, whatever becomes of tables without rows.
        let _ = self.store.settle();
        self.send(0, Job::Finish);
        let has_died = self.end_encoder();
        let mut failure = self.store.failure().or(has_died);
        // Without its last counts nobody knows what was lost: a trace that is not closed says so.
        let is_finished =
            self.store.settle().is_ok() && failure.as_ref().is_none_or(|_| !self.store.is_stopped());
        let threads = self.threads.take();
        if let Err(error) = threads.map_or(Ok(()), |threads| self.store.finish(threads)) {
            failure.get_or_insert(Arc::new(error));
        }
        let mut not_compacted = None;
        if is_finished {
            let state = if is_torn { State::Recovered } else { State::Closed };
            // After a failure it would only say the same again.
            let is_merged = failure.is_none() && self.compact_at_close;
            match self.store.close(state, is_merged, &is_hurried) {
                Ok(problem) => not_compacted = problem,
                Err(error) => drop(failure.get_or_insert(Arc::new(error))),
            }
        }
        let not_compacted =
            not_compacted.or_else(|| self.store.merge_problem().filter(|_| failure.is_none()));
        let (bytes, segments) = self.store.size();
        let failure = failure.map(|failure| Arc::new(anyhow!(failure::line(&failure, &self.dir))));
        let unknown_cgroups = self.progress.lock().unknown_cgroups;
        Ok(Summary {
            events: self.counts.totals().clone(),
            bytes,
            segments,
            kept_from_ns: self.store.status().kept_from_ns,
            unknown_cgroups,
            clock_steps: self.clock_steps.clone(),
            failure,
            not_compacted,
            not_kept: not_kept.map(|error| format!("{error:#}")),
        })
    }

    /// What was told with commits that are not part of the trace has not been told.
    fn take_back(&mut self) -> Result<()> {
        let (last, _) = self.store.serials();
        let (mut counts, mut clocks) = (Counts::default(), Vec::new());
        self.counted_ns = None;
        for Pending { serial, counts: of_commit, counted_ns, clocks: readings } in
            std::mem::take(&mut self.pending)
        {
            if Some(serial) == last {
                (counts, self.counted_ns) = (of_commit, counted_ns);
            } else if Some(serial) > last {
                clocks.extend(readings);
            }
        }
        for row in &self.probes {
            if let Some(probe) = row.probe {
                counts.add_probe(probe, &row.event);
            }
        }
        self.counts = counts;
        clocks.append(&mut self.uncommitted_clocks);
        self.send_clocks(&clocks)
    }

    /// Let the file system finish what was removed: one that copies on write gives room and quota back only then.
    fn settle_disk(&self) {
        // If it fails, what is written next fails too and is told.
        let _ = File::open(&self.dir).map(nix::unistd::syncfs);
    }

    pub(super) fn wait_for_encoder(&self) {
        let (reply, answer) = std::sync::mpsc::channel();
        self.send(0, Job::Answer(reply));
        // The sender is dropped, and this ends, also when the encoder is gone.
        let _ = answer.recv();
    }

    /// Why it died, if it did.
    fn end_encoder(&mut self) -> Option<Arc<anyhow::Error>> {
        drop(self.queue.take());
        let died = self.encoder.take().is_some_and(|encoder| encoder.join().is_err());
        died.then(|| Arc::new(anyhow!("the encoder's thread has died")))
    }
}
