//! The pid set: which processes are recorded. One map, shared by all probes; the kernel side adds children and removes
//! processes whose number becomes free.

use std::collections::BTreeSet;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use anyhow::{Context, Result};

use super::sys;

/// Most processes that can be followed at once, unless [`EngineOptions`](super::EngineOptions) says otherwise.
pub const MAX_PIDS: u32 = 65_536;

/// The processes (thread groups, numbered in the initial pid namespace) whose events are recorded.
#[derive(Debug)]
pub struct PidSet {
    map: OwnedFd,
}

impl PidSet {
    pub(super) fn new(most: u32) -> Result<Self> {
        let map =
            sys::map_create(sys::HASH, 4, 4, most, 0, "ktape_pids").context("cannot make the pid set")?;
        Ok(Self { map })
    }

    /// Record this process and the children that it makes from now on, until its number is free for another.
    pub fn insert(&mut self, pid: u32) -> Result<()> {
        sys::map_update(self.map.as_fd(), pid, pid)
            .with_context(|| format!("cannot add process {pid} to the pid set"))
    }

    /// Do not record this process any more; false if it was not recorded.
    pub fn remove(&mut self, pid: u32) -> Result<bool> {
        sys::map_delete(self.map.as_fd(), pid)
            .with_context(|| format!("cannot take process {pid} out of the pid set"))
    }

    /// Whether this process is recorded.
    pub fn contains(&self, pid: u32) -> Result<bool> {
        sys::map_lookup(self.map.as_fd(), pid, &mut [0; 4])
            .with_context(|| format!("cannot look up process {pid} in the pid set"))
    }

    /// Another handle of the same set.
    pub fn try_clone(&self) -> Result<Self> {
        Ok(Self { map: self.map.try_clone().context("cannot copy the pid set")? })
    }

    /// All processes in it, in order. Those that come or go meanwhile may be missing.
    pub fn pids(&self) -> Result<Vec<u32>> {
        let mut pids = BTreeSet::new();
        let mut last = None;
        // The kernel begins again if the last one has gone.
        for _ in 0..=2 * MAX_PIDS {
            last = sys::map_next_key(self.map.as_fd(), last).context("cannot read the pid set")?;
            match last {
                Some(pid) => pids.insert(pid),
                None => break,
            };
        }
        Ok(pids.into_iter().collect())
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.map.as_fd()
    }
}
