//! What is published in; a trace that stays small out: old segments go, small ones are merged, snapshots are made.
//!
//! ```text
//! shelf     what each table consists of            plan      what is to go, what is to be merged
//! tidy      what takes time, in its own thread     carry     who of table processes is alive
//! retain    the old goes                            exchange  a table rebuilt in one step
//! balance   table counts fits the rows              freeze    a closed copy
//! ```
//! All of it is called by the only thread that changes the directories of tables. A task of `tidy` reads segments that
//! never change; what it built takes their place when it is done. Only when it cannot keep up (recorded time that runs
//! faster than real time) the publisher waits for it, so that the number of segments is bounded.

mod balance;
mod carry;
mod exchange;
mod freeze;
mod plan;
mod retain;
mod shelf;
mod tidy;

use std::collections::{HashMap, HashSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use schemas::trace::Meta;

use super::files::Owner;
use super::meta::{tables, write_meta};
use super::progress::RowsBySource;
use super::segment::segment_name;
use crate::source::ProbeId;
use exchange::{Slot, rebuild};
use freeze::Half;
use retain::Cut;
use shelf::{CARRIED, Entry, Table, add};
use tidy::{Built, Task, Tidy, What};

pub use freeze::Freeze;
pub use plan::Limits;

const COUNTS: &str = "counts";
/// A table with more segments that wait to be merged makes the publisher wait.
const MOST_WAITING: usize = 4 * plan::FAN;
/// How often retention looks, at most: a part of the age that is kept, but at least and at most this.
const LOOK_NS: (i64, i64) = (1_000_000_000, 10_000_000_000);
const LOOKS_PER_AGE: i64 = 60;
/// Level of a segment that has all rows of a side table: it is merged with as large ones only.
const LEVEL_OF_MUCH: u8 = 8;
/// Longest time that one task may take before that is a failure.
const PATIENCE: Duration = Duration::from_secs(600);

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
    /// Why small segments are not merged any more, if they are not.
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
    pub ids: HashSet<u64>,
}

/// A task that runs, by what becomes of its result.
enum Running {
    /// It takes the place of these.
    Instead { table: usize, numbers: Vec<u64>, level: u8, is_merge: bool },
    /// It is what remains of the processes when all that is older goes.
    Retention { cut: Cut },
}

/// Keeps a trace in order while it is being written.
pub struct Keeper {
    dir: PathBuf,
    owner: Owner,
    limits: Limits,
    tables: Vec<Table>,
    meta: Meta,
    kept: SharedKept,
    tidy: Tidy,
    running: Option<Running>,
    /// With their era.
    retired: VecDeque<(u64, Retired)>,
    era: u64,
    events_of_probes: HashMap<ProbeId, String>,
    next_look_ns: i64,
    is_merging: bool,
    freezing: Vec<JoinHandle<()>>,
}

