//! The seam between the kernel and everything after it: live rings or recorded frames give raw records, in ring order
//! per probe and CPU.

use anyhow::Result;
pub use schemas::frames::ProbeCounters;

/// Number of an attached probe in this recording: row of table `probes`, column `probe` of the event tables.
pub type ProbeId = u16;

/// Gives raw records (`RecordHeader` and columns, see `schemas::wire`) and counters.
pub trait EventSource {
    /// Visit the records that are there now, in ring order (= time order) per probe and CPU; the bytes live only for
    /// the call. Returns the boot time (ns) before which no record of any probe is still to come.
    fn drain(&mut self, visit: &mut dyn FnMut(ProbeId, u16, &[u8])) -> Result<u64>;

    /// Leave these `lanes` alone from the next drain on, until the next call: there is no room for what they would give.
    /// What they still have holds back what a drain returns; those that would hold it at or below `watermark_ns` (boot
    /// time) are drained all the same, so that it rises. A source of recorded frames has nothing that could fill.
    fn pause(&mut self, lanes: &[(ProbeId, u16)], watermark_ns: u64) {
        let _ = (lanes, watermark_ns);
    }

    /// What each probe has counted on each CPU since it was attached.
    fn counters(&mut self) -> Result<Vec<ProbeCounters>>;

    /// True once nothing will come any more (recorded frames at their end; never for live rings).
    fn finished(&self) -> bool;
}
