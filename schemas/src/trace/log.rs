//! The log of a trace: which files it consists of, one commit a line, only ever appended to.
//!
//! ```text
//! {"n":3,"at_ns":1764432000123456789,"add":[{"table":"listens","number":7,"rows":41,...}],"crc":"8c1f03aa"}
//! ```
//! A line is a commit as JSON. Its last key is the CRC-32 of the line as it would be without that key, so that a line
//! that was torn or damaged is told from a whole one. Reading stops at the first line that is not whole.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};

use super::{PROBES, SEGMENT_SUFFIX, State};

/// Name of the file.
pub const LOG_FILE: &str = "log.jsonl";

/// Between a line and its CRC; hexadecimal digits, `"}` and a newline follow.
const CRC_KEY: &str = ",\"crc\":\"";
const CRC_DIGITS: usize = 8;

/// Which segment: a table and a number.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SegmentName {
    /// An event or a side table.
    pub table: String,
    /// Never used twice in a trace.
    pub number: u64,
}

impl SegmentName {
    /// Its file, from the directory of the trace.
    pub fn path(&self) -> String {
        segment_path(&self.table, self.number)
    }
}

/// The file of a segment, from the directory of the trace.
pub fn segment_path(table: &str, number: u64) -> String {
    format!("{table}/{number:06}{SEGMENT_SUFFIX}")
}

/// A Parquet file of one table, and what is to be known of it without opening it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    /// The table.
    pub table: String,
    /// Its file is `TABLE/NUMBER.parquet`.
    pub number: u64,
    /// Rows in it.
    pub rows: u64,
    /// Size of the file.
    pub bytes: u64,
    /// CRC-32 of the whole file.
    pub crc: u32,
    /// CRC-32 of each [`super::sums::BLOCK_BYTES`] of a file that is larger, so that whoever reads a part of it need not
    /// read all of it to know that the part is not damaged. Empty: there is `crc` only.
    #[serde(default, skip_serializing_if = "is_default")]
    pub blocks: Vec<u32>,
    /// First and last `ts` (UTC ns), if the table has that column and the file has rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ts: Option<(i64, i64)>,
    /// Its rows came after later rows of other segments had been written.
    #[serde(default, skip_serializing_if = "is_default")]
    pub late: bool,
    /// It repeats rows of earlier epochs, for when these are gone: it counts only in the oldest epoch.
    #[serde(default, skip_serializing_if = "is_default")]
    pub carried: bool,
    /// The part of the recording that it belongs to, and goes with.
    #[serde(default, skip_serializing_if = "is_default")]
    pub epoch: u64,
    /// How often its rows were merged.
    #[serde(default, skip_serializing_if = "is_default")]
    pub level: u8,
    /// Rows of an event by probe and CPU; of an aggregated event, the events that they stand for.
    #[serde(default, skip_serializing_if = "is_default")]
    pub sources: Vec<(u16, u16, u64)>,
}

impl Segment {
    /// Which one it is.
    pub fn name(&self) -> SegmentName {
        SegmentName { table: self.table.clone(), number: self.number }
    }

    /// Its file, from the directory of the trace.
    pub fn path(&self) -> String {
        segment_path(&self.table, self.number)
    }
}

/// What is known of a recording and changes while it lasts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// How it ended, if it did.
    pub state: State,
    /// UTC nanoseconds of the start of the recording: every probe was attached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_ns: Option<i64>,
    /// UTC nanoseconds of the end. It is there before the state is [`State::Closed`]: all rows are, but small segments
    /// are still being merged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_ns: Option<i64>,
    /// Exit code of the command that was run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command_exit_code: Option<i32>,
    /// UTC nanoseconds from which on every row is there, if older ones were removed while recording.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept_from_ns: Option<i64>,
}

impl Default for Status {
    fn default() -> Self {
        Self { state: State::Open, start_ns: None, end_ns: None, command_exit_code: None, kept_from_ns: None }
    }
}

/// A line of the log. Everything in it happens at once.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Commit {
    /// One more than that of the line before.
    pub n: u64,
    /// When it was written, UTC nanoseconds as the wall clock showed them.
    pub at_ns: i64,
    /// Segments that are part of the trace from now on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub add: Vec<Segment>,
    /// Segments that are not any more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remove: Vec<SegmentName>,
    /// Every row before this time (UTC ns) that is not late is in the trace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until_ns: Option<i64>,
    /// Takes the place of the one before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<Status>,
    /// The disk has all that commits up to this number added.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub durable: Option<u64>,
}

impl Commit {
    /// The line, newline included. Fails if it cannot be written as JSON.
    pub fn line(&self) -> Result<String> {
        let mut line = serde_json::to_string(self).context("cannot describe a commit")?;
        let crc = crc32fast::hash(line.as_bytes());
        line.pop();
        line.push_str(&format!("{CRC_KEY}{crc:08x}\"}}\n"));
        Ok(line)
    }

