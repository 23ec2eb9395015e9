//! A time in; every segment that is wholly older gone, and what the others need of them carried over.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use schemas::trace::PROCESSES;

use super::super::count_rows::Interval;
use super::super::files::TempFile;
use super::super::meta::write_meta;
use super::super::segment::{Segment, writer_properties};
use super::exchange::{Slot, rebuild};
use super::shelf::{CARRIED, Entry, Sources, Table, add};
use super::tasks::Running;
use super::tidy::{Built, Task, What};
use super::unknown::{LOSSES, remove_losses};
use super::{COUNTS, Keeper};

/// Segments whose rows are all older go.
#[derive(Clone, Copy)]
pub(super) struct Cut {
    ns: i64,
    /// Of the tables that tell about others' rows (processes, counts, losses): no row that stays is older.
    told_ns: i64,
}

impl Cut {
    fn of(self, table: &Table) -> i64 {
        let tells = is_of_processes(table) || [COUNTS, LOSSES].contains(&table.name.as_str());
        if tells { self.told_ns } else { self.ns }
    }
}

pub(super) fn is_of_processes(table: &Table) -> bool {
    table.is_event && table.name == PROCESSES
}

impl Keeper {
    /// True if there was nothing to wait for.
    pub(super) fn begin_retention(&mut self, cut_ns: i64) -> Result<bool> {
        let events = self.tables.iter().filter(|table| table.is_event && !is_of_processes(table));
        let stay = events.flat_map(|table| &table.entries).filter(|entry| !entry.is_before(cut_ns));
        let oldest_ns = stay.filter_map(|entry| Some(entry.range?.0)).min();
        // Rows that are on their way have processes too.
        let oldest_ns = oldest_ns.into_iter().chain(self.unpublished_ns).min();
        let cut = Cut { ns: cut_ns, told_ns: oldest_ns.unwrap_or(cut_ns).min(cut_ns) };
        let processes = self.tables.iter().find(|table| is_of_processes(table));
        let inputs = processes.map(|table| table.pick(|entry| entry.is_before(cut.told_ns)));
        let inputs = inputs.unwrap_or_default();
        let Some(table_dir) = processes.map(|table| table.dir.clone()).filter(|_| !inputs.is_empty()) else {
            self.remove_before(cut, None)?;
            return Ok(true);
        };
        self.tidy.begin(Task { table_dir, inputs, what: What::Carry });
        self.running = Some(Running::Retention { cut });
        Ok(false)
    }

    /// Remove the segments that are wholly older; `carried` is what table processes keep of them.
    pub(super) fn remove_before(&mut self, cut: Cut, mut carried: Option<Built>) -> Result<()> {
        let is_old = |table: &Table, entry: &Entry| entry.level != CARRIED && entry.is_before(cut.of(table));
        let old = |table| {
            let entries = table_entries(table).filter(move |entry| is_old(table, entry));
            entries.filter_map(|entry| Some(entry.range?.1 + 1))
        };
        let from_ns = self.tables.iter().flat_map(old).max();
        // Said before it is done: who reads meanwhile finds more than he is promised, not less.
        self.meta.kept_from_ns = self.meta.kept_from_ns.max(from_ns);
        write_meta(&self.dir, &self.meta)?;
        self.kept.lock().from_ns = self.meta.kept_from_ns;
        let cgroups = carried.as_ref().map(|built| built.cgroups.clone());
        // What table counts tells too much when rows go, and too little when its own rows go.
        let mut difference = Sources::new();
        for table in self.tables.iter_mut().filter(|table| table.name != COUNTS) {
            let cut_ns = cut.of(table);
            if table.name == LOSSES {
                remove_losses(&self.dir, table, cut_ns)?;
                continue;
            }
            let sign = if table.is_event { -1 } else { 0 };
            for old in table.entries.iter().filter(|entry| entry.is_before(cut_ns)) {
                add(&mut difference, &old.sources, sign);
            }
            let here = carried.take_if(|_| is_of_processes(table));
            if let Some(built) = &here {
                add(&mut difference, &built.entry.sources, 1);
            }
            let here = here.map(|built| (built.entry, built.temp));
            remove(&self.dir, table, |entry| entry.is_before(cut_ns), here)?;
        }
        self.remove_counts_before(cut.told_ns, difference)?;
        let events = self.tables.iter().filter(|table| table.is_event).flat_map(table_entries);
        let starts = events.filter(|entry| entry.level != CARRIED).filter_map(|entry| Some(entry.range?.0));
        let mut kept = self.kept.lock();
        kept.oldest_ns = starts.chain(kept.from_ns).min();
        if let Some(cgroups) = cgroups {
            kept.cgroups = Arc::new(cgroups);
        }
        Ok(())
    }

    /// The rows of table counts go too; what the others tell is made to fit by rows about the time of those that went.
    fn remove_counts_before(&mut self, cut_ns: i64, mut difference: Sources) -> Result<()> {
        let table = self.tables.iter().find(|table| table.name == COUNTS).context("no table counts")?;
        let since_ns = self.counted_since_ns.unwrap_or(self.meta.start_ns);
        let mut interval = Interval { since_ns, ts_ns: since_ns };
        for old in table.entries.iter().filter(|entry| entry.is_before(cut_ns)) {
            add(&mut difference, &old.sources, 1);
            interval.ts_ns = old.range.map_or(interval.ts_ns, |(_, last)| last.max(interval.ts_ns));
        }
        let dir = table.dir.clone();
        let rows = self.adjustment(interval, &difference)?;
        let carried = rows.map(|rows| -> Result<Carried> {
            let properties = writer_properties(&rows.schema(), 1, false)?;
            let mut segment = Segment::create(&dir, "carried", &rows.schema(), properties)?;
            segment.write(&rows)?;
            let temp = segment.finish()?.temp;
            temp.sync()?;
            Ok((Entry::read(0, &temp.path(), CARRIED, difference)?, temp))
        });
        let carried = carried.transpose()?;
        let trace = self.dir.clone();
        remove(&trace, self.table(COUNTS)?, |entry| entry.is_before(cut_ns), carried)
    }
}

fn table_entries(table: &Table) -> std::slice::Iter<'_, Entry> {
    table.entries.iter()
}

/// A file that takes the place of segments that go, and what it holds.
pub(super) type Carried = (Entry, TempFile);

/// Remove the segments of `table` that are `old`; `carried` comes in their place.
pub(super) fn remove(
    dir: &Path,
    table: &mut Table,
    old: impl Fn(&Entry) -> bool,
    carried: Option<Carried>,
) -> Result<()> {
    if let Some((entry, temp)) = carried {
        let new = Slot::New(Entry { level: CARRIED, ..entry }, temp);
        let stay = table.entries.iter().filter(|entry| !old(entry));
        let slots = [new].into_iter().chain(stay.cloned().map(Slot::Keep)).collect();
        return Ok(rebuild(dir, table, slots)?);
    }
    for (_, path) in table.pick(&old) {
        fs::remove_file(&path).with_context(|| format!("cannot remove '{}'", path.display()))?;
    }
    table.entries.retain(|entry| !old(entry));
    Ok(())
}
