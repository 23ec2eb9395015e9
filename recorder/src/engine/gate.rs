//! The gate: one value in the kernel that all probes look at, so that all begin and end at the same instant.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use anyhow::{Context, Result};
use schemas::wire::{Shared, gate};

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
        let new = Self { map };
        new.open()?;
        Ok(new)
    }

    /// Close it until it is opened.
    pub fn hold(&self) -> Result<()> {
        self.set(gate::HELD)
    }

    /// Open it, for all probes at once.
    pub fn open(&self) -> Result<()> {
        self.set(gate::OPEN)
    }

    /// Close it for good.
    pub fn close(&self) -> Result<()> {
        self.set(gate::OVER)
    }

    fn set(&self, gate: u32) -> Result<()> {
        let shared = Shared { gate, more_objects: 0, all_ends: 0 };
        sys::map_update(self.map.as_fd(), 0, shared).context("cannot open or close the gate of the probes")
    }

    pub fn fd(&self) -> BorrowedFd<'_> {
        self.map.as_fd()
    }
}
