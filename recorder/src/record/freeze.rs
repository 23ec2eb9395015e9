//! Requests for snapshots (SIGUSR1, `recorder snapshot`, triggers) in, snapshots and what is to be told about them out.
//!
//! A snapshot holds everything that happened before it was asked for: it begins when a drain has begun later.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use schemas::trace::{Frozen, FrozenBy, TRACE_SUFFIX};

use super::ask::{Client, Listener, Usr1};
use super::budget::{Answer, Budget};
use super::trigger::{Hit, Triggers};
use crate::cli::flight::Flight;
use crate::cli::say;
use crate::pipeline::{SnapshotName, TraceWriter};
use crate::snapshot::clock;
use crate::source::ProbeCounters;

/// What a trigger's probe and the event's own probe see of one event may be this far apart.
const SAME_EVENT_NS: u64 = 1_000_000;
/// Longest wait for snapshots when the recording ends: a part of the time that closing the trace may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Time between two looks whether anybody still wants to wait.
const EVERY: Duration = Duration::from_millis(20);
/// Why there is no snapshot when whoever makes it has gone.
const NO_ANSWER: &str = "nothing can be written any more";
/// Snapshots that may be asked for and not begun.
const MOST_PENDING: usize = 32;

/// A snapshot to be made.
struct Request {
    /// What happened before this boot time (ns) is to be in it.
    at_ns: u64,
    to: Option<PathBuf>,
    why: Frozen,
    /// Who waits for it, and whose budget it is.
    client: Option<Client>,
    trigger: Option<usize>,
}

/// Makes snapshots of a recording.
pub struct Freezer {
    dir: PathBuf,
    usr1: Usr1,
    listener: Option<Listener>,
    gap: Duration,
    most: u32,
    /// By trigger.
    budgets: Vec<Budget>,
    suppressed: u64,
    pending: VecDeque<Request>,
    running: Option<(Request, Receiver<Result<PathBuf>>)>,
}

impl Freezer {
    /// For the recording in `dir`, which is listened in once [`listen`](Self::listen) is called.
    pub fn new(dir: &Path, usr1: Usr1, flight: &Flight) -> Self {
        Self {
            dir: dir.to_owned(),
            usr1,
            listener: None,
            gap: flight.trigger_gap,
            most: flight.max_snapshots,
            budgets: Vec::new(),
            suppressed: 0,
            pending: VecDeque::new(),
            running: None,
        }
    }

    /// Let `recorder snapshot` ask. A file system without sockets is told about.
    pub fn listen(&mut self) {
        match Listener::bind(&self.dir) {
            Ok(listener) => self.listener = Some(listener),
            Err(error) => {
                say(format_args!("warning: 'recorder snapshot' will not work: {error:#}; SIGUSR1 does"))
            }
        }
    }

    /// Look whether anybody asks.
    pub fn look(&mut self) {
        if self.usr1.arrived() {
            let mut pending = self.pending.iter_mut();
            match pending.find(|request| request.why.by == FrozenBy::Signal) {
                // One that has not begun is for both.
                Some(request) => request.at_ns = now_ns(),
                None => self.ask(FrozenBy::Signal, Some("SIGUSR1".to_owned()), None, None),
            }
        }
        for (client, to) in self.listener.as_mut().map(Listener::requests).unwrap_or_default() {
            self.ask(FrozenBy::Command, None, to, Some(client));
        }
    }

    fn ask(&mut self, by: FrozenBy, text: Option<String>, to: Option<PathBuf>, client: Option<Client>) {
        let why = Frozen { by, text, event: None, from: self.dir.display().to_string() };
        self.push(Request { at_ns: now_ns(), to, why, client, trigger: None });
    }

    fn push(&mut self, request: Request) {
        if self.pending.len() < MOST_PENDING {
            self.pending.push_back(request);
        } else {
            self.tell(
                request,
                Err(anyhow!("{MOST_PENDING} others are waiting: ask again when they are made")),
            );
        }
    }

    /// Triggers were set off.
    pub fn hit(&mut self, triggers: &mut Triggers) {
        for Hit { trigger, ts_ns, text, event } in triggers.take_hits() {
            if trigger >= self.budgets.len() {
                self.budgets.resize_with(trigger + 1, Budget::default);
            }
            let answer = self.budgets[trigger].ask(Instant::now(), self.gap, self.most);
            if answer != Answer::Granted {
                self.suppressed += 1;
            }
            match answer {
                Answer::Granted => {
                    let from = self.dir.display().to_string();
                    let why = Frozen { by: FrozenBy::Trigger, text: Some(text), event, from };
                    let at_ns = ts_ns + SAME_EVENT_NS;
                    self.push(Request { at_ns, to: None, why, client: None, trigger: Some(trigger) });
                }
                Answer::UsedUp { is_news: true } => say(format_args!(
                    "warning: trigger '{text}' makes no more snapshots for now: there are {} of the last hour \
                     (--max-snapshots)",
                    self.most
                )),
                Answer::UsedUp { is_news: false } | Answer::TooSoon => {}
            }
        }
        self.suppressed += triggers.take_more();
    }

