//! A recording that goes on in, a closed trace of all that is there now out.

use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, channel};

use anyhow::Result;
use schemas::trace::{Frozen, Meta};

use super::TraceWriter;
use crate::pipeline::job::Job;
use crate::source::ProbeCounters;
use crate::store::{Freeze, SnapshotName};

impl TraceWriter {
    /// Make a closed trace of every row before the [watermark](Self::watermark_ns), beside the recording. The answer
    /// comes when it is there; a recording that cannot write any more drops the sender. Fails if `counters` do.
    pub fn freeze(
        &mut self,
        to: SnapshotName,
        why: Frozen,
        counters: &mut dyn FnMut() -> Result<Vec<ProbeCounters>>,
    ) -> Result<Receiver<Result<PathBuf>>> {
        let now_ns = self.now_ns();
        self.clock(true)?;
        self.commit(Some(self.watermark_ns), &counters()?, now_ns, None)?;
        let end_ns = self.utc_ns(now_ns);
        let meta = Meta { frozen: Some(why), ..self.meta.clone() };
        let (reply, answer) = channel();
        self.send(0, Job::Freeze(Box::new(Freeze { to, meta, end_ns, reply })));
        Ok(answer)
    }

    /// Do not wait for snapshots any more: those that are being made end soon, without a result.
    pub fn give_up_snapshots(&self) {
        self.store.snapshots_are_over().store(true, Ordering::Relaxed);
    }

    /// From now on wait until what is written has gone to the encoder.
    pub fn wait_for_room(&self) {
        if let Some(queue) = &self.queue {
            queue.wait();
        }
        if let Some(frames) = &self.frames {
            frames.wait();
        }
    }

    /// Boot time (ns) before which every row has been fed.
    pub fn watermark_ns(&self) -> u64 {
        self.watermark_ns
    }
}
