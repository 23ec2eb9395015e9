//! Whole files under temporary names in, the same durable and under their own names out (thread `publish`).
//!
//! Apart from the encoder, because a busy disk takes its time and encoding must go on. What has come while the disk
//! was busy is published together: contents are made durable, files get their names, those of side tables first, and
//! then the names are made durable, in the same order. Hence what rows refer to is there before them, after a power-off
//! too, as file systems do not reorder renames.

use std::collections::{BTreeSet, VecDeque};
use std::path::Path;
use std::sync::{Mutex, PoisonError, mpsc};
use std::thread::{JoinHandle, ScopedJoinHandle};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use arrow_array::RecordBatch;
use nix::sys::resource::{Resource, getrlimit};
use schemas::trace::{Meta, whole_segment};

use super::clock::boottime_ns;
use super::files::{TempFile, sync_dir};
use super::keep::{Freeze, Keeper, Retired};
use super::priority::Priority;
use super::profile::{Stage, time};
use super::progress::{RowsBySource, SharedProgress};
use super::queue::{Receiver, Sender, bounded};
use super::segment::{Segment, segment_name, writer_properties};

/// Files that may wait for their names, at least and at most; when they are more, the encoder waits.
const MOST_WAITING: (u64, u64) = (64, 256);
/// Of the descriptors that this process may have, one of so many is for them; each file has two.
const DESCRIPTORS_PER_WAITING: u64 = 8;
/// Most threads that wait for the disk at a time.
const MOST_SYNCING: usize = 64;

/// A file to be published.
pub struct Publication {
    /// The file, whole.
    pub temp: TempFile,
    /// It is the only segment of its table, in place of those before.
    pub is_only: bool,
    /// It has rows again that were forgotten and may still be there: these are to be removed first.
    pub is_again: bool,
    /// The event whose rows it has, `None` for a side table.
    pub event: Option<usize>,
    /// Rows of a side table, for another file in case the disk does not take this one.
    pub side_rows: Option<RecordBatch>,
    /// Rows of an event, by probe and CPU.
    pub rows: RowsBySource,
    /// Boot time at which it was to be published, if that is to be measured.
    pub due_ns: Option<u64>,
}

/// Something to do between two publications.
pub enum Control {
    /// It is this time (UTC ns): let go what is old, merge what is small.
    Keep {
        /// The time.
        now_ns: i64,
        /// No row that is not published is older (UTC ns), if there are any.
        unpublished_ns: Option<i64>,
    },
    /// No row names these ids any more.
    Retire(Retired),
    /// What `trace.json` is to say.
    Describe(Box<Meta>),
    /// Make a snapshot.
    Freeze(Box<Freeze>),
}

enum Job {
    Publish(Box<Publication>),
    Control(Control),
    Answer(mpsc::Sender<()>),
}

