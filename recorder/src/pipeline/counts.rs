//! Snapshots of the counters in; rows of tables counts and losses (differences since the snapshot before) and totals
//! per event out.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap, HashSet};

use anyhow::{Context, Result};
use arrow_array::RecordBatch;
use schemas::trace::{LATE, LOSS_REASONS};
use schemas::wire::{Counters, lost};

use super::count_rows::{CountRow, CountsBuilder, Interval, LossesBuilder};
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
    /// Since the one before.
    pub interval: Interval,
    /// From the kernel.
    pub probes: &'a [ProbeCounters],
    /// What came out of the rings, and what of it was handed over to be written.
    pub fed: Vec<Fed>,
    /// For the last snapshot, the rows that are in the trace: what was handed over and is not there could not be written,
    /// and what was recorded and has not come out of the rings will not come any more.
    pub in_trace: Option<BTreeMap<(ProbeId, u16), u64>>,
    /// Writing ended early, and with it the draining.
    pub has_failed: bool,
}

#[derive(Clone, Copy, Default)]
struct Seen {
    kernel: Counters,
    /// Of `kernel.fired`, what rows have told.
    fired: u64,
    /// Rows that were handed over to be written.
    handed: u64,
    late: u64,
    /// Rows that could not be written.
    disk: u64,
    /// Records that were not taken out of the ring.
    unread: u64,
}

