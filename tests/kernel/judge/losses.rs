//! What recordings say about what is missing in them.

use std::fs;

use anyhow::{Context, Result, ensure};
use xtask::workload::mkdirs::Ticks;

use super::sum;
use crate::place::Recorded;
use crate::trace::{Trace, int, text};

/// In every second of every recording seen = recorded + lost and fired = filtered + seen, and the rows are there.
pub fn balance(place: &Recorded) -> Result<()> {
    let mut traces = 0;
    for entry in fs::read_dir(&place.dir)? {
        let dir = entry?.path();
        if dir.extension().is_some_and(|extension| extension == "trace")
            && !dir.ends_with("killed.trace")
            && !dir.is_symlink()
        {
            let trace = Trace::open(dir.clone())?;
            balanced(&trace).with_context(|| format!("in {}", dir.display()))?;
            traces += 1;
        }
    }
    ensure!(traces >= 3, "there are only {traces} traces");
    Ok(())
}

pub fn balanced(trace: &Trace) -> Result<()> {
    let counts = trace.rows("counts")?;
    for row in &counts {
        let (seen, recorded, lost) = (int(row, "seen")?, int(row, "recorded")?, int(row, "lost")?);
        ensure!(seen == recorded + lost, "seen is not recorded + lost: {row:?}");
        ensure!(int(row, "fired")? == int(row, "filtered")? + seen, "fired is not filtered + seen: {row:?}");
    }
    for layout in &trace.meta.events {
        let event = &layout.event;
        let own: Vec<_> = counts.iter().filter(|row| row["event"] == event.as_str()).cloned().collect();
        let rows = trace.rows(event)?;
        // Snapshots are counted too, as a probe of that kind.
        let recorded = sum(&own, "recorded")?;
        ensure!(rows.len() as i64 == recorded, "{event}: {} rows, {recorded} recorded", rows.len());
    }
    Ok(())
}

pub fn none_lost(place: &Recorded) -> Result<()> {
    for case in ["listens", "mkdirs", "joins", "switches", "packets", "kmem", "own"] {
        let trace = place.trace(case)?;
        let mut skipped = 0;
        for row in trace.rows("losses")? {
            // One without a count only says that the kernel would not tell.
            let (reason, count) = (text(&row, "reason")?, int(&row, "count").unwrap_or(0));
            if row["event"] == "kmem" && reason == "recursion" {
                skipped += count;
            }
            // One call may free more than a probe looks at.
            let harmless = ["fetch_fault", "string_cut", "stack_fault"].contains(&reason)
                || (row["event"] == "kmem" && ["recursion", "each_cut"].contains(&reason));
            ensure!(harmless || count == 0, "{case}: {row:?}");
        }
        // What is freed in an interrupt of a probe is left to its second program; only around its beginning and end
        // neither sees it. How many objects an interrupt frees just then is a matter of luck.
        let counts = trace.rows("counts")?;
        let kmem: Vec<_> = counts.into_iter().filter(|row| row["event"] == "kmem").collect();
        let fired = sum(&kmem, "fired")?;
        ensure!(skipped * 100 <= fired, "{case}: {skipped} skipped of {fired}");
    }
    Ok(())
}

/// With rings too small, what the workload did is what was recorded and what was lost.
pub fn flood(place: &Recorded) -> Result<()> {
    let truth: Ticks = place.truth("flood")?;
    let trace = place.trace("flood")?;
    let counts: Vec<_> = trace.rows("counts")?.into_iter().filter(|row| row["event"] == "mkdirs").collect();
    let (recorded, lost) = (sum(&counts, "recorded")?, sum(&counts, "lost")?);
    ensure!(
        recorded + lost == i64::from(truth.count),
        "{recorded} recorded, {lost} lost, {} made",
        truth.count
    );
    ensure!(lost > 0, "nothing was lost, so nothing was tested");
    let rows = trace.rows("mkdirs")?;
    ensure!(rows.len() as i64 == recorded, "{} rows, {recorded} recorded", rows.len());
    let reasons = trace.rows("losses")?;
    let reasons: Vec<_> =
        reasons.into_iter().filter(|row| row["event"] == "mkdirs" && row["reason"] == "ring_full").collect();
    ensure!(sum(&reasons, "count")? == lost, "table losses has another sum than {lost}: {reasons:?}");
    Ok(())
}

