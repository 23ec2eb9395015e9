//! Requests for snapshots (SIGUSR1, `recorder snapshot`, triggers) in, snapshots and what is to be told about them out.
//!
//! A snapshot holds everything that happened before it was asked for: it begins when a drain has begun later.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use schemas::trace::{Frozen, FrozenBy, TRACE_SUFFIX};

use super::ask::{Client, Listener, Usr1};
use super::trigger::{Hit, Triggers};
use crate::cli::flight::Flight;
use crate::cli::say;
use crate::pipeline::{SnapshotName, TraceWriter};
use crate::snapshot::clock;
use crate::source::ProbeCounters;

/// What a trigger's probe and the event's own probe see of one event may be this far apart.
const SAME_EVENT_NS: u64 = 1_000_000;
/// Longest wait for snapshots when the recording ends.
const PATIENCE: Duration = Duration::from_secs(60);

/// A snapshot to be made.
struct Request {
    /// What happened before this boot time (ns) is to be in it.
    at_ns: u64,
    to: Option<PathBuf>,
    why: Frozen,
    client: Option<Client>,
}

/// Makes snapshots of a recording.
pub struct Freezer {
    dir: PathBuf,
    usr1: Usr1,
    listener: Option<Listener>,
    gap: Duration,
    most: u32,
    /// By triggers, those that were asked for included.
    made: u32,
    last: Option<Instant>,
    suppressed: u64,
    is_full: bool,
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
            made: 0,
            last: None,
            suppressed: 0,
            is_full: false,
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
            self.request(FrozenBy::Signal, Some("SIGUSR1".to_owned()), None, None);
        }
        for (client, to) in self.listener.as_mut().map(Listener::requests).unwrap_or_default() {
            self.request(FrozenBy::Command, None, to, Some(client));
        }
    }

    fn request(&mut self, by: FrozenBy, text: Option<String>, to: Option<PathBuf>, client: Option<Client>) {
        let why = Frozen { by, text, event: None, from: self.dir.display().to_string() };
        self.pending.push_back(Request { at_ns: clock::boottime_ns().cast_unsigned(), to, why, client });
    }

    /// Triggers were set off.
    pub fn hit(&mut self, triggers: &mut Triggers) {
        for hit in triggers.take_hits() {
            if self.last.is_some_and(|last| last.elapsed() < self.gap) {
                self.suppressed += 1;
            } else if self.made >= self.most {
                self.suppressed += 1;
                if !std::mem::replace(&mut self.is_full, true) {
                    say(format_args!(
                        "warning: trigger '{}' makes no more snapshots: there are {} of this recording \
                         (--max-snapshots)",
                        hit.text, self.made
                    ));
                }
            } else {
                self.made += 1;
                self.last = Some(Instant::now());
                let Hit { ts_ns, text, event } = hit;
                let from = self.dir.display().to_string();
                let why = Frozen { by: FrozenBy::Trigger, text: Some(text), event, from };
                self.pending.push_back(Request { at_ns: ts_ns + SAME_EVENT_NS, to: None, why, client: None });
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
                Ok(result) => tell(request, result),
                Err(TryRecvError::Disconnected) => {
                    tell(request, Err(anyhow!("nothing can be written any more")))
                }
            }
        }
        let is_due = |request: &mut Request| request.at_ns < writer.watermark_ns();
        if self.running.is_none()
            && let Some(request) = self.pending.pop_front_if(is_due)
        {
            let is_exact = request.to.is_some();
            let path = request.to.clone().unwrap_or_else(|| default_name(&self.dir));
            let answer = writer.freeze(SnapshotName { path, is_exact }, request.why.clone(), counters)?;
            self.running = Some((request, answer));
        }
        Ok(())
    }

    /// Is a snapshot asked for that has not begun?
    pub fn is_waiting(&self) -> bool {
        !self.pending.is_empty()
    }

    /// The recording ends: wait for what runs, refuse the rest.
    pub fn finish(&mut self) {
        if let Some((request, answer)) = self.running.take() {
            let result = answer.recv_timeout(PATIENCE).unwrap_or_else(|error| {
                Err(match error {
                    RecvTimeoutError::Timeout => anyhow!("it takes too long"),
                    RecvTimeoutError::Disconnected => anyhow!("nothing can be written any more"),
                })
            });
            tell(request, result);
        }
        for request in self.pending.drain(..) {
            tell(request, Err(anyhow!("the recording has ended")));
        }
        self.listener = None;
        if self.suppressed > 0 {
            say(format_args!(
                "{} more times a trigger was set off that made no snapshot (--trigger-gap, --max-snapshots)",
                self.suppressed
            ));
        }
    }
}

fn tell(request: Request, result: Result<PathBuf>) {
    let Request { why, client, .. } = request;
    let why = why.text.unwrap_or_else(|| "recorder snapshot".to_owned());
    match &result {
        Ok(path) => say(format_args!("snapshot {} ({why})", path.display())),
        Err(error) => say(format_args!("warning: no snapshot ({why}): {error:#}")),
    }
    if let Some(client) = client {
        client.reply(&result);
    }
}

/// `run.trace` -> `run-snapshot-20261120-135505.trace`, beside it.
fn default_name(dir: &Path) -> PathBuf {
    let name = dir.file_name().unwrap_or_default().to_string_lossy();
    let stem = name.strip_suffix(TRACE_SUFFIX).unwrap_or(&name);
    let stamp = clock::file_stamp(clock::boottime_ns() + clock::utc_minus_boottime_ns());
    dir.with_file_name(format!("{stem}-snapshot-{stamp}{TRACE_SUFFIX}"))
}
