//! A trace being written in; how far it is, for those who wait or watch, out.

use std::collections::BTreeMap;

use schemas::frames::ProbeRow;

use super::TraceWriter;
use crate::pipeline::counts::Totals;

impl TraceWriter {
    /// A number that grows while anything is encoded or published; to be asked while another thread closes the trace.
    pub fn steps(&self) -> impl Fn() -> u64 + use<> {
        let progress = self.progress.clone();
        move || progress.lock().steps
    }

    /// How many rows are on the disk, by event; to be asked while another thread closes the trace.
    pub fn rows_on_disk(&self) -> impl Fn() -> Vec<(String, u64)> + use<> {
        let (progress, meta) = (self.progress.clone(), self.meta.clone());
        move || {
            let rows = progress.lock().rows.clone();
            meta.events.iter().map(|event| event.event.clone()).zip(rows).collect()
        }
    }

    /// The probes that were tried.
    pub fn probes(&self) -> &[ProbeRow] {
        &self.probes
    }

    /// Totals by event as of the last counters, for a progress line.
    pub fn totals(&self) -> &BTreeMap<String, Totals> {
        self.counts.totals()
    }

    /// Bytes of the segments published so far, or, if old ones were removed, of those that are there.
    pub fn bytes_written(&self) -> u64 {
        let kept = self.kept.lock();
        if kept.from_ns.is_some() { kept.disk_bytes } else { self.progress.lock().bytes }
    }
}
