//! What the keeper has done in; what other threads have to know of it out, and what they tell it.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What retention has done, as other threads see it.
#[derive(Clone, Debug, Default)]
pub struct Kept {
    /// Every row from this time on (UTC ns) is there; `None`: all are.
    pub from_ns: Option<i64>,
    /// No row of an event is older (UTC ns), apart from processes that are alive; `None`: all are there.
    pub oldest_ns: Option<i64>,
    /// Cgroups that older rows name which are there all the same.
    pub cgroups: Arc<HashSet<u64>>,
    /// What all tables take on disk, bytes.
    pub disk_bytes: u64,
    /// Why small segments are not merged, if they are not.
    pub problem: Option<String>,
}

/// [`Kept`] of all threads.
#[derive(Clone, Default)]
pub struct SharedKept(Arc<Mutex<Kept>>);

impl SharedKept {
    /// Look or change.
    pub fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ids of one table that no row names any more.
#[derive(Debug)]
pub struct Retired {
    /// stacks, symbols or cgroups.
    pub table: &'static str,
    /// The ids.
    pub ids: Arc<HashSet<u64>>,
}

/// Told what goes wrong and is no reason to end.
pub type Warn = Box<dyn Fn(&str) + Send>;
