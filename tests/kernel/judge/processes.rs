//! Recordings of what processes do (mkdir, setns, switches, fork and exec) against the workloads' truth.

use std::collections::HashMap;

use anyhow::{Context, Result, ensure};
use xtask::workload::{joins, mkdirs, switches};

use super::same;
use crate::place::Recorded;
use crate::trace::{Row, Trace, int, text};

pub fn mkdirs(place: &Recorded) -> Result<()> {
    all_mkdirs(&place.trace("mkdirs")?, &place.truth("mkdirs")?)
}

fn all_mkdirs(trace: &Trace, truth: &mkdirs::Truth) -> Result<()> {
    let mut recorded = Vec::new();
    for row in of_process(trace.rows("mkdirs")?, truth.pid) {
        let mode = row.get("mode").context("no mode")?;
        recorded.push(mkdirs::Mkdir {
            syscall: text(&row, "syscall")?.to_owned(),
            dfd: int(&row, "dfd").ok().map(i32::try_from).transpose()?,
            path: text(&row, "path")?.to_owned(),
            mode: mode.as_u64().context("mode is not a number")?.try_into()?,
            ret: int(&row, "ret")?.try_into()?,
        });
    }
    same("calls of mkdir", recorded, truth.calls.clone())
}

pub fn joins(place: &Recorded) -> Result<()> {
    all_joins(&place.trace("joins")?, &place.truth("joins")?)
}

fn all_joins(trace: &Trace, truth: &joins::Truth) -> Result<()> {
    let mut recorded = Vec::new();
    for row in of_process(trace.rows("netns_joins")?, truth.pid) {
        recorded.push(joins::Join {
            fd: int(&row, "fd")?.try_into()?,
            nstype: int(&row, "nstype")?.try_into()?,
            ret: int(&row, "ret")?.try_into()?,
            net_before: int(&row, "net_before")?.try_into()?,
            net_after: int(&row, "net_after")?.try_into()?,
        });
    }
    // In the order of the calls, for one thread made them.
    ensure!(recorded == truth.calls, "calls of setns: recorded {recorded:?}, made {:?}", truth.calls);
    Ok(())
}

pub fn switches(place: &Recorded) -> Result<()> {
    all_switches(&place.trace("switches")?, &place.truth("switches")?)
}

fn all_switches(trace: &Trace, truth: &switches::Truth) -> Result<()> {
    let rows = trace.rows("switches")?;
    for thread in &truth.threads {
        let (mut voluntary, mut involuntary, mut came) = (0, 0, 0_u64);
        for row in &rows {
            let at = trace.boottime_ns(row)?;
            if at < thread.from_boottime_ns || at > thread.to_boottime_ns {
                continue;
            }
            if int(row, "prev_tid")? == i64::from(thread.tid) {
                let preempted = row.get("preempt").is_some_and(|yes| yes == true);
                if preempted || int(row, "prev_state")? == 0 { involuntary += 1 } else { voluntary += 1 }
            }
            came += u64::from(int(row, "next_tid")? == i64::from(thread.tid));
        }
        ensure!(
            (voluntary, involuntary) == (thread.voluntary, thread.involuntary),
            "thread {}: {voluntary} voluntary and {involuntary} involuntary switches recorded, /proc says {} and {}",
            thread.tid,
            thread.voluntary,
            thread.involuntary
        );
        ensure!(
            came == voluntary + involuntary,
            "thread {} left {} times and came {came} times",
            thread.tid,
            voluntary + involuntary
        );
    }
    Ok(())
}

pub fn command(place: &Recorded) -> Result<()> {
    let trace = place.trace("mkdirs")?;
    let truth: mkdirs::Truth = place.truth("mkdirs")?;
    ensure!(
        trace.meta.command_exit_code == Some(0),
        "exit code of the command: {:?}",
        trace.meta.command_exit_code
    );
    let mut events: HashMap<String, Vec<_>> = HashMap::new();
    for row in trace.rows("processes")? {
        if int(&row, "pid")? == i64::from(truth.pid) {
            events.entry(text(&row, "ev")?.to_owned()).or_default().push(row);
        }
    }
    let exec =
        events.get("exec").and_then(|rows| rows.last()).context("the command's exec was not recorded")?;
    ensure!(text(exec, "filename")?.ends_with("xtask"), "another program was executed: {exec:?}");
    let exit =
        events.get("exit").and_then(|rows| rows.last()).context("the command's end was not recorded")?;
    ensure!(int(exit, "exit_code")? == 0, "it did not end well: {exit:?}");
    let start = int(exec, "start_boottime_ns")?;
    ensure!(int(exit, "start_boottime_ns")? == start, "exec and exit are of different processes");
    Ok(())
}

/// One recording holds several events of several processes of one command; each table has its own.
pub fn several(place: &Recorded) -> Result<()> {
    let trace = place.trace("main")?;
    let (mkdirs, joins): (mkdirs::Truth, joins::Truth) = (place.truth("mkdirs")?, place.truth("joins")?);
    ensure!(
        of_process(trace.rows("netns_joins")?, mkdirs.pid).is_empty(),
        "that workload does not call setns"
    );
    ensure!(of_process(trace.rows("mkdirs")?, joins.pid).is_empty(), "that workload makes no directory");
    for table in ["mkdirs", "netns_joins", "switches", "kills", "processes"] {
        ensure!(!trace.rows(table)?.is_empty(), "table {table} is empty");
    }
    Ok(())
}

fn of_process(mut rows: Vec<Row>, pid: u32) -> Vec<Row> {
    rows.retain(|row| int(row, "pid").ok() == Some(i64::from(pid)));
    rows
}
