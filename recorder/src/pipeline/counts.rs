//! Snapshots of the counters in; rows of tables counts and losses (differences since the snapshot before) and totals
//! per event out.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use anyhow::{Context, Result};
use arrow_array::builder::{
    Int64Builder, StringDictionaryBuilder, TimestampNanosecondBuilder, UInt16Builder,
};
use arrow_array::types::Int32Type;
use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::Schema;
use schemas::trace::{LOSS_REASONS, SIDE_TABLES};
use schemas::wire::{Counters, lost};

use super::staging::Fed;
use crate::source::{ProbeCounters, ProbeId};

/// What happened to one event's records until the last snapshot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Times its probes ran.
    pub fired: u64,
    /// Times a filter said no.
    pub filtered: u64,
    /// Events that passed the filter: recorded + lost.
    pub seen: u64,
    /// Rows in the table.
    pub recorded: u64,
    /// Events that passed the filter and are missing.
    pub lost: u64,
    /// By reason of [`LOSS_REASONS`], those that lose no event included.
    pub reasons: BTreeMap<&'static str, u64>,
    /// Reasons of which this kernel cannot tell how often they happened, for some probe of the event.
    pub unknown: Vec<&'static str>,
}

impl Totals {
    /// Whether events are missing that were wanted.
    pub fn has_loss(&self) -> bool {
        let is_loss =
            |reason: &str| LOSS_REASONS.iter().any(|r| r.name == reason && r.loses_event && !r.is_asked_for);
        self.reasons.iter().any(|(reason, count)| *count > 0 && is_loss(reason))
    }
}

/// What there is to count at one time.
pub struct Snapshot<'a> {
    /// UTC nanoseconds.
    pub ts_ns: i64,
    /// From the kernel.
    pub probes: &'a [ProbeCounters],
    /// What came out of the rings.
    pub fed: Vec<Fed>,
    /// Rows that could not be written.
    pub disk_lost: HashMap<(ProbeId, u16), u64>,
    /// The last snapshot: what nobody knows is said now.
    pub is_last: bool,
}

#[derive(Clone, Copy, Default)]
struct Seen {
    kernel: Counters,
    late: u64,
    disk: u64,
}

/// Counts of a recording.
#[derive(Default)]
pub struct Counts {
    /// Event of each probe.
    events: HashMap<ProbeId, String>,
    last: BTreeMap<(ProbeId, u16), Seen>,
    last_skips: HashMap<(ProbeId, &'static str), u64>,
    /// Calls that are still running, or will never return, whose entry found the store full.
    without_entry: HashMap<ProbeId, u64>,
    totals: BTreeMap<String, Totals>,
}

/// New rows of both tables.
pub struct CountRows {
    /// Of table counts.
    pub counts: Option<RecordBatch>,
    /// Of table losses.
    pub losses: Option<RecordBatch>,
}

impl Counts {
    /// A probe of `event`.
    pub fn add_probe(&mut self, probe: ProbeId, event: &str) {
        self.events.insert(probe, event.to_owned());
        self.totals.entry(event.to_owned()).or_default();
    }

    /// By event.
    pub fn totals(&self) -> &BTreeMap<String, Totals> {
        &self.totals
    }

