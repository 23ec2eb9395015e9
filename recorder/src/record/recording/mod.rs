//! A plan in, its recording out: everything from the first file to the exit code.

mod finish;
mod follow;

use std::path::PathBuf;

use anyhow::{Context, Result, anyhow, ensure};
use schemas::trace::{CGROUP_CHANGES, PROCESSES};
use schemas::wire::interrupts;

use super::ask::Usr1;
use super::attach::{Attached, attach};
use super::freeze::Freezer;
use super::patience::Patience;
use super::plan::Plan;
use super::printing::Printing;
use super::progress::Progress;
use super::seed::{self, LISTENS, Snapshot, Wanted};
use super::session::{Ended, Session};
use super::setup::{self, Names, Unwanted, meta};
use super::signals::{ENDED_EARLY, Signals};
use super::sink::Sink;
use super::trigger::Triggers;
use super::unfinished::{self, UNFINISHED};
use crate::cli::options::Options;
use crate::cli::say;
use crate::cli::units::show_size;
use crate::command::Held;
use crate::engine::{Engine, may_use_maps};
use crate::kernel::KernelSymbols;
use crate::pipeline::{self, Priority, TraceWriter};
use crate::privileges::{BPF, Identity, KILL, renounce, without_rights};
use crate::snapshot::cgroups::Hierarchy;
use crate::snapshot::{cgroups, clock, processes};

pub use follow::Watch;