    /// Begin the next snapshot if it is time, and tell what became of the last one.
    pub fn work(
        &mut self,
        writer: &mut TraceWriter,
        counters: &mut dyn FnMut() -> Result<Vec<ProbeCounters>>,
    ) -> Result<()> {
        if let Some((request, answer)) = self.running.take() {
            match answer.try_recv() {
                Err(TryRecvError::Empty) => self.running = Some((request, answer)),
                Ok(result) => self.tell(request, result),
                Err(TryRecvError::Disconnected) => self.tell(request, Err(anyhow!(NO_ANSWER))),
            }
        }
        let is_due = |request: &mut Request| request.at_ns < writer.watermark_ns();
        if self.running.is_none()
            && let Some(request) = self.pending.pop_front_if(is_due)
        {
            self.begin(request, writer, counters)?;
        }
        Ok(())
    }

    fn begin(
        &mut self,
        request: Request,
        writer: &mut TraceWriter,
        counters: &mut dyn FnMut() -> Result<Vec<ProbeCounters>>,
    ) -> Result<()> {
        let is_exact = request.to.is_some();
        let path = request.to.clone().unwrap_or_else(|| default_name(&self.dir));
        let answer = writer.freeze(SnapshotName { path, is_exact }, request.why.clone(), counters)?;
        self.running = Some((request, answer));
        Ok(())
    }

    /// Is a snapshot asked for that has not begun?
    pub fn is_waiting(&self) -> bool {
        !self.pending.is_empty()
    }

    /// The recording has ended, and all of it is in the hands of `writer`: make what was asked for, as far as there is
    /// time, which is over at once when `is_hurried` is set. Fails if `counters` do.
    pub fn finish(
        &mut self,
        writer: &mut TraceWriter,
        counters: &mut dyn FnMut() -> Result<Vec<ProbeCounters>>,
        is_hurried: &AtomicBool,
    ) -> Result<()> {
        let end = Instant::now() + PATIENCE;
        let is_over = || Instant::now() >= end || is_hurried.load(Ordering::Relaxed);
        // Later requests find nobody.
        self.listener = None;
        writer.wait_for_room();
        let mut result = Ok(());
        loop {
            if let Some((request, answer)) = self.running.take() {
                let answer = loop {
                    match answer.recv_timeout(EVERY) {
                        Ok(answer) => break answer,
                        Err(RecvTimeoutError::Disconnected) => break Err(anyhow!(NO_ANSWER)),
                        Err(RecvTimeoutError::Timeout) if is_over() => {
                            writer.give_up_snapshots();
                            break Err(anyhow!("the recording has ended, and it takes too long"));
                        }
                        Err(RecvTimeoutError::Timeout) => {}
                    }
                };
                self.tell(request, answer);
            }
            let Some(request) = self.pending.pop_front() else { break };
            if result.is_ok() && !is_over() {
                result = self.begin(request, writer, counters);
            } else {
                self.tell(request, Err(anyhow!("the recording has ended")));
            }
        }
        if self.suppressed > 0 {
            say(format_args!(
                "triggers set off that made no snapshot (--trigger-gap, --max-snapshots): {}",
                self.suppressed
            ));
        }
        result
    }

    fn tell(&mut self, request: Request, result: Result<PathBuf>) {
        let Request { why, client, trigger, .. } = request;
        let why = why.text.unwrap_or_else(|| "recorder snapshot".to_owned());
        match &result {
            Ok(path) => say(format_args!("snapshot {} ({why})", path.display())),
            Err(error) => say(format_args!("warning: no snapshot ({why}): {error:#}")),
        }
        if let Some(client) = client {
            client.reply(&result);
        }
        if let Some(budget) = trigger.and_then(|trigger| self.budgets.get_mut(trigger)) {
            budget.done(Instant::now(), result.is_ok());
        }
    }
}

fn now_ns() -> u64 {
    clock::boottime_ns().cast_unsigned()
}

/// `run.trace` -> `run-snapshot-20261120-135505.trace`, beside it.
fn default_name(dir: &Path) -> PathBuf {
    let name = dir.file_name().unwrap_or_default().to_string_lossy();
    let stem = name.strip_suffix(TRACE_SUFFIX).unwrap_or(&name);
    let stamp = clock::file_stamp(clock::boottime_ns() + clock::utc_minus_boottime_ns());
    dir.with_file_name(format!("{stem}-snapshot-{stamp}{TRACE_SUFFIX}"))
}

#[cfg(test)]
mod tests {
    use nix::sys::signal::{Signal, raise};

    use super::*;

    fn freezer() -> Freezer {
        let flight = Flight {
            max_age: None,
            max_size: None,
            triggers: Vec::new(),
            trigger_gap: Duration::ZERO,
            max_snapshots: 10,
        };
        Freezer::new(Path::new("/t.trace"), Usr1::block().unwrap(), &flight)
    }

    #[test]
    fn signals_that_come_before_a_snapshot_begins_make_one() {
        let mut freezer = freezer();
        raise(Signal::SIGUSR1).unwrap();
        freezer.look();
        let first_ns = freezer.pending[0].at_ns;
        std::thread::sleep(Duration::from_millis(1));
        raise(Signal::SIGUSR1).unwrap();
        freezer.look();
        assert_eq!(freezer.pending.len(), 1);
        assert!(freezer.pending[0].at_ns > first_ns, "it holds what came before the last of them");
    }

    #[test]
    fn only_so_many_requests_wait() {
        let mut freezer = freezer();
        for _ in 0..2 * MOST_PENDING {
            freezer.ask(FrozenBy::Command, None, None, None);
        }
        assert_eq!(freezer.pending.len(), MOST_PENDING);
    }
}
