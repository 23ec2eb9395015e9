//! Pieces of work in, the processor time that each stage of the encoder's thread has taken out. Off, it costs nothing
//! to speak of; the benchmark turns it on.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use nix::time::{ClockId, clock_gettime};

/// What the encoder's thread does with records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Finding the order of rows.
    Merge,
    /// Records to arrays.
    Decode,
    /// Arrays to pages, without compression.
    Encode,
    /// Pages to smaller pages.
    Compress,
    /// Pages to a published file.
    Write,
}

impl Stage {
    /// All, in the order in which a record meets them.
    pub const ALL: [Self; 5] = [Self::Merge, Self::Decode, Self::Encode, Self::Compress, Self::Write];
}

static IS_ON: AtomicBool = AtomicBool::new(false);
static TOTAL_NS: [AtomicU64; Stage::ALL.len()] = [const { AtomicU64::new(0) }; Stage::ALL.len()];

/// Processor time (ns) of the calling thread.
pub fn thread_ns() -> u64 {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)
        .map_or(0, |time| time.tv_sec() as u64 * 1_000_000_000 + time.tv_nsec() as u64)
}

/// Do `work`, which belongs to `stage`.
pub fn time<T>(stage: Stage, work: impl FnOnce() -> T) -> T {
    if !IS_ON.load(Ordering::Relaxed) {
        return work();
    }
    let start_ns = thread_ns();
    let result = work();
    let took_ns = thread_ns() - start_ns;
    TOTAL_NS[stage as usize].fetch_add(took_ns, Ordering::Relaxed);
    result
}

/// Measure from now on, beginning with zero.
pub fn start() {
    TOTAL_NS.iter().for_each(|total| total.store(0, Ordering::Relaxed));
    IS_ON.store(true, Ordering::Relaxed);
}

/// Measure no more: the processor time (ns) of each stage since [`start`].
pub fn stop() -> [(Stage, u64); Stage::ALL.len()] {
    IS_ON.store(false, Ordering::Relaxed);
    let total_ns = |stage: Stage| TOTAL_NS[stage as usize].load(Ordering::Relaxed);
    Stage::ALL.map(|stage| match stage {
        // Pages are compressed while they are being encoded.
        Stage::Encode => (stage, total_ns(stage).saturating_sub(total_ns(Stage::Compress))),
        _ => (stage, total_ns(stage)),
    })
}
