//! A plan in, its recording out: everything from the first file to the exit code.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use anyhow::{Context, Result, anyhow};

use super::attach::{Attached, attach};
use super::plan::Plan;
use super::progress::Progress;
use super::seed::{self, LISTENS, PROCESSES, Snapshot, Wanted};
use super::session::{Ended, Session};
use super::setup::{meta, print_hook, symbolizer, unkept_dir};
use super::signals::Signals;
use super::summary;
use crate::cli::options::Options;
use crate::cli::{EXIT_ERROR, EXIT_LOSS, EXIT_OK};
use crate::command::Held;
use crate::engine::Engine;
use crate::pipeline::cgroups::CgroupPaths;
use crate::pipeline::{self, End, TraceWriter};
use crate::snapshot::cgroups::Hierarchy;
use crate::snapshot::{clock, processes};
use crate::source::EventSource;

/// A recording whose probes are attached.
pub struct Recording<'a> {
    options: &'a Options,
    plan: Plan,
    command: Option<Held>,
    engine: Engine,
    writer: TraceWriter,
    attached: Attached,
    /// False if nobody wants the trace.
    is_kept: bool,
    /// Why printing ended, if it did.
    closed: Arc<OnceLock<io::Error>>,
}

impl<'a> Recording<'a> {
    /// Make the trace `dir` (`None`: one that is removed at the end) and attach every probe. Leaves nothing behind if
    /// it fails.
    pub fn begin(
        options: &'a Options,
        plan: Plan,
        command: Option<Held>,
        dir: Option<PathBuf>,
    ) -> Result<Self> {
        let is_kept = dir.is_some();
        let dir = dir.unwrap_or_else(unkept_dir);
        let closed = Arc::new(OnceLock::new());
        let utc_minus_boottime_ns = clock::utc_minus_boottime_ns();
        let meta = meta(options, &plan, utc_minus_boottime_ns)?;
        let writer_options = pipeline::Options {
            segment_age: options.segment_age,
            compact_at_close: is_kept,
            symbolizer: symbolizer(),
            cgroups: {
                let mut paths = CgroupPaths::new();
                Box::new(move |id| paths.find(id))
            },
            on_batch: print_hook(options, &plan, closed.clone()),
            ..pipeline::Options::default()
        };
        let writer = TraceWriter::create(&dir, meta, writer_options)?;
        let mut pids = options.pids.clone();
        pids.extend(command.as_ref().map(Held::pid));
        match Self::attach(options, &plan, &pids, utc_minus_boottime_ns) {
            Ok((engine, attached)) => {
                Ok(Self { options, plan, command, engine, writer, attached, is_kept, closed })
            }
            Err(error) => Err(abandon(writer, error)),
        }
    }

    fn attach(options: &Options, plan: &Plan, pids: &[u32], offset_ns: i64) -> Result<(Engine, Attached)> {
        let mut engine = plan.engine(options.buffer_bytes)?;
        for pid in pids {
            engine.pids().insert(*pid)?;
        }
        let attached = attach(&mut engine, plan, options.require, offset_ns)?;
        // From here on the kernel adds children; those that were there before are looked up now, twice, because one
        // may have been born during the first look.
        if !options.pids.is_empty() {
            for _ in 0..2 {
                let all = processes::all(&Hierarchy::open());
                for pid in processes::descendants(&all, &options.pids) {
                    engine.pids().insert(pid)?;
                }
            }
        }
        Ok((engine, attached))
    }

    /// Record until something ends it. Gives the exit code.
    pub fn run(mut self, mut signals: Signals) -> Result<u8> {
        let mut progress = Progress::new(self.options.print.is_none());
        match self.record(&mut signals, &mut progress) {
            Ok(Some(ended)) => self.finish(ended, &progress, signals),
            Ok(None) => {
                let error = anyhow!("ended by a signal before the recording began; no trace was made");
                Err(abandon(self.writer, error))
            }
            Err(error) => Err(abandon(self.writer, error)),
        }
    }

    /// `None` if a signal came before the recording had begun.
    fn record(&mut self, signals: &mut Signals, progress: &mut Progress) -> Result<Option<Ended>> {
        let start_ns = clock::boottime_ns().unsigned_abs();
        let thread = seed::start(self.wanted())?;
        let command = self.command.take();
        for row in &self.attached.rows {
            self.writer.add_probe(row.clone())?;
        }
        let mut session = self.session(signals, progress, 0);
        let Some(snapshot) = session.until_snapshot(thread, start_ns)? else { return Ok(None) };
        let records = session.records;
        for (event, target) in [(PROCESSES, "/proc"), (LISTENS, "sock_diag")] {
            if self.plan.events.iter().any(|planned| planned.def.name == event) {
                feed_snapshot(&mut self.attached, &mut self.writer, &snapshot, event, target)?;
            }
        }
        let utc_ns = clock::boottime_ns() + self.writer.meta().utc_minus_boottime_ns;
        self.writer.update_meta(|meta| meta.start_ns = utc_ns)?;
        self.announce(&snapshot.found.problems);
        let mut session = self.session(signals, progress, records);
        let mut ended = session.run(command)?;
        // From here on there is something to keep: what fails is told, and the trace stays.
        let detaching = session.source.start_detaching();
        if let Err(error) = session.drain_rest(&detaching) {
            ended.failure.get_or_insert(error);
        }
        Ok(Some(ended))
    }

