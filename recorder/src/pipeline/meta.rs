//! What a trace is to be told of the machine and its tables.

use std::fs;

use schemas::trace::{Meta, SIDE_TABLES};

/// Which start of this machine this is: another one after each.
pub fn boot_id() -> String {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    id.trim().to_owned()
}

/// Names of all tables: events, then side tables.
pub fn tables(meta: &Meta) -> impl Iterator<Item = &str> {
    meta.events.iter().map(|e| e.event.as_str()).chain(SIDE_TABLES.iter().map(|t| t.name))
}