    /// Rows for what changed since the last call.
    pub fn update(&mut self, snapshot: &Snapshot<'_>) -> Result<CountRows> {
        let mut counts = CountsBuilder::default();
        let mut losses = LossesBuilder::default();
        let all = self.gather(snapshot);
        for ((probe, cpu), now) in &all {
            let before = self.last.get(&(*probe, *cpu)).map_or(0, |seen| seen.kernel.map_full);
            *self.without_entry.entry(*probe).or_default() += now.kernel.map_full.saturating_sub(before);
        }
        for ((probe, cpu), now) in all {
            let before = self.last.insert((probe, cpu), now).unwrap_or_default();
            let event =
                self.events.get(&probe).with_context(|| format!("counters of unknown probe {probe}"))?;
            let totals = self.totals.entry(event.clone()).or_default();
            let d = difference(&now.kernel, &before.kernel);
            let (disk, late) = (now.disk - before.disk, now.late - before.late);
            let missing = d.lost.iter().sum::<u64>() + disk;
            let row = CountRow {
                fired: d.fired as i64,
                filtered: d.filtered as i64,
                seen: (d.recorded + missing - disk) as i64,
                recorded: d.recorded as i64 - disk as i64,
                lost: missing as i64,
            };
            let Counters { fired, filtered, recorded, lost: _, faults, cuts, stack_faults, map_full: _ } = d;
            totals.fired += fired;
            totals.filtered += filtered;
            totals.recorded = (totals.recorded + recorded).saturating_sub(disk);
            totals.lost += missing;
            totals.seen = totals.recorded + totals.lost;
            if row != CountRow::default() {
                counts.append(snapshot.ts_ns, event, probe, Some(cpu), &row);
            }
            // A call may return on another cpu than the one where its entry found no room.
            let waiting = self.without_entry.entry(probe).or_default();
            let map_full = d.lost[lost::NO_ENTRY].min(*waiting);
            *waiting -= map_full;
            let reasons = [
                ("ring_full", d.lost[lost::RING_FULL]),
                ("sampled", d.lost[lost::SAMPLED]),
                ("no_entry", d.lost[lost::NO_ENTRY] - map_full),
                ("map_full", map_full),
                ("each_cut", d.lost[lost::EACH_CUT]),
                ("disk", disk),
                ("fetch_fault", faults),
                ("string_cut", cuts),
                ("stack_fault", stack_faults),
                ("late", late),
            ];
            for (reason, count) in reasons.into_iter().filter(|(_, count)| *count > 0) {
                *totals.reasons.entry(reason).or_default() += count;
                losses.append(snapshot.ts_ns, event, probe, Some(cpu), reason, Some(count as i64));
            }
        }
        self.skips(snapshot, &mut counts, &mut losses)?;
        self.unfollowed(snapshot, &mut losses)?;
        Ok(CountRows { counts: counts.finish()?, losses: losses.finish()? })
    }

    /// What each probe and CPU has counted, by kernel and user side. Rows that no kernel probe made (snapshots) count
    /// as they came.
    fn gather(&self, snapshot: &Snapshot<'_>) -> BTreeMap<(ProbeId, u16), Seen> {
        let mut all: BTreeMap<(ProbeId, u16), Seen> = BTreeMap::new();
        let mut of_kernel = std::collections::HashSet::new();
        for ProbeCounters { probe, per_cpu, .. } in snapshot.probes {
            of_kernel.insert(*probe);
            for (cpu, counters) in per_cpu.iter().enumerate() {
                if *counters != Counters::default() {
                    all.entry((*probe, cpu as u16)).or_default().kernel = *counters;
                }
            }
        }
        for Fed { probe, cpu, rows, late } in &snapshot.fed {
            let seen = all.entry((*probe, *cpu)).or_default();
            seen.late = *late;
            if !of_kernel.contains(probe) {
                seen.kernel = Counters { fired: *rows, recorded: *rows, ..Counters::default() };
            }
        }
        for (source, rows) in &snapshot.disk_lost {
            all.entry(*source).or_default().disk = *rows;
        }
        all
    }

    /// Rows of table losses for what the kernel cannot tell of `probes`, as the last snapshot gives them.
    pub fn unknown(&self, ts_ns: i64, probes: &[ProbeCounters]) -> Result<Option<RecordBatch>> {
        let mut losses = LossesBuilder::default();
        for ProbeCounters { probe, recursion_misses, kprobe_misses, .. } in probes {
            let event = self.events.get(probe).map_or("", String::as_str);
            for (reason, misses) in [("recursion", recursion_misses), ("kprobe_missed", kprobe_misses)] {
                if misses.is_none() {
                    losses.append(ts_ns, event, *probe, None, reason, None);
                }
            }
        }
        losses.finish()
    }