    fn session<'s>(
        &'s mut self,
        signals: &'s mut Signals,
        progress: &'s mut Progress,
        records: u64,
    ) -> Session<'s, Engine> {
        Session {
            source: &mut self.engine,
            writer: &mut self.writer,
            signals,
            progress,
            closed: self.closed.clone(),
            duration: self.options.duration,
            records,
        }
    }

    fn wanted(&self) -> Wanted {
        let Options { comm, netns, cgroup_ids, .. } = self.options;
        let pids = self.options.follows_processes().then(|| {
            let all = processes::all(&Hierarchy::open());
            let mut pids = processes::descendants(&all, &self.options.pids);
            pids.extend(self.command.as_ref().map(Held::pid));
            pids
        });
        let asked = |name: &str| self.plan.asked().iter().any(|event| event.def.name == name);
        Wanted {
            pids,
            comm: comm.clone(),
            netns: netns.clone(),
            cgroup_ids: cgroup_ids.clone(),
            listeners: asked(LISTENS),
            filter_processes: asked(PROCESSES),
        }
    }

    /// Say what is being recorded, and what is to be known about it.
    fn announce(&self, problems: &[String]) {
        for warning in self.attached.warnings.iter().chain(problems) {
            eprintln!("recorder: warning: {warning}");
        }
        let Options { comm, cgroup_ids, .. } = self.options;
        if self.options.follows_processes() || !comm.is_empty() || !cgroup_ids.is_empty() {
            for event in self.plan.unfiltered() {
                eprintln!(
                    "recorder: warning: {event} happen in interrupts: filters by process do not apply, all are \
                     recorded; --netns filters them"
                );
            }
        }
        let names =
            self.plan.asked().iter().map(|event| event.def.name.as_str()).collect::<Vec<_>>().join(", ");
        let place =
            if self.is_kept { format!(" into {}", self.writer.dir().display()) } else { String::new() };
        let until = if self.options.command.is_empty() { "; Ctrl-C ends it" } else { "" };
        eprintln!("recorder: recording {names}{place}{until}");
    }

    /// Close the trace and tell what it holds. Another signal ends the merging of small segments.
    fn finish(self, ended: Ended, progress: &Progress, mut signals: Signals) -> Result<u8> {
        let Self { options, plan, command: _, mut engine, writer, attached, is_kept, closed } = self;
        let Ended { command_exit_code, still_running, mut failure } = ended;
        let counters = match engine.counters() {
            Ok(counters) => counters,
            Err(error) => {
                failure.get_or_insert(error);
                Vec::new()
            }
        };
        let dir = writer.dir().to_owned();
        let is_hurried: Box<dyn FnMut() -> bool> = Box::new(move || signals.next().is_some());
        let mut summary = writer.close(End { command_exit_code, counters, is_hurried: Some(is_hurried) })?;
        if !is_kept {
            fs::remove_dir_all(&dir).with_context(|| format!("cannot remove {}", dir.display()))?;
        }
        progress.clear();
        let names: Vec<&str> = plan.events.iter().map(|event| event.def.name.as_str()).collect();
        let shown = is_kept.then(|| dir.display().to_string());
        eprint!(
            "recorder: {}",
            summary::text(&summary, &attached.rows, &names, shown.as_deref(), progress.elapsed())
        );
        if let Some(reason) = &summary.not_compacted {
            eprintln!(
                "recorder: warning: small segments were not merged: {reason}; 'recorder compact' can do it"
            );
        }
        if let Some(pid) = still_running {
            eprintln!("recorder: warning: the command still runs, as process {pid}");
        }
        if let Some(error) = closed.get().filter(|error| error.kind() != io::ErrorKind::BrokenPipe) {
            failure.get_or_insert_with(|| anyhow!("cannot write to standard output: {error}"));
        }
        let failure = failure.or_else(|| summary.failure.take().map(|error| anyhow!("{error:#}")));
        if let Some(error) = failure {
            eprintln!("recorder: {error:#}");
            return Ok(EXIT_ERROR);
        }
        let lost: u64 =
            names.iter().filter_map(|name| summary.events.get(*name)).map(|totals| totals.lost).sum();
        Ok(match command_exit_code {
            Some(code) if code != 0 => u8::try_from(code).unwrap_or(EXIT_ERROR),
            _ if options.fail_on_loss && lost > 0 => EXIT_LOSS,
            _ => EXIT_OK,
        })
    }
}

/// Remove what was made, and give the error that was the reason.
fn abandon(writer: TraceWriter, error: anyhow::Error) -> anyhow::Error {
    match writer.abandon() {
        Ok(()) => error,
        Err(second) => error.context(format!("{second:#}, after")),
    }
}

fn feed_snapshot(
    attached: &mut Attached,
    writer: &mut TraceWriter,
    snapshot: &Snapshot,
    event: &str,
    target: &str,
) -> Result<()> {
    let layout = writer.meta().events.iter().find(|layout| layout.event == event).cloned();
    let layout = layout.with_context(|| format!("event {event} has no layout"))?;
    let (records, reason) = if event == PROCESSES {
        (seed::process_records(&layout, snapshot), None)
    } else {
        let problems = snapshot.found.problems.join("; ");
        (seed::listener_records(&layout, snapshot), (!problems.is_empty()).then_some(problems))
    };
    let now_ns = snapshot.ts_ns.cast_signed() + writer.meta().utc_minus_boottime_ns;
    let probe = attached.snapshot(event, target, reason, now_ns);
    if let Some(row) = attached.rows.last() {
        writer.add_probe(row.clone())?;
    }
    records.iter().try_for_each(|record| writer.feed(probe, 0, record))
}
