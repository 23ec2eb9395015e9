//! A plan in, its recording out: everything from the first file to the exit code.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use anyhow::{Context, Result, anyhow};

use super::ask::Usr1;
use super::attach::{Attached, attach};
use super::freeze::Freezer;
use super::plan::Plan;
use super::progress::Progress;
use super::seed::{self, LISTENS, PROCESSES, Snapshot, Wanted};
use super::session::{Ended, Session};
use super::setup::{self, meta, print_hook, symbolizer};
use super::signals::{ENDED_EARLY, Signals};
use super::summary;
use super::trigger::Triggers;
use crate::cli::options::Options;
use crate::cli::{EXIT_ERROR, EXIT_LOSS, EXIT_OK, is_reader_gone, say};
use crate::command::Held;
use crate::engine::Engine;
use crate::pipeline::cgroups::CgroupPaths;
use crate::pipeline::{self, End, Totals, TraceWriter};
use crate::privileges::{Identity, KILL, renounce};
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
    triggers: Triggers,
    freezer: Freezer,
    /// Who the trace belongs to, if that is somebody else.
    owner: Option<Identity>,
    /// What to call the trace, if anybody wants it.
    shown: Option<String>,
    /// Why printing ended, if it did.
    closed: Arc<OnceLock<io::Error>>,
}

impl<'a> Recording<'a> {
    /// Make the trace `dir` (`None`: one that is removed at the end) and attach every probe. Leaves nothing behind if
    /// it fails.
    pub fn begin(
        options: &'a Options,
        mut plan: Plan,
        command: Option<Held>,
        dir: Option<PathBuf>,
        usr1: Usr1,
        signals: &mut Signals,
    ) -> Result<Self> {
        let shown = dir.as_ref().map(|dir| dir.display().to_string());
        let closed = Arc::new(OnceLock::new());
        let utc_minus_boottime_ns = clock::utc_minus_boottime_ns();
        let meta = meta(options, &plan, utc_minus_boottime_ns)?;
        let writer_options = pipeline::Options {
            segment_age: options.segment_age,
            limits: options.flight.limits(),
            compact_at_close: dir.is_some(),
            symbolizer: symbolizer(),
            cgroups: {
                let mut paths = CgroupPaths::new();
                Box::new(move |id| paths.find(id))
            },
            on_batch: print_hook(options, &plan, closed.clone()),
            ..pipeline::Options::default()
        };
        let owner = Identity::of_caller();
        let dir = setup::trace_dir(dir.as_deref(), owner.as_ref())?;
        let writer = setup::writer(&dir, owner.as_ref(), meta, writer_options)?;
        let mut pids = options.pids.clone();
        pids.extend(command.as_ref().map(Held::pid));
        let freezer = Freezer::new(&dir, usr1, &options.flight);
        match Self::attach(options, &mut plan, &pids, utc_minus_boottime_ns, signals) {
            Ok((engine, attached, triggers)) => Ok(Self {
                options,
                plan,
                command,
                engine,
                writer,
                attached,
                triggers,
                freezer,
                owner,
                shown,
                closed,
            }),
            Err(error) => Err(abandon(writer, error)),
        }
    }

    /// Attach everything; nothing is seen yet.
    fn attach(
        options: &Options,
        plan: &mut Plan,
        pids: &[u32],
        offset_ns: i64,
        signals: &mut Signals,
    ) -> Result<(Engine, Attached, Triggers)> {
        let mut engine = plan.engine(options.buffer_bytes)?;
        engine.hold()?;
        for pid in pids {
            engine.pids().insert(*pid)?;
        }
        let mut attached = attach(&mut engine, plan, options.require, signals)?;
        let triggers = std::mem::take(&mut plan.triggers);
        let triggers = Triggers::attach(&mut engine, triggers, &mut attached, offset_ns, signals)?;
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
        Ok((engine, attached, triggers))
    }

    /// Record until something ends it. Gives the exit code.
    pub fn run(mut self, mut signals: Signals) -> Result<u8> {
        let mut progress = Progress::new(self.options.print.is_none());
        match self.record(&mut signals, &mut progress) {
            Ok(Some(ended)) => self.finish(ended, &progress, signals),
            Ok(None) => Err(abandon(self.writer, anyhow!(ENDED_EARLY))),
            Err(error) => Err(abandon(self.writer, error)),
        }
    }

