//! Sets of objects: what recorded events have begun and none has ended. One for each event that has begins and ends.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use anyhow::{Context, Result};
use schemas::wire::{OBJECT_BUCKETS, OBJECT_MAP_FLAGS, OBJECT_WAYS};

use super::sys;

/// Most objects that found their bucket full; when there are more, all ends are recorded. About 80 bytes each. Half a
/// million objects are in the set then.
const MORE_OBJECTS: u32 = 1 << 16;

/// The set of an event.
#[derive(Debug)]
pub struct ObjectSet {
    buckets: OwnedFd,
    more: OwnedFd,
}

impl ObjectSet {
    fn new() -> std::io::Result<Self> {
        let value_size = (OBJECT_WAYS * size_of::<u64>()) as u32;
        let flags = OBJECT_MAP_FLAGS as u32;
        let buckets = sys::map_create(sys::ARRAY, 4, value_size, OBJECT_BUCKETS, flags, "ktape_objects")?;
        let more = sys::map_create(sys::HASH, 8, 4, MORE_OBJECTS, 0, "ktape_more_objs")?;
        Ok(Self { buckets, more })
    }

    /// Its maps, by the names of the maps that they are in.
    pub fn maps(&self) -> [(&'static str, BorrowedFd<'_>); 2] {
        [("OBJECTS", self.buckets.as_fd()), ("MORE_OBJECTS", self.more.as_fd())]
    }
}

/// The sets, by event.
#[derive(Debug, Default)]
pub struct ObjectSets {
    sets: BTreeMap<String, ObjectSet>,
}

impl ObjectSets {
    /// That of `event`, made if it is not there yet.
    pub fn of(&mut self, event: &str) -> Result<&ObjectSet> {
        if !self.sets.contains_key(event) {
            let set = ObjectSet::new()
                .with_context(|| format!("cannot make the set of objects of event {event}"))?;
            self.sets.insert(event.to_owned(), set);
        }
        self.sets.get(event).context("it was just made")
    }
}