/// A kprobe inside the program of a kprobe is missed, one inside the program of a classic tracepoint is skipped.
pub fn nested(place: &Recorded) -> Result<()> {
    let trace = place.trace("skipped")?;
    let (around, classic) = (trace.rows("around")?.len() as i64, trace.rows("classic")?.len() as i64);
    ensure!(around == 50 && classic >= 50, "{around} directories removed, {classic} entered");
    ensure!(trace.rows("skipped_inside")?.is_empty(), "the inner program ran");
    skipped(&trace, "skipped_inside", [("kprobe_missed", around), ("recursion", classic)])
}

/// 40 readers wait in a call until a writer makes it too, which is more than a kretprobe has room for.
pub fn crowded(place: &Recorded) -> Result<()> {
    const CALLS: i64 = 41;
    let trace = place.trace("skipped")?;
    let rows = trace.rows("waits")?.len() as i64;
    ensure!((1..CALLS).contains(&rows), "{rows} of {CALLS} calls recorded, so nothing was tested");
    skipped(&trace, "waits", [("kprobe_missed", CALLS - rows), ("recursion", 0)])
}

/// So many were skipped for these reasons: in losses, and in counts as seen and lost. Kernels before 6.7 cannot tell.
fn skipped(trace: &Trace, event: &str, reasons: [(&str, i64); 2]) -> Result<()> {
    let can_tell = !trace.meta.kernel_release.starts_with("6.1.");
    let losses = trace.rows("losses")?;
    for (reason, expected) in reasons {
        let own: Vec<_> =
            losses.iter().filter(|row| row["event"] == event && row["reason"] == reason).collect();
        ensure!(own.iter().all(|row| row.get("cpu").is_none()), "with a cpu: {own:?}");
        if can_tell {
            let found: i64 = own.iter().map(|row| int(row, "count")).sum::<Result<_>>()?;
            ensure!(found == expected, "{event}: {found} {reason}, expected {expected}");
        } else {
            ensure!(own.len() == 1 && own[0].get("count").is_none(), "{event}: not unknown: {own:?}");
        }
    }
    let counts = trace.rows("counts")?;
    let own: Vec<_> =
        counts.into_iter().filter(|row| row["event"] == event && row.get("cpu").is_none()).collect();
    let all = if can_tell { reasons.iter().map(|(_, count)| count).sum() } else { 0 };
    ensure!(sum(&own, "lost")? == all && sum(&own, "seen")? == all, "{event}: {all} skipped, but {own:?}");
    Ok(())
}

/// Killed without warning, it has every tick up to a second before.
pub fn killed(place: &Recorded) -> Result<()> {
    const MOST_MISSING_NS: i64 = 1_000_000_000;
    let trace = Trace::open(place.dir.join("killed.trace"))?;
    let uptime = fs::read_to_string(place.dir.join("killed.uptime")).context("no time of death")?;
    let killed_ns = (uptime.trim().parse::<f64>()? * 1e9) as i64;
    let rows = trace.rows("mkdirs")?;
    let last = rows.last().context("nothing was recorded")?;
    let missing = killed_ns - trace.boottime_ns(last)?;
    ensure!(missing <= MOST_MISSING_NS, "the last {missing} ns are missing");
    for (number, row) in rows.iter().enumerate() {
        ensure!(text(row, "path")? == format!("/dev/null/{number}"), "tick {number} is missing: {row:?}");
    }
    Ok(())
}
