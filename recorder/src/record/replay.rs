//! `recorder record --from-frames`: frames that a recording has kept in, the trace of them and an exit code out. It
//! needs neither a kernel that can be observed nor rights.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use schemas::trace::{CGROUP_CHANGES, FORMAT_VERSION, Meta, PROCESSES, State};

use super::progress::Progress;
use super::setup;
use super::signals::Signals;
use super::summary;
use crate::cli::frames::Replay;
use crate::cli::{EXIT_ERROR, EXIT_LOSS, EXIT_OK, say};
use crate::pipeline::{self, FrameFile, Replayed, Totals, TraceWriter};
use crate::privileges::{Identity, renounce};

/// Bytes of frames that are read at once.
const READ_BYTES: usize = 1 << 20;

/// Make a trace of frames.
pub fn replay(options: &Replay) -> Result<u8> {
    let shown =
        options.file.as_ref().map_or("standard input".to_owned(), |file| format!("'{}'", file.display()));
    let input: Box<dyn Read> = match &options.file {
        Some(file) => Box::new(File::open(file).with_context(|| format!("cannot open {shown}"))?),
        None => Box::new(std::io::stdin().lock()),
    };
    let frames = FrameFile::new(BufReader::with_capacity(READ_BYTES, input));
    let mut frames = frames.with_context(|| format!("cannot replay {shown}"))?;
    let recorded = frames.meta();
    let meta = Meta {
        format_version: FORMAT_VERSION,
        recorder_version: env!("CARGO_PKG_VERSION").to_owned(),
        state: State::Open,
        ..recorded.clone()
    };
    let names: Vec<&str> = recorded.events.iter().map(|layout| layout.event.as_str()).collect();
    // What every trace has does not name it.
    let mut own = names.clone();
    own.retain(|name| ![PROCESSES, CGROUP_CHANGES].contains(name));
    let own = if own.is_empty() { &names } else { &own };
    let dir = options.output.directory(own, recorded.start_ns)?.context("there is no place for the trace")?;
    let signals = Signals::block()?;
    let owner = Identity::of_caller();
    let watcher = owner.clone();
    signals.watch(move || renounce(watcher.as_ref(), &[], Path::new("/")))?;
    let writer_options = pipeline::Options {
        is_live: false,
        symbolizer: frames.symbolizer(),
        warn: Box::new(|text| say(format_args!("warning: {text}"))),
        ..pipeline::Options::default()
    };
    let place = setup::trace_dir(Some(&dir), owner.as_ref())?;
    let (mut writer, _) = setup::writer(&place, owner.as_ref(), meta.clone(), writer_options, false)?;
    let mut progress = Progress::of_replay();
    let replayed = pipeline::replay(&mut frames, &mut writer, &mut |records, writer| {
        progress.update(records, writer);
        if signals.next().is_some() {
            bail!("ended by a signal; no trace was made");
        }
        Ok(())
    });
    match replayed {
        Ok(replayed) => finish(options, &meta, writer, replayed, &progress, &dir, &shown),
        Err(error) => {
            progress.clear();
            Err(match writer.abandon() {
                Ok(()) => error.context(format!("cannot replay {shown}")),
                Err(second) => error.context(format!("{second:#}, after")),
            })
        }
    }
}

/// Close the trace and tell what it holds.
fn finish(
    options: &Replay,
    meta: &Meta,
    writer: TraceWriter,
    replayed: Replayed,
    progress: &Progress,
    dir: &Path,
    shown: &str,
) -> Result<u8> {
    let probes = writer.probes().to_vec();
    let Replayed { end, torn } = replayed;
    let mut summary = writer.close(end)?;
    progress.clear();
    let names: Vec<&str> = meta.events.iter().map(|layout| layout.event.as_str()).collect();
    let took = format!("replayed in {:.1} s", progress.elapsed().as_secs_f64());
    let dir = dir.display().to_string();
    say(summary::text(&summary, &probes, &names, Some(&dir), &took).trim_end());
    if let Some(why) = &torn {
        say(format_args!(
            "warning: the frames in {shown} are not whole ({why}): what came behind that is not in the trace"
        ));
    }
    if let Some(reason) = &summary.not_compacted {
        say(format_args!("warning: small segments were not merged: {reason}; 'recorder compact' can do it"));
    }
    if let Some(error) = summary.failure.take() {
        say(format_args!("{:#}", anyhow!("{error:#}")));
        return Ok(EXIT_ERROR);
    }
    let has_loss = torn.is_some() || summary.events.values().any(Totals::has_loss);
    Ok(if options.fail_on_loss && has_loss { EXIT_LOSS } else { EXIT_OK })
}
