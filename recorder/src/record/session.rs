//! Attached probes, a writer and perhaps a command in; the same, drained, out, once there is a reason to end.

use std::thread::{JoinHandle, sleep};
use std::time::{Duration, Instant};

use anyhow::Result;
use nix::sys::signal::Signal;

use super::freeze::Freezer;
use super::patience::Patience;
use super::printing::Printing;
use super::progress::Progress;
use super::recording::Watch;
use super::seed::{self, Snapshot};
use super::signals::{Arrived, Signals};
use super::trigger::Triggers;
use crate::command::{Child, Held};
use crate::pipeline::TraceWriter;
use crate::source::EventSource;

/// Pause between drains while events come.
const BUSY: Duration = Duration::from_millis(1);
/// Longest pause between drains, when nothing comes.
const IDLE: Duration = Duration::from_millis(10);
/// Time between looks at signals, the command and the clock.
const CONTROL: Duration = Duration::from_millis(5);
/// How long a command may take to end when it was told to.
const GRACE: Duration = Duration::from_secs(5);
/// Longest time to wait until everything is detached.
const DETACHING: Duration = Duration::from_secs(1);
/// Most drains after everything is detached; each empties the rings as they were when it began.
const LAST_DRAINS: usize = 100;

/// A recording that runs.
pub struct Session<'a, S: EventSource> {
    /// Where records come from.
    pub source: &'a mut S,
    /// Where they go.
    pub writer: &'a mut TraceWriter,
    /// What makes snapshots by itself.
    pub triggers: &'a mut Triggers,
    /// Makes snapshots.
    pub freezer: &'a mut Freezer,
    /// What ends it.
    pub signals: &'a Signals,
    /// The line on the terminal.
    pub progress: &'a mut Progress,
    /// What shows events as they happen.
    pub printing: &'a Printing,
    /// Tells when no followed process is left, if the recording ends then.
    pub watch: Option<&'a mut Watch>,
    /// When to end by itself.
    pub duration: Option<Duration>,
    /// Records so far.
    pub records: u64,
}

/// Why and how a session ended.
#[derive(Debug, Default)]
pub struct Ended {
    /// Exit code of the command, if there was one and it has ended.
    pub command_exit_code: Option<i32>,
    /// The command, if it still runs.
    pub still_running: Option<u32>,
    /// No followed process was left.
    pub has_nobody: bool,
    /// Not everything could be handed over to be written: the disk does not answer.
    pub is_stuck: bool,
    /// What went wrong while recording; what was recorded until then is in the trace.
    pub failure: Option<anyhow::Error>,
}

