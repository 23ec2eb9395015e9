//! Ids that are written again in; their table without the older rows of them out.
//!
//! An id that no kept row named was forgotten, and when it comes back its row is written again. The recorder removes the
//! older row before it publishes the new one; if it died in between, this is for whoever publishes in its place. The new
//! row is the one to keep: an address can have another name by now.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use anyhow::Result;

use super::super::merged::Input;
use super::super::segment::list_segments;
use super::exchange::{Slot, rebuild};
use super::shelf::{Entry, Sources, Table};
use super::tidy::{Built, Task, What, build, ids_of};

/// The side tables whose rows are named by an id, their first column.
const TABLES: [&str; 3] = ["stacks", "symbols", "cgroups"];

/// Remove from table `table` of the trace `dir` the rows whose ids the segment `new` has too.
pub fn make_way(dir: &Path, table: &str, new: &Path) -> Result<()> {
    if !TABLES.contains(&table) {
        return Ok(());
    }
    let ids = all_ids(&Input::open(0, new)?)?;
    let mut table = Table::new(dir, table, false);
    let mut with_old_rows = HashSet::new();
    for (number, path) in list_segments(&table.dir)? {
        let input = Input::open(number, &path)?;
        if !ids.is_disjoint(&all_ids(&input)?) {
            with_old_rows.insert(number);
        }
        table.entries.push(Entry::read(number, &path, 0, Sources::new())?);
        table.next = number + 1;
    }
    let inputs = table.pick(|entry| with_old_rows.contains(&entry.number));
    let what = What::Without(Arc::new(ids));
    let Some(built) = build(&Task { table_dir: table.dir.clone(), inputs, what })? else { return Ok(()) };
    let Built { temp, entry, .. } = built;
    let stay = table.entries.iter().filter(|entry| !with_old_rows.contains(&entry.number));
    let slots = [Slot::New(entry, temp)].into_iter().chain(stay.cloned().map(Slot::Keep)).collect();
    Ok(rebuild(dir, &mut table, slots)?)
}

fn all_ids(input: &Input) -> Result<HashSet<u64>> {
    let mut all = HashSet::new();
    for batch in input.batches()? {
        all.extend(ids_of(batch?.column(0))?);
    }
    Ok(all)
}
