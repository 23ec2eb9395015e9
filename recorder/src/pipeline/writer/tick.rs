//! A drain that has ended in; what is due of what it gave, on its way, out.

use anyhow::{Result, anyhow};
use schemas::frames::{Frame, Tick};
use schemas::trace::PROBES;

use super::TraceWriter;
use crate::pipeline::clock;
use crate::pipeline::failure;
use crate::pipeline::job::Job;
use crate::pipeline::probes;
use crate::source::{EventSource, ProbeCounters};

const COUNTS_EVERY_NS: u64 = 1_000_000_000;
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
    /// asked once a second. Fails if something could not be written; then nothing more will be, and
    /// [`close`](Self::close) is what remains to do.
    pub fn tick(
        &mut self,
        watermark_ns: u64,
        counters: &mut dyn FnMut() -> Result<Vec<ProbeCounters>>,
    ) -> Result<()> {
        if watermark_ns != u64::MAX {
            self.replay_now_ns = self.replay_now_ns.max(watermark_ns);
        }
        let publish_after_ns = self.progress.lock().lag.publish_after_ns(self.segment_age_ns);
        let tick = Tick { watermark_ns, now_ns: self.now_ns(), publish_after_ns };
        self.log(|| Frame::Tick(tick));
        self.advance(tick, &mut |writer, now_ns| {
            let counters = counters()?;
            writer.count(&counters, now_ns, false)
        })?;
        self.clock(tick.now_ns >= self.next_clock_ns)?;
        if tick.now_ns >= self.next_clock_ns {
            self.next_clock_ns = tick.now_ns.saturating_add(CLOCK_EVERY_NS);
        }
        Ok(())
    }

    /// Hand over what is due, and `count` when that is.
    pub(super) fn advance(
        &mut self,
        tick: Tick,
        count: &mut dyn FnMut(&mut Self, u64) -> Result<()>,
    ) -> Result<()> {
        let Tick { watermark_ns, now_ns, publish_after_ns } = tick;
        self.watermark_ns = self.watermark_ns.max(watermark_ns);
        let watermark_ns = self.watermark_ns;
        if let Some(failure) = self.failure() {
            return Err(anyhow!(failure::line(&failure, &self.dir)));
        }
        if self.probes_are_dirty {
            self.probes_are_dirty = false;
            self.send(0, Job::ReplaceSide { table: PROBES, batch: probes::batch(&self.probes)? });
        }
        for event in 0..self.events.len() {
            self.hand_over(event, watermark_ns, publish_after_ns);
        }
        if now_ns >= self.next_counts_ns {
            if self.next_counts_ns > 0 {
                count(self, now_ns)?;
            }
            let staged = self.events.iter().map(|event| &event.staging);
            let staged_ns =
                staged.flat_map(|staging| [staging.first_ns, staging.late_since_ns]).flatten().min();
            let all_before_ns = staged_ns.map_or(watermark_ns, |ns| ns.min(watermark_ns));
            let staged_ns = staged_ns.map(|ns| self.utc_ns(ns));
            self.send(0, Job::Keep { now_ns: self.utc_ns(now_ns), staged_ns, all_before_ns });
            self.next_counts_ns = now_ns.saturating_add(COUNTS_EVERY_NS);
        }
        Ok(())
    }

    pub(super) fn now_ns(&self) -> u64 {
        if self.is_live { clock::boottime_ns() } else { self.replay_now_ns }
    }
}
