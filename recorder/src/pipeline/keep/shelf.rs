//! Published segments in; what each table consists of (numbers, rows, sizes, times, rows by probe and CPU) out.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Result;

use super::super::merged::Input;
use super::super::segment::segment_name;
use crate::source::ProbeId;

/// Rows by probe and CPU: of an event table those that are there, of table counts those that are told (`recorded`).
pub type Sources = BTreeMap<(ProbeId, u16), i64>;

/// Level of a segment that is not merged with others any more.
pub const SETTLED: u8 = 254;
/// Level of a segment that retention made itself: what the kept rows need of those that went.
pub const CARRIED: u8 = 255;

/// A segment.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its number.
    pub number: u64,
    /// Its rows.
    pub rows: u64,
    /// What it takes on disk, bytes.
    pub disk_bytes: u64,
    /// First and last ts (UTC ns), if the table has one.
    pub range: Option<(i64, i64)>,
    /// Its rows came late.
    pub is_late: bool,
    /// How often its rows were merged, or [`SETTLED`], or [`CARRIED`].
    pub level: u8,
    /// Its rows.
    pub sources: Sources,
    /// Ids were retired that often when it came; later retirements are about it.
    pub era: u64,
}

impl Entry {
    /// From the footer of the file at `path`.
    pub fn read(number: u64, path: &Path, level: u8, sources: Sources) -> Result<Self> {
        let Input { rows, range, disk_bytes, is_late, .. } = Input::open(number, path)?;
        Ok(Self { number, rows, disk_bytes, range, is_late, level, sources, era: 0 })
    }

    /// Is every row of it older than `cut_ns`? Tables without times do not age.
    pub fn is_before(&self, cut_ns: i64) -> bool {
        self.range.is_some_and(|(_, last)| last < cut_ns)
    }
}

/// A table and its segments in their order.
#[derive(Debug)]
pub struct Table {
    /// Its name.
    pub name: String,
    /// Its directory.
    pub dir: PathBuf,
    /// Rows are events.
    pub is_event: bool,
    /// Its segments.
    pub entries: Vec<Entry>,
    /// Number of the next segment.
    pub next: u64,
}

impl Table {
    /// A table without segments in the trace `dir`.
    pub fn new(dir: &Path, name: &str, is_event: bool) -> Self {
        Self { name: name.to_owned(), dir: dir.join(name), is_event, entries: Vec::new(), next: 0 }
    }

    /// Where the segment with that number is.
    pub fn path(&self, number: u64) -> PathBuf {
        self.dir.join(segment_name(number))
    }

    /// Numbers and places of the segments that `is_wanted`.
    pub fn pick(&self, is_wanted: impl Fn(&Entry) -> bool) -> Vec<(u64, PathBuf)> {
        let wanted = self.entries.iter().filter(|entry| is_wanted(entry));
        wanted.map(|entry| (entry.number, self.path(entry.number))).collect()
    }

    /// What it takes on disk, bytes.
    pub fn disk_bytes(&self) -> u64 {
        self.entries.iter().map(|entry| entry.disk_bytes).sum()
    }

    /// What the segments with those numbers take on disk, bytes.
    pub fn disk_bytes_of(&self, numbers: &[u64]) -> u64 {
        let those = self.entries.iter().filter(|entry| numbers.contains(&entry.number));
        those.map(|entry| entry.disk_bytes).sum()
    }
}

/// Add `more`, `sign` times, to `sum`.
pub fn add(sum: &mut Sources, more: &Sources, sign: i64) {
    for (source, rows) in more {
        *sum.entry(*source).or_default() += sign * rows;
    }
}
