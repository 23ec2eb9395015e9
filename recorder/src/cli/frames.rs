//! Options about frames in; what is to be replayed out.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};

use super::args::Record;
use super::options::Output;

/// Name that stands for standard input.
const STANDARD_INPUT: &str = "-";

/// `recorder record`: what is kept of the rings, and what is taken instead of them.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Frames (what comes out of the kernel's rings, before anything is made of it)")]
pub struct Frames {
    /// Keep all that comes out of the rings in this new file (or pipe) too, compressed, so that the trace can be made
    /// again. It takes two to five times the space of the trace, and has every event, also those that --max-age and
    /// --max-size remove
    #[arg(long, value_name = "FILE")]
    pub keep_frames: Option<PathBuf>,

    /// Make a trace of the frames in this file instead of recording: the same rows, without a kernel or rights. '-' is
    /// standard input. Only -o and --fail-on-loss go with it
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with_all = [
            "events", "command", "duration", "print", "pids", "comm", "netns", "cgroup", "sample", "files", "stacks",
            "buffer_size", "segment_age", "require", "explain", "max_age", "max_size", "triggers", "trigger_gap",
            "max_snapshots", "keep_frames",
        ]
    )]
    pub from_frames: Option<PathBuf>,
}

/// A trace that is to be made of frames.
#[derive(Debug)]
pub struct Replay {
    /// Where they are; `None`: standard input.
    pub file: Option<PathBuf>,
    /// Where the trace goes.
    pub output: Output,
    /// Losses make the exit code 1.
    pub fail_on_loss: bool,
}

impl Replay {
    /// If `args` ask for one.
    pub fn new(args: &Record) -> Result<Option<Self>> {
        let Some(file) = &args.frames.from_frames else { return Ok(None) };
        let output = Output::new(args.output.clone());
        ensure!(output != Output::None, "-o none makes no trace of --from-frames: give -o a directory");
        let file = (file != Path::new(STANDARD_INPUT)).then(|| file.clone());
        Ok(Some(Self { file, output, fail_on_loss: args.tuning.fail_on_loss }))
    }
}
