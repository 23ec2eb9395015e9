//! What recordings say about what is missing in them.

use std::fs;

use anyhow::{Context, Result, ensure};
use xtask::workload::mkdirs::Ticks;

use super::sum;
use crate::place::Recorded;
use crate::trace::{Trace, int, text};

/// In every second of every recording seen = recorded + lost, at its end fired = filtered + seen, and the rows are there.
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

fn balanced(trace: &Trace) -> Result<()> {
    let counts = trace.rows("counts")?;
    for row in &counts {
        let (seen, recorded, lost) = (int(row, "seen")?, int(row, "recorded")?, int(row, "lost")?);
        ensure!(seen == recorded + lost, "seen is not recorded + lost: {row:?}");
    }
    // Only in the end: an event may be fired in one second and recorded in the next.
    let (fired, filtered, seen) = (sum(&counts, "fired")?, sum(&counts, "filtered")?, sum(&counts, "seen")?);
    ensure!(fired == filtered + seen, "{fired} fired, {filtered} filtered, {seen} seen");
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
    for case in ["listens", "mkdirs", "joins", "switches", "packets", "kmem"] {
        let losses = place.trace(case)?.rows("losses")?;
        for row in losses {
            // One without a count only says that the kernel would not tell. What is freed in an interrupt of a probe
            // cannot be seen by the same probe, and one call may free more than a probe looks at: that is no matter
            // of rings.
            let reason = text(&row, "reason")?;
            let harmless = ["fetch_fault", "string_cut", "stack_fault"].contains(&reason)
                || (case == "kmem" && ["recursion", "each_cut"].contains(&reason));
            ensure!(harmless || int(&row, "count").unwrap_or(0) == 0, "{case}: {row:?}");
        }
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