/// Counts of a recording. A copy is what they were when something was written.
#[derive(Clone, Default)]
pub struct Counts {
    /// Event of each probe.
    events: HashMap<ProbeId, String>,
    last: BTreeMap<(ProbeId, u16), Seen>,
    /// What the kernel has skipped, the most that it ever said.
    last_skips: HashMap<(ProbeId, &'static str), u64>,
    /// What is known to be unknown, and since when.
    told_unknown: BTreeMap<(ProbeId, &'static str), Interval>,
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
        for ((probe, cpu), mut now) in all {
            let before = self.last.get(&(probe, cpu)).copied().unwrap_or_default();
            let event =
                self.events.get(&probe).with_context(|| format!("counters of unknown probe {probe}"))?;
            let totals = self.totals.entry(event.clone()).or_default();
            let d = difference(&now.kernel, &before.kernel);
            let (disk, late) = (now.disk - before.disk, now.late - before.late);
            let unread = now.unread - before.unread;
            let recorded = (now.handed - before.handed).saturating_sub(disk);
            let missing = d.lost.iter().sum::<u64>() + disk + unread;
            let seen = recorded + missing;
            // Some have fired and are under way, in a program or in the ring: the row that tells what became of them
            // tells of them. After the last there is none.
            let fired = match snapshot.in_trace {
                None => d.filtered + seen,
                Some(_) => now.kernel.fired.saturating_sub(before.fired),
            };
            now.fired = before.fired + fired;
            self.last.insert((probe, cpu), now);
            let row = CountRow {
                fired: fired as i64,
                filtered: d.filtered as i64,
                seen: seen as i64,
                recorded: recorded as i64,
                lost: missing as i64,
            };
            let Counters {
                fired: _,
                filtered,
                recorded: _,
                lost: _,
                faults,
                cuts,
                stack_faults,
                map_full: _,
                no_return,
            } = d;
            totals.fired += fired;
            totals.filtered += filtered;
            totals.recorded += recorded;
            totals.lost += missing;
            totals.seen = totals.recorded + totals.lost;
            if row != CountRow::default() {
                counts.append(snapshot.interval, event, probe, Some(cpu), &row);
            }
            // A call may return on another cpu than the one where its entry found no room.
            let waiting = self.without_entry.entry(probe).or_default();
            let map_full = d.lost[lost::NO_ENTRY].min(*waiting);
            *waiting -= map_full;
            let reasons = [
                ("ring_full", d.lost[lost::RING_FULL]),
                ("sampled", d.lost[lost::SAMPLED]),
                ("keys_full", d.lost[lost::KEYS_FULL]),
                ("no_entry", d.lost[lost::NO_ENTRY] - map_full),
                ("map_full", map_full),
                ("each_cut", d.lost[lost::EACH_CUT]),
                ("unread", unread),
                ("disk", disk),
                ("fetch_fault", faults),
                ("string_cut", cuts),
                ("stack_fault", stack_faults),
                ("no_return", no_return),
                (LATE, late),
            ];
            for (reason, count) in reasons.into_iter().filter(|(_, count)| *count > 0) {
                *totals.reasons.entry(reason).or_default() += count;
                losses.append(snapshot.interval, event, probe, Some(cpu), reason, Some(count as i64));
            }
        }
        self.skips(snapshot, &mut counts, &mut losses)?;
        self.unfollowed(snapshot, &mut losses)?;
        Ok(CountRows { counts: counts.finish()?, losses: losses.finish()? })
    }

    /// Rows of table losses that are true of the whole recording: what the kernel cannot tell.
    pub fn unknown(&self) -> Result<Option<RecordBatch>> {
        let mut losses = LossesBuilder::default();
        for ((probe, reason), interval) in &self.told_unknown {
            let event = self.events.get(probe).map_or("", String::as_str);
            losses.append(*interval, event, *probe, None, reason, None);
        }
        losses.finish()
    }

    /// What each probe and CPU has counted, by kernel and user side. Rows that no kernel probe made (initial state) count
    /// as they came.
    fn gather(&self, snapshot: &Snapshot<'_>) -> BTreeMap<(ProbeId, u16), Seen> {
        let mut all: BTreeMap<(ProbeId, u16), Seen> = BTreeMap::new();
        let mut of_kernel = HashSet::new();
        for ProbeCounters { probe, per_cpu, .. } in snapshot.probes {
            of_kernel.insert(*probe);
            for (cpu, counters) in per_cpu.iter().enumerate() {
                if *counters != Counters::default() {
                    all.entry((*probe, cpu as u16)).or_default().kernel = *counters;
                }
            }
        }
        for Fed { probe, cpu, handed, late, .. } in &snapshot.fed {
            let seen = all.entry((*probe, *cpu)).or_default();
            (seen.handed, seen.late) = (*handed, *late);
            if !of_kernel.contains(probe) {
                seen.kernel = Counters { fired: *handed, recorded: *handed, ..Counters::default() };
            }
        }
        let Some(in_trace) = &snapshot.in_trace else { return all };
        let fed: HashMap<_, _> = snapshot.fed.iter().map(|f| ((f.probe, f.cpu), f.rows)).collect();
        for (source, seen) in &mut all {
            let there = in_trace.get(source).copied().unwrap_or(0);
            seen.disk = seen.handed.saturating_sub(there);
            let came = fed.get(source).copied().unwrap_or(0);
            let left = seen.kernel.recorded.saturating_sub(came);
            if !of_kernel.contains(&source.0) {
                continue;
            }
            // Who could not write did not drain to the end either.
            if snapshot.has_failed { seen.disk += left } else { seen.unread = left }
        }
        all
    }

    /// Runs that the kernel skipped; it counts them for all CPUs together, or not at all. No filter has seen them, so
    /// they may be more than what is missing.
    fn skips(
        &mut self,
        snapshot: &Snapshot<'_>,
        counts: &mut CountsBuilder,
        losses: &mut LossesBuilder,
    ) -> Result<()> {
        for ProbeCounters { probe, recursion_misses, kprobe_misses, sample_misses, .. } in snapshot.probes {
            let event =
                self.events.get(probe).with_context(|| format!("counters of unknown probe {probe}"))?;
            let totals = self.totals.entry(event.clone()).or_default();
            let mut skipped = 0;
            for (reason, misses) in [
                ("recursion", *recursion_misses),
                ("kprobe_missed", *kprobe_misses),
                ("sample_missed", Some(*sample_misses)),
            ] {
                let Some(misses) = misses else {
                    // With the first counts: who reads a trace that goes on, or was cut off, must know it too.
                    if let Entry::Vacant(unknown) = self.told_unknown.entry((*probe, reason)) {
                        unknown.insert(snapshot.interval);
                        losses.append(snapshot.interval, event, *probe, None, reason, None);
                        if !totals.unknown.contains(&reason) {
                            totals.unknown.push(reason);
                        }
                    }
                    continue;
                };
                let count = rise(self.last_skips.entry((*probe, reason)).or_default(), misses);
                if count > 0 {
                    skipped += count;
                    *totals.reasons.entry(reason).or_default() += count;
                    losses.append(snapshot.interval, event, *probe, None, reason, Some(count as i64));
                }
            }
            if skipped > 0 {
                totals.fired += skipped;
                totals.seen += skipped;
                totals.lost += skipped;
                let n = skipped as i64;
                let row = CountRow { fired: n, filtered: 0, seen: n, recorded: 0, lost: n };
                counts.append(snapshot.interval, event, *probe, None, &row);
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
            let count = rise(self.last_skips.entry((*probe, REASON)).or_default(), *unfollowed);
            if count > 0 {
                *self.totals.entry(event.clone()).or_default().reasons.entry(REASON).or_default() += count;
                losses.append(snapshot.interval, event, *probe, None, REASON, Some(count as i64));
            }
        }
        Ok(())
    }
}

/// By how much `now` is more than the most that there was before. What the kernel skipped less what a second program took
/// of it is read one after the other and may fall for a moment; when it rises again, that is nothing new.
fn rise(most: &mut u64, now: u64) -> u64 {
    let count = now.saturating_sub(*most);
    *most = now.max(*most);
    count
}

fn difference(now: &Counters, before: &Counters) -> Counters {
    let Counters { fired, filtered, recorded, lost, faults, cuts, stack_faults, map_full, no_return } = *now;
    Counters {
        fired: fired.saturating_sub(before.fired),
        filtered: filtered.saturating_sub(before.filtered),
        recorded: recorded.saturating_sub(before.recorded),
        lost: std::array::from_fn(|i| lost[i].saturating_sub(before.lost[i])),
        faults: faults.saturating_sub(before.faults),
        cuts: cuts.saturating_sub(before.cuts),
        stack_faults: stack_faults.saturating_sub(before.stack_faults),
        map_full: map_full.saturating_sub(before.map_full),
        no_return: no_return.saturating_sub(before.no_return),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NO_TIME: Interval = Interval { since_ns: 0, ts_ns: 0 };

    fn snapshot(probes: &[ProbeCounters]) -> Snapshot<'_> {
        Snapshot { interval: NO_TIME, probes, fed: vec![], in_trace: None, has_failed: false }
    }

    #[test]
    fn skips_that_a_second_program_took_later_than_they_were_read_are_counted_once() {
        let mut counts = Counts::default();
        counts.add_probe(0, "e");
        // Skipped by the first program, taken by the second, as they are read.
        for (skipped, taken, told) in [(100u64, 98u64, 2), (100, 101, 2), (103, 101, 2), (105, 101, 4)] {
            let recursion_misses = Some(skipped.saturating_sub(taken));
            let probes =
                [ProbeCounters { recursion_misses, kprobe_misses: Some(0), ..ProbeCounters::default() }];
            counts.update(&snapshot(&probes)).unwrap();
            assert_eq!(counts.totals()["e"].reasons["recursion"], told, "{skipped} skipped, {taken} taken");
            assert_eq!(counts.totals()["e"].lost, told);
        }
    }

    #[test]
    fn what_a_kernel_cannot_tell_is_said_with_the_first_counts_and_once() {
        let mut counts = Counts::default();
        counts.add_probe(0, "e");
        let probes = [ProbeCounters { kprobe_misses: Some(0), ..ProbeCounters::default() }];
        let first = counts.update(&snapshot(&probes)).unwrap().losses.unwrap();
        assert_eq!(first.num_rows(), 1);
        assert_eq!(first.column_by_name("count").unwrap().null_count(), 1);
        assert_eq!(counts.totals()["e"].unknown, ["recursion"]);
        let last = Snapshot { in_trace: Some(BTreeMap::new()), ..snapshot(&probes) };
        assert!(counts.update(&last).unwrap().losses.is_none());
    }

    #[test]
    fn what_is_under_way_is_told_by_the_row_that_says_what_became_of_it() {
        let mut counts = Counts::default();
        counts.add_probe(0, "e");
        // Of five that fired one is in its program, another in the ring.
        let kernel = Counters { fired: 5, filtered: 1, recorded: 3, ..Counters::default() };
        let fed = |handed| vec![Fed { probe: 0, cpu: 0, rows: handed, handed, late: 0 }];
        let probes = |kernel| [ProbeCounters { per_cpu: vec![kernel], ..ProbeCounters::default() }];
        let told = |counts: &Counts| {
            let Totals { fired, filtered, seen, .. } = counts.totals()["e"];
            (fired, filtered, seen)
        };
        counts.update(&Snapshot { fed: fed(2), ..snapshot(&probes(kernel)) }).unwrap();
        assert_eq!(told(&counts), (3, 1, 2));
        let (all, in_trace) = (Counters { filtered: 2, ..kernel }, Some(BTreeMap::from([((0, 0), 3)])));
        counts.update(&Snapshot { fed: fed(3), in_trace, ..snapshot(&probes(all)) }).unwrap();
        assert_eq!(told(&counts), (5, 2, 3));
    }

    #[test]
    fn what_was_recorded_and_never_came_is_lost_in_the_end() {
        for (has_failed, reason) in [(false, "unread"), (true, "disk")] {
            let mut counts = Counts::default();
            counts.add_probe(0, "e");
            let kernel = Counters { fired: 10, recorded: 10, ..Counters::default() };
            let probes = [ProbeCounters { per_cpu: vec![kernel, kernel], ..ProbeCounters::default() }];
            let fed = vec![Fed { probe: 0, cpu: 0, rows: 7, handed: 7, late: 0 }];
            let now = Snapshot { fed, ..snapshot(&probes) };
            counts.update(&now).unwrap();
            let told = &counts.totals()["e"];
            assert_eq!((told.recorded, told.lost), (7, 0), "the others may come yet");
            let in_trace = Some(BTreeMap::from([((0, 0), 7)]));
            counts.update(&Snapshot { in_trace, has_failed, ..now }).unwrap();
            let Totals { seen, recorded, lost, reasons, .. } = &counts.totals()["e"];
            assert_eq!((*seen, *recorded, *lost), (20, 7, 13));
            assert_eq!(*reasons, BTreeMap::from([(reason, 13)]));
        }
    }

    #[test]
    fn what_was_handed_over_and_is_not_in_the_trace_is_lost_by_the_disk_and_no_number_is_negative() {
        let mut counts = Counts::default();
        counts.add_probe(0, "e");
        let fed = |handed| vec![Fed { probe: 0, cpu: 0, rows: handed, handed, late: 0 }];
        counts.update(&Snapshot { fed: fed(5), ..snapshot(&[]) }).unwrap();
        let written = counts.clone();
        counts.update(&Snapshot { fed: fed(9), ..snapshot(&[]) }).unwrap();
        // The disk did not take the second commit.
        let mut counts = written;
        let in_trace = Some(BTreeMap::from([((0, 0), 5)]));
        let rows =
            counts.update(&Snapshot { fed: fed(9), in_trace, ..snapshot(&[]) }).unwrap().counts.unwrap();
        let number = |name: &str| {
            use arrow_array::{cast::AsArray, types::Int64Type};
            rows.column_by_name(name).unwrap().as_primitive::<Int64Type>().value(0)
        };
        assert_eq!(["seen", "recorded", "lost"].map(number), [4, 0, 4]);
        assert_eq!(counts.totals()["e"].reasons["disk"], 4);
    }
}
