//! A recording that has ended in, a closed trace, what is to be told about it, and the exit code out.
//!
//! The trace is closed by a thread of its own: a disk that does not answer holds that up, and not the end.

use std::path::Path;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};

use super::Recording;
use crate::cli::options::Options;
use crate::cli::{EXIT_ERROR, EXIT_LOSS, EXIT_OK, is_reader_gone, say};
use crate::pipeline::{End, Summary, Totals};
use crate::record::patience::Patience;
use crate::record::printing::Printing;
use crate::record::progress::Progress;
use crate::record::session::Ended;
use crate::record::signals::Signals;
use crate::record::summary;
use crate::source::{EventSource, ProbeCounters};

/// Time between two looks whether the trace is closed.
const EVERY: Duration = Duration::from_millis(20);

impl Recording<'_> {
    /// Close the trace and tell what it holds.
    pub(super) fn finish(
        self,
        ended: Ended,
        progress: &Progress,
        signals: &Signals,
        patience: &Patience,
    ) -> Result<u8> {
        let Self { options, plan, mut engine, mut writer, attached, mut triggers, mut freezer, .. } = self;
        let Self { shown, unwanted, printing, snapshot_rows, .. } = self;
        let Ended { command_exit_code, still_running, has_nobody, is_stuck, mut failure } = ended;
        let counters = match engine.counters() {
            Ok(counters) => triggers.without(counters),
            Err(error) => {
                failure.get_or_insert(error);
                Vec::new()
            }
        };
        let seen = seen(&counters) + snapshot_rows;
        let (dir, rows_on_disk) = (writer.dir().to_owned(), writer.rows_on_disk());
        let is_hurried = signals.is_hurried();
        let end = End { command_exit_code, counters, is_torn: false, is_hurried: is_hurried.clone() };
        let counted = end.counters.clone();
        let close = move || {
            // Nothing is counted any more.
            let frozen = freezer.finish(&mut writer, &mut || Ok(counted.clone()), &is_hurried);
            let mut summary = writer.close(end)?;
            if let Err(error) = frozen {
                summary.failure.get_or_insert(error.into());
            }
            unwanted.map_or(Ok(()), |unwanted| unwanted.remove())?;
            Ok(summary)
        };
        // What cannot be handed over cannot be closed either.
        let summary = if is_stuck {
            std::mem::forget(close);
            None
        } else {
            in_time(close, patience, &printing)?
        };
        progress.clear();
        if has_nobody {
            say("every followed process has ended");
        }
        if let Some(pid) = still_running {
            say(format_args!("warning: the command still runs, as process {pid}"));
        }
        let unprinted = unprinted(&printing, shown.is_some(), &mut failure);
        let Some(mut summary) = summary else {
            let rows = rows_on_disk().iter().map(|(_, rows)| rows).sum();
            say(no_answer(&dir, patience.elapsed(), seen, rows));
            return Ok(EXIT_ERROR);
        };
        let names: Vec<&str> = plan.events.iter().map(|event| event.def.name.as_str()).collect();
        let took = format!("recorded for {:.1} s", progress.elapsed().as_secs_f64());
        say(summary::text(&summary, &attached.rows, &names, shown.as_deref(), &took).trim_end());
        let missed = triggers.missed();
        for text in &missed {
            say(format_args!("warning: {text}"));
        }
        if let Some(reason) = &summary.not_compacted {
            say(format_args!(
                "warning: small segments were not merged: {reason}; 'recorder compact' can do it"
            ));
        }
        let failure = failure.or_else(|| summary.failure.take().map(|error| anyhow!("{error:#}")));
        let failure = failure.or_else(|| summary.not_kept.take().map(|reason| anyhow!(reason)));
        if let Some(error) = failure {
            say(format_args!("{error:#}"));
            return Ok(EXIT_ERROR);
        }
        let is_lost = shown.is_none() && unprinted > 0 || !missed.is_empty();
        Ok(exit_code(options, &summary, command_exit_code, is_lost))
    }
}

/// The result of `close`, or `None` if it takes too long; then it goes on until the process ends.
fn in_time(
    close: impl FnOnce() -> Result<Summary> + Send + 'static,
    patience: &Patience,
    printing: &Printing,
) -> Result<Option<Summary>> {
    let (tell, told) = mpsc::channel();
    // Nobody listens any more only if it took too long.
    let work = move || drop(tell.send(close()));
    thread::Builder::new().name("close".to_owned()).spawn(work).context("cannot start a thread")?;
    loop {
        match told.recv_timeout(EVERY) {
            Ok(result) => return result.map(Some),
            Err(RecvTimeoutError::Disconnected) => bail!("the thread that closes the trace has died"),
            Err(RecvTimeoutError::Timeout) if patience.is_over() => return Ok(None),
            Err(RecvTimeoutError::Timeout) => printing.end(patience.is_hurried()),
        }
    }
}

/// Tell how many rows were not printed; what printing failed with is a failure, unless its reader went away.
fn unprinted(printing: &Printing, is_kept: bool, failure: &mut Option<anyhow::Error>) -> u64 {
    match printing.finish() {
        (_, Some(error)) if is_reader_gone(&error) => 0,
        (_, Some(error)) => {
            failure.get_or_insert(error.into());
            0
        }
        (0, None) => 0,
        (rows, None) => {
            let place = if is_kept { "they are in the trace" } else { "-o keeps them" };
            say(format_args!(
                "warning: {rows} rows were not printed, because whoever reads {} has stopped reading: {place}",
                printing.sink().shown()
            ));
            rows
        }
    }
}

/// Events that passed the filters.
fn seen(counters: &[ProbeCounters]) -> u64 {
    let all = counters.iter().flat_map(|probe| &probe.per_cpu);
    all.map(|counters| counters.recorded + counters.lost.iter().sum::<u64>()).sum()
}

/// The line about a trace that could not be closed.
fn no_answer(dir: &Path, waited: Duration, seen: u64, rows: u64) -> String {
    let dir = dir.display();
    format!(
        "the disk of '{dir}' has not taken everything after {} s: what was written stays, {} of {seen} events are not \
         there; when it answers again, 'recorder compact {dir}' tidies up",
        waited.as_secs(),
        seen.saturating_sub(rows)
    )
}

fn exit_code(options: &Options, summary: &Summary, command_exit_code: Option<i32>, is_lost: bool) -> u8 {
    let has_loss = is_lost || summary.events.values().any(Totals::has_loss);
    match command_exit_code {
        Some(code) if code != 0 => u8::try_from(code).unwrap_or(EXIT_ERROR),
        _ if options.fail_on_loss && has_loss => EXIT_LOSS,
        _ => EXIT_OK,
    }
}
