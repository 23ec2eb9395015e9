//! Cgroups and the wall clock as the recorder knew them, against what the script saw of them.

use std::fs;

use anyhow::{Context, Result, ensure};

use crate::place::Recorded;
use crate::trace::{int, text};

const S: f64 = 1e9;
const HOUR_S: f64 = 3600.0;

/// Each cgroup lived for one process that made one directory.
pub fn cgroups(place: &Recorded) -> Result<()> {
    let truth = fs::read_to_string(place.dir.join("identity.cgroups")).context("no identity.cgroups")?;
    let trace = place.ended("identity", 0)?;
    let (rows, names) = (trace.rows("mkdirs")?, trace.rows("cgroups")?);
    ensure!(truth.lines().count() == 20, "the script is not what it was: {truth}");
    for line in truth.lines() {
        let [id, path, made] = line.split(' ').collect::<Vec<_>>()[..] else { anyhow::bail!("{line}") };
        let id: i64 = id.parse()?;
        let row = rows.iter().find(|row| text(row, "path").is_ok_and(|path| path == made));
        let found = int(row.with_context(|| format!("no row of {made}"))?, "cgroup_id")?;
        ensure!(found == id, "{made} was made in cgroup {id}, not {found}");
        let named: Vec<_> = names.iter().filter(|row| int(row, "cgroup_id").is_ok_and(|i| i == id)).collect();
        let [name] = named[..] else { anyhow::bail!("{} rows of cgroup {id}", named.len()) };
        ensure!(text(name, "path")? == path, "{name:?} is not {path}");
        let container = path.trim_start_matches("/ktape/docker-").trim_end_matches(".scope");
        ensure!(text(name, "container_id")? == container, "{name:?} is not {container}");
    }
    Ok(())
}

/// The clock was set forward by an hour and back again; `date` sets whole seconds.
pub fn clock(place: &Recorded) -> Result<()> {
    let truth = fs::read_to_string(place.dir.join("identity.clock")).context("no identity.clock")?;
    let trace = place.ended("identity", 0)?;
    let clock = trace.rows("clock")?;
    let steps: Vec<_> = clock.iter().filter(|row| int(row, "step_ns").is_ok()).collect();
    ensure!(steps.len() == 2 && truth.lines().count() == 2, "{} steps of {truth}", steps.len());
    for ((step, line), expected_s) in steps.iter().zip(truth.lines()).zip([HOUR_S, -HOUR_S]) {
        let step_s = int(step, "step_ns")? as f64 / S;
        ensure!((expected_s - 60.0..=expected_s).contains(&step_s), "a step of {step_s} s");
        let uptime: Vec<f64> = line.split(' ').map(str::parse).collect::<Result<_, _>>()?;
        let at_s = trace.boottime_ns(step)? as f64 / S;
        // A slow machine may take a moment until the thread that watches runs.
        ensure!((uptime[0]..uptime[1] + 10.0).contains(&at_s), "a step at {at_s}, which was at {line}");
    }
    let offsets: Vec<i64> =
        clock.iter().map(|row| int(row, "utc_minus_boottime_ns")).collect::<Result<_>>()?;
    let sum: i64 = steps.iter().map(|row| int(row, "step_ns")).sum::<Result<_>>()?;
    let change = offsets[offsets.len() - 1] - trace.meta.utc_minus_boottime_ns;
    ensure!((change - sum).abs() < 1_000_000, "steps of {sum} ns in all, and the clock is {change} ns ahead");

    // Times of rows go on as they were.
    let rows = trace.rows("mkdirs")?;
    let at = |path: &str| {
        let row = rows.iter().find(|row| text(row, "path").is_ok_and(|found| found == path));
        int(row.with_context(|| format!("no row of {path}"))?, "ts")
    };
    let between = [at("/tmp/before")?, at("/tmp/after3600")?, at("/tmp/after-3600")?];
    ensure!(between.is_sorted() && between[2] - between[0] < 600_000_000_000, "{between:?}");
    let said = fs::read_to_string(place.dir.join("identity.log"))?;
    ensure!(
        said.contains("the wall clock was set forward by 35") && said.contains("was set back by 36"),
        "{said}"
    );
    Ok(())
}
