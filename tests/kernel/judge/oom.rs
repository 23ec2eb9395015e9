//! A snapshot that the shortage of memory set off, against the kernel's own word about whom it has killed.

use std::fs;

use anyhow::{Context, Result, ensure};
use schemas::trace::{FrozenBy, State};

use super::losses::balanced;
use crate::place::Recorded;
use crate::trace::{Trace, int};

pub fn snapshot(place: &Recorded) -> Result<()> {
    let trace = place.ended("oom", 0)?;
    ensure!(trace.meta.state == State::Closed, "{:?}", trace.meta.state);
    balanced(&trace)?;
    let snapshot = only_snapshot(place)?;
    ensure!(snapshot.meta.state == State::Closed, "{:?}", snapshot.meta.state);
    balanced(&snapshot)?;
    let frozen = snapshot.meta.frozen.as_ref().context("it does not say why it is there")?;
    ensure!(frozen.by == FrozenBy::Trigger && frozen.text.as_deref() == Some("oom"), "{frozen:?}");
    ensure!(frozen.from.ends_with("/oom.trace"), "{frozen:?}");

    let event = frozen.event.as_ref().context("it does not tell the event")?;
    let victims = killed(place)?;
    let victim = victims[0];
    ensure!(event["victim"].as_i64() == Some(victim), "the kernel killed {victim}, not {event}");
    let said = fs::read_to_string(place.dir.join("oom.log")).context("no oom.log")?;
    let without = format!("made no snapshot (--trigger-gap, --max-snapshots): {}\n", victims.len() - 1);
    ensure!(said.contains("made no snapshot") == (victims.len() > 1), "of {victims:?} it said: {said}");
    ensure!(victims.len() == 1 || said.contains(&without), "of {victims:?} it said: {said}");
    ensure!(event["victim_comm"] == "dd", "the victim is a dd, not {event}");
    ensure!(event["pid"].as_i64() != Some(victim), "it asked for too much itself, so nothing was tested");

    // Both have rows until then; the recording has what came later.
    let (rows, before) = (trace.rows("mkdirs")?, snapshot.rows("mkdirs")?);
    let last = int(before.last().context("the snapshot has no rows")?, "ts")?;
    let until = rows.iter().filter(|row| int(row, "ts").is_ok_and(|ts| ts <= last)).count();
    ensure!(before.len() == until, "{} rows in the snapshot, {until} until then", before.len());
    let end_ns = snapshot.meta.end_ns.context("it has no end")?;
    let after = rows.iter().filter(|row| int(row, "ts").is_ok_and(|ts| ts > end_ns)).count();
    ensure!(after > 10, "{after} rows after the snapshot");
    Ok(())
}

fn only_snapshot(place: &Recorded) -> Result<Trace> {
    let mut found = Vec::new();
    for entry in fs::read_dir(&place.dir)? {
        let path = entry?.path();
        if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("oom-snapshot-")) {
            found.push(path);
        }
    }
    let said = fs::read_to_string(place.dir.join("oom.log")).unwrap_or_default();
    ensure!(found.len() == 1, "{} snapshots: {said}", found.len());
    Trace::open(found.remove(0))
}

/// Whom the kernel has killed, in turn. It may kill the one that asked too, where it does not get at once what the first
/// one had. `Memory cgroup out of memory: Killed process 123 (dd) total-vm:...`
fn killed(place: &Recorded) -> Result<Vec<i64>> {
    let said = fs::read_to_string(place.dir.join("oom.dmesg")).context("no oom.dmesg")?;
    let pid = |line: &str| line.split("Killed process ").nth(1)?.split(' ').next()?.parse().ok();
    let victims: Option<Vec<i64>> = said.lines().map(pid).collect();
    let victims = victims.with_context(|| format!("no process in: {said}"))?;
    ensure!((1..=2).contains(&victims.len()), "the kernel killed: {said}");
    Ok(victims)
}