    /// The commit of a line without its newline. Fails if the line is not whole.
    pub fn parse(line: &[u8]) -> Result<Self> {
        let end = line.strip_suffix(b"\"}").context("its end is missing")?;
        let at = end.len().checked_sub(CRC_DIGITS + CRC_KEY.len()).context("it is too short")?;
        let (json, crc) = end.split_at(at);
        let digits = crc.strip_prefix(CRC_KEY.as_bytes()).context("it has no CRC")?;
        let told = std::str::from_utf8(digits).ok().and_then(|digits| u32::from_str_radix(digits, 16).ok());
        let json = [json, b"}"].concat();
        ensure!(told == Some(crc32fast::hash(&json)), "it does not fit its CRC");
        serde_json::from_slice(&json).context("it is no commit")
    }
}

/// What the log says, line by line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Log {
    /// The commits that are whole and follow each other.
    pub commits: Vec<Commit>,
    /// Bytes of their lines.
    pub bytes: u64,
    /// Why the line behind them was not taken, if there is one.
    pub stopped: Option<Stopped>,
}

/// A line that is not whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stopped {
    /// What is wrong with it.
    pub why: String,
    /// Bytes from its start to the end of the file.
    pub bytes: u64,
    /// It is the last one, and its newline is missing: a writer was stopped in the middle of it.
    pub is_torn: bool,
}

impl Log {
    /// Read the text of a log, up to the first line that is not whole or does not follow the one before.
    pub fn parse(text: &[u8]) -> Self {
        let mut log = Self::default();
        let mut rest = text;
        while !rest.is_empty() {
            let length = rest.iter().position(|byte| *byte == b'\n');
            let line = &rest[..length.unwrap_or(rest.len())];
            let commit = match (length, Commit::parse(line)) {
                (None, _) => Err("it has no end".to_owned()),
                (_, Err(error)) => Err(format!("{error:#}")),
                (_, Ok(commit)) if log.commits.last().is_some_and(|last| commit.n != last.n + 1) => {
                    Err(format!("it is commit {}, which does not follow the one before", commit.n))
                }
                (_, Ok(commit)) => Ok(commit),
            };
            match commit {
                Ok(commit) => log.commits.push(commit),
                Err(why) => {
                    log.stopped = Some(Stopped { why, bytes: rest.len() as u64, is_torn: length.is_none() });
                    break;
                }
            }
            rest = &rest[line.len() + 1..];
            log.bytes += line.len() as u64 + 1;
        }
        log
    }

    /// Number of the last commit up to which the disk has all that was added; `None`: of none it is known.
    pub fn durable(&self) -> Option<u64> {
        self.commits.iter().filter_map(|commit| commit.durable).max()
    }

    /// What the trace consists of after all commits. Fails if they contradict each other.
    pub fn contents(&self) -> Result<Contents> {
        let mut contents = Contents::default();
        for commit in &self.commits {
            contents.apply(commit).with_context(|| format!("commit {} makes no sense", commit.n))?;
        }
        Ok(contents)
    }
}

/// What a trace consists of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// All segments that the log names.
    pub segments: BTreeMap<SegmentName, Segment>,
    /// How the recording is, or ended.
    pub status: Status,
    /// Every row before this time (UTC ns) that is not late is there.
    pub until_ns: Option<i64>,
    /// Number of the last commit.
    pub last: Option<u64>,
}

impl Contents {
    /// Let `commit` happen. Fails, and leaves half of it done, if it adds what is there or removes what is not.
    pub fn apply(&mut self, commit: &Commit) -> Result<()> {
        for name in &commit.remove {
            ensure!(self.segments.remove(name).is_some(), "it removes {}, which is not there", name.path());
        }
        for segment in &commit.add {
            if self.segments.insert(segment.name(), segment.clone()).is_some() {
                bail!("it adds {}, which is there", segment.path());
            }
        }
        if let Some(status) = &commit.status {
            self.status = status.clone();
        }
        self.until_ns = commit.until_ns.or(self.until_ns);
        self.last = Some(commit.n);
        Ok(())
    }

    /// The epochs that there are. Probes belong to all of them.
    pub fn epochs(&self) -> BTreeSet<u64> {
        self.segments.values().filter(|it| it.table != PROBES).map(|it| it.epoch).collect()
    }

    /// The segments with all rows of the trace, each row once, in order of time: carried ones only of the oldest epoch.
    pub fn visible(&self) -> Vec<&Segment> {
        let oldest = self.epochs().first().copied();
        let is_visible = |segment: &&Segment| !segment.carried || Some(segment.epoch) == oldest;
        let mut visible: Vec<&Segment> = self.segments.values().filter(is_visible).collect();
        // Tables without a time stay in the order of their numbers.
        visible.sort_by(|one, other| {
            let key = |it: &Segment| (it.ts.map(|(first, _)| first), it.number);
            one.table.cmp(&other.table).then_with(|| key(one).cmp(&key(other)))
        });
        visible
    }
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

#[cfg(test)]
mod tests;
