//! What is staged in; the lanes that are to be left in their rings for a while out.

use super::TraceWriter;
use crate::source::ProbeId;

impl TraceWriter {
    /// Bytes of records that wait for the watermark.
    pub fn waiting_bytes(&self) -> usize {
        self.events.iter().map(|event| event.staging.bytes).sum()
    }

    /// Lanes that have more than their share of records staged, while all together have more than there is room for: they
    /// are to be left alone, so that a flood that cannot be handed over fills its rings and not the memory.
    pub fn crowded(&self) -> Vec<(ProbeId, u16)> {
        if self.waiting_bytes() <= self.staged_bytes {
            return Vec::new();
        }
        let lanes = || self.events.iter().flat_map(|event| event.staging.lanes());
        let share = self.staged_bytes / lanes().count().max(1);
        lanes().filter(|(_, bytes)| *bytes > share).map(|(lane, _)| lane).collect()
    }
}
