//! A modelled load and its size in, a large trace out: made from frames by the recorder, once.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};

use super::frames::Load;
use crate::host;

/// The trace of `rows` events of `load`; kept in the target directory for the next time, until what makes it changes.
pub fn trace(load: Load, rows: u64) -> Result<PathBuf> {
    let dir = host::target_dir()?.join("bench/traces");
    let event = load.event();
    let trace = dir.join(format!("{event}-{rows}-{}.trace", version(load)?));
    if trace.join("trace.json").is_file() {
        return Ok(trace);
    }
    if dir.is_dir() {
        remove_other(&dir, &format!("{event}-{rows}-"))?;
    }
    fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    eprintln!("bench: a trace of {rows} {event}");
    // Whoever ends early leaves nothing that looks whole, and two at a time do not meet.
    let place = tempfile::tempdir_in(&dir).with_context(|| format!("cannot write to {}", dir.display()))?;
    let partial = place.path().join(format!("{event}.trace"));
    let mut recorder = Command::new(host::built("recorder")?);
    recorder.args(["record", "--from-frames", "-", "-o"]).arg(&partial).stdin(Stdio::piped());
    let mut child = recorder.spawn().context("cannot run the recorder")?;
    let stdin = child.stdin.take().context("the recorder has no standard input")?;
    let written = load.write(rows, stdin);
    let status = child.wait()?;
    // What the recorder said comes before a pipe that broke because of it.
    ensure!(status.success(), "the recorder could not make a trace of the frames: {status}");
    written?;
    match fs::rename(&partial, &trace) {
        // Somebody else was quicker, with the same trace.
        Err(_) if trace.join("trace.json").is_file() => {}
        renamed => renamed.with_context(|| format!("cannot name {}", trace.display()))?,
    }
    Ok(trace)
}

/// Traces of the same size that were made otherwise.
fn remove_other(dir: &std::path::Path, prefix: &str) -> Result<()> {
    for entry in fs::read_dir(dir).with_context(|| format!("cannot list {}", dir.display()))? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(prefix) {
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

/// Short hash of all that the trace depends on, but for how the recorder writes it.
fn version(load: Load) -> Result<String> {
    let mut hash = Sha256::new();
    Load::sources().into_iter().for_each(|text| hash.update(text));
    let layout = schemas::layouts::builtin(&[])?.remove(load.event());
    hash.update(serde_json::to_vec(&layout)?);
    Ok(hash.finalize().iter().take(6).map(|byte| format!("{byte:02x}")).collect())
}
