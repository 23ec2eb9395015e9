//! What the trace consists of, and the only way to change that: a commit.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use schemas::trace::log::{Commit, Contents, Segment, SegmentName, Status};
use schemas::trace::read::Description;
use schemas::trace::sums::Summed;

use super::log::LogFile;
use crate::pipeline::files::{TempFile, remove_file};
use crate::pipeline::segment::{Written, segment_name};
use crate::source::ProbeId;

/// What a file takes on disk is a multiple of this, bytes.
const BLOCK_BYTES: u64 = 4096;

/// A file that is whole and not part of the trace yet. Dropped, it is removed.
pub struct NewSegment {
    /// The file; `None` if it has its name already.
    pub temp: Option<TempFile>,
    /// What the log will say of it.
    pub segment: Segment,
    /// The disk has it already.
    pub is_durable: bool,
}

impl NewSegment {
    /// Segment `number` of `table`, in `epoch`.
    pub fn new(written: Written, table: &str, number: u64, epoch: u64) -> Self {
        let Written { temp, rows, sums: Summed { bytes, crc, blocks }, ts, is_late } = written;
        let (table, late) = (table.to_owned(), is_late);
        let segment =
            Segment { table, number, rows, bytes, crc, blocks, ts, late, epoch, ..Segment::default() };
        Self { temp: Some(temp), segment, is_durable: false }
    }
}

/// What a commit is to change.
#[derive(Default)]
pub struct Change {
    /// Files that become part of the trace.
    pub add: Vec<NewSegment>,
    /// Segments that are no part of it any more.
    pub remove: Vec<SegmentName>,
    /// Every row before this time (UTC ns) that is not late is there.
    pub until_ns: Option<i64>,
    /// What is known of the recording.
    pub status: Option<Status>,
    /// Which commit of the drain it is.
    pub serial: Option<u64>,
    /// Boot time (ns) at which it was due, if that is to be measured.
    pub due_ns: Option<u64>,
}

/// A commit that the disk may not have.
pub struct Undurable {
    pub n: u64,
    pub serial: Option<u64>,
    pub due_ns: Option<u64>,
    /// The files that it added.
    pub files: Vec<TempFile>,
    pub added: Vec<SegmentName>,
    pub removed: Vec<Segment>,
}

/// A trace being changed.
pub struct Catalog {
    dir: PathBuf,
    pub log: LogFile,
    pub contents: Contents,
    /// Number of the next segment, by table.
    next: HashMap<String, u64>,
    pub undurable: VecDeque<Undurable>,
    /// Segments that were removed, by the commit that did: their files go when the disk has it.
    doomed: Vec<(u64, Segment)>,
    /// Rows of events that were ever added, by probe and CPU.
    pub rows: BTreeMap<(ProbeId, u16), u64>,
    /// Number of the last commit of the drain that is part of the trace.
    pub serial: Option<u64>,
}

impl Catalog {
    /// Begin the log of a new trace in `dir`, which consists of `contents`.
    pub fn create(dir: &Path, contents: Contents) -> Result<Self> {
        let first = Commit {
            at_ns: crate::pipeline::clock::utc_now_ns(),
            add: contents.segments.values().cloned().collect(),
            status: Some(contents.status.clone()),
            until_ns: contents.until_ns,
            ..Commit::default()
        };
        Ok(Self::with_log(dir, LogFile::create(dir, first)?, contents))
    }

    /// Go on with the trace in `dir`, of which `description` was read; the caller holds it.
    pub fn open(dir: &Path, description: &Description) -> Result<Self> {
        let log = description.log.as_ref().context("it has no log")?;
        let lines = log.commits.len() as u64;
        let file = LogFile::open(dir, log.bytes, lines, description.contents.last)?;
        Ok(Self::with_log(dir, file, description.contents.clone()))
    }

    fn with_log(dir: &Path, log: LogFile, contents: Contents) -> Self {
        let mut next: HashMap<String, u64> = HashMap::new();
        for name in contents.segments.keys() {
            let next = next.entry(name.table.clone()).or_default();
            *next = (name.number + 1).max(*next);
        }
        Self {
            dir: dir.to_owned(),
            log,
            contents,
            next,
            undurable: VecDeque::new(),
            doomed: Vec::new(),
            rows: BTreeMap::new(),
            serial: None,
        }
    }

    /// The number of a new segment of `table`.
    pub fn number(&mut self, table: &str) -> u64 {
        let next = self.next.entry(table.to_owned()).or_default();
        *next += 1;
        *next - 1
    }

    /// Let `change` happen, all of it at once. Fails, and nothing has happened, if a file cannot have its name or the log
    /// cannot be written.
    pub fn commit(&mut self, change: Change) -> Result<()> {
        let Change { mut add, remove, until_ns, status, serial, due_ns } = change;
        for (at, new) in add.iter_mut().enumerate() {
            let name = segment_name(new.segment.number);
            if let Some(Err(error)) = new.temp.as_mut().map(|temp| temp.reveal(&name)) {
                let revealed: Vec<_> = add[..at].iter().map(|new| new.segment.clone()).collect();
                revealed.iter().for_each(|segment| drop(self.unlink(segment)));
                return Err(error);
            }
        }
        let segments = || add.iter().map(|new| new.segment.clone()).collect();
        let mut commit = Commit { add: segments(), remove, until_ns, status, ..Commit::default() };
        let n = match self.log.append(&mut commit) {
            Ok(n) => n,
            Err(error) => {
                // They are no part of the trace. What cannot be removed is left to `recorder compact`.
                commit.add.iter().for_each(|segment| drop(self.unlink(segment)));
                return Err(error);
            }
        };
        let removed = commit.remove.iter().filter_map(|name| self.contents.segments.get(name).cloned());
        let removed: Vec<Segment> = removed.collect();
        self.contents.apply(&commit)?;
        self.doomed.extend(removed.iter().map(|segment| (n, segment.clone())));
        for segment in &commit.add {
            for (probe, cpu, rows) in counted(segment, serial) {
                *self.rows.entry((probe, cpu)).or_default() += rows;
            }
        }
        self.serial = serial.or(self.serial);
        let added = commit.add.iter().map(Segment::name).collect();
        let files = add.into_iter().filter(|new| !new.is_durable).filter_map(|new| new.temp).collect();
        self.undurable.push_back(Undurable { n, serial, due_ns, files, added, removed });
        Ok(())
    }