/// The thread, as the encoder sees it.
pub struct Publisher {
    queue: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Publisher {
    /// Start it. What it does and what fails is told to `progress`; a file that has waited for `urgent_after` is urgent.
    pub fn start(
        mut keeper: Keeper,
        progress: SharedProgress,
        priority: Priority,
        urgent_after: Duration,
    ) -> Result<Self> {
        let most_waiting = most_waiting();
        let (queue, receiver) = bounded(most_waiting);
        priority.watch(queue.backlog(), urgent_after);
        let thread = std::thread::Builder::new()
            .name("publish".to_owned())
            .spawn(move || {
                let _registered = priority.register();
                run(&receiver, most_waiting, &mut keeper, &progress, &priority);
            })
            .context("cannot start the publisher's thread")?;
        Ok(Self { queue: Some(queue), thread: Some(thread) })
    }

    /// Publish that, after everything before. Fails only if the thread is gone.
    pub fn publish(&self, publication: Publication) -> Result<()> {
        let job = Job::Publish(Box::new(publication));
        let is_taken = self.queue.as_ref().is_some_and(|queue| queue.send(1, job));
        ensure!(is_taken, "the publisher's thread has died");
        Ok(())
    }

    /// Do that after everything before. Fails only if the thread is gone.
    pub fn control(&self, control: Control) -> Result<()> {
        let is_taken = self.queue.as_ref().is_some_and(|queue| queue.send(0, Job::Control(control)));
        ensure!(is_taken, "the publisher's thread has died");
        Ok(())
    }

    /// Drop `reply` once everything before is done.
    pub fn answer(&self, reply: mpsc::Sender<()>) {
        if let Some(queue) = &self.queue {
            queue.send(0, Job::Answer(reply));
        }
    }

    /// Wait until everything before is done, or has failed.
    pub fn wait(&self) {
        let (reply, answer) = mpsc::channel();
        self.answer(reply);
        // The sender is dropped, and this ends, also when the thread is gone.
        let _ = answer.recv();
    }

    /// Do what is left and end. Fails if the thread died.
    pub fn finish(mut self) -> Result<()> {
        self.join()
    }

    fn join(&mut self) -> Result<()> {
        drop(self.queue.take());
        let ended = self.thread.take().map(JoinHandle::join);
        ended.transpose().map(drop).map_err(|_| anyhow!("the publisher's thread has died"))
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        // Only a thread that died would tell something, and whoever cares calls `finish`.
        let _ = self.join();
    }
}

/// As many as there are descriptors for.
fn most_waiting() -> usize {
    let (files, _) = getrlimit(Resource::RLIMIT_NOFILE).unwrap_or_default();
    let most = (files / DESCRIPTORS_PER_WAITING).clamp(MOST_WAITING.0, MOST_WAITING.1);
    usize::try_from(most).unwrap_or(usize::MAX)
}

fn run(
    queue: &Receiver<Job>,
    most_waiting: usize,
    keeper: &mut Keeper,
    progress: &SharedProgress,
    priority: &Priority,
) {
    // Side tables that could not be published: they say what happened and are tried again.
    let mut held = Vec::new();
    while let Some(first) = queue.receive() {
        let waiting = std::iter::from_fn(|| queue.try_receive()).take(most_waiting);
        let (mut batch, mut replies, mut places) = (std::mem::take(&mut held), Vec::new(), 0);
        let mut control = None;
        for (place, job) in std::iter::once(first).chain(waiting) {
            places += place;
            match job {
                Job::Publish(publication) => batch.push(*publication),
                Job::Answer(reply) => replies.push(reply),
                Job::Control(job) => {
                    // It is about what came before it.
                    control = Some(job);
                    break;
                }
            }
        }
        held = publish(batch, keeper, progress, priority);
        if let Some(job) = control.filter(|_| !progress.lock().cannot_publish) {
            let result = obey(job, keeper);
            // Rows may be half removed, and not what table counts tells of.
            progress.lock().is_unfinished |= result.is_err();
            told(progress, result);
        }
        queue.done(places);
    }
    told(progress, keeper.finish());
}

fn obey(control: Control, keeper: &mut Keeper) -> Result<()> {
    match control {
        Control::Keep { now_ns, unpublished_ns } => keeper.keep(now_ns, unpublished_ns),
        Control::Describe(meta) => keeper.describe(*meta),
        Control::Retire(retired) => {
            keeper.retire(retired);
            Ok(())
        }
        Control::Freeze(freeze) => {
            keeper.freeze(*freeze);
            Ok(())
        }
    }
}

/// A failure ends publishing.
fn told(progress: &SharedProgress, result: Result<()>) {
    if let Err(error) = result {
        let mut progress = progress.lock();
        progress.cannot_publish = true;
        progress.fail(error);
    }
}

/// Publish all of `batch`. What could not be is counted if it is of an event, otherwise given back.
fn publish(
    mut batch: Vec<Publication>,
    keeper: &mut Keeper,
    progress: &SharedProgress,
    priority: &Priority,
) -> Vec<Publication> {
    // Side tables first, otherwise in the order in which they came.
    batch.sort_by_key(|publication| publication.event.is_some());
    let mut batch = VecDeque::from(batch);
    let is_over = progress.lock().cannot_publish;
    let result = if is_over { Ok(()) } else { publish_all(&mut batch, keeper, progress, priority) };
    let (events, side): (Vec<_>, Vec<_>) = batch.into_iter().partition(|it| it.event.is_some());
    for publication in events {
        let mut progress = progress.lock();
        progress.event_segments += 1;
        progress.lose(publication.rows);
    }
    told(progress, result);
    side
}

/// Take from `batch` what is published. Fails at the first that cannot be.
fn publish_all(
    batch: &mut VecDeque<Publication>,
    keeper: &mut Keeper,
    progress: &SharedProgress,
    priority: &Priority,
) -> Result<()> {
    batch.iter_mut().try_for_each(Publication::mend)?;
    time(Stage::Write, || at_once(priority, batch.iter(), |publication| publication.temp.sync()))?;
    let (mut side_dirs, mut event_dirs) = (BTreeSet::new(), BTreeSet::new());
    while let Some(publication) = batch.front_mut() {
        if publication.is_again {
            keeper.forget()?;
        }
        let path = match publication.is_only {
            true => publication.temp.replace(&segment_name(0))?,
            false => publication.temp.reveal(&keeper.name(publication.temp.dir())?)?,
        };
        let dirs = if publication.event.is_some() { &mut event_dirs } else { &mut side_dirs };
        dirs.extend(path.parent().map(Path::to_owned));
        let Some(Publication { event, rows, due_ns, is_only, .. }) = batch.pop_front() else { break };
        let (of_event, bytes) = (rows.values().sum::<u64>(), keeper.published(&path, &rows, is_only)?);
        let mut progress = progress.lock();
        progress.bytes += bytes;
        progress.segments += 1;
        progress.steps += 1;
        if let Some(event) = event {
            progress.event_segments += 1;
            progress.rows[event] += of_event;
        }
        if let Some(due_ns) = due_ns {
            progress.lag.measured(due_ns, boottime_ns());
        }
    }
    at_once(priority, &side_dirs, |dir| sync_dir(dir))?;
    at_once(priority, &event_dirs, |dir| sync_dir(dir))
}

impl Publication {
    /// If the disk did not take the file, write another one in its place.
    fn mend(&mut self) -> Result<()> {
        if let Some(rows) = self.side_rows.as_ref().filter(|_| self.temp.is_torn()) {
            let name = self.temp.path().file_name().unwrap_or_default().to_string_lossy().into_owned();
            let (_, number) =
                whole_segment(&name).with_context(|| format!("'{name}' is no whole segment"))?;
            let properties = writer_properties(&rows.schema(), 1, false)?;
            let again = format!("again-{number}");
            let mut segment = Segment::create(self.temp.dir(), &again, &rows.schema(), properties)?;
            segment.write(rows)?;
            // The old file goes before the new one takes its name.
            self.temp = segment.finish()?.temp;
            self.temp.is_whole(number)?;
        }
        Ok(())
    }
}

/// `sync` all of `items` at the same time: file systems commit what waits together in one go. Fails with one of the
/// errors.
fn at_once<T: Send>(
    priority: &Priority,
    items: impl IntoIterator<Item = T>,
    sync: impl Fn(T) -> Result<()> + Sync,
) -> Result<()> {
    let sync = &sync;
    let items: VecDeque<T> = items.into_iter().collect();
    let most = items.len().min(MOST_SYNCING);
    let items = &Mutex::new(items);
    let next = move || items.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    // One that fails is no reason to leave out the others.
    let work = move || std::iter::from_fn(next).map(sync).fold(Ok(()), Result::and);
    std::thread::scope(|scope| {
        // This thread is one of them; where no more are to be had, the only one.
        let other = move || {
            let _registered = priority.register();
            work()
        };
        let spawn = |_| std::thread::Builder::new().spawn_scoped(scope, other).ok();
        let threads: Vec<_> = (1..most).filter_map(spawn).collect();
        let died = || Err(anyhow!("a thread that syncs has died"));
        let join = |thread: ScopedJoinHandle<'_, Result<()>>| thread.join().unwrap_or_else(|_| died());
        threads.into_iter().map(join).fold(work(), Result::and)
    })
}

#[cfg(test)]
#[path = "publisher_tests.rs"]
mod tests;
