//! Small neighbours of a table become one segment while recording (thread `compact`), so that their number stays small
//! however long a recording lasts.

use std::io;
use std::thread::JoinHandle;

use anyhow::{Context, Error, Result};
use schemas::trace::PROBES;
use schemas::trace::log::{Contents, Segment};

use super::catalog::{Change, NewSegment, disk_bytes};
use super::compaction::{self, FILE_ROWS, units};
use super::{Limits, State, Store};
use crate::pipeline::files::TempFile;

/// Most segments that are merged into one.
const FAN: usize = 60;
/// With so many that wait to be merged in a table, whoever adds more waits.
const MOST_WAITING: usize = 4 * FAN;
/// After a merge that failed the next one is tried so much later: what was in the way may have gone.
const PAUSE_NS: i64 = 300_000_000_000;

/// Start the thread. It ends when the store is over.
pub fn start(store: Store) -> Result<JoinHandle<()>> {
    let run = move || {
        let _registered = store.0.priority.register();
        while store.merge() {}
    };
    std::thread::Builder::new().name("compact".to_owned()).spawn(run).context("cannot start a thread")
}

/// Do segments come faster than they are merged?
pub fn is_behind(state: &State) -> bool {
    let may_merge = state.is_merging || state.now_ns >= state.next_merge_ns;
    let lanes = lanes(&state.catalog.contents);
    may_merge && lanes.iter().any(|lane| lane.iter().filter(|it| it.level == 0).count() > MOST_WAITING)
}

impl Store {
    /// Merge the next segments. False if the store is over.
    fn merge(&self) -> bool {
        let limits = self.0.limits;
        let run = |state: &State| {
            let may_merge = !state.is_stopped && state.now_ns >= state.next_merge_ns;
            if may_merge { run_to_merge(&state.catalog.contents, limits) } else { None }
        };
        let mut state = self.wait_until(self.lock(), |state| state.is_over || run(state).is_some());
        let Some(run) = run(&state).filter(|_| !state.is_over) else { return !state.is_over };
        let number = state.catalog.number(&run[0].table);
        state.is_merging = true;
        drop(state);
        let built = self.build(&run, number);
        let mut state = self.lock();
        state.is_merging = false;
        let result = built.and_then(|new| {
            // Retention may have been faster.
            let segments = &state.catalog.contents.segments;
            let are_there = run.iter().all(|it| segments.contains_key(&it.name())) && !state.is_stopped;
            let remove = run.iter().map(Segment::name).collect();
            let change = Change { add: vec![new], remove, ..Change::default() };
            if are_there { state.catalog.commit(change) } else { Ok(()) }
        });
        // Without it the trace is right all the same.
        match result {
            Ok(()) => state.merge_problem = None,
            Err(error) => {
                state.next_merge_ns = state.now_ns.saturating_add(PAUSE_NS);
                let reason = reason(&error);
                (self.0.warn)(&format!(
                    "small segments are not merged for {} minutes, reading takes longer: {reason}",
                    PAUSE_NS / 60_000_000_000
                ));
                state.merge_problem = Some(reason);
            }
        }
        self.stepped();
        self.tell(&state);
        true
    }

    fn build(&self, run: &[Segment], number: u64) -> Result<NewSegment> {
        let dir = &self.0.dir;
        let table = &run[0].table;
        let temp = TempFile::create(&dir.join(table), &number.to_string())?;
        let merged = compaction::merge(dir, temp, &units(run.to_vec()), run[0].late, &mut || Ok(()))?;
        let mut new = NewSegment::new(merged, table, number, run[0].epoch);
        new.is_durable = true;
        new.segment.level = run[0].level + 1;
        new.segment.sources = sources(run);
        Ok(new)
    }
}

/// The rows of all of `segments`, by probe and CPU.
pub fn sources<'a>(segments: impl IntoIterator<Item = &'a Segment>) -> Vec<(u16, u16, u64)> {
    let mut sums = std::collections::BTreeMap::new();
    for (probe, cpu, rows) in segments.into_iter().flat_map(|segment| &segment.sources) {
        *sums.entry((*probe, *cpu)).or_default() += rows;
    }
    sums.into_iter().map(|((probe, cpu), rows)| (probe, cpu, rows)).collect()
}

/// Segments that may be merged with each other, in order of time.
fn lanes(contents: &Contents) -> Vec<Vec<&Segment>> {
    let mut all: Vec<&Segment> =
        contents.segments.values().filter(|it| it.table != PROBES && !it.carried).collect();
    let lane = |it: &Segment| (it.table.clone(), it.epoch, it.late);
    all.sort_by_cached_key(|it| (lane(it), it.ts.map(|(first, _)| first), it.number));
    all.chunk_by(|one, other| lane(one) == lane(other)).map(<[_]>::to_vec).collect()
}

/// Neighbours that are to become one segment.
fn run_to_merge(contents: &Contents, limits: Limits) -> Option<Vec<Segment>> {
    let most_bytes = limits.most_bytes_of_merged().unwrap_or(u64::MAX);
    lanes(contents).into_iter().find_map(|lane| {
        let mut rest = &lane[..];
        while let Some(first) = rest.first() {
            let same = rest.iter().take_while(|it| it.level == first.level).count();
            let (mut rows, mut bytes) = (0, 0);
            let fits = |it: &&&Segment| {
                (rows, bytes) = (rows + it.rows, bytes + disk_bytes(it));
                rows <= FILE_ROWS && bytes <= most_bytes
            };
            let length = rest[..same].iter().take(FAN).take_while(fits).count();
            if length >= 2 && (length == FAN || length < same) {
                return Some(rest[..length].iter().map(|it| (*it).clone()).collect());
            }
            // It fills a file alone, or nearly so; otherwise more have to come.
            rest = &rest[if length < same { length.max(1) } else { same }..];
        }
        None
    })
}

/// Why a merge failed. A full disk is what publishing soon tells in full; here it only lacks room for a larger file.
fn reason(error: &Error) -> String {
    let mut causes = error.chain().filter_map(|cause| cause.downcast_ref::<io::Error>());
    if causes.any(|io| matches!(io.raw_os_error(), Some(libc::ENOSPC | libc::EDQUOT))) {
        return "the disk has no room for a file beside those that it replaces: free space".to_owned();
    }
    format!("{error:#}")
}

#[cfg(test)]
mod tests;
