//! What is known of the store by those who must not wait for a disk: the thread that drains, and who looks while a trace is
//! closed.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, PoisonError};

use super::{Limits, State, Store};
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
    /// Rows that were written, by table.
    pub rows: BTreeMap<String, u64>,
    /// Bytes of all files that were committed, and of the records that they were made of.
    pub written_bytes: u64,
    pub record_bytes: u64,
}

impl Store {
    /// How much is kept.
    pub fn limits(&self) -> Limits {
        self.0.limits
    }

    /// What so many bytes of records will take on disk, as far as that is known: as little as those before them.
    pub fn expected_bytes(&self, record_bytes: u64) -> u64 {
        let told = self.told();
        let ratio = if told.record_bytes < KNOWN_BYTES {
            1.0
        } else {
            told.written_bytes as f64 / told.record_bytes as f64
        };
        (record_bytes as f64 * ratio) as u64
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
        let State { catalog, lag, durable_serial, failure, is_stopped, .. } = state;
        let segments = &catalog.contents.segments;
        let mut told = self.told();
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
