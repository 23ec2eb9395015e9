//! A guest with a disk in, whose power goes off at random instants of a recording; verdict on what the disk has out.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use schemas::trace::State;
use xtask::{host, vm};

use crate::trace::{Trace, text};

/// Of the test.
pub const NAME: &str = "a_power_off_leaves_all_but_the_last_second";
const POWER_OFFS: usize = 3;
const MOST_MISSING_NS: i64 = 1_000_000_000;
const DISK_MIB: u64 = 64;
/// After the recording began, long enough for a row to be due even in a slow guest.
const LIFE_MS: std::ops::Range<u128> = 2000..5000;

/// Record, pull the plug, and again on the same disk, then look.
pub fn judge(series: &str) -> Result<()> {
    let dir = host::target_dir()?.join("kernel-tests").join(format!("{series}-power"));
    let disk = dir.with_file_name(format!("{series}-power.disk"));
    fs::create_dir_all(dir.parent().context("a directory is in one")?)?;
    vm::make_disk(&disk, DISK_MIB)?;
    let guest = |life: &str| -> Result<vm::Guest> {
        let mut guest = vm::Guest::new(series, &format!("sh /power.sh {life}"), dir.clone())?;
        host::built("recorder").context("the recorder is to be built first")?;
        guest.files.push((host::repo().join("tests/kernel/power.sh"), "/power.sh".into()));
        guest.disk = Some(disk.clone());
        Ok(guest)
    };
    let seed = SystemTime::now().duration_since(UNIX_EPOCH)?.as_micros();
    let mut last_signs = Vec::new();
    for round in 0..POWER_OFFS {
        let random = seed.wrapping_mul(6_364_136_223_846_793_005 + round as u128) >> 16;
        let life_ms = LIFE_MS.start + random % (LIFE_MS.end - LIFE_MS.start);
        let said = guest(&format!("record run{round}"))?
            .power_off("recorder: recording", Duration::from_millis(u64::try_from(life_ms)?))?;
        let last = said.lines().rev().find_map(|line| line.strip_prefix("up ")?.parse::<f64>().ok());
        last_signs.push((life_ms, last.context("no sign of life")?));
    }
    let outcome = guest("collect")?.run()?;
    ensure!(outcome.exit_code == 0, "the disk cannot be read again: {}", outcome.output);
    for (round, (life_ms, last_sign)) in last_signs.into_iter().enumerate() {
        let missing_ns = one(&dir, &format!("run{round}"), last_sign)
            .with_context(|| format!("power-off {round}, after {life_ms} ms, seed {seed}"))?;
        println!(
            "{series}: power off after {life_ms} ms: the last {} ms are missing",
            missing_ns / 1_000_000
        );
    }
    fs::remove_file(&disk)?;
    Ok(())
}

/// How much is missing of one recording (ns), whose guest was alive at boot time `last_sign` (s).
fn one(dir: &Path, name: &str, last_sign: f64) -> Result<i64> {
    let found = Trace::open(dir.join(format!("{name}.trace")))?;
    let tables = fs::read_dir(&found.dir)?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    for table in tables.iter().filter(|path| path.is_dir()) {
        // Fails at a torn file.
        found.rows(&table.file_name().unwrap_or_default().to_string_lossy())?;
    }
    let rows = found.rows("mkdirs")?;
    for (number, row) in rows.iter().enumerate() {
        ensure!(text(row, "path")? == format!("/dev/null/{number}"), "tick {number} is missing: {row:?}");
    }
    let last = rows.last().context("nothing was recorded")?;
    let missing_ns = (last_sign * 1e9) as i64 - found.boottime_ns(last)?;
    ensure!(missing_ns <= MOST_MISSING_NS, "the last {missing_ns} ns are missing");
    let tidy = Trace::open(dir.join(format!("{name}.tidy.trace")))?;
    ensure!(found.meta.state == State::Open && tidy.meta.state == State::Recovered, "wrong states");
    ensure!(tidy.rows("mkdirs")? == rows, "tidied up, it has other rows");
    let said = |what: &str| fs::read_to_string(dir.join(format!("{name}.{what}")));
    let (log, again) = (said("log")?, said("again")?);
    ensure!(said("code")?.trim() == "0", "recorder compact failed: {log}");
    let told = |text: &str| text.lines().filter(|line| line.contains("the recorder died")).count();
    ensure!(told(&log) == 1 && told(&again) == 0, "told other than once: {log}{again}");
    Ok(missing_ns)
}