/// A recording whose probes are attached.
pub struct Recording<'a> {
    options: &'a Options,
    plan: Plan,
    command: Option<Held>,
    engine: Engine,
    /// Looks whether a followed process is left, if the recording ends with them.
    watch: Option<Watch>,
    writer: TraceWriter,
    attached: Attached,
    triggers: Triggers,
    freezer: Freezer,
    /// Who the trace belongs to, if that is somebody else.
    owner: Option<Identity>,
    /// What to call the trace, if anybody wants it.
    shown: Option<String>,
    /// Removes the trace if nobody wants it.
    unwanted: Option<Unwanted>,
    /// Shows events as they happen.
    printing: Printing,
    /// Keeps what came out of the rings.
    frames: Sink,
    names: Names,
    /// Rows of the snapshot.
    snapshot_rows: u64,
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
        signals: &Signals,
    ) -> Result<Self> {
        let shown = dir.as_ref().map(|dir| dir.display().to_string());
        let owner = Identity::of_caller();
        let place = options.print.as_ref().and_then(|print| print.place.as_deref());
        let printing = Printing::new(Sink::open("--print", place, owner.as_ref())?);
        let frames = Sink::open("--keep-frames", options.keep_frames.as_deref(), owner.as_ref())?;
        let names = Names::open();
        let utc_minus_boottime_ns = clock::utc_minus_boottime_ns();
        let meta = meta(options, &plan, utc_minus_boottime_ns)?;
        let priority = Priority::start(owner.clone())?;
        let writer_options = pipeline::Options {
            segment_age: options.segment_age,
            limits: options.flight.limits(),
            compact_at_close: dir.is_some(),
            frames: frames.frames()?,
            symbolizer: names.symbolizer(),
            on_batch: options.print.as_ref().map(|print| {
                let asked = plan.asked().iter().map(|event| event.def.name.clone()).collect();
                printing.hook(asked, print.format, priority.clone())
            }),
            warn: Box::new(|text| say(format_args!("warning: {text}"))),
            // So that signals, the clock and the command are looked at while the disk takes nothing.
            waits: false,
            priority,
            ..pipeline::Options::default()
        };
        let dir = setup::trace_dir(dir.as_deref(), owner.as_ref())?;
        let must_freeze = !plan.triggers.is_empty();
        let unwanted = shown.is_none().then(|| Unwanted::new(&dir));
        let (writer, no_snapshots) = setup::writer(&dir, owner.as_ref(), meta, writer_options, must_freeze)?;
        let freezer = Freezer::new(&dir, usr1, &options.flight);
        let held = command.as_ref().map(Held::pid);
        match Self::attach(options, &mut plan, held, utc_minus_boottime_ns, signals) {
            Ok((mut engine, mut attached, triggers)) => {
                // With a command, it is the command that ends the recording.
                let is_alone = command.is_none() && !options.pids.is_empty();
                let watch = is_alone.then(|| Watch::new(engine.pids())).transpose();
                let watch = match watch {
                    Ok(watch) => watch,
                    Err(error) => return Err(abandon(writer, error)),
                };
                // A trace that goes away has no snapshots.
                attached.warnings.extend(no_snapshots.filter(|_| shown.is_some()));
                Ok(Self {
                    options,
                    plan,
                    command,
                    engine,
                    watch,
                    writer,
                    attached,
                    triggers,
                    freezer,
                    owner,
                    shown,
                    unwanted,
                    printing,
                    frames,
                    names,
                    snapshot_rows: 0,
                })
            }
            Err(error) => Err(abandon(writer, error)),
        }
    }

    /// Attach everything; nothing is seen yet. `held` is the command.
    fn attach(
        options: &Options,
        plan: &mut Plan,
        held: Option<u32>,
        offset_ns: i64,
        signals: &Signals,
    ) -> Result<(Engine, Attached, Triggers)> {
        let mut engine = plan.engine(options.buffer_bytes)?;
        engine.hold()?;
        if let Some(pid) = held {
            engine.pids().insert(pid)?;
        }
        let followed = follow::insert(engine.pids(), &options.pids)?;
        let mut attached = attach(&mut engine, plan, options.require, signals)?;
        let triggers = std::mem::take(&mut plan.triggers);
        let triggers = Triggers::attach(&mut engine, triggers, &mut attached, offset_ns, signals)?;
        let reasons = attached.warnings.join("; ");
        ensure!(!options.require || reasons.is_empty(), "--require: {reasons}");
        // From here on the kernel adds children, and removes who ends.
        let gone = follow::complete(engine.pids(), &followed, held.is_some())?;
        attached.warnings.extend(gone);
        Ok((engine, attached, triggers))
    }

    /// Record until something ends it. Gives the exit code.
    pub fn run(mut self, signals: &Signals) -> Result<u8> {
        let is_busy = self.options.print.is_some() && self.printing.sink().is_for_terminal();
        let mut progress = Progress::new(!is_busy);
        match self.record(signals, &mut progress) {
            Ok(Some((ended, patience))) => self.finish(ended, &progress, signals, &patience),
            Ok(None) => Err(abandon(self.writer, anyhow!(ENDED_EARLY))),
            Err(error) => Err(abandon(self.writer, error)),
        }
    }

    /// `None` if a signal came before the recording had begun.
    fn record(&mut self, signals: &Signals, progress: &mut Progress) -> Result<Option<(Ended, Patience)>> {
        self.writer.get_ready();
        if self.options.keep_frames.is_some()
            && self.plan.names_addresses()
            && let Some(names) = self.names.get()
        {
            self.writer.keep_symbols(&names.to_text());
        }
        let starts = self.engine.process_starts();
        let start_ns = self.engine.start()?;
        self.attached.started(start_ns.cast_signed() + self.writer.meta().utc_minus_boottime_ns);
        let thread = seed::start(self.wanted(), starts)?;
        let command = self.command.take();
        for row in &self.attached.rows {
            self.writer.add_probe(row.clone())?;
        }
        let mut session = self.session(signals, progress, 0);
        let Some(snapshot) = session.until_snapshot(thread, start_ns)? else { return Ok(None) };
        let records = session.records;
        for (event, target) in [(CGROUP_CHANGES, "cgroup2"), (PROCESSES, "/proc"), (LISTENS, "sock_diag")] {
            if self.plan.events.iter().any(|planned| planned.def.name == event) {
                self.snapshot_rows +=
                    feed_snapshot(&mut self.attached, &mut self.writer, &snapshot, event, target)?;
            }
        }
        // All that needed rights is attached, open or read.
        self.look_for_names();
        let mut keep = Vec::from_iter(command.is_some().then_some(KILL));
        // Before Linux 6.0 what the descriptor of a map allows hangs on it too, where kernel.unprivileged_bpf_disabled is set.
        if !without_rights(may_use_maps)? {
            keep.push(BPF);
        }
        renounce(self.owner.as_ref(), &keep, self.writer.dir())?;
        // Draining is short work that must not wait.
        pipeline::short_slices();
        if self.shown.is_some() {
            self.freezer.listen();
        }
        let utc_ns = clock::boottime_ns() + self.writer.meta().utc_minus_boottime_ns;
        self.writer.started(utc_ns);
        self.printing.sink().keep();
        self.frames.keep();
        self.announce(&snapshot);
        let mut session = self.session(signals, progress, records);
        let mut ended = session.run(command)?;
        let records = session.records;
        // From here on there is something to keep: what fails is told, and the trace stays.
        let patience = Patience::start(signals, self.writer.steps());
        self.writer.hurry();
        self.printing.end(patience.is_hurried());
        let detaching = self.engine.start_detaching();
        if let Err(error) = self.feed_unfinished() {
            ended.failure.get_or_insert(error);
        }
        let mut session = self.session(signals, progress, records);
        match session.drain_rest(&detaching, &patience) {
            Ok(is_drained) => ended.is_stuck = !is_drained,
            Err(error) => {
                ended.failure.get_or_insert(error);
            }
        }
        Ok(Some((ended, patience)))
    }

    /// Calls that have not returned by now. (Before what is left in the rings is drained, or they were late.)
    fn feed_unfinished(&mut self) -> Result<()> {
        let end_ns = clock::boottime_ns().unsigned_abs();
        let calls = self.engine.unfinished()?;
        let rows = unfinished::feed(&mut self.attached, &mut self.writer, calls, end_ns)?;
        self.snapshot_rows += rows;
        if rows > 0 {
            say(format_args!("calls that had not returned at the end: {rows} (table {UNFINISHED})"));
        }
        Ok(())
    }

    /// Addresses of the kernel are recorded without names where it does not tell them.
    fn look_for_names(&mut self) {
        if self.plan.names_addresses()
            && let Err(error) = KernelSymbols::check()
        {
            let warning = format!("kernel addresses have no names in the trace: {error:#}");
            self.attached.warnings.push(warning);
        }
    }

    fn session<'s>(
        &'s mut self,
        signals: &'s Signals,
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
            printing: &self.printing,
            watch: self.watch.as_mut(),
            duration: self.options.duration,
            records,
        }
    }

    fn wanted(&self) -> Wanted {
        let Options { comm, netns, cgroups, .. } = self.options;
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
            cgroup_ids: Hierarchy::open().ids_in(cgroups),
            listeners: asked(LISTENS),
            filter_processes: asked(PROCESSES),
        }
    }

    /// Say what is being recorded, and what is to be known about it.
    fn announce(&self, snapshot: &Snapshot) {
        let Attached { warnings, notes, .. } = &self.attached;
        for warning in warnings.iter().chain(notes).chain(&snapshot.found.problems).chain(&snapshot.hidden) {
            say(format_args!("warning: {warning}"));
        }
        let (made, asked) = (self.engine.ring_bytes_made(), self.options.buffer_bytes);
        if made > asked {
            say(format_args!(
                "warning: the ring buffers take {}, more than the {} of --buffer-size: each probe has at least 64 KiB \
                 on each processor",
                show_size(made),
                show_size(asked)
            ));
        }
        let is_by_process = self.options.follows_processes()
            || !self.options.comm.is_empty()
            || !self.options.cgroups.is_empty();
        if is_by_process {
            for event in self.plan.unfiltered() {
                say(format_args!(
                    "warning: {event} happen in interrupts: filters by process do not apply, all are recorded; \
                     --netns filters them"
                ));
            }
        }
        if cgroups::is_namespaced() {
            say(format_args!(
                "warning: in a cgroup namespace the paths of cgroups that exist already begin at its root, and others \
                 are not known: run the recorder outside to have all of them"
            ));
        }
        if self.plan.interrupts.how == interrupts::UNKNOWN {
            say(format_args!(
                "warning: the types of this kernel do not tell where its preempt count is, so an interrupt is not told from \
                 the task that it interrupts: column ctx is NULL, and pid, tid, comm and cgroup_id may be a bystander's"
            ));
        }
        if self.options.print.is_some()
            && !self.options.command.is_empty()
            && self.printing.sink().is_shared_with_command()
        {
            say(format_args!(
                "the command may write to {} too, between the lines of --print; --print=FORMAT:PATH keeps them apart",
                self.printing.sink().shown()
            ));
        }
        if self.options.cgroups.iter().any(|cgroup| cgroup.level.is_none()) {
            say(format_args!(
                "warning: in a cgroup namespace it is not known how deep a cgroup is: cgroups made from now on below \
                 those of --cgroup are not recorded; run the recorder outside, or give $cgroup_id in a predicate"
            ));
        }
        let names =
            self.plan.asked().iter().map(|event| event.def.name.as_str()).collect::<Vec<_>>().join(", ");
        let place = self.shown.as_ref().map(|shown| format!(" into {shown}")).unwrap_or_default();
        let until = match (self.options.command.is_empty(), &self.watch) {
            (true, Some(_)) => "; Ctrl-C ends it, or the end of every followed process",
            (true, None) => "; Ctrl-C ends it",
            (false, _) => "",
        };
        say(format_args!("recording {names}{place}{until}"));
    }
}

