//! A time in; what is due then begun, and what is done put in its place, out. One task runs at a time.

use std::io;
use std::time::Duration;

use anyhow::{Error, Result, ensure};

use super::exchange::{Failed, Slot, rebuild};
use super::kept::Retired;
use super::plan;
use super::retain::Cut;
use super::shelf::{CARRIED, Entry, Table, add};
use super::tidy::{Built, Task, What};
use super::{Keeper, Limits};

/// A table with more segments that wait to be merged makes the publisher wait.
const MOST_WAITING: usize = 4 * plan::FAN;
/// How often retention looks for rows that are too old: a part of the age that is kept, but at least and at most this.
/// What is too much is looked for as often as possible.
const LOOK_NS: (i64, i64) = (1_000_000_000, 10_000_000_000);
const LOOKS_PER_AGE: i64 = 60;
/// Level of a segment of a side table that was rewritten: it is merged with others like it only.
const REWRITTEN: u8 = 8;
/// Longest time that one task may take before that is a failure.
const PATIENCE: Duration = Duration::from_secs(600);
/// After a merge that failed the next one is tried so much later: what was in the way may have gone.
const PAUSE_NS: i64 = 300_000_000_000;

/// A task that runs, by what becomes of its result.
pub(super) enum Running {
    /// It takes the place of these. `era`: what was retired before that is not in it; `None`: as those say.
    Instead { table: usize, numbers: Vec<u64>, level: u8, era: Option<u64> },
    /// It is what remains of the processes when all that is older goes.
    Retention { cut: Cut },
}

impl Keeper {
    /// Remove the rows of ids that were retired, now.
    pub fn forget(&mut self) -> Result<()> {
        loop {
            ensure!(self.collect(PATIENCE)?, "a table is being rewritten for more than {PATIENCE:?}");
            if !self.begin_retiring() {
                return Ok(());
            }
        }
    }

    /// Do what is due at `now_ns` (UTC), about once a second; rows since `unpublished_ns` may be not published yet.
    /// Fails if something cannot be removed that has to be.
    pub fn keep(&mut self, now_ns: i64, unpublished_ns: Option<i64>) -> Result<()> {
        (self.now_ns, self.unpublished_ns) = (now_ns, unpublished_ns);
        loop {
            let is_behind = self.is_behind();
            if !self.collect(if is_behind { PATIENCE } else { Duration::ZERO })? {
                break;
            }
            let is_done_at_once = self.begin()?;
            // What was begun goes on while others publish, unless they bring more than it takes away.
            if !is_done_at_once && (self.running.is_none() || !is_behind) {
                break;
            }
        }
        self.freezing.retain(|thread| !thread.is_finished());
        self.kept.lock().disk_bytes = self.disk_bytes();
        Ok(())
    }

    fn disk_bytes(&self) -> u64 {
        self.tables.iter().map(Table::disk_bytes).sum()
    }

    /// What is there twice while the task runs.
    fn twice_bytes(&self) -> u64 {
        let Some(Running::Instead { table, numbers, .. }) = &self.running else { return 0 };
        self.tables[*table].disk_bytes_of(numbers)
    }

    /// Is more waiting than ever is while time runs as it does?
    fn is_behind(&self) -> bool {
        let is_merging = self.is_merging();
        let is_unmerged = |table: &Table| {
            is_merging && table.entries.iter().filter(|entry| entry.level == 0).count() > MOST_WAITING
        };
        let is_old = |age: i64| {
            let cut_ns = self.now_ns.saturating_sub(age + age / 4);
            // Side tables stay as long as the oldest rows of events.
            let events = self.tables.iter().filter(|table| table.is_event);
            events
                .flat_map(|table| &table.entries)
                .any(|entry| entry.level != CARRIED && entry.is_before(cut_ns))
        };
        self.tables.iter().any(is_unmerged)
            || !plan::is_room(self.limits, self.disk_bytes() + self.twice_bytes())
            || self.limits.max_age_ns.is_some_and(is_old)
    }

    fn is_merging(&self) -> bool {
        self.now_ns >= self.next_merge_ns
    }

