//! What is published in; a trace that stays small out: old segments go, small ones are merged, snapshots are made.
//!
//! ```text
//! shelf     what each table consists of            plan      what is to go, what is to be merged
//! tidy      what takes time, in its own thread     carry     who of table processes is alive
//! retain    the old goes                            exchange  a table rebuilt in one step
//! balance   table counts fits the rows              freeze    a closed copy
//! tasks     what is due, begun and put in place     place     where a copy is built
//! again     ids that came back, once                kept      what other threads know
//! unknown   what no kernel counts stays said
//! ```
//! All of it is called by the only thread that changes the directories of tables. A task of `tidy` reads segments that
//! never change; what it built takes their place when it is done. Only when it cannot keep up (many tables and a short
//! segment age, or recorded time that runs faster than real time) the publisher waits for it, task after task, so that
//! the number of segments is bounded.

mod again;
mod balance;
mod carry;
mod exchange;
mod freeze;
mod kept;
mod place;
mod plan;
mod retain;
mod shelf;
mod tasks;
mod tidy;
mod unknown;

use std::collections::{HashMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread::JoinHandle;

use anyhow::{Context, Result};
use schemas::trace::Meta;

use super::meta::{tables, write_meta};
use super::priority::Priority;
use super::progress::RowsBySource;
use super::segment::segment_name;
use crate::source::ProbeId;
use shelf::{Entry, Table};
use tasks::Running;
use tidy::Tidy;

pub use again::make_way;
pub use freeze::Freeze;
pub use kept::{Kept, Retired, SharedKept, Warn};
pub use plan::Limits;

const COUNTS: &str = "counts";

/// Keeps a trace in order while it is being written.
pub struct Keeper {
    dir: PathBuf,
    limits: Limits,
    tables: Vec<Table>,
    meta: Meta,
    kept: SharedKept,
    warn: Warn,
    tidy: Tidy,
    priority: Priority,
    running: Option<Running>,
    /// With their era.
    retired: VecDeque<(u64, Retired)>,
    era: u64,
    events_of_probes: HashMap<ProbeId, String>,
    /// The time (UTC ns), and since when rows may be not published yet.
    now_ns: i64,
    unpublished_ns: Option<i64>,
    /// From when on table counts tells (UTC ns).
    counted_since_ns: Option<i64>,
    next_look_ns: i64,
    /// Retention had its turn.
    is_turn_of_merges: bool,
    next_merge_ns: i64,
    freezing: Vec<JoinHandle<()>>,
    /// Numbers snapshots.
    frozen: u64,
    /// Snapshots are not waited for any more.
    is_over: Arc<AtomicBool>,
}

impl Keeper {
    /// For the trace in `dir`, whose tables are empty; `warn` is told what is not as it should be. Fails if `limits`
    /// cannot be kept on this file system.
    pub fn start(
        dir: &Path,
        meta: Meta,
        limits: Limits,
        kept: SharedKept,
        warn: Warn,
        priority: Priority,
    ) -> Result<Self> {
        if !limits.is_none() {
            exchange::check(dir).context(
                "the oldest rows cannot be removed safely here: record to another file system, or without \
                 --max-age and --max-size",
            )?;
        }
        let is_event = |name: &str| meta.events.iter().any(|layout| layout.event == name);
        let mut tables: Vec<_> = tables(&meta).map(|name| Table::new(dir, name, is_event(name))).collect();
        // The last from which rows are removed: if this process dies before that, what the others name is there.
        tables.sort_by_key(retain::is_of_processes);
        Ok(Self {
            dir: dir.to_owned(),
            limits,
            tables,
            meta,
            kept,
            warn,
            tidy: Tidy::start(priority.clone())?,
            priority,
            running: None,
            retired: VecDeque::new(),
            era: 0,
            events_of_probes: HashMap::new(),
            now_ns: i64::MIN,
            unpublished_ns: None,
            counted_since_ns: None,
            next_look_ns: i64::MIN,
            is_turn_of_merges: false,
            next_merge_ns: i64::MIN,
            freezing: Vec::new(),
            frozen: 0,
            is_over: Arc::default(),
        })
    }

    /// What other threads see.
    pub fn kept(&self) -> SharedKept {
        self.kept.clone()
    }

    /// Name of the next segment of the table in `dir`.
    pub fn name(&mut self, dir: &Path) -> Result<String> {
        let table = self.table(&table_name(dir))?;
        table.next += 1;
        Ok(segment_name(table.next - 1))
    }

    /// The segment at `path` is there. For events `rows` are those by probe and CPU. With `is_only` it is the only one
    /// of its table. The result is what it takes on disk, bytes.
    pub fn published(&mut self, path: &Path, rows: &RowsBySource, is_only: bool) -> Result<u64> {
        let name = path.parent().map(table_name).unwrap_or_default();
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        let number = stem.parse().with_context(|| format!("'{}' is no segment", path.display()))?;
        let sources = if name == COUNTS {
            self.counted(path)?
        } else {
            rows.iter().map(|(source, rows)| (*source, rows.cast_signed())).collect()
        };
        let entry = Entry { era: self.era, ..Entry::read(number, path, 0, sources)? };
        let disk_bytes = entry.disk_bytes;
        let table = self.table(&name)?;
        if is_only {
            table.entries.clear();
        }
        table.next = table.next.max(number + 1);
        let first_ns = entry.range.map(|(first_ns, _)| first_ns).filter(|_| table.is_event);
        table.entries.push(entry);
        // Rows that waited long may be older than all that was there.
        let mut kept = self.kept.lock();
        if let (Some(oldest_ns), Some(first_ns)) = (&mut kept.oldest_ns, first_ns) {
            *oldest_ns = first_ns.min(*oldest_ns);
        }
        Ok(disk_bytes)
    }

    fn table(&mut self, name: &str) -> Result<&mut Table> {
        let table = self.tables.iter_mut().find(|table| table.name == name);
        table.with_context(|| format!("there is no table '{name}'"))
    }

    /// `trace.json` is to say this from now on.
    pub fn describe(&mut self, meta: Meta) -> Result<()> {
        let kept_from_ns = self.meta.kept_from_ns;
        self.meta = Meta { kept_from_ns, ..meta };
        write_meta(&self.dir, &self.meta)
    }

    /// These ids can be forgotten.
    pub fn retire(&mut self, retired: Retired) {
        self.retired.push_back((self.era, retired));
        self.era += 1;
    }
}

fn table_name(dir: &Path) -> String {
    dir.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
