//! Sets of objects: what recorded events have begun and none has ended. One for each event that has begins and ends.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use anyhow::{Context, Result};

use super::sys;

/// Most objects of an event that can be known at once; when there are more, all ends are recorded. About 80 bytes each.
const MAX_OBJECTS: u32 = 1 << 18;

/// The sets, by event.
#[derive(Debug, Default)]
pub struct ObjectSets {
    maps: BTreeMap<String, OwnedFd>,
}

impl ObjectSets {
    /// That of `event`, made if it is not there yet.
    pub fn of(&mut self, event: &str) -> Result<BorrowedFd<'_>> {
        if !self.maps.contains_key(event) {
            let map = sys::map_create(sys::HASH, 8, 4, MAX_OBJECTS, "ktape_objects")
                .with_context(|| format!("cannot make the set of objects of event {event}"))?;
            self.maps.insert(event.to_owned(), map);
        }
        self.maps.get(event).map(|map| map.as_fd()).context("it was just made")
    }
}
