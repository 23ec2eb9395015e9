//! Counters and clocks in; rows of tables counts, losses and clock out.

use anyhow::Result;
use schemas::frames::{ClockReading, Frame};

use super::super::clock;
use super::super::count_rows::Interval;
use super::super::counts::Snapshot;
use super::super::job::Job;
use super::TraceWriter;
use crate::source::ProbeCounters;

impl TraceWriter {
    /// Tell of exactly the rows that were handed over. With `is_last`, what is missing in the trace is lost.
    pub(super) fn count(&mut self, counters: &[ProbeCounters], now_ns: u64, is_last: bool) -> Result<()> {
        if let Some(frames) = &mut self.frames {
            frames.counters(counters);
            if !is_last {
                frames.frame(&Frame::Count { now_ns });
                frames.flush();
            }
        }
        let ts_ns = self.utc_ns(now_ns);
        let since_ns = self.counted_ns.unwrap_or_else(|| self.started_ns()).min(ts_ns);
        self.counted_ns = Some(ts_ns);
        let snapshot = Snapshot {
            interval: Interval { since_ns, ts_ns },
            probes: counters,
            fed: self.events.iter().flat_map(|e| e.staging.fed()).collect(),
            in_trace: is_last.then(|| self.store.rows()),
            has_failed: self.failure().is_some(),
        };
        let rows = self.counts.update(&snapshot)?;
        for (table, batch) in [("counts", rows.counts), ("losses", rows.losses)] {
            if let Some(batch) = batch {
                self.send(0, Job::Side { table, batch });
            }
        }
        Ok(())
    }

    /// When the first probe began to see (UTC ns).
    fn started_ns(&self) -> i64 {
        self.probes.iter().filter_map(|row| row.attached_ns).min().unwrap_or(self.meta.start_ns)
    }

    /// Write down the steps of the wall clock that were noticed, and the clocks as they are if that `is_due`.
    pub(super) fn clock(&mut self, is_due: bool) -> Result<()> {
        let Some(watch) = &self.clock else { return Ok(()) };
        let readings = if is_due { watch.read() } else { watch.take() };
        self.clock_rows(&readings)
    }

    pub(super) fn clock_rows(&mut self, readings: &[ClockReading]) -> Result<()> {
        if !readings.is_empty() {
            self.log(|| Frame::Clocks(readings.to_vec()));
            self.clock_steps.add(readings, self.meta.utc_minus_boottime_ns);
        }
        self.send_clocks(readings)
    }

    pub(super) fn send_clocks(&mut self, readings: &[ClockReading]) -> Result<()> {
        if let Some(last) = readings.last() {
            let batch = clock::batch(self.meta.utc_minus_boottime_ns, readings)?;
            self.send(0, Job::Side { table: "clock", batch });
            self.uncommitted_clocks.extend(readings);
            // What is carried over to later epochs is no step.
            self.last_clock = Some(ClockReading { step_ns: None, ..*last });
        }
        Ok(())
    }
}