    /// Take the result of the task that runs, if there is one. True if none runs any more.
    pub(super) fn collect(&mut self, patience: Duration) -> Result<bool> {
        let Some(running) = &self.running else { return Ok(true) };
        let is_merge = matches!(running, Running::Instead { era: None, .. });
        let Some(result) = self.tidy.result(patience) else { return Ok(false) };
        let done = match (self.running.take(), result) {
            (_, Err(error)) => Err(Failed::AsItWas(error)),
            (Some(Running::Instead { table, numbers, level, era }), Ok(built)) => {
                self.put_instead(table, &numbers, (level, era), built)
            }
            (Some(Running::Retention { cut }), Ok(built)) => {
                self.remove_before(cut, built).map_err(Failed::AsItWas)
            }
            (None, Ok(_)) => Ok(()),
        };
        match done {
            // Without it the trace is right all the same.
            Err(Failed::AsItWas(error)) if is_merge => {
                self.next_merge_ns = self.now_ns.saturating_add(PAUSE_NS);
                let reason = reason(&error);
                (self.warn)(&format!(
                    "small segments are not merged for {} minutes, reading takes longer: {reason}",
                    PAUSE_NS / 60_000_000_000
                ));
                self.kept.lock().problem = Some(reason);
            }
            Err(failed) => return Err(failed.into()),
            Ok(()) if is_merge => self.kept.lock().problem = None,
            Ok(()) => {}
        }
        Ok(true)
    }

    /// Begin what is most urgent. True if that was done at once.
    fn begin(&mut self) -> Result<bool> {
        // Retention has more ids retired: first the rows of those before, so that they do not become ever more.
        if self.begin_retiring() {
            return Ok(false);
        }
        // Where each second brings more than retention takes away, tables would never be merged.
        if std::mem::take(&mut self.is_turn_of_merges) && self.begin_merge() {
            return Ok(false);
        }
        if self.now_ns >= self.next_look_ns {
            let Limits { max_age_ns, max_bytes } = self.limits;
            let by_age = max_age_ns.filter(|_| max_bytes.is_none()).map_or(0, |age| age / LOOKS_PER_AGE);
            self.next_look_ns = self.now_ns.saturating_add(by_age.clamp(LOOK_NS.0, LOOK_NS.1));
            if let Some(cut_ns) = plan::cut_ns(&self.tables, self.limits, self.now_ns) {
                self.is_turn_of_merges = true;
                return self.begin_retention(cut_ns);
            }
        }
        self.begin_merge();
        Ok(false)
    }

    fn begin_retiring(&mut self) -> bool {
        let disk_bytes = self.disk_bytes();
        while let Some((era, Retired { table, ids })) = self.retired.front() {
            // Ids of no table are in no row.
            let index = self.tables.iter().position(|other| other.name == *table);
            let run = |index: usize| plan::run_to_rewrite(&self.tables[index], *era, self.limits, disk_bytes);
            if let Some((index, numbers)) = index.map(|i| (i, run(i))).filter(|(_, run)| !run.is_empty()) {
                let (what, era) = (What::Without(ids.clone()), Some(era + 1));
                self.run_instead(index, numbers, REWRITTEN, era, what);
                return true;
            }
            self.retired.pop_front();
        }
        false
    }

    fn begin_merge(&mut self) -> bool {
        if !self.is_merging() {
            return false;
        }
        let limits = self.limits;
        let run = |(i, table): (usize, &mut Table)| Some((i, plan::run_to_merge(table, limits)?));
        let Some((index, numbers)) = self.tables.iter_mut().enumerate().find_map(run) else { return false };
        let table = &self.tables[index];
        let first = table.entries.iter().find(|entry| entry.number == numbers[0]);
        let (level, is_late) = first.map_or((0, false), |entry| (entry.level, entry.is_late));
        self.run_instead(index, numbers, level + 1, None, What::Merge { is_late });
        true
    }

    fn run_instead(&mut self, index: usize, numbers: Vec<u64>, level: u8, era: Option<u64>, what: What) {
        let table = &self.tables[index];
        let inputs = table.pick(|entry| numbers.contains(&entry.number));
        self.tidy.begin(Task { table_dir: table.dir.clone(), inputs, what });
        self.running = Some(Running::Instead { table: index, numbers, level, era });
    }

    fn put_instead(
        &mut self,
        table: usize,
        numbers: &[u64],
        (level, era): (u8, Option<u64>),
        built: Option<Built>,
    ) -> Result<(), Failed> {
        let Some(Built { temp, mut entry, .. }) = built else { return Ok(()) };
        let table = &mut self.tables[table];
        for old in table.entries.iter().filter(|old| numbers.contains(&old.number)) {
            add(&mut entry.sources, &old.sources, 1);
            entry.era = era.unwrap_or(entry.era.max(old.era));
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
        rebuild(&self.dir, table, slots)
    }

    /// Let what runs come to its end.
    pub(super) fn settle(&mut self) -> Result<()> {
        self.collect(PATIENCE).map(drop)
    }
}

/// Why a merge failed. A full disk is what publishing soon tells in full; here it only lacks room for a larger file.
fn reason(error: &Error) -> String {
    let mut causes = error.chain().filter_map(|cause| cause.downcast_ref::<io::Error>());
    if causes.any(|io| matches!(io.raw_os_error(), Some(libc::ENOSPC | libc::EDQUOT))) {
        return "the disk has no room for a file beside those that it replaces: free space".to_owned();
    }
    format!("{error:#}")
}
