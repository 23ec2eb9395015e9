//! Writes rows of table `unfinished_calls` for the calls that were in progress when the recording ended.

use std::fs;

use anyhow::{Context, Result};
use schemas::column::{Column, Layout, Type};
use schemas::name::MAX_NAME;
use schemas::wire::subject;

use super::attach::Attached;
use crate::engine::Unfinished;
use crate::pipeline::{RecordBuilder, TraceWriter};

/// The table, which a trace has if it has durations.
pub const UNFINISHED: &str = "unfinished_calls";

/// Its columns.
pub fn layout() -> Layout {
    let columns = [
        ("event", Type::Str(MAX_NAME as u16), None, "event of which the call would have become a row"),
        (
            "comm",
            Type::Chars(16),
            None,
            "name of the thread when the recording ended; NULL if it cannot be read",
        ),
        (
            "dur_ns",
            Type::Signed(64),
            Some("ns"),
            "how long the call had taken by then: it began at ts - dur_ns",
        ),
    ];
    let columns = columns.map(|(name, ty, unit, doc)| {
        let (name, doc, unit) = (name.to_owned(), doc.to_owned(), unit.map(str::to_owned));
        Column { name, ty, unit, doc, offset: 0, bit: 0 }
    });
    let summary = "calls of events with durations that had not returned when the recording ended, one row each; no \
                   filter but that by process has looked at them";
    Layout::new(UNFINISHED, summary, columns.to_vec(), |_| false).0
}

/// Write down what had not returned at `end_ns` (boot time); gives the number of rows.
pub fn feed(
    attached: &mut Attached,
    writer: &mut TraceWriter,
    mut calls: Vec<Unfinished>,
    end_ns: u64,
) -> Result<u64> {
    let layout = writer.meta().events.iter().find(|layout| layout.event == UNFINISHED).cloned();
    let Some(layout) = layout else { return Ok(0) };
    calls.sort_unstable_by_key(|call| (call.began_ns, call.pid_tgid, call.probe));
    let now_ns = end_ns.cast_signed() + writer.meta().utc_minus_boottime_ns;
    let probe = attached.snapshot(UNFINISHED, "calls in progress", None, now_ns);
    writer.add_probe(attached.rows.last().context("a row was just added")?.clone())?;
    let mut rows = 0;
    for Unfinished { probe: of, pid_tgid, began_ns } in calls {
        // Those of a trigger are in no table.
        let Some(event) = attached.rows.iter().find(|row| row.probe == Some(of)) else { continue };
        let dur_ns = end_ns.saturating_sub(began_ns).cast_signed();
        let mut row = RecordBuilder::new(&layout, end_ns)
            .seq(rows as u32)
            .set_text("event", &event.event)
            .set_i64("dur_ns", dur_ns);
        if let (Some(pid), Some(tid)) = (subject::pid(pid_tgid), subject::tid(pid_tgid)) {
            row = row.task(pid, tid);
            if let Ok(comm) = fs::read(format!("/proc/{pid}/task/{tid}/comm")) {
                row = row.set_text("comm", comm.strip_suffix(b"\n").unwrap_or(&comm));
            }
        }
        writer.feed(probe, 0, &row.build())?;
        rows += 1;
    }
    Ok(rows)
}
