//! What the encoder and the publisher have done in; what the drain has to know of it out.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::pace::Lag;
use crate::source::ProbeId;

/// Rows by probe and CPU.
pub type RowsBySource = HashMap<(ProbeId, u16), u64>;

/// What was done so far.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    /// The first failure.
    pub failure: Option<Arc<anyhow::Error>>,
    /// The publisher has failed and publishes nothing more, until this is taken back.
    pub cannot_publish: bool,
    /// Something that a closed trace has is not there.
    pub is_unfinished: bool,
    /// Jobs that the encoder did and files that were published: as long as this grows, something is done.
    pub steps: u64,
    /// Bytes of published segments.
    pub bytes: u64,
    /// Published segments.
    pub segments: u64,
    /// Segments of events that are published or lost.
    pub event_segments: u64,
    /// Rows on disk, by event.
    pub rows: Vec<u64>,
    /// Rows that could not be written.
    pub disk_lost: RowsBySource,
    /// Rows of table cgroups without a path.
    pub unknown_cgroups: u64,
    /// How long publication takes.
    pub lag: Lag,
}

impl Progress {
    /// Something could not be written; the first time counts.
    pub fn fail(&mut self, error: anyhow::Error) {
        self.failure.get_or_insert(Arc::new(error));
    }

    /// These rows will never be on disk.
    pub fn lose(&mut self, rows: impl IntoIterator<Item = ((ProbeId, u16), u64)>) {
        for (source, rows) in rows {
            *self.disk_lost.entry(source).or_default() += rows;
        }
    }
}

/// [`Progress`] of all threads.
#[derive(Clone, Default)]
pub struct SharedProgress(Arc<Mutex<Progress>>);

impl SharedProgress {
    /// Look or change.
    pub fn lock(&self) -> MutexGuard<'_, Progress> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