    /// Runs that the kernel skipped; it counts them for all CPUs together, or not at all. No filter has seen them, so
    /// they may be more than what is missing.
    fn skips(
        &mut self,
        snapshot: &Snapshot<'_>,
        counts: &mut CountsBuilder,
        losses: &mut LossesBuilder,
    ) -> Result<()> {
        for ProbeCounters { probe, recursion_misses, kprobe_misses, .. } in snapshot.probes {
            let event =
                self.events.get(probe).with_context(|| format!("counters of unknown probe {probe}"))?;
            let totals = self.totals.entry(event.clone()).or_default();
            let mut skipped = 0;
            for (reason, misses) in [("recursion", recursion_misses), ("kprobe_missed", kprobe_misses)] {
                let Some(misses) = *misses else {
                    if snapshot.is_last {
                        losses.append(snapshot.ts_ns, event, *probe, None, reason, None);
                        if !totals.unknown.contains(&reason) {
                            totals.unknown.push(reason);
                        }
                    }
                    continue;
                };
                let before = self.last_skips.insert((*probe, reason), misses).unwrap_or(0);
                let count = misses.saturating_sub(before);
                if count > 0 {
                    skipped += count;
                    *totals.reasons.entry(reason).or_default() += count;
                    losses.append(snapshot.ts_ns, event, *probe, None, reason, Some(count as i64));
                }
            }
            if skipped > 0 {
                totals.fired += skipped;
                totals.seen += skipped;
                totals.lost += skipped;
                let n = skipped as i64;
                let row = CountRow { fired: n, filtered: 0, seen: n, recorded: 0, lost: n };
                counts.append(snapshot.ts_ns, event, *probe, None, &row);
            }
        }
        Ok(())
    }

    /// Processes that are not recorded because the pid set was full: for each event once, however many probes it has.
    fn unfollowed(&mut self, snapshot: &Snapshot<'_>, losses: &mut LossesBuilder) -> Result<()> {
        const REASON: &str = "pids_full";
        let mut done = Vec::new();
        for ProbeCounters { probe, unfollowed, .. } in snapshot.probes.iter().filter(|p| p.unfollowed > 0) {
            let event =
                self.events.get(probe).with_context(|| format!("counters of unknown probe {probe}"))?;
            if done.contains(&event) {
                continue;
            }
            done.push(event);
            let before = self.last_skips.insert((*probe, REASON), *unfollowed).unwrap_or(0);
            let count = unfollowed.saturating_sub(before);
            if count > 0 {
                *self.totals.entry(event.clone()).or_default().reasons.entry(REASON).or_default() += count;
                losses.append(snapshot.ts_ns, event, *probe, None, REASON, Some(count as i64));
            }
        }
        Ok(())
    }
}

/// Rows of table counts at `ts_ns` (UTC) by which `recorded` is to change, without anything lost; `events` are those of
/// the probes.
pub fn adjustment(
    ts_ns: i64,
    events: &HashMap<ProbeId, String>,
    difference: &BTreeMap<(ProbeId, u16), i64>,
) -> Result<Option<RecordBatch>> {
    let mut counts = CountsBuilder::default();
    for ((probe, cpu), rows) in difference.iter().filter(|(_, rows)| **rows != 0) {
        let row = CountRow { fired: *rows, seen: *rows, recorded: *rows, ..CountRow::default() };
        counts.append(ts_ns, events.get(probe).map_or("", String::as_str), *probe, Some(*cpu), &row);
    }
    counts.finish()
}

fn difference(now: &Counters, before: &Counters) -> Counters {
    let Counters { fired, filtered, recorded, lost, faults, cuts, stack_faults, map_full } = *now;
    Counters {
        fired: fired.saturating_sub(before.fired),
        filtered: filtered.saturating_sub(before.filtered),
        recorded: recorded.saturating_sub(before.recorded),
        lost: std::array::from_fn(|i| lost[i].saturating_sub(before.lost[i])),
        faults: faults.saturating_sub(before.faults),
        cuts: cuts.saturating_sub(before.cuts),
        stack_faults: stack_faults.saturating_sub(before.stack_faults),
        map_full: map_full.saturating_sub(before.map_full),
    }
}

/// Schema of a side table.
pub fn side_schema(name: &str) -> Result<Arc<Schema>> {
    let table =
        SIDE_TABLES.iter().find(|t| t.name == name).with_context(|| format!("no side table '{name}'"))?;
    Ok(Arc::new((table.schema)()))
}

#[derive(Default, PartialEq, Eq)]
struct CountRow {
    fired: i64,
    filtered: i64,
    seen: i64,
    recorded: i64,
    lost: i64,
}

/// The columns that both tables start with.
#[derive(Default)]
struct ProbeColumns {
    ts: TimestampNanosecondBuilder,
    event: StringDictionaryBuilder<Int32Type>,
    probe: UInt16Builder,
    cpu: UInt16Builder,
    rows: usize,
}

impl ProbeColumns {
    fn append(&mut self, ts_ns: i64, event: &str, probe: ProbeId, cpu: Option<u16>) {
        self.ts.append_value(ts_ns);
        self.event.append_value(event);
        self.probe.append_value(probe);
        self.cpu.append_option(cpu);
        self.rows += 1;
    }

