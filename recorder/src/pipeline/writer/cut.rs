//! What is staged in; what is old enough, or much, on its way to the encoder out.

use schemas::frames::Frame;

use super::super::job::Job;
use super::{CUT_BYTES, Event, TraceWriter};

/// Age of staged records after which they go to the encoder, so that its work comes in small pieces.
const CUT_AGE_NS: u64 = 100_000_000;

impl TraceWriter {
    pub(super) fn hand_over(&mut self, event: usize, watermark_ns: u64, publish_after_ns: u64) {
        let age = |since: Option<u64>| since.map_or(0, |since| watermark_ns.saturating_sub(since));
        let Event { staging, open_since_ns } = &self.events[event];
        let since = [*open_since_ns, staging.first_ns, staging.late_since_ns].into_iter().flatten().min();
        let publish = age(since) >= publish_after_ns || staging.late_bytes >= CUT_BYTES;
        let cut = staging.bytes >= CUT_BYTES || age(staging.first_ns) >= CUT_AGE_NS;
        if publish || cut {
            self.cut(event, Some(watermark_ns));
        }
        if publish {
            let due_ns = since.filter(|_| self.is_live).map(|since| since + publish_after_ns);
            self.publish(event, due_ns);
        }
    }

    /// Publish every row before `watermark_ns`.
    pub(super) fn cut_all(&mut self, watermark_ns: u64) {
        self.log(|| Frame::Cut { watermark_ns });
        for event in 0..self.events.len() {
            self.cut(event, Some(watermark_ns));
            self.publish(event, None);
        }
    }

    pub(super) fn cut(&mut self, event: usize, watermark_ns: Option<u64>) {
        let Event { staging, open_since_ns } = &mut self.events[event];
        let first_ns = staging.first_ns;
        let chunk = staging.cut(watermark_ns);
        if !chunk.buffers.is_empty() {
            *open_since_ns = [*open_since_ns, first_ns].into_iter().flatten().min();
            self.send(chunk.bytes(), Job::Rows { event, chunk });
        }
    }

    pub(super) fn publish(&mut self, event: usize, due_ns: Option<u64>) {
        let Event { staging, open_since_ns } = &mut self.events[event];
        *open_since_ns = None;
        let late = staging.cut_late();
        if !late.buffers.is_empty() {
            self.send(late.bytes(), Job::LateRows { event, chunk: late });
        }
        self.send(0, Job::Publish { event, due_ns });
    }
}