    /// The disk has all commits up to `n`: say so, and remove the files that no commit names any more. Fails if the log
    /// cannot be written or a file cannot be removed.
    pub fn durable(&mut self, n: u64) -> Result<()> {
        self.log.append(&mut Commit { durable: Some(n), ..Commit::default() })?;
        let (gone, doomed): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.doomed).into_iter().partition(|(by, _)| *by <= n);
        self.doomed = doomed;
        let unlinked = gone.iter().map(|(_, segment)| self.unlink(segment));
        unlinked.fold(Ok(()), Result::and)
    }

    /// Remove the file of a segment that is no part of the trace. That somebody else was faster is no failure.
    fn unlink(&self, segment: &Segment) -> Result<()> {
        let result = remove_file(&self.dir.join(&segment.table), &segment_name(segment.number));
        let is_gone = |error: &anyhow::Error| {
            let io = error.downcast_ref::<std::io::Error>();
            io.is_some_and(|io| io.kind() == std::io::ErrorKind::NotFound)
        };
        result.or_else(|error| if is_gone(&error) { Ok(()) } else { Err(error) })
    }

    /// Take back commits that the disk did not take, from the oldest of `undurable` on, and all behind them. `serial` is
    /// the last commit of the drain before them. Fails if the log cannot be written.
    pub fn take_back(&mut self, undurable: Vec<Undurable>, serial: Option<u64>) -> Result<()> {
        let all: Vec<Undurable> = undurable.into_iter().chain(self.undurable.drain(..)).collect();
        let (mut before, mut rows) = (self.contents.segments.clone(), self.rows.clone());
        for Undurable { added, removed, serial, .. } in all.iter().rev() {
            for segment in added.iter().filter_map(|name| before.remove(name)) {
                for (probe, cpu, gone) in counted(&segment, *serial) {
                    rows.entry((probe, cpu)).and_modify(|rows| *rows -= gone);
                }
            }
            // Their files are still there: they go only when the disk has what removed them.
            before.extend(removed.iter().map(|segment| (segment.name(), segment.clone())));
        }
        let now = &self.contents.segments;
        let back = before.values().filter(|it| !now.contains_key(&it.name())).cloned().collect();
        let gone: Vec<Segment> =
            now.values().filter(|it| !before.contains_key(&it.name())).cloned().collect();
        let remove = gone.iter().map(Segment::name).collect();
        let n = self.log.append(&mut Commit { add: back, remove, ..Commit::default() })?;
        self.doomed.retain(|(_, segment)| !before.contains_key(&segment.name()));
        (self.contents.segments, self.rows, self.serial) = (before, rows, serial);
        self.contents.last = Some(n);
        gone.iter().map(|segment| self.unlink(segment)).fold(Ok(()), Result::and)
    }

    /// One line in place of the whole log: the disk has everything. Files that no commit names go.
    pub fn shorten(&mut self) -> Result<()> {
        let n = self.log.replace(&self.contents, true)?;
        self.undurable.clear();
        let doomed = std::mem::take(&mut self.doomed);
        debug_assert!(doomed.iter().all(|(by, _)| *by <= n));
        doomed.iter().map(|(_, segment)| self.unlink(segment)).fold(Ok(()), Result::and)
    }

    /// What its segments and the log take on disk, bytes.
    pub fn disk_bytes(&self) -> u64 {
        let segments = self.contents.segments.values().map(disk_bytes).sum::<u64>();
        segments + self.log.bytes().next_multiple_of(BLOCK_BYTES)
    }

    /// What files take on disk that are still to go, bytes.
    pub fn doomed_bytes(&self) -> u64 {
        self.doomed.iter().map(|(_, segment)| disk_bytes(segment)).sum()
    }

    /// Does anything wait for the disk?
    pub fn is_settled(&self) -> bool {
        self.undurable.is_empty() && self.doomed.is_empty()
    }

    /// Segments that are to be synced before another may be added.
    pub fn waiting_files(&self) -> usize {
        self.undurable.iter().map(|commit| commit.files.len()).sum()
    }
}

/// Rows that the drain handed over: those of merged segments were, and those that are carried never.
fn counted(segment: &Segment, serial: Option<u64>) -> impl Iterator<Item = (ProbeId, u16, u64)> + '_ {
    segment.sources.iter().copied().filter(move |_| serial.is_some() && !segment.carried)
}

/// What a segment takes on disk, bytes.
pub fn disk_bytes(segment: &Segment) -> u64 {
    segment.bytes.next_multiple_of(BLOCK_BYTES)
}
