//! Frames that are not records in; the same done to the trace as when they were kept.

use anyhow::Result;
use schemas::frames::Frame;
use schemas::wire::Counters;

use super::TraceWriter;
use crate::pipeline::replay::Step;
use crate::source::ProbeCounters;

impl TraceWriter {
    /// Do what `step` says was done.
    pub(in crate::pipeline) fn apply(&mut self, step: Step) -> Result<()> {
        match step {
            Step::Tick(tick) => {
                self.replay_now_ns = tick.now_ns;
                self.advance(tick)
            }
            Step::Count { now_ns, counters } => {
                // Where it was committed is not told: each time that it was possible.
                self.count(&counters, now_ns, false)?;
                self.send_commit(self.watermark_ns, now_ns, None, None);
                Ok(())
            }
            Step::Probe(row) => self.add_probe(*row),
            Step::Started { start_ns } => {
                self.started(start_ns);
                Ok(())
            }
            Step::Clocks(readings) => self.clock_rows(&readings),
            Step::Cut { watermark_ns } => {
                self.cut_all(Some(watermark_ns));
                Ok(())
            }
        }
    }

    /// What is replayed has ended at this boot time.
    pub(in crate::pipeline) fn replayed_until(&mut self, now_ns: u64) {
        self.replay_now_ns = now_ns;
    }

    /// Bytes of records that were fed and not handed to the encoder, late ones included.
    pub(in crate::pipeline) fn staged_bytes(&self) -> usize {
        self.waiting_bytes() + self.events.iter().map(|event| event.staging.late_bytes).sum::<usize>()
    }

    /// `counters` that were read before the last records came, made to count these too.
    pub(in crate::pipeline) fn with_all_fed(&self, mut counters: Vec<ProbeCounters>) -> Vec<ProbeCounters> {
        for fed in self.events.iter().flat_map(|event| event.staging.fed()) {
            let Some(of_probe) = counters.iter_mut().find(|counters| counters.probe == fed.probe) else {
                continue;
            };
            let cpu = usize::from(fed.cpu);
            if cpu >= of_probe.per_cpu.len() {
                of_probe.per_cpu.resize(cpu + 1, Counters::default());
            }
            let counted = &mut of_probe.per_cpu[cpu];
            let more = fed.rows.saturating_sub(counted.recorded);
            counted.recorded += more;
            counted.fired += more;
        }
        counters
    }

    /// Keep the names of code addresses, lines of kallsyms, before the first record comes.
    pub fn keep_symbols(&mut self, text: &str) {
        schemas::frames::symbols_frames(text).for_each(|frame: Frame<'_>| self.log(|| frame));
    }
}
