//! A trace being written in; how far it is, for those who wait or watch, out.

use std::collections::BTreeMap;

use schemas::frames::ProbeRow;

use super::TraceWriter;
use crate::pipeline::counts::Totals;

impl TraceWriter {
    /// A number that grows while anything is encoded or written; to be asked while another thread closes the trace.
    pub fn steps(&self) -> impl Fn() -> u64 + use<> {
        let (progress, store) = (self.progress.clone(), self.store.clone());
        move || progress.steps() + store.steps()
    }

    /// How many rows are in the trace, by event; to be asked while another thread closes it.
    pub fn rows_on_disk(&self) -> impl Fn() -> Vec<(String, u64)> + use<> {
        let (store, meta) = (self.store.clone(), self.meta.clone());
        move || {
            let rows = store.rows_by_event();
            let rows_of = |event: &str| rows.get(event).copied().unwrap_or(0);
            meta.events.iter().map(|it| (it.event.clone(), rows_of(&it.event))).collect()
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

    /// Bytes of the segments that there are.
    pub fn bytes_written(&self) -> u64 {
        self.store.size().0
    }
}
