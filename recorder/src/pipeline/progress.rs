//! What the encoder has done in; what others have to know of it out.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What was done so far.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    /// Rows of table cgroups without a path.
    pub unknown_cgroups: u64,
}

/// [`Progress`] of all threads.
#[derive(Clone, Default)]
pub struct SharedProgress(Arc<(Mutex<Progress>, AtomicU64)>);

impl SharedProgress {
    /// Look or change.
    pub fn lock(&self) -> MutexGuard<'_, Progress> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something was done.
    pub fn stepped(&self) {
        self.0.1.fetch_add(1, Ordering::Relaxed);
    }

    /// Grows as long as something is done.
    pub fn steps(&self) -> u64 {
        self.0.1.load(Ordering::Relaxed)
    }
}
