//! Probes given on the command line: what is recorded, and with which types.

use anyhow::{Context, Result, ensure};
use xtask::workload::mkdirs;

use super::same;
use crate::place::Recorded;
use crate::trace::{Row, Trace, int, text};

pub fn tracepoint(place: &Recorded) -> Result<()> {
    let trace = place.trace("joins")?;
    types(&trace, "kills", &[("sig", "s32"), ("victim", "s32"), ("group", "s32"), ("result", "s32")])?;
    let rows = trace.rows("kills")?;
    // The workload ends its child, once.
    ensure!(rows.len() == 1, "{} rows, one expected: {rows:?}", rows.len());
    ensure!(int(&rows[0], "sig")? == 9 && int(&rows[0], "result")? == 0, "not the signal sent: {rows:?}");
    ensure!(int(&rows[0], "victim")? != int(&rows[0], "pid")?, "nobody kills itself here: {rows:?}");
    Ok(())
}

pub fn function(place: &Recorded) -> Result<()> {
    let trace = place.trace("mkdirs")?;
    types(&trace, "gone", &[("parent", "u64"), ("retval", "s32")])?;
    for row in trace.rows("gone")? {
        ensure!(int(&row, "retval")? == 0, "it was removed: {row:?}");
    }
    removed(&trace, "gone", &place.truth("mkdirs")?)
}

pub fn kprobe(place: &Recorded) -> Result<()> {
    let trace = place.trace("mkdirs")?;
    removed(&trace, "gone_kprobe", &place.truth("mkdirs")?)
}

/// Inodes of the files that can be opened, in the order of their names.
#[derive(serde::Deserialize)]
struct Opened {
    inodes: Vec<i64>,
}

/// Opening a file returns a pointer, or an error number as one.
pub fn errors(place: &Recorded) -> Result<()> {
    let trace = place.trace("errors")?;
    let of = |event: &str, prefix: &str| -> Result<Vec<Row>> {
        let mut rows = trace.rows(event)?;
        rows.retain(|row| text(row, "path").is_ok_and(|path| path.starts_with(prefix)));
        Ok(rows)
    };
    types(&trace, "failed", &[("e", "s32"), ("r", "s64"), ("ino", "u64")])?;
    let failed = of("failed", "/nowhere-")?;
    ensure!(failed.len() == 20, "{} failed, of 20", failed.len());
    for row in &failed {
        let numbers = [int(row, "e")?, int(row, "r")?, int(row, "faults")?];
        ensure!(numbers == [-i64::from(libc::ENOENT), -i64::from(libc::ENOENT), 0], "{row:?}");
        ensure!(int(row, "ino").is_err(), "there is no inode behind an error number: {row:?}");
    }
    ensure!(of("failed", "/tmp/there-")?.is_empty() && of("opened", "/nowhere-")?.is_empty(), "both ways");
    let opened = of("opened", "/tmp/there-")?;
    ensure!(opened.iter().all(|row| int(row, "e").ok() == Some(0)), "{opened:?}");
    let inodes = opened.iter().map(|row| int(row, "ino")).collect::<Result<Vec<_>>>()?;
    same("inodes opened", inodes, place.truth::<Opened>("errors")?.inodes)
}

/// The workload removes each directory it made.
fn removed(trace: &Trace, event: &str, truth: &mkdirs::Truth) -> Result<()> {
    let made = truth.calls.iter().filter(|call| call.ret == 0);
    let made = made.filter_map(|call| call.path.rsplit('/').next()).map(str::to_owned).collect();
    let mut rows = trace.rows(event)?;
    rows.retain(|row| int(row, "pid").ok() == Some(i64::from(truth.pid)));
    let gone = rows.iter().map(|row| text(row, "name").map(str::to_owned)).collect::<Result<_>>()?;
    same("directories removed", gone, made)
}

/// The table has these columns, typed so.
fn types(trace: &Trace, event: &str, expected: &[(&str, &str)]) -> Result<()> {
    let layout = trace.meta.events.iter().find(|layout| layout.event == event);
    let layout = layout.with_context(|| format!("no table {event}"))?;
    for (name, ty) in expected {
        let column = layout.column(name).with_context(|| format!("no column {name} in {event}"))?;
        ensure!(column.ty.to_string() == *ty, "{name} is {}, not {ty}", column.ty);
    }
    Ok(())
}
