//! Typed arguments in, what is to be recorded out: names become inodes and ids, and what cannot be is refused before
//! anything is made.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, bail, ensure};

use super::args::{Print, Record, StackKind};
use super::flight::Flight;
use crate::resolve::Cgroup;
use crate::snapshot::{cgroups, clock, netns};

/// Longest thread name of the kernel, bytes.
const COMM_BYTES: usize = 15;
/// Shortest segment age: below it, files and fsyncs would be most of the work.
const MIN_SEGMENT_AGE: Duration = Duration::from_millis(100);
/// Longest segment age: all that is not on disk yet is in memory.
const MAX_SEGMENT_AGE: Duration = Duration::from_secs(60);
/// Value of `-o` that means: no trace.
const NO_OUTPUT: &str = "none";
/// Most events that a default output name names.
const NAMED_EVENTS: usize = 3;

/// One recording, ready to be resolved against the kernel.
#[derive(Debug)]
pub struct Options {
    /// Events as written: names, patterns, paths, inline probes.
    pub events: Vec<String>,
    /// Program and arguments, or empty.
    pub command: Vec<OsString>,
    /// Where the trace goes.
    pub output: Output,
    /// When to end by itself.
    pub duration: Option<Duration>,
    /// Show events as they happen.
    pub print: Option<Print>,
    /// Only these processes and their descendants.
    pub pids: Vec<u32>,
    /// Only threads of these names.
    pub comm: Vec<String>,
    /// Only these network namespaces, by inode.
    pub netns: Vec<u32>,
    /// Only these cgroups, descendants included.
    pub cgroups: Vec<Cgroup>,
    /// Only every event of this number; 1 is all.
    pub sample: u32,
    /// Stacks to record with every event.
    pub stacks: Option<StackKind>,
    /// Memory for all rings together.
    pub buffer_bytes: u64,
    /// Longest time from an event to its row on disk.
    pub segment_age: Duration,
    /// Every source must attach.
    pub require: bool,
    /// Losses make the exit code 1.
    pub fail_on_loss: bool,
    /// How long events are counted that are counted in the kernel.
    pub interval: Duration,
    /// Most keys of such an event.
    pub max_keys: u32,
    /// What stays, and what is frozen.
    pub flight: Flight,
    /// Where frames are kept.
    pub keep_frames: Option<PathBuf>,
    /// Show how events are observed and stop.
    pub explain: bool,
    /// The command line, for `trace.json`.
    pub command_line: Vec<String>,
}

/// Where the trace goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Nowhere: events are only printed.
    None,
    /// Into a directory of this name.
    Directory(PathBuf),
    /// Into a directory of the current one, named after the events and the time.
    FromEvents,
}

impl Options {
    /// Check `args` and look up what they name. `command_line` is the whole line, for the record.
    pub fn new(args: Box<Record>, command_line: &[OsString]) -> Result<Self> {
        let Record { mut events, command, output, duration, print, filter, tuning, counting, flight, frames } =
            *args;
        for file in tuning.files {
            ensure!(file.exists(), "event file {} does not exist", file.display());
            events.push(definition_path(&file));
        }
        ensure!(
            !events.is_empty(),
            "no event given: name one, such as 'recorder record listens'; 'recorder list' shows what there is"
        );
        counting.apply(&mut events)?;
        let output = Output::new(output);
        ensure!(
            output != Output::None || print.is_some() || frames.keep_frames.is_some(),
            "-o none records nothing without --print: add --print, or give -o a directory"
        );
        ensure!(
            (MIN_SEGMENT_AGE..=MAX_SEGMENT_AGE).contains(&tuning.segment_age),
            "--segment-age must be from {MIN_SEGMENT_AGE:?} to {MAX_SEGMENT_AGE:?}"
        );
        flight.check(tuning.segment_age, output != Output::None)?;
        for name in &filter.comm {
            ensure!(
                (1..=COMM_BYTES).contains(&schemas::text::unescape(name).len()),
                "--comm '{name}': the kernel keeps thread names of 1 to {COMM_BYTES} bytes"
            );
        }
        for pid in &filter.pids {
            ensure!(
                Path::new(&format!("/proc/{pid}")).exists(),
                "--pid {pid}: there is no such process; give a running one, or a COMMAND after --"
            );
        }
        let mut found_cgroups = Vec::new();
        for text in &filter.cgroup {
            found_cgroups.extend(cgroups::named(text)?);
        }
        Ok(Self {
            events,
            command,
            output,
            duration,
            print,
            pids: filter.pids,
            comm: filter.comm,
            netns: filter.netns.iter().map(|text| netns::inode_of(text)).collect::<Result<_>>()?,
            cgroups: found_cgroups,
            sample: filter.sample.unwrap_or(1),
            stacks: tuning.stacks,
            buffer_bytes: tuning.buffer_size,
            segment_age: tuning.segment_age,
            require: tuning.require,
            fail_on_loss: tuning.fail_on_loss,
            interval: counting.interval,
            max_keys: counting.max_keys,
            flight,
            keep_frames: frames.keep_frames,
            explain: tuning.explain,
            command_line: command_line.iter().map(|arg| arg.to_string_lossy().into_owned()).collect(),
        })
    }

    /// True if only some processes are recorded.
    pub fn follows_processes(&self) -> bool {
        !self.pids.is_empty() || !self.command.is_empty()
    }

    /// The directory to make for a recording of `events` that starts at `utc_ns`, if a trace is wanted. Fails if it
    /// exists.
    pub fn directory(&self, events: &[&str], utc_ns: i64) -> Result<Option<PathBuf>> {
        self.output.directory(events, utc_ns)
    }
}

impl Output {
    /// The value of `-o`.
    pub fn new(output: Option<PathBuf>) -> Self {
        match output {
            None => Self::FromEvents,
            Some(path) if path == Path::new(NO_OUTPUT) => Self::None,
            Some(path) => Self::Directory(path),
        }
    }

    /// The directory to make for a trace of `events` that starts at `utc_ns`, if one is wanted. Fails if it exists.
    pub fn directory(&self, events: &[&str], utc_ns: i64) -> Result<Option<PathBuf>> {
        let path = match self {
            Self::None => return Ok(None),
            Self::Directory(path) => path.clone(),
            Self::FromEvents => default_name(events, utc_ns),
        };
        if path.symlink_metadata().is_ok() {
            bail!("output {} exists: remove it, or choose another name with -o", path.display());
        }
        Ok(Some(path))
    }
}

/// `path` written so that it is taken for a file and not for a name.
fn definition_path(path: &Path) -> String {
    let text = path.to_string_lossy().into_owned();
    if text.contains('/') { text } else { format!("./{text}") }
}

fn default_name(events: &[&str], utc_ns: i64) -> PathBuf {
    let mut name = events.iter().take(NAMED_EVENTS).copied().collect::<Vec<_>>().join("+");
    if events.len() > NAMED_EVENTS {
        name.push_str("+more");
    }
    PathBuf::from(format!("{name}-{}.trace", clock::file_stamp(utc_ns)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_default_name_tells_events_and_time() {
        let ns = 1_795_182_905_123_456_789;
        assert_eq!(default_name(&["mkdirs"], ns), Path::new("mkdirs-20261120-135505.trace"));
        assert_eq!(default_name(&["a", "b", "c", "d"], ns), Path::new("a+b+c+more-20261120-135505.trace"));
    }
}
