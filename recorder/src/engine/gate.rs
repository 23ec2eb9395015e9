//! The gate: one value in the kernel that all probes look at, so that all begin and end at the same instant.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use anyhow::{Context, Result};
use schemas::wire::Shared;

use super::sys;

/// While it is closed nothing is seen.
#[derive(Debug)]
pub struct Gate {
    map: OwnedFd,
}

impl Gate {
    /// An open one.
    pub fn new() -> Result<Self> {
        let map = sys::map_create(sys::ARRAY, 4, size_of::<Shared>() as u32, 1, 0, "ktape_shared")
            .context("cannot make a map")?;
        let gate = Self { map };
        gate.set(true)?;
        Ok(gate)
    }

    /// Open or close it, for all probes at once.
    pub fn set(&self, is_open: bool) -> Result<()> {
        let shared = Shared { is_open: is_open.into(), more_objects: 0, all_ends: 0 };
        sys::map_update(self.map.as_fd(), 0, shared).context("cannot open or close the gate of the probes")
    }

    pub fn fd(&self) -> BorrowedFd<'_> {
        self.map.as_fd()
    }
}
