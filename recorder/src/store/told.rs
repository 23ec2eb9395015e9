//! What is known of the store by those who must not wait for a disk: the thread that drains, and who looks while a trace is
//! closed.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, PoisonError};

use super::catalog::disk_bytes;
use super::{State, Store};
use crate::pipeline::pace::Lag;

/// Bytes of records after which it is known how small they become.
const KNOWN_BYTES: u64 = 1 << 20;

/// It is held only for a moment, and never while something is written.
#[derive(Default)]
pub struct Told {
    failure: Option<Arc<anyhow::Error>>,
    is_stopped: bool,
    lag: Lag,
    /// Number of the last commit of the drain that is part of the trace, and of the last that the disk has.
    serials: (Option<u64>, Option<u64>),
    /// Bytes of all segments, and how many there are.
    size: (u64, u64),
    /// What the segments of the current epoch take on disk, and when it began (UTC ns).
    epoch_bytes: u64,
    pub epoch_since_ns: Option<i64>,
    /// Rows that were written, by table, and bytes of all of them.
    pub rows: BTreeMap<String, u64>,
    pub written_bytes: u64,
}

impl Store {
    /// Is the current epoch as long, or as large, as one may be, now that it is `now_ns` (UTC)?
    pub fn is_epoch_over(&self, now_ns: i64) -> bool {
        let limits = self.0.limits;
        if limits.is_none() {
            return false;
        }
        let mut told = self.told();
        let since_ns = *told.epoch_since_ns.get_or_insert(now_ns);
        limits.is_epoch_over(now_ns.saturating_sub(since_ns), told.epoch_bytes + self.unfinished_bytes())
    }

    /// Is so much written and not committed that `--max-size` needs a commit? So many bytes of records are on their way,
    /// and so many were committed.
    pub fn is_commit_due(&self, on_the_way: u64, committed: u64) -> bool {
        // What is on its way becomes as small as what came before it.
        let ratio =
            if committed < KNOWN_BYTES { 1.0 } else { self.told().written_bytes as f64 / committed as f64 };
        self.0.limits.is_commit_due(self.unfinished_bytes().max((on_the_way as f64 * ratio) as u64))
    }

    /// May a segment that is being written grow beyond `bytes`?
    pub fn is_large(&self, bytes: u64) -> bool {
        self.0.limits.is_commit_due(bytes)
    }

    /// Is the size of all files limited?
    pub fn has_most_bytes(&self) -> bool {
        self.0.limits.max_bytes.is_some()
    }

    /// Files that are being written take so many bytes now.
    pub fn set_unfinished_bytes(&self, bytes: u64) {
        self.0.unfinished_bytes.store(bytes, Ordering::Relaxed);
    }

    pub(super) fn unfinished_bytes(&self) -> u64 {
        self.0.unfinished_bytes.load(Ordering::Relaxed)
    }

    /// Let all others know.
    pub(super) fn tell(&self, state: &State) {
        let State { catalog, epoch, lag, durable_serial, failure, is_stopped, .. } = state;
        let segments = &catalog.contents.segments;
        let of_epoch = segments.values().filter(|it| it.epoch == *epoch);
        let mut told = self.told();
        told.epoch_bytes = of_epoch.map(disk_bytes).sum();
        told.size = (segments.values().map(|segment| segment.bytes).sum(), segments.len() as u64);
        told.serials = (catalog.serial, *durable_serial);
        (told.failure, told.is_stopped, told.lag) = (failure.clone(), *is_stopped, *lag);
        drop(told);
        self.0.backlog.set(state.waiting_files());
        self.0.changed.notify_all();
    }

    pub(super) fn told(&self) -> MutexGuard<'_, Told> {
        self.0.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What failed first.
    pub fn failure(&self) -> Option<Arc<anyhow::Error>> {
        self.told().failure.clone()
    }

    /// Can nothing be written any more, until [`Self::retry`]?
    pub fn is_stopped(&self) -> bool {
        self.told().is_stopped
    }

    /// How long it takes from when a commit is due until the disk has it.
    pub fn lag(&self) -> Lag {
        self.told().lag
    }

    /// Number of the last commit of the drain that is part of the trace, and of the last that the disk has.
    pub fn serials(&self) -> (Option<u64>, Option<u64>) {
        self.told().serials
    }

    /// Grows while anything is written.
    pub fn steps(&self) -> u64 {
        self.0.steps.load(Ordering::Relaxed)
    }

    pub(super) fn stepped(&self) {
        self.0.steps.fetch_add(1, Ordering::Relaxed);
    }

    /// Rows that were written, by table.
    pub fn rows_by_event(&self) -> BTreeMap<String, u64> {
        self.told().rows.clone()
    }

    /// Bytes of all segments, and how many there are.
    pub fn size(&self) -> (u64, u64) {
        self.told().size
    }
}
