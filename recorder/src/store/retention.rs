//! Decides which epochs of a trace are to go.
//!
//! An epoch is whole by itself: what its rows name is in it too. So it goes as a whole, in one commit, and nothing that
//! stays has to be looked at.

use std::collections::BTreeMap;

use schemas::trace::PROBES;
use schemas::trace::log::{Contents, Segment, SegmentName};

use super::catalog::disk_bytes;

/// An epoch is this part of the age, or of the size, that is kept.
const EPOCHS: u64 = 10;
/// Of what may be kept on disk, in percent: above this the oldest epoch goes. The rest is for what is there twice while
/// the segments of an epoch are merged, and for what is written before the next commit.
const GO_ABOVE_PERCENT: u64 = 82;
/// Above this nothing more is written before something has gone.
const WAIT_ABOVE_PERCENT: u64 = 97;
/// A commit is due once it has this part of the size.
const COMMITS: u64 = 50;

/// A merged segment takes at most this part of the size.
const MERGED: u64 = 20;

/// How much is kept while recording.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Epochs whose rows are all older than this go; ns.
    pub max_age_ns: Option<i64>,
    /// The oldest epochs go when all files together take more than this; bytes on disk.
    pub max_bytes: Option<u64>,
}

impl Limits {
    /// Is everything kept?
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// Is an epoch that has lasted so long and takes so much as large as one may be?
    pub fn is_epoch_over(&self, age_ns: i64, bytes: u64) -> bool {
        self.max_age_ns.is_some_and(|most| age_ns >= most / EPOCHS as i64)
            || self.max_bytes.is_some_and(|most| bytes >= most / EPOCHS)
    }

    /// Is so much written that a commit cannot wait?
    pub fn is_commit_due(&self, bytes: u64) -> bool {
        self.max_bytes.is_some_and(|most| bytes >= most / COMMITS)
    }

    /// Do all files take so much that nothing more may be written now?
    pub fn is_too_large(&self, all_bytes: u64) -> bool {
        self.max_bytes.is_some_and(|most| all_bytes > most / 100 * WAIT_ABOVE_PERCENT)
    }

    /// How large a file may be that is made of others: it is there beside them for a moment.
    pub fn most_bytes_of_merged(&self) -> Option<u64> {
        self.max_bytes.map(|most| most / MERGED)
    }

    /// The segments that are to go now that it is `now_ns` (UTC) and all files take `all_bytes`, and the time (UTC ns)
    /// from which on every row is still there.
    pub fn expired(
        &self,
        contents: &Contents,
        now_ns: i64,
        all_bytes: u64,
    ) -> Option<(Vec<SegmentName>, i64)> {
        let mut epochs: BTreeMap<u64, (i64, u64)> = BTreeMap::new();
        for segment in contents.segments.values().filter(|it| it.table != PROBES) {
            let (last_ns, bytes) = epochs.entry(segment.epoch).or_insert((i64::MIN, 0));
            *bytes += disk_bytes(segment);
            if let Some((_, last)) = segment.ts {
                *last_ns = last.max(*last_ns);
            }
        }
        // What was recorded last stays, however much it is.
        let has_rows = |it: &&Segment| !it.sources.is_empty() && !it.carried;
        let newest = contents.segments.values().filter(has_rows).map(|it| it.epoch).max();
        let (mut left, mut bytes) = (epochs.len(), all_bytes);
        let (mut until, mut kept_from_ns) = (None, i64::MIN);
        for (epoch, (last_ns, epoch_bytes)) in epochs {
            let is_old = self.max_age_ns.is_some_and(|age| last_ns < now_ns.saturating_sub(age));
            let is_much = self.max_bytes.is_some_and(|most| bytes > most / 100 * GO_ABOVE_PERCENT)
                && Some(epoch) < newest;
            if left == 1 || !(is_old || is_much) {
                break;
            }
            (left, bytes) = (left - 1, bytes.saturating_sub(epoch_bytes));
            (until, kept_from_ns) = (Some(epoch), kept_from_ns.max(last_ns.saturating_add(1)));
        }
        let until = until?;
        let is_gone = |it: &&Segment| it.epoch <= until && it.table != PROBES;
        let gone = contents.segments.values().filter(is_gone).map(Segment::name);
        Some((gone.collect(), kept_from_ns))
    }
}

#[cfg(test)]
mod tests {
    use schemas::trace::log::Commit;

    use super::*;

    const S: i64 = 1_000_000_000;
    const BYTES: u64 = 1 << 20;

    /// Epochs of ten seconds, a MiB each.
    fn contents(epochs: u64) -> Contents {
        let segment = |(epoch, table): (u64, &str)| Segment {
            table: table.to_owned(),
            number: epoch,
            rows: 1,
            bytes: BYTES / 2,
            ts: (table == "tick").then_some((epoch as i64 * 10 * S, (epoch as i64 + 1) * 10 * S - 1)),
            epoch,
            sources: if table == "tick" { vec![(0, 0, 1)] } else { Vec::new() },
            ..Segment::default()
        };
        let all = (0..epochs).flat_map(|epoch| [(epoch, "tick"), (epoch, "stacks")]).chain([(0, PROBES)]);
        let mut contents = Contents::default();
        contents.apply(&Commit { add: all.map(segment).collect(), ..Commit::default() }).unwrap();
        contents
    }

    fn gone(limits: Limits, epochs: u64, now_s: i64) -> Option<(usize, i64)> {
        let contents = contents(epochs);
        let (gone, kept_from_ns) = limits.expired(&contents, now_s * S, epochs * BYTES)?;
        assert!(gone.iter().all(|name| name.table != PROBES), "probes are about all epochs");
        Some((gone.len(), kept_from_ns / S))
    }

    #[test]
    fn epochs_go_as_a_whole_when_all_of_them_is_too_old() {
        let limits = Limits { max_age_ns: Some(100 * S), ..Limits::default() };
        assert_eq!(gone(limits, 11, 109), None);
        assert_eq!(gone(limits, 11, 110), Some((2, 10)));
        assert_eq!(gone(limits, 12, 125), Some((4, 20)));
        assert_eq!(gone(limits, 1, 1000), None, "what is being written stays");
    }

    #[test]
    fn epochs_go_when_all_together_are_too_much() {
        let limits = Limits { max_bytes: Some(10 * BYTES), ..Limits::default() };
        assert_eq!(gone(limits, 8, 0), None);
        assert_eq!(gone(limits, 9, 0), Some((2, 10)));
        assert_eq!(gone(limits, 12, 0), Some((8, 40)));
        // What was recorded last stays, though it is too much alone.
        assert_eq!(gone(Limits { max_bytes: Some(BYTES), ..limits }, 3, 0), Some((4, 20)));
        assert!(limits.is_too_large(10 * BYTES) && !limits.is_too_large(9 * BYTES));
        assert_eq!(gone(Limits::default(), 100, 100_000), None);
    }
}
