//! The rows of a trace whose recorder died in; table counts that tells of exactly these out.
//!
//! What was counted and what was written end at different instants when a recorder is killed, and it may have removed
//! old rows and not yet said so. Rows of table counts at the end make up for the difference (`recorded`, also negative),
//! as in a snapshot.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use anyhow::{Context, Result};
use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, UInt16Type};
use arrow_array::{Array, RecordBatch};
use schemas::trace::Meta;

use super::compact::Watch;
use super::count_rows::{Interval, adjustment};
use super::merged::Input;
use super::segment::{Segment, list_segments, segment_name, writer_properties};
use crate::source::ProbeId;

const COUNTS: &str = "counts";

/// Rows by probe and CPU.
type Sources = BTreeMap<(ProbeId, u16), i64>;

/// Add to table counts what makes it fit the rows of events. Fails if a table cannot be read, or `watch` stops it.
pub fn balance(dir: &Path, meta: &Meta, watch: &mut Watch) -> Result<()> {
    let (mut difference, mut events) = (Sources::new(), HashMap::new());
    let mut end_ns = None;
    for layout in &meta.events {
        let before = difference.clone();
        end_ns = end_ns.max(read(dir, &layout.event, &["probe", "cpu"], watch, |batch| {
            add(batch, &mut difference, |_| 1)
        })?);
        let of_event = difference.keys().filter(|source| !before.contains_key(source));
        events.extend(of_event.map(|(probe, _)| (*probe, layout.event.clone())));
    }
    let counted_ns = read(dir, COUNTS, &["probe", "cpu", "recorded", "event"], watch, |batch| {
        let recorded = column(batch, "recorded")?.as_primitive::<Int64Type>().clone();
        add(batch, &mut difference, |row| -recorded.value(row))?;
        names(batch, &mut events)
    })?;
    let table_dir = dir.join(COUNTS);
    let since_ns = counted_ns.unwrap_or(meta.start_ns);
    let interval = Interval { since_ns, ts_ns: end_ns.unwrap_or(since_ns).max(since_ns) };
    difference.retain(|_, rows| *rows != 0);
    let Some(rows) = adjustment(interval, &events, &difference)? else { return Ok(()) };
    let properties = writer_properties(&rows.schema(), 1, false)?;
    let mut segment = Segment::create(&table_dir, "recount", &rows.schema(), properties)?;
    segment.write(&rows)?;
    let last = list_segments(&table_dir)?.last().map(|(number, _)| *number);
    segment.finish()?.temp.publish(&segment_name(last.map_or(0, |last| last + 1)))?;
    Ok(())
}

/// Let `take` see these columns of all rows of a table. The result is the last ts.
fn read(
    dir: &Path,
    table: &str,
    columns: &[&str],
    watch: &mut Watch,
    mut take: impl FnMut(&RecordBatch) -> Result<()>,
) -> Result<Option<i64>> {
    let mut end_ns = None;
    for (done, (number, path)) in (0..).zip(list_segments(&dir.join(table))?) {
        let input = Input::open(number, &path)?;
        end_ns = end_ns.max(input.range.map(|(_, last)| last));
        for batch in input.columns(columns)? {
            watch(table, done)?;
            take(&batch.with_context(|| format!("cannot read '{}'", path.display()))?)?;
        }
    }
    Ok(end_ns)
}

/// Add to `sources` what each row counts for.
fn add(batch: &RecordBatch, sources: &mut Sources, rows: impl Fn(usize) -> i64) -> Result<()> {
    let (probes, cpus) = (column(batch, "probe")?, column(batch, "cpu")?);
    let (probes, cpus) = (probes.as_primitive::<UInt16Type>(), cpus.as_primitive::<UInt16Type>());
    // Rows of table counts without a CPU tell of runs that the kernel skipped: no rows of events.
    for row in (0..batch.num_rows()).filter(|row| cpus.is_valid(*row)) {
        *sources.entry((probes.value(row), cpus.value(row))).or_default() += rows(row);
    }
    Ok(())
}

/// The event of each probe.
fn names(batch: &RecordBatch, events: &mut HashMap<ProbeId, String>) -> Result<()> {
    let probes = column(batch, "probe")?.as_primitive::<UInt16Type>();
    let names = column(batch, "event")?;
    let names = names.as_any_dictionary_opt().context("event is no text")?;
    let texts = names.values().as_string_opt::<i32>().context("event is no text")?;
    for (probe, key) in probes.values().iter().zip(names.normalized_keys()) {
        events.entry(*probe).or_insert_with(|| texts.value(key).to_owned());
    }
    Ok(())
}

fn column<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a dyn Array> {
    Ok(batch.column_by_name(name).with_context(|| format!("a table has no column {name}"))?.as_ref())
}