    /// `None` if a signal came before the recording had begun.
    fn record(&mut self, signals: &mut Signals, progress: &mut Progress) -> Result<Option<Ended>> {
        self.writer.get_ready();
        self.engine.start()?;
        let start_ns = clock::boottime_ns().unsigned_abs();
        self.attached.started(start_ns.cast_signed() + self.writer.meta().utc_minus_boottime_ns);
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
        // All that needed rights is attached, open or read.
        let keep = if command.is_some() { &[KILL][..] } else { &[] };
        renounce(self.owner.as_ref(), keep, self.writer.dir())?;
        if self.shown.is_some() {
            self.freezer.listen();
        }
        let utc_ns = clock::boottime_ns() + self.writer.meta().utc_minus_boottime_ns;
        self.writer.update_meta(|meta| meta.start_ns = utc_ns);
        self.announce(&snapshot);
        let mut session = self.session(signals, progress, records);
        let mut ended = session.run(command)?;
        // From here on there is something to keep: what fails is told, and the trace stays.
        let detaching = session.source.start_detaching();
        if let Err(error) = session.drain_rest(&detaching) {
            ended.failure.get_or_insert(error);
        }
        self.freezer.finish();
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
            triggers: &mut self.triggers,
            freezer: &mut self.freezer,
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
    fn announce(&self, snapshot: &Snapshot) {
        for warning in self.attached.warnings.iter().chain(&snapshot.found.problems).chain(&snapshot.hidden) {
            say(format_args!("warning: {warning}"));
        }
        let Options { comm, cgroup_ids, .. } = self.options;
        if self.options.follows_processes() || !comm.is_empty() || !cgroup_ids.is_empty() {
            for event in self.plan.unfiltered() {
                say(format_args!(
                    "warning: {event} happen in interrupts: filters by process do not apply, all are recorded; \
                     --netns filters them"
                ));
            }
        }
        let names =
            self.plan.asked().iter().map(|event| event.def.name.as_str()).collect::<Vec<_>>().join(", ");
        let place = self.shown.as_ref().map(|shown| format!(" into {shown}")).unwrap_or_default();
        let until = if self.options.command.is_empty() { "; Ctrl-C ends it" } else { "" };
        say(format_args!("recording {names}{place}{until}"));
    }

    /// Close the trace and tell what it holds.
    fn finish(self, ended: Ended, progress: &Progress, signals: Signals) -> Result<u8> {
        let Self { options, plan, mut engine, writer, attached, triggers, shown, closed, .. } = self;
        let Ended { command_exit_code, still_running, mut failure } = ended;
        let counters = match engine.counters() {
            Ok(counters) => triggers.without(counters),
            Err(error) => {
                failure.get_or_insert(error);
                Vec::new()
            }
        };
        let dir = writer.dir().to_owned();
        let mut summary = writer.close(End { command_exit_code, counters, is_hurried: signals.watch() })?;
        if shown.is_none() {
            fs::remove_dir_all(&dir).with_context(|| format!("cannot remove {}", dir.display()))?;
        }
        progress.clear();
        let names: Vec<&str> = plan.events.iter().map(|event| event.def.name.as_str()).collect();
        say(summary::text(&summary, &attached.rows, &names, shown.as_deref(), progress.elapsed()).trim_end());
        if let Some(reason) = &summary.not_compacted {
            say(format_args!(
                "warning: small segments were not merged: {reason}; 'recorder compact' can do it"
            ));
        }
        if let Some(pid) = still_running {
            say(format_args!("warning: the command still runs, as process {pid}"));
        }
        if let Some(error) = closed.get().filter(|error| !is_reader_gone(error)) {
            failure.get_or_insert_with(|| anyhow!("cannot write to standard output: {error}"));
        }
        let failure = failure.or_else(|| summary.failure.take().map(|error| anyhow!("{error:#}")));
        if let Some(error) = failure {
            say(format_args!("{error:#}"));
            return Ok(EXIT_ERROR);
        }
        let has_loss = summary.events.values().any(Totals::has_loss);
        Ok(match command_exit_code {
            Some(code) if code != 0 => u8::try_from(code).unwrap_or(EXIT_ERROR),
            _ if options.fail_on_loss && has_loss => EXIT_LOSS,
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
