//! What is staged in; what is old enough, or much, on its way to the encoder, and committed, out.

use anyhow::Result;
use schemas::frames::Frame;
use schemas::trace::log::Status;

use super::super::clock;
use super::super::job::{CommitJob, Job};
use super::{CUT_BYTES, Event, Pending, TraceWriter};
use crate::source::ProbeCounters;

/// Age of staged records after which they go to the encoder, so that its work comes in small pieces.
const CUT_AGE_NS: u64 = 100_000_000;

impl TraceWriter {
    /// Hand over what is old enough, or much.
    pub(super) fn hand_over(&mut self, event: usize, watermark_ns: u64) {
        let staging = &self.events[event].staging;
        let age_ns = staging.first_ns.map_or(0, |since| watermark_ns.saturating_sub(since));
        if staging.bytes >= CUT_BYTES || age_ns >= CUT_AGE_NS {
            self.cut(event, Some(watermark_ns));
        }
    }

    /// Hand over every row before `watermark_ns`, and late ones.
    pub(super) fn cut_all(&mut self, watermark_ns: Option<u64>) {
        if let Some(watermark_ns) = watermark_ns {
            self.log(|| Frame::Cut { watermark_ns });
        }
        for event in 0..self.events.len() {
            self.cut(event, watermark_ns);
            let late = self.events[event].staging.cut_late();
            if !late.buffers.is_empty() {
                self.send(late.bytes(), Job::LateRows { event, chunk: late });
            }
        }
    }

    fn cut(&mut self, event: usize, watermark_ns: Option<u64>) {
        let Event { staging, open_since_ns } = &mut self.events[event];
        let first_ns = staging.first_ns;
        let chunk = staging.cut(watermark_ns);
        if !chunk.buffers.is_empty() {
            *open_since_ns = [*open_since_ns, first_ns].into_iter().flatten().min();
            self.handed_bytes += chunk.bytes() as u64;
            self.send(chunk.bytes(), Job::Rows { event, chunk });
        }
    }

    /// Since when (boot time, ns) a row waits that is not committed, if one does.
    pub(super) fn waiting_since_ns(&self) -> Option<u64> {
        let since = |event: &Event| {
            [event.open_since_ns, event.staging.first_ns, event.staging.late_since_ns].into_iter().flatten()
        };
        self.events.iter().flat_map(since).min()
    }

    /// Is so much handed over that `--max-size` needs a commit?
    pub(super) fn is_much(&self) -> bool {
        let limits = self.store.limits();
        limits.max_bytes.is_some()
            && limits.is_commit_due(self.store.expected_bytes(self.handed_bytes - self.committed_bytes))
    }

    /// Every row before the watermark (all: `None`), and the rows of counts and losses that tell of exactly these, become
    /// part of the trace together. `due_ns`: boot time since when that was due. Fails if the counters make no sense.
    pub(super) fn commit(
        &mut self,
        watermark_ns: Option<u64>,
        counters: &[ProbeCounters],
        now_ns: u64,
        due_ns: Option<u64>,
    ) -> Result<()> {
        self.cut_all(watermark_ns);
        self.count(counters, now_ns, false)?;
        self.send_commit(watermark_ns.unwrap_or(now_ns), now_ns, due_ns, None);
        self.begin_epoch_if_due()
    }

    /// What was handed over becomes part of the trace; `end` says how the recording ended.
    pub(super) fn send_commit(
        &mut self,
        until_ns: u64,
        now_ns: u64,
        due_ns: Option<u64>,
        end: Option<Status>,
    ) {
        if std::mem::take(&mut self.probes_are_dirty) {
            self.send_probes();
        }
        let is_started = std::mem::take(&mut self.status_is_dirty);
        let started = is_started.then(|| Status { start_ns: Some(self.meta.start_ns), ..Status::default() });
        self.serial += 1;
        let serial = self.serial;
        let (_, durable) = self.store.serials();
        while self.pending.front().is_some_and(|pending| Some(pending.serial) < durable) {
            self.pending.pop_front();
        }
        let clocks = std::mem::take(&mut self.uncommitted_clocks);
        let (counts, counted_ns) = (self.counts.clone(), self.counted_ns);
        self.pending.push_back(Pending { serial, counts, counted_ns, clocks });
        for event in &mut self.events {
            event.open_since_ns = None;
        }
        self.committed_bytes = self.handed_bytes;
        self.next_counts_ns = now_ns.saturating_add(super::COUNTS_EVERY_NS);
        self.committed_ns = now_ns;
        let all_before_ns = self.waiting_since_ns().map_or(until_ns, |ns| ns.min(until_ns));
        self.send(
            0,
            Job::Commit(Box::new(CommitJob {
                serial,
                until_ns: self.utc_ns(until_ns),
                now_ns: self.utc_ns(now_ns),
                due_ns,
                all_before_ns,
                record_bytes: self.handed_bytes,
                status: end.or(started),
            })),
        );
    }

    /// Where old rows go, they go by epochs.
    fn begin_epoch_if_due(&mut self) -> Result<()> {
        let limits = self.store.limits();
        if limits.is_none() {
            return Ok(());
        }
        let since_ns = self.utc_ns(self.watermark_ns);
        let age_ns = since_ns.saturating_sub(*self.epoch_since_ns.get_or_insert(since_ns));
        // Not what was written: the encoder can be far behind.
        let bytes = self.store.expected_bytes(self.handed_bytes - self.epoch_bytes);
        if !limits.is_epoch_over(age_ns, bytes) {
            return Ok(());
        }
        (self.epoch_since_ns, self.epoch_bytes) = (Some(since_ns), self.handed_bytes);
        let mut carried = Vec::new();
        carried.extend(self.counts.unknown()?.map(|rows| ("losses", rows)));
        if let Some(reading) = self.last_clock {
            carried.push(("clock", clock::batch(self.meta.utc_minus_boottime_ns, &[reading])?));
        }
        self.send(0, Job::Epoch { since_ns, carried });
        Ok(())
    }
}
