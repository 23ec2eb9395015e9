//! Recordings with many kprobes that were ended, against the clock, the kernel's list of kprobes, and what was made.

use std::fs;

use anyhow::{Context, Result, ensure};
use schemas::trace::State;
use xtask::workload::ending::Truth;
use xtask::workload::mkdirs::Ticks;

use super::losses::balanced;
use crate::place::Recorded;
use crate::trace::{Trace, int};

/// Of the scenario: kprobes, kretprobes, classic tracepoints.
const LEAST_PROBES: [(&str, usize); 3] = [("kprobe", 60), ("kretprobe", 3), ("tracepoint", 2)];
/// As docs/running.md says; where that is too fast for what emulates the processors, see [`SLOW`].
const MOST_CLOSED_MS: u64 = 5000;
/// The kernel takes each apart by itself, and the recorder is there until it has done so.
const MOST_EACH_MS: u64 = 50;
/// One thread emulates the processors there, and the process that makes events takes half of it. The time that attaching
/// took tells how fast it is: closing takes half of it, by chance all of it. Twice as much is too much.
const SLOW: u64 = 2;
/// A process that makes events all the time made its last one so long before.
const MOST_QUIET_NS: i64 = 200_000_000;

pub fn by_sigterm(place: &Recorded) -> Result<()> {
    let (trace, _) = ended(place, "term", 0)?;
    let truth: Ticks = place.truth("ticks")?;
    let rows = trace.rows("do_mkdirat")?;
    let own = rows.iter().filter(|row| int(row, "who").ok() == Some(i64::from(truth.pid))).count();
    ensure!(own == truth.count as usize, "{own} of {} calls recorded", truth.count);
    Ok(())
}

pub fn by_sigint_while_busy(place: &Recorded) -> Result<()> {
    let (trace, truth) = ended(place, "int", 0)?;
    busy(&trace, &truth)
}

pub fn by_the_death_of_the_command(place: &Recorded) -> Result<()> {
    let (trace, truth) = ended(place, "command", 128 + 9)?;
    ensure!(trace.meta.command_exit_code == Some(128 + 9), "{:?}", trace.meta.command_exit_code);
    busy(&trace, &truth)
}

pub fn by_kill_9(place: &Recorded) -> Result<()> {
    let truth: Truth = place.truth("killed")?;
    let found = Trace::open(place.dir.join("killed.trace"))?;
    attached(&found)?;
    // How long that takes is up to the kernel alone.
    gone(&truth)?;
    ensure!(truth.closed_ms.is_none() && found.meta.state == State::Open, "it was closed");
    let said = fs::read_to_string(place.dir.join("compact.log")).context("no compact.log")?;
    let code = fs::read_to_string(place.dir.join("compact.code")).context("no compact.code")?;
    ensure!(code.trim() == "0", "recorder compact ended with {}: {said}", code.trim());
    let tidy = Trace::open(place.dir.join("tidy.trace"))?;
    ensure!(tidy.meta.state == State::Recovered, "{:?}", tidy.meta.state);
    // How much is missing at the end is told by losses.rs; nothing that was there is lost by tidying up.
    for table in ["do_unlinkat", "vfs_open", "sys_enter_unlink"] {
        let (before, after) = (found.rows(table)?, tidy.rows(table)?);
        ensure!(
            !before.is_empty() && after.starts_with(&before),
            "{table}: {} rows of {}",
            after.len(),
            before.len()
        );
    }
    Ok(())
}

/// The trace of a case that ended well, in bounded time, with this exit code.
fn ended(place: &Recorded, case: &str, code: i32) -> Result<(Trace, Truth)> {
    let trace = place.ended(case, code)?;
    ensure!(trace.meta.state == State::Closed, "{:?}", trace.meta.state);
    let probes = attached(&trace)?;
    let truth: Truth = place.truth(case)?;
    let attaching_ms = bounded(place, case, &trace, &truth, probes)?;
    let closed_ms = truth.closed_ms.context("it was not closed within three minutes")?;
    ensure!(closed_ms <= MOST_CLOSED_MS.max(attaching_ms * SLOW), "closed after {closed_ms} ms");
    balanced(&trace)?;
    println!("{}: {case}: closed after {closed_ms} ms", trace.meta.kernel_release);
    Ok((trace, truth))
}

/// How many probes were attached, of each kind enough.
fn attached(trace: &Trace) -> Result<usize> {
    let rows = trace.rows("probes")?;
    let rows: Vec<_> = rows.iter().filter(|row| row["attached"] == true).collect();
    for (kind, least) in LEAST_PROBES {
        let own = rows.iter().filter(|row| row["kind"] == kind).count();
        ensure!(own >= least, "{own} probes of kind {kind}");
    }
    Ok(rows.len())
}

/// The kernel had our probes and has none of them. Gives how long it took until the recorder was gone (ms).
fn gone(truth: &Truth) -> Result<u64> {
    ensure!(truth.kprobes_before >= LEAST_PROBES[0].1, "{} kprobes", truth.kprobes_before);
    ensure!(truth.kprobes_after == 0, "{} kprobes are left", truth.kprobes_after);
    truth.gone_ms.context("it is still there after three minutes")
}

/// The kernel had our probes, has none of them, and did not take too long for that. Gives the time that
/// attaching took (ms).
fn bounded(place: &Recorded, case: &str, trace: &Trace, truth: &Truth, probes: usize) -> Result<u64> {
    let gone_ms = gone(truth)?;
    let began = fs::read_to_string(place.dir.join(format!("{case}.began"))).context("no time of start")?;
    let started_ns = trace.meta.start_ns - trace.meta.utc_minus_boottime_ns;
    let attaching_ms = (started_ns / 1_000_000) as u64 - (began.trim().parse::<f64>()? * 1e3) as u64;
    let most_ms = (MOST_CLOSED_MS + MOST_EACH_MS * probes as u64).max(attaching_ms * SLOW);
    println!("{case}: {probes} probes attached in {attaching_ms} ms, gone after {gone_ms} ms");
    ensure!(gone_ms <= most_ms, "with {probes} probes it was gone after {gone_ms} ms, not {most_ms}");
    Ok(attaching_ms)
}

/// Events came until the signal did.
fn busy(trace: &Trace, truth: &Truth) -> Result<()> {
    let rows = trace.rows("do_unlinkat")?;
    let last = rows.last().context("nothing was recorded")?;
    let quiet_ns = truth.signal_boottime_ns - trace.boottime_ns(last)?;
    ensure!(quiet_ns <= MOST_QUIET_NS && rows.len() > 100, "{} rows, {quiet_ns} ns without", rows.len());
    Ok(())
}
