//! Makes commits durable (thread `publish`), and lets the oldest epochs go.
//!
//! Apart from the encoder, because a busy disk takes its time and rows must be seen meanwhile. What has come while the
//! disk was busy is made durable together.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::thread::{JoinHandle, ScopedJoinHandle};

use anyhow::{Context, Result, anyhow};
use nix::sys::resource::{Resource, getrlimit};

use super::catalog::{Change, Undurable};
use super::log::LogHandle;
use super::{State, Store};
use crate::pipeline::clock::boottime_ns;
use crate::pipeline::files::{TempFile, sync_dir};
use crate::pipeline::priority::Priority;
use crate::pipeline::profile::{Stage, time};

/// Files that may wait for the disk, at least and at most; when they are more, the encoder waits.
const MOST_WAITING: (u64, u64) = (64, 256);
/// Of the descriptors that this process may have, one of so many is for them; each file has two.
const DESCRIPTORS_PER_WAITING: u64 = 8;
/// Most threads that wait for the disk at a time.
const MOST_SYNCING: usize = 64;

/// As many as there are descriptors for.
pub fn most_waiting() -> usize {
    let (files, _) = getrlimit(Resource::RLIMIT_NOFILE).unwrap_or_default();
    let most = (files / DESCRIPTORS_PER_WAITING).clamp(MOST_WAITING.0, MOST_WAITING.1);
    usize::try_from(most).unwrap_or(usize::MAX)
}

/// Start the thread. It ends when the store is over and everything is durable or has failed.
pub fn start(store: Store) -> Result<JoinHandle<()>> {
    let run = move || {
        let _registered = store.0.priority.register();
        while store.publish() {}
    };
    std::thread::Builder::new()
        .name("publish".to_owned())
        .spawn(run)
        .context("cannot start the publisher's thread")
}

impl Store {
    /// Make durable what is not, and remove what is to go. False if there is nothing and there will be nothing.
    fn publish(&self) -> bool {
        let has_work =
            |state: &State| !state.is_stopped && (!state.catalog.is_settled() || self.has_expired(state));
        let mut state = self.wait_until(self.lock(), |state| has_work(state) || state.is_over);
        if !has_work(&state) {
            return false;
        }
        if let Err(error) = self.expire(&mut state) {
            self.failed(&mut state, error);
            return true;
        }
        let round: Vec<Undurable> = state.catalog.undurable.drain(..).collect();
        let log = state.catalog.log.handle();
        let last = round.last().map(|commit| commit.n).or(state.catalog.contents.last);
        state.syncing = Some(round.iter().map(|commit| commit.files.len()).sum());
        // What it was before the round, in case the round fails.
        let before = state.durable_serial;
        drop(state);
        let synced = log.and_then(|log| time(Stage::Write, || self.sync(&round, &log)));
        let mut state = self.lock();
        state.syncing = None;
        self.stepped();
        let result = match (synced, last) {
            (Ok(()), Some(last)) => self.synced(&mut state, round, last),
            (Ok(()), None) => Ok(()),
            (Err(error), _) => match state.catalog.take_back(round, before) {
                // The first says why.
                Ok(()) | Err(_) => Err(error),
            },
        };
        match result {
            Ok(()) => self.tell(&state),
            Err(error) => self.failed(&mut state, error),
        }
        true
    }

    fn sync(&self, round: &[Undurable], log: &LogHandle) -> Result<()> {
        let priority = &self.0.priority;
        let files: Vec<&TempFile> = round.iter().flat_map(|commit| &commit.files).collect();
        at_once(priority, files, TempFile::sync)?;
        let tables: BTreeSet<&str> =
            round.iter().flat_map(|commit| &commit.added).map(|name| name.table.as_str()).collect();
        at_once(priority, tables, |table| sync_dir(&self.0.dir.join(table)))?;
        log.sync()
    }

    fn synced(&self, state: &mut State, round: Vec<Undurable>, last: u64) -> Result<()> {
        let now_ns = boottime_ns();
        round.iter().filter_map(|commit| commit.due_ns).for_each(|due_ns| state.lag.measured(due_ns, now_ns));
        state.durable_serial = round.iter().filter_map(|commit| commit.serial).max().or(state.durable_serial);
        state.catalog.durable(last)?;
        let is_long = state.catalog.log.is_long(state.catalog.contents.segments.len());
        if is_long && state.catalog.undurable.is_empty() {
            state.catalog.shorten()?;
        }
        Ok(())
    }

    pub(super) fn has_expired(&self, state: &State) -> bool {
        let limits = self.0.limits;
        !limits.is_none()
            && limits.expired(&state.catalog.contents, state.now_ns, self.staying_bytes(state)).is_some()
    }

    /// Let the epochs go that are too old, or too much.
    fn expire(&self, state: &mut State) -> Result<()> {
        let limits = self.0.limits;
        if limits.is_none() {
            return Ok(());
        }
        let all_bytes = self.staying_bytes(state);
        let Some((remove, kept_from_ns)) = limits.expired(&state.catalog.contents, state.now_ns, all_bytes)
        else {
            return Ok(());
        };
        let mut status = state.catalog.contents.status.clone();
        status.kept_from_ns = status.kept_from_ns.max(Some(kept_from_ns));
        state.catalog.commit(Change { remove, status: Some(status), ..Change::default() })
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
