//! Ids as they are met in; which of them are new, and which were not met for long, out.

use std::collections::HashSet;

use super::table::Table;

/// Ids that are forgotten at once, at least; also at least a third of all.
const MIN_FORGOTTEN: usize = 1024;

/// What is known of an id that is met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Met {
    /// It was met in this second already.
    Lately,
    /// It was met before.
    Before,
    /// Never, or it was forgotten since.
    New,
}

/// Ids and when each was met last.
#[derive(Default)]
pub struct Known {
    places: Table,
    ids: Vec<u64>,
    seconds: Vec<u32>,
    /// The last ones and those before: rows of the latter may still be there too, but not of earlier ones, because
    /// nothing more is removed, and hence forgotten, before the rows of what was retired have gone.
    forgotten: [HashSet<u64>; 2],
    /// One that was forgotten lately is there again.
    pub is_again: bool,
}

impl Known {
    /// Meet `id` in `second`, which never falls.
    #[inline]
    pub fn meet(&mut self, id: u64, second: u32) -> Met {
        let (place, is_new) = self.places.number(id, |_| true);
        if is_new {
            self.ids.push(id);
            self.seconds.push(second);
            self.is_again |= self.forgotten.iter().any(|ids| !ids.is_empty() && ids.contains(&id));
            return Met::New;
        }
        let last = &mut self.seconds[place as usize];
        if std::mem::replace(last, second) == second { Met::Lately } else { Met::Before }
    }

    /// Forget the ids that were met last before `second`, apart from those to `keep`, if they are many.
    pub fn forget(&mut self, second: u32, keep: &HashSet<u64>) -> Option<HashSet<u64>> {
        let met = self.ids.iter().copied().zip(self.seconds.iter().copied());
        let (dead, alive): (Vec<_>, Vec<_>) =
            met.partition(|(id, last)| *last < second && !keep.contains(id));
        if dead.len() < MIN_FORGOTTEN.max(self.ids.len() / 3) {
            return None;
        }
        let forgotten: HashSet<u64> = dead.into_iter().map(|(id, _)| id).collect();
        let [last, _] = std::mem::take(&mut self.forgotten);
        *self = Self { forgotten: [forgotten.clone(), last], is_again: self.is_again, ..Self::default() };
        for (id, last) in alive {
            self.meet(id, last);
        }
        Some(forgotten)
    }
}