    fn finish(self) -> Vec<ArrayRef> {
        let Self { mut ts, mut event, mut probe, mut cpu, rows: _ } = self;
        vec![
            Arc::new(ts.finish().with_timezone("UTC")),
            Arc::new(event.finish()),
            Arc::new(probe.finish()),
            Arc::new(cpu.finish()),
        ]
    }
}

#[derive(Default)]
struct CountsBuilder {
    probe: ProbeColumns,
    numbers: [Int64Builder; 5],
}

impl CountsBuilder {
    fn append(&mut self, ts_ns: i64, event: &str, probe: ProbeId, cpu: Option<u16>, row: &CountRow) {
        self.probe.append(ts_ns, event, probe, cpu);
        let CountRow { fired, filtered, seen, recorded, lost } = row;
        for (builder, value) in self.numbers.iter_mut().zip([fired, filtered, seen, recorded, lost]) {
            builder.append_value(*value);
        }
    }

    fn finish(self) -> Result<Option<RecordBatch>> {
        if self.probe.rows == 0 {
            return Ok(None);
        }
        let mut columns = self.probe.finish();
        columns.extend(self.numbers.into_iter().map(|mut b| Arc::new(b.finish()) as ArrayRef));
        Ok(Some(RecordBatch::try_new(side_schema("counts")?, columns)?))
    }
}

#[derive(Default)]
struct LossesBuilder {
    probe: ProbeColumns,
    reason: StringDictionaryBuilder<Int32Type>,
    count: Int64Builder,
}

impl LossesBuilder {
    fn append(
        &mut self,
        ts_ns: i64,
        event: &str,
        probe: ProbeId,
        cpu: Option<u16>,
        reason: &str,
        count: Option<i64>,
    ) {
        self.probe.append(ts_ns, event, probe, cpu);
        self.reason.append_value(reason);
        self.count.append_option(count);
    }

    fn finish(mut self) -> Result<Option<RecordBatch>> {
        if self.probe.rows == 0 {
            return Ok(None);
        }
        let mut columns = self.probe.finish();
        columns.push(Arc::new(self.reason.finish()));
        columns.push(Arc::new(self.count.finish()));
        Ok(Some(RecordBatch::try_new(side_schema("losses")?, columns)?))
    }
}