impl Keeper {
    /// For the trace in `dir`, whose tables are empty. Fails if `limits` cannot be kept on this file system.
    pub fn start(dir: &Path, meta: Meta, owner: Owner, limits: Limits, kept: SharedKept) -> Result<Self> {
        if !limits.is_none() {
            exchange::check(dir, owner).context(
                "the oldest rows cannot be removed safely here: record to another file system, or without \
                 --max-age and --max-size",
            )?;
        }
        let is_event = |name: &str| meta.events.iter().any(|layout| layout.event == name);
        let tables = tables(&meta).map(|name| Table::new(dir, name, is_event(name))).collect();
        Ok(Self {
            dir: dir.to_owned(),
            owner,
            limits,
            tables,
            meta,
            kept,
            tidy: Tidy::start(owner)?,
            running: None,
            retired: VecDeque::new(),
            era: 0,
            events_of_probes: HashMap::new(),
            next_look_ns: i64::MIN,
            is_merging: true,
            freezing: Vec::new(),
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
        table.entries.push(entry);
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
        write_meta(&self.dir, &self.meta, self.owner)
    }

    /// These ids can be forgotten.
    pub fn retire(&mut self, retired: Retired) {
        self.retired.push_back((self.era, retired));
        self.era += 1;
    }

    /// Remove the rows of ids that were retired, now.
    pub fn forget(&mut self) -> Result<()> {
        while self.collect(PATIENCE)? && self.begin_retiring() {}
        Ok(())
    }

    /// Do what is due at `now_ns` (UTC), about once a second. Fails if something cannot be removed that has to be.
    pub fn keep(&mut self, now_ns: i64) -> Result<()> {
        while self.collect(if self.is_behind(now_ns) { PATIENCE } else { Duration::ZERO })?
            && self.begin(now_ns)?
        {}
        self.freezing.retain(|thread| !thread.is_finished());
        self.kept.lock().disk_bytes = self.disk_bytes();
        Ok(())
    }

    fn disk_bytes(&self) -> u64 {
        self.tables.iter().map(Table::disk_bytes).sum()
    }

    /// Is more waiting than ever is while time runs as it does?
    fn is_behind(&self, now_ns: i64) -> bool {
        let Limits { max_age_ns, max_bytes } = self.limits;
        let is_unmerged = |table: &Table| {
            table.entries.iter().filter(|entry| entry.level == 0 && self.is_merging).count() > MOST_WAITING
        };
        let is_old = |age: i64| {
            let cut_ns = now_ns.saturating_sub(age + age / 4);
            let mut entries = self.tables.iter().flat_map(|table| &table.entries);
            entries.any(|entry| entry.level != CARRIED && entry.is_before(cut_ns))
        };
        self.tables.iter().any(is_unmerged)
            || max_bytes.is_some_and(|most| self.disk_bytes() > most)
            || max_age_ns.is_some_and(is_old)
    }

    /// Take the result of the task that runs, if there is one. True if none runs any more.
    fn collect(&mut self, patience: Duration) -> Result<bool> {
        let Some(running) = &self.running else { return Ok(true) };
        let is_merge = matches!(running, Running::Instead { is_merge: true, .. });
        let Some(result) = self.tidy.result(patience) else { return Ok(false) };
        let done = match (self.running.take(), result) {
            (_, Err(error)) => Err(error),
            (Some(Running::Instead { table, numbers, level, .. }), Ok(built)) => {
                self.put_instead(table, &numbers, level, built)
            }
            (Some(Running::Retention { cut }), Ok(built)) => self.remove_before(cut, built),
            (None, Ok(_)) => Ok(()),
        };
        match done {
            // Without it the trace is right all the same.
            Err(error) if is_merge => {
                self.is_merging = false;
                self.kept.lock().problem = Some(format!("{error:#}"));
                Ok(true)
            }
            done => done.map(|()| true),
        }
    }

    /// Begin what is most urgent. True if that was done at once.
    fn begin(&mut self, now_ns: i64) -> Result<bool> {
        if self.begin_retiring() {
            return Ok(false);
        }
        if now_ns >= self.next_look_ns {
            let every = self.limits.max_age_ns.map_or(0, |age| age / LOOKS_PER_AGE);
            self.next_look_ns = now_ns.saturating_add(every.clamp(LOOK_NS.0, LOOK_NS.1));
            if let Some(cut_ns) = plan::cut_ns(&self.tables, self.limits, now_ns) {
                return self.begin_retention(cut_ns);
            }
        }
        if self.is_merging {
            self.begin_merge();
        }
        Ok(false)
    }

    fn begin_retiring(&mut self) -> bool {
        while let Some((era, Retired { table, ids })) = self.retired.pop_front() {
            let index = self.tables.iter().position(|other| other.name == table).unwrap_or_default();
            let inputs = self.tables[index].pick(|entry| entry.era <= era);
            if !inputs.is_empty() {
                self.run_instead(index, inputs, LEVEL_OF_MUCH, What::Without(ids));
                return true;
            }
        }
        false
    }

    fn begin_merge(&mut self) {
        let limits = self.limits;
        let run = |(i, table): (usize, &mut Table)| Some((i, plan::run_to_merge(table, limits)?));
        let Some((index, numbers)) = self.tables.iter_mut().enumerate().find_map(run) else { return };
        let table = &self.tables[index];
        let inputs = table.pick(|entry| numbers.contains(&entry.number));
        let first = table.entries.iter().find(|entry| entry.number == numbers[0]);
        let (level, is_late) = first.map_or((0, false), |entry| (entry.level, entry.is_late));
        self.run_instead(index, inputs, level + 1, What::Merge { is_late });
    }

    fn run_instead(&mut self, table: usize, inputs: Vec<(u64, PathBuf)>, level: u8, what: What) {
        let numbers = inputs.iter().map(|(number, _)| *number).collect();
        let is_merge = matches!(what, What::Merge { .. });
        self.tidy.begin(Task { table_dir: self.tables[table].dir.clone(), inputs, what });
        self.running = Some(Running::Instead { table, numbers, level, is_merge });
    }

    fn put_instead(&mut self, table: usize, numbers: &[u64], level: u8, built: Option<Built>) -> Result<()> {
        let Some(Built { temp, mut entry, .. }) = built else { return Ok(()) };
        let table = &mut self.tables[table];
        for old in table.entries.iter().filter(|old| numbers.contains(&old.number)) {
            add(&mut entry.sources, &old.sources, 1);
            entry.era = entry.era.max(old.era);
        }
        let mut new = Some(Slot::New(Entry { level, ..entry }, temp));
        let mut slots = Vec::with_capacity(table.entries.len());
        for old in &table.entries {
            if numbers.contains(&old.number) {
                slots.extend(new.take());
            } else {
                slots.push(Slot::Keep(old.clone()));
            }
        }
        rebuild(&self.dir, table, slots, self.owner)
    }

    /// Make a snapshot; who asked gets the reply.
    pub fn freeze(&mut self, mut freeze: Freeze) {
        freeze.meta.kept_from_ns = self.meta.kept_from_ns;
        let half = self
            .unpublished(freeze.meta.end_ns.unwrap_or_default())
            .and_then(|counts| Half::begin(&mut freeze, &self.tables, counts, self.owner));
        let reply = freeze.reply.clone();
        match half.and_then(|half| half.finish(freeze)) {
            Ok(thread) => self.freezing.push(thread),
            Err(error) => {
                // Whoever asked may have gone.
                let _ = reply.send(Err(error));
            }
        }
    }

    /// Finish what runs. Fails if a snapshot's thread has died.
    pub fn finish(&mut self) -> Result<()> {
        self.collect(PATIENCE)?;
        self.freezing.drain(..).try_for_each(|thread| {
            thread.join().map_err(|_| anyhow!("the thread that makes snapshots has died"))
        })
    }
}

fn table_name(dir: &Path) -> String {
    dir.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
