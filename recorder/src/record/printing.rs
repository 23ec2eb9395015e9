//! Prints events as they come, by a thread of its own (`print`).
//!
//! The reader may stop reading without going away: a pager at its first page, a terminal after Ctrl-S, a process that
//! was stopped. While recording everything waits for it, and what does not fit into the rings is counted. Once the
//! recording ends, it gets a moment, and the rest is written to the trace without being printed, and counted.

use std::collections::{HashSet, VecDeque};
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::sink::Sink;
use crate::cli::args::PrintFormat;
use crate::pipeline::{BatchHook, Priority};
use crate::print::Printer;

/// Text that may wait to be printed.
const LIMIT_BYTES: usize = 1 << 20;
/// What is written at once: what a pipe takes as a whole or not at all.
const CHUNK_BYTES: usize = 4096;
/// In the end: how long the reader may take for the next chunk, and for all of them.
const NEXT: Duration = Duration::from_secs(1);
const ALL: Duration = Duration::from_secs(10);
/// Time between two looks whether that is over.
const EVERY: Duration = Duration::from_millis(50);

/// What prints, for all threads that have to do with it.
#[derive(Clone, Default)]
pub struct Printing(Arc<Shared>);

#[derive(Default)]
struct Shared {
    sink: Sink,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Text that waits, and the bytes of it together with what is being written.
    texts: VecDeque<Vec<u8>>,
    bytes: usize,
    has_thread: bool,
    /// Rows that came, and rows that were written.
    rows: u64,
    printed: u64,
    /// When the last chunk was written.
    written: Option<Instant>,
    /// Since when the recording ends.
    ending: Option<Instant>,
    has_given_up: bool,
    /// Why the sink takes nothing any more.
    error: Option<io::Error>,
}

impl State {
    /// Whether to print no more; from then on that stays so.
    fn is_over(&mut self) -> bool {
        let is_stuck = self.ending.is_some_and(|ending| {
            let last = self.written.map_or(ending, |written| written.max(ending));
            last.elapsed() >= NEXT || ending.elapsed() >= ALL
        });
        self.has_given_up |= is_stuck && self.bytes > 0;
        self.has_given_up || self.error.is_some()
    }
}

impl Printing {
    /// Prints to `sink`.
    pub fn new(sink: Sink) -> Self {
        Self(Arc::new(Shared { sink, ..Shared::default() }))
    }

    /// Where it prints.
    pub fn sink(&self) -> &Sink {
        &self.0.sink
    }

    /// Prints what it sees of the events `asked`.
    pub fn hook(&self, asked: HashSet<String>, format: PrintFormat, priority: Priority) -> BatchHook {
        let printing = self.clone();
        Box::new(move |event, batch| {
            if asked.contains(event) {
                let mut text = Vec::new();
                let rows = batch.num_rows() as u64;
                // Writing to memory cannot fail.
                let _ = Printer::new(&mut text, format).print(event, batch);
                printing.put(text, rows, &priority);
            }
        })
    }

    /// Has the sink been closed, or failed?
    pub fn is_closed(&self) -> bool {
        self.lock().error.is_some()
    }

    /// The recording ends: from now on the reader is not waited for much longer; with `at_once` not at all.
    pub fn end(&self, at_once: bool) {
        let mut state = self.lock();
        state.ending.get_or_insert_with(Instant::now);
        state.has_given_up |= at_once && state.bytes > 0;
        self.0.changed.notify_all();
    }

    /// Everything has come: wait until it is printed, or given up. Gives the rows that were not printed, and why
    /// the sink failed, if it did.
    pub fn finish(&self) -> (u64, Option<io::Error>) {
        self.end(false);
        let mut state = self.lock();
        while state.bytes > 0 && !state.is_over() {
            state = self.wait(state);
        }
        (state.rows - state.printed, state.error.take())
    }

    /// Hand `rows` over to the thread, after waiting for room.
    fn put(&self, text: Vec<u8>, rows: u64, priority: &Priority) {
        let mut state = self.lock();
        state.rows += rows;
        while state.bytes > 0 && state.bytes + text.len() > LIMIT_BYTES && !state.is_over() {
            state = self.wait(state);
        }
        if state.is_over() {
            return;
        }
        state.bytes += text.len();
        state.texts.push_back(text);
        // Started by the encoder, it has no more rights than that.
        if !std::mem::replace(&mut state.has_thread, true) {
            let (printing, priority) = (self.clone(), priority.clone());
            let print = move || {
                let _registered = priority.register();
                printing.print();
            };
            let started = thread::Builder::new().name("print".to_owned()).spawn(print);
            state.error = started.err();
        }
        self.0.changed.notify_all();
    }

    fn print(&self) {
        while let Some(text) = self.next() {
            let mut rest = &text[..];
            while !rest.is_empty() {
                let (chunk, later) = rest.split_at(chunk_bytes(rest));
                rest = later;
                let written = self.0.sink.write(chunk);
                let mut state = self.lock();
                state.bytes -= chunk.len();
                state.written = Some(Instant::now());
                match written {
                    // A line is a row.
                    Ok(()) => state.printed += chunk.iter().filter(|byte| **byte == b'\n').count() as u64,
                    Err(error) => state.error = Some(error),
                }
                self.0.changed.notify_all();
                if state.is_over() {
                    return;
                }
            }
        }
    }

    fn next(&self) -> Option<Vec<u8>> {
        let mut state = self.lock();
        loop {
            if state.is_over() {
                return None;
            }
            match state.texts.pop_front() {
                Some(text) => return Some(text),
                None => state = self.0.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.0.changed.wait_timeout(state, EVERY).unwrap_or_else(PoisonError::into_inner).0
    }
}

/// Whole lines, as many as fit, or a part of a long one.
fn chunk_bytes(text: &[u8]) -> usize {
    let most = text.len().min(CHUNK_BYTES);
    text[..most].iter().rposition(|byte| *byte == b'\n').map_or(most, |end| end + 1)
}