impl<S: EventSource> Session<'_, S> {
    /// Drain until the snapshot is there, without handing over anything newer than it. `None` if a signal ended it.
    pub fn until_snapshot(
        &mut self,
        thread: JoinHandle<Snapshot>,
        start_ns: u64,
    ) -> Result<Option<Snapshot>> {
        while !thread.is_finished() {
            if self.writer.has_room() {
                self.make_room();
                self.drain(Some(start_ns))?;
            }
            if self.signals.next().is_some() {
                return Ok(None);
            }
            sleep(BUSY);
        }
        seed::finish(thread).map(Some)
    }

    /// Let the command go and record until something ends it. Fails only if the command cannot be executed.
    pub fn run(&mut self, command: Option<Held>) -> Result<Ended> {
        let mut child = command.map(Held::release).transpose()?;
        let mut ended = Ended::default();
        match self.until_end(&mut child) {
            Ok(has_nobody) => ended.has_nobody = has_nobody,
            Err(error) => {
                // The command is not left alone with a recorder that does not record.
                if let Some(child) = &mut child {
                    self.end_command(child);
                }
                ended.failure = Some(error);
            }
        }
        if let Some(child) = &mut child {
            ended.command_exit_code = child.poll();
            ended.still_running = ended.command_exit_code.is_none().then(|| child.pid());
        }
        Ok(ended)
    }

    /// Tell the command to end, and give it its time, unless another signal says not to wait.
    fn end_command(&mut self, child: &mut Child) {
        child.signal(Signal::SIGTERM);
        let start = Instant::now();
        while child.poll().is_none() && start.elapsed() < GRACE && self.signals.next().is_none() {
            sleep(CONTROL);
        }
    }

    /// True if it ended because no followed process is left.
    fn until_end(&mut self, child: &mut Option<Child>) -> Result<bool> {
        let end = self.duration.map(|duration| Instant::now() + duration);
        let mut give_up: Option<Instant> = None;
        let mut pause = BUSY;
        let mut looked = Instant::now();
        loop {
            let before = self.records;
            // While the disk or the reader of what is printed takes nothing, what happens stays in the rings.
            if self.writer.has_room() {
                self.make_room();
                self.drain(None)?;
            }
            pause = if self.records > before { BUSY } else { (pause * 2).min(IDLE) };
            if looked.elapsed() >= CONTROL {
                looked = Instant::now();
                self.freezer.look();
                if child.as_mut().is_some_and(|child| child.poll().is_some()) {
                    return Ok(false);
                }
                if let Some(watch) = &mut self.watch
                    && watch.is_over()?
                {
                    return Ok(true);
                }
                let now = Instant::now();
                let stop = self.asked_to_stop(end.is_some_and(|end| now >= end), give_up.is_some());
                match (stop, &child) {
                    (Some(signal), Some(child)) if give_up.is_none() => {
                        if let Some(signal) = signal {
                            child.signal(signal);
                        }
                        give_up = Some(now + GRACE);
                    }
                    (Some(_), _) => return Ok(false),
                    (None, _) if give_up.is_some_and(|at| now >= at) => return Ok(false),
                    (None, _) => {}
                }
            }
            self.progress.update(self.records, self.writer);
            sleep(pause);
        }
    }

    /// Whether it is time to stop, and the signal that the command is to get. While it is stopping already, only
    /// another signal counts.
    fn asked_to_stop(&mut self, is_over: bool, is_stopping: bool) -> Option<Option<Signal>> {
        match self.signals.next() {
            // The terminal has sent it to the command as well.
            Some(Arrived { signal: Signal::SIGINT, from_terminal: true }) => return Some(None),
            Some(Arrived { signal, .. }) => return Some(Some(signal)),
            None => {}
        }
        let is_closed = self.printing.is_closed();
        (!is_stopping && (is_over || is_closed)).then_some(Some(Signal::SIGTERM))
    }

    /// Take what is in the rings. With `not_after_ns`, rows are kept back that are newer.
    fn drain(&mut self, not_after_ns: Option<u64>) -> Result<u64> {
        let Self { source, writer, triggers, freezer, records, .. } = self;
        let mut failure = None;
        let before = *records;
        let watermark_ns = source.drain(&mut |probe, cpu, record| {
            if triggers.take(probe, cpu, record) {
                return;
            }
            *records += 1;
            if let Err(error) = writer.feed(probe, cpu, record) {
                failure.get_or_insert(error);
            }
        })?;
        if let Some(error) = failure {
            return Err(error);
        }
        let watermark_ns = not_after_ns.map_or(watermark_ns, |most| most.min(watermark_ns));
        let mut counters = || source.counters().map(|counters| triggers.without(counters));
        writer.tick(watermark_ns, &mut counters)?;
        freezer.work(writer, &mut counters)?;
        freezer.hit(triggers);
        triggers.warn();
        Ok(*records - before)
    }

    /// Let the rings fill whose records the writer has no room for.
    fn make_room(&mut self) {
        self.source.pause(&self.writer.crowded(), self.writer.watermark_ns());
    }

    /// Drain until `detaching` has finished or taken long, and then until the rings are empty. Nothing comes any more
    /// when the gate is closed; the kernel may need much longer to take hundreds of probes apart, one after another.
    /// False if `patience` was over before everything could be handed over.
    pub fn drain_rest(&mut self, detaching: &JoinHandle<()>, patience: &Patience) -> Result<bool> {
        let start = Instant::now();
        // No more comes than is in the rings.
        self.source.pause(&[], 0);
        while !detaching.is_finished() && start.elapsed() < DETACHING {
            if !self.wait_for_room(patience) {
                return Ok(false);
            }
            self.drain(None)?;
            sleep(BUSY);
        }
        for _ in 0..LAST_DRAINS {
            if !self.wait_for_room(patience) {
                return Ok(false);
            }
            if self.drain(None)? == 0 && !self.freezer.is_waiting() {
                break;
            }
            if self.freezer.is_waiting() {
                sleep(BUSY);
            }
        }
        Ok(self.wait_for_room(patience))
    }

    /// False if there is none and `patience` is over.
    fn wait_for_room(&self, patience: &Patience) -> bool {
        while !self.writer.has_room() {
            if patience.is_over() {
                return false;
            }
            self.printing.end(patience.is_hurried());
            sleep(BUSY);
        }
        true
    }
}