/// Remove what was made, and give the error that was the reason.
fn abandon(writer: TraceWriter, error: anyhow::Error) -> anyhow::Error {
    match writer.abandon() {
        Ok(()) => error,
        Err(second) => error.context(format!("{second:#}, after")),
    }
}

/// Gives the number of rows.
fn feed_snapshot(
    attached: &mut Attached,
    writer: &mut TraceWriter,
    snapshot: &Snapshot,
    event: &str,
    target: &str,
) -> Result<u64> {
    let layout = writer.meta().events.iter().find(|layout| layout.event == event).cloned();
    let layout = layout.with_context(|| format!("event {event} has no layout"))?;
    let (records, reason) = match event {
        PROCESSES => (seed::process_records(&layout, snapshot), None),
        CGROUP_CHANGES => (seed::cgroup_records(&layout, snapshot), None),
        _ => {
            let problems = snapshot.found.problems.join("; ");
            (seed::listener_records(&layout, snapshot), (!problems.is_empty()).then_some(problems))
        }
    };
    let now_ns = snapshot.ts_ns.cast_signed() + writer.meta().utc_minus_boottime_ns;
    let probe = attached.snapshot(event, target, reason, now_ns);
    if let Some(row) = attached.rows.last() {
        writer.add_probe(row.clone())?;
    }
    records.iter().try_for_each(|record| writer.feed(probe, 0, record))?;
    Ok(records.len() as u64)
}
