//! A drain that has ended in; what is due of what it gave, on its way, out.

use anyhow::{Result, anyhow};
use schemas::frames::{Frame, Tick};
use schemas::trace::PROBES;

use super::{COUNTS_EVERY_NS, TraceWriter};
use crate::pipeline::clock;
use crate::pipeline::failure;
use crate::pipeline::job::Job;
use crate::pipeline::pace::Lag;
use crate::pipeline::probes;
use crate::source::{EventSource, ProbeCounters};

const CLOCK_EVERY_NS: u64 = 10_000_000_000;

impl TraceWriter {
    /// Drain `source` once, feed what it gave, and [`tick`](Self::tick).
    pub fn pump(&mut self, source: &mut dyn EventSource) -> Result<()> {
        source.pause(&self.crowded(), self.watermark_ns);
        let mut failed = None;
        let watermark_ns = source.drain(&mut |probe, cpu, record| {
            if failed.is_none() {
                failed = self.feed(probe, cpu, record).err();
            }
        })?;
        match failed {
            Some(error) => Err(error),
            None => self.tick(watermark_ns, &mut || source.counters()),
        }
    }

    /// After each drain: hand over what is due. `watermark_ns` (boot time) is what the drain returned; `counters` is
    /// asked about once a second. Fails if something could not be written; then nothing more will be, and
    /// [`close`](Self::close) is what remains to do.
    pub fn tick(
        &mut self,
        watermark_ns: u64,
        counters: &mut dyn FnMut() -> Result<Vec<ProbeCounters>>,
    ) -> Result<()> {
        if watermark_ns != u64::MAX {
            self.replay_now_ns = self.replay_now_ns.max(watermark_ns);
        }
        let tick = Tick { watermark_ns, now_ns: self.now_ns() };
        self.log(|| Frame::Tick(tick));
        self.advance(tick)?;
        let Tick { now_ns, .. } = tick;
        let is_first = self.next_counts_ns == 0;
        self.clock(now_ns >= self.next_clock_ns)?;
        if now_ns >= self.next_clock_ns {
            self.next_clock_ns = now_ns.saturating_add(CLOCK_EVERY_NS);
        }
        let lag = if self.is_live { self.store.lag() } else { Lag::NONE };
        let publish_after_ns = lag.publish_after_ns(self.segment_age_ns);
        let rows_due_ns = self.waiting_since_ns().map(|since| since + publish_after_ns);
        // Without rows there is something to tell each second all the same.
        let counts_due_ns = self.committed_ns.saturating_add(publish_after_ns.max(COUNTS_EVERY_NS));
        let are_rows_due = rows_due_ns.is_some_and(|due_ns| self.watermark_ns >= due_ns);
        if are_rows_due || is_first || now_ns >= counts_due_ns || self.probes_are_dirty || self.is_much() {
            let due_ns = rows_due_ns.filter(|_| self.is_live && are_rows_due);
            return self.commit(Some(self.watermark_ns), &counters()?, now_ns, due_ns);
        }
        if now_ns >= self.next_counts_ns {
            self.cut_all(Some(self.watermark_ns));
            self.count(&counters()?, now_ns, false)?;
            self.next_counts_ns = now_ns.saturating_add(COUNTS_EVERY_NS);
        }
        Ok(())
    }

    /// Hand over what is old enough, or much.
    pub(super) fn advance(&mut self, tick: Tick) -> Result<()> {
        self.watermark_ns = self.watermark_ns.max(tick.watermark_ns);
        if let Some(failure) = self.failure() {
            return Err(anyhow!(failure::line(&failure, &self.dir)));
        }
        for event in 0..self.events.len() {
            self.hand_over(event, self.watermark_ns);
        }
        Ok(())
    }

    /// Table probes as it is now.
    pub(super) fn send_probes(&self) {
        // A batch of columns of one length cannot fail.
        if let Ok(batch) = probes::batch(&self.probes) {
            self.send(0, Job::ReplaceSide { table: PROBES, batch });
        }
    }

    pub(super) fn now_ns(&self) -> u64 {
        if self.is_live { clock::boottime_ns() } else { self.replay_now_ns }
    }
}
