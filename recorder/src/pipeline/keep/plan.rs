//! What the tables consist of in; which segments are to go, or to be merged, out. Nothing is done here.

use super::shelf::{CARRIED, Entry, SETTLED, Table};

/// Most segments that are merged into one.
pub const FAN: usize = 60;
/// Rows of a file that is worth no further merging.
const FILE_ROWS: u64 = 1 << 20;
/// A merged segment covers at most this part of the age that is kept, because segments go as a whole.
const AGE_GRAIN: i64 = 10;
/// Parts of `max_bytes`: once more than 13 of 16 are taken, the oldest segments go until 12 are left. What is merged or
/// rewritten at a time is there twice meanwhile: at most one part, or a single larger segment, or what has room up to 14
/// parts. The last two are for what is written between
/// looks at the size, which are a second apart, before and while that happens.
const PARTS: u64 = 16;
const GO_ABOVE: u64 = 13;
const GO_DOWN_TO: u64 = 12;

/// How much is kept while recording.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Segments whose rows are all older than this go; ns.
    pub max_age_ns: Option<i64>,
    /// The oldest segments go when all together take more than this; bytes on disk.
    pub max_bytes: Option<u64>,
}

impl Limits {
    /// Is everything kept?
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

/// The time (UTC ns) before which rows are to go, `None` if nothing is to go. At least one segment is wholly older.
pub fn cut_ns(tables: &[Table], limits: Limits, now_ns: i64) -> Option<i64> {
    let by_age = limits.max_age_ns.map(|age| now_ns.saturating_sub(age));
    let by_size = limits.max_bytes.and_then(|most| size_cut_ns(tables, most));
    let cut_ns = by_age.max(by_size)?;
    let mut entries = tables.iter().flat_map(|table| &table.entries);
    entries.any(|entry| entry.level != CARRIED && entry.is_before(cut_ns)).then_some(cut_ns)
}

fn size_cut_ns(tables: &[Table], most: u64) -> Option<i64> {
    let mut bytes: u64 = tables.iter().map(Table::disk_bytes).sum();
    if bytes <= most / PARTS * GO_ABOVE {
        return None;
    }
    let entries = tables.iter().flat_map(|table| &table.entries).filter(|entry| entry.level != CARRIED);
    let mut ends: Vec<(i64, u64)> =
        entries.filter_map(|entry| Some((entry.range?.1, entry.disk_bytes))).collect();
    ends.sort_unstable();
    let mut cut_ns = None;
    for (end_ns, disk_bytes) in ends {
        if bytes <= most / PARTS * GO_DOWN_TO {
            break;
        }
        bytes = bytes.saturating_sub(disk_bytes);
        cut_ns = Some(end_ns.saturating_add(1));
    }
    cut_ns
}

/// May all files take so many bytes on disk, apart from what is written until the next look?
pub fn is_room(limits: Limits, disk_bytes: u64) -> bool {
    limits.max_bytes.is_none_or(|most| disk_bytes <= most / PARTS * (PARTS - 1))
}

/// Segments of `table` that came before retirement `era` and are to be rewritten together while all files take
/// `disk_bytes`: their numbers. None if there are no more.
pub fn run_to_rewrite(table: &Table, era: u64, limits: Limits, disk_bytes: u64) -> Vec<u64> {
    // As long as not much is kept, all at once.
    let room_bytes = |most: u64| (most / PARTS * (PARTS - 2)).saturating_sub(disk_bytes);
    let budget = limits.max_bytes.map(|most| room_bytes(most).max(most / PARTS));
    let mut run_bytes = 0;
    let old = table.entries.iter().filter(|entry| entry.era <= era);
    let run = old.take_while(|entry| {
        let is_first = run_bytes == 0;
        run_bytes += entry.disk_bytes;
        is_first || budget.is_none_or(|budget| run_bytes <= budget)
    });
    run.map(|entry| entry.number).collect()
}

/// Neighbours that are to become one segment: their numbers. On time and late ones are kept apart.
pub fn run_to_merge(table: &mut Table, limits: Limits) -> Option<Vec<u64>> {
    [false, true].into_iter().find_map(|is_late| {
        let level = |entry: &Entry| entry.level < SETTLED && entry.is_late == is_late;
        let lane: Vec<usize> = (0..table.entries.len()).filter(|&i| level(&table.entries[i])).collect();
        run_in_lane(&mut table.entries, &lane, limits)
    })
}

fn run_in_lane(entries: &mut [Entry], lane: &[usize], limits: Limits) -> Option<Vec<u64>> {
    let mut start = 0;
    while start < lane.len() {
        let first = entries[lane[start]].clone();
        let same = lane[start..].iter().take_while(|&&i| entries[i].level == first.level).count();
        let mut run = Run::default();
        let length = lane[start..start + same]
            .iter()
            .take(FAN)
            .take_while(|&&i| run.take(&entries[i], limits))
            .count();
        let is_blocked = length < same;
        if length >= 2 && (length == FAN || is_blocked) {
            return Some(lane[start..start + length].iter().map(|&i| entries[i].number).collect());
        }
        if is_blocked {
            // It fills a file alone, or nearly so.
            entries[lane[start]].level = SETTLED;
            start += 1;
        } else {
            start += same;
        }
    }
    None
}

/// What a merged segment would be.
#[derive(Default)]
struct Run {
    rows: u64,
    disk_bytes: u64,
    range: Option<(i64, i64)>,
}

impl Run {
    /// Add `entry`. False if it would be too much; the first one never is, so that a run begins somewhere.
    fn take(&mut self, entry: &Entry, limits: Limits) -> bool {
        let is_first = self.rows == 0 && self.range.is_none();
        self.rows += entry.rows;
        self.disk_bytes += entry.disk_bytes;
        self.range = match (self.range, entry.range) {
            (Some((start, _)), Some((_, end))) => Some((start, end)),
            (range, other) => range.or(other),
        };
        let span_ns = self.range.map_or(0, |(start, end)| end.saturating_sub(start));
        is_first
            || (self.rows <= FILE_ROWS
                && limits.max_bytes.is_none_or(|most| self.disk_bytes <= most / PARTS)
                && limits.max_age_ns.is_none_or(|age| span_ns <= age / AGE_GRAIN))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const S: i64 = 1_000_000_000;

    /// A table with a segment a second.
    fn table(seconds: i64, rows: u64) -> Table {
        let mut table = Table::new(Path::new("/t"), "tick", true);
        table.entries = (0..seconds)
            .map(|s| Entry {
                number: s as u64,
                rows,
                disk_bytes: 4096,
                range: Some((s * S, s * S + S - 1)),
                is_late: false,
                level: 0,
                sources: Default::default(),
                era: 0,
            })
            .collect();
        table
    }

    fn age(seconds: i64) -> Limits {
        Limits { max_age_ns: Some(seconds * S), max_bytes: None }
    }

    #[test]
    fn segments_go_when_all_their_rows_are_too_old() {
        let tables = [table(20, 10)];
        assert_eq!(cut_ns(&tables, age(10), 10 * S), None);
        let cut = cut_ns(&tables, age(10), 12 * S).unwrap();
        assert_eq!(tables[0].entries.iter().filter(|e| e.is_before(cut)).count(), 2);
    }

    #[test]
    fn the_oldest_segments_go_until_the_rest_is_below_the_limit() {
        let limits = Limits { max_age_ns: None, max_bytes: Some(64 * 4096) };
        assert_eq!(cut_ns(&[table(26, 1), table(26, 1)], limits, 0), None);
        let tables = [table(40, 1), table(40, 1)];
        let cut = cut_ns(&tables, limits, 0).unwrap();
        let left: usize = tables.iter().map(|t| t.entries.iter().filter(|e| !e.is_before(cut)).count()).sum();
        assert!((46..=48).contains(&left), "{left} segments are left");
    }

    #[test]
    fn what_is_rewritten_at_a_time_has_room_or_is_a_sixteenth_of_the_size() {
        let limits = Limits { max_age_ns: None, max_bytes: Some(64 * 4096) };
        let run =
            |table: &Table, era, disk_blocks: u64| run_to_rewrite(table, era, limits, disk_blocks * 4096);
        let mut table = table(10, 1);
        assert_eq!(run(&table, 0, 10), (0..10).collect::<Vec<u64>>());
        assert_eq!(run(&table, 0, 50), (0..6).collect::<Vec<u64>>());
        assert_eq!(run(&table, 0, 70), [0, 1, 2, 3]);
        table.entries[..4].iter_mut().for_each(|entry| entry.era = 1);
        assert_eq!(run(&table, 0, 70), [4, 5, 6, 7]);
        table.entries[4].disk_bytes = 64 * 4096;
        assert_eq!(run(&table, 0, 70), [4], "one is rewritten however large it is");
        assert_eq!(run_to_rewrite(&table, 0, Limits::default(), 1 << 40), [4, 5, 6, 7, 8, 9]);
        table.entries.iter_mut().for_each(|entry| entry.era = 1);
        assert!(run(&table, 0, 10).is_empty());
    }

    #[test]
    fn sixty_small_neighbours_become_one_and_what_is_left_waits() {
        let mut small = table(59, 10);
        assert_eq!(run_to_merge(&mut small, Limits::default()), None);
        let mut small = table(70, 10);
        assert_eq!(run_to_merge(&mut small, Limits::default()), Some((0..60).collect()));
    }

    #[test]
    fn a_merged_segment_is_a_tenth_of_what_is_kept_at_most() {
        assert_eq!(run_to_merge(&mut table(30, 10), age(100)), Some((0..10).collect()));
        let mut short = table(30, 10);
        assert_eq!(run_to_merge(&mut short, age(5)), None);
        assert!(short.entries[..29].iter().all(|e| e.level == SETTLED), "too long to be merged");
    }

    #[test]
    fn large_segments_and_carried_ones_stay_as_they_are() {
        let mut large = table(70, FILE_ROWS);
        assert_eq!(run_to_merge(&mut large, Limits::default()), None);
        let mut some = table(61, 10);
        some.entries[0].level = CARRIED;
        assert_eq!(run_to_merge(&mut some, Limits::default()), Some((1..61).collect()));
    }

    #[test]
    fn late_segments_are_merged_with_late_ones_only() {
        let mut both = table(120, 10);
        both.entries.iter_mut().for_each(|e| e.is_late = e.number % 2 == 1);
        let first = run_to_merge(&mut both, Limits::default()).unwrap();
        assert_eq!(first, (0..60).map(|i| i * 2).collect::<Vec<u64>>());
        both.entries.retain(|e| e.is_late);
        let second = run_to_merge(&mut both, Limits::default()).unwrap();
        assert_eq!(second, (0..60).map(|i| i * 2 + 1).collect::<Vec<u64>>());
    }
}
