//! The log being written: lines are appended, and now and then the whole is replaced by one.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use schemas::trace::log::{Commit, Contents, LOG_FILE};

use crate::pipeline::clock::utc_now_ns;
use crate::pipeline::files::{TempFile, open_file, sync_dir};

/// Lines after which a log is worth replacing, beside one for each segment.
const LONG_LINES: u64 = 2000;

/// The file, open to append to.
pub struct LogFile {
    dir: PathBuf,
    file: File,
    /// Bytes of whole lines: what is behind them was not written to its end.
    bytes: u64,
    lines: u64,
    /// Number of the next commit.
    next: u64,
}

impl LogFile {
    /// Begin a log in `dir` with `first`. Fails if there is one.
    pub fn create(dir: &Path, first: Commit) -> Result<Self> {
        let temp = TempFile::create(dir, LOG_FILE)?;
        let (file, bytes) = write_first(&temp, &first)?;
        temp.publish(LOG_FILE)?;
        Ok(Self { dir: dir.to_owned(), file, bytes, lines: 1, next: first.n + 1 })
    }

    /// Go on with a log of `lines` whole lines, `bytes` long, after commit `last`. What is behind them is cut off.
    pub fn open(dir: &Path, bytes: u64, lines: u64, last: Option<u64>) -> Result<Self> {
        let file = open_file(dir, LOG_FILE)?;
        file.set_len(bytes).with_context(|| format!("cannot write '{}'", dir.join(LOG_FILE).display()))?;
        Ok(Self { dir: dir.to_owned(), file, bytes, lines, next: last.map_or(0, |last| last + 1) })
    }

    /// Append `commit`, whose number and time are set here: it has happened when this returns. The result is its number.
    pub fn append(&mut self, commit: &mut Commit) -> Result<u64> {
        (commit.n, commit.at_ns) = (self.next, utc_now_ns());
        let line = commit.line()?;
        if let Err(error) = self.file.write_all_at(line.as_bytes(), self.bytes) {
            // A part of a line is none, and the next one must not be behind it. If that fails too, readers stop there.
            let _ = self.file.set_len(self.bytes);
            return Err(error)
                .with_context(|| format!("cannot write '{}'", self.dir.join(LOG_FILE).display()));
        }
        self.bytes += line.len() as u64;
        self.lines += 1;
        self.next += 1;
        Ok(commit.n)
    }

    /// Make all lines durable.
    pub fn sync(&self) -> Result<()> {
        self.handle()?.sync()
    }

    /// To sync while others append.
    pub fn handle(&self) -> Result<LogHandle> {
        let file = self.file.try_clone().context("cannot use the log")?;
        Ok(LogHandle { file, path: self.dir.join(LOG_FILE) })
    }

    /// Bytes of it.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Is it much longer than what it says, for a trace of so many segments?
    pub fn is_long(&self, segments: usize) -> bool {
        self.lines > LONG_LINES + 2 * segments as u64
    }

    /// Let one durable commit take the place of all lines: the trace consists of `contents`, and the disk has them if
    /// `is_durable`.
    pub fn replace(&mut self, contents: &Contents, is_durable: bool) -> Result<u64> {
        let commit = Commit {
            n: self.next,
            at_ns: utc_now_ns(),
            add: contents.segments.values().cloned().collect(),
            until_ns: contents.until_ns,
            status: Some(contents.status.clone()),
            durable: is_durable.then_some(self.next),
            ..Commit::default()
        };
        let mut temp = TempFile::create(&self.dir, LOG_FILE)?;
        let (file, bytes) = write_first(&temp, &commit)?;
        temp.sync()?;
        temp.replace(LOG_FILE)?;
        (self.file, self.bytes, self.lines, self.next) = (file, bytes, 1, commit.n + 1);
        sync_dir(&self.dir)?;
        Ok(commit.n)
    }
}

fn write_first(temp: &TempFile, commit: &Commit) -> Result<(File, u64)> {
    let line = commit.line()?;
    let file = temp.handle()?;
    file.write_all_at(line.as_bytes(), 0)
        .with_context(|| format!("cannot write '{}'", temp.path().display()))?;
    Ok((file, line.len() as u64))
}

/// The log, for who syncs it.
pub struct LogHandle {
    file: File,
    path: PathBuf,
}

impl LogHandle {
    /// Make all lines durable that were appended before.
    pub fn sync(&self) -> Result<()> {
        self.file.sync_data().with_context(|| format!("cannot write '{}'", self.path.display()))
    }
}
