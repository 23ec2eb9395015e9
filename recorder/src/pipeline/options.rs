//! What a recording is told about writing and ending, and what it tells in the end.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use super::clock::ClockSteps;
use super::counts::Totals;
use super::frame_log::FramePlace;
use super::priority::Priority;
use super::stacks::Symbolizer;
use super::worker::BatchHook;
use crate::source::ProbeCounters;
use crate::store::{Limits, Warn};

/// How to write.
pub struct Options {
    /// Rows are on disk at most this long after the event (1 s).
    pub segment_age: Duration,
    /// Compression, 1 to 22 (1: higher levels gain nothing on these columns).
    pub zstd_level: i32,
    /// Raw records that may wait for the encoder (64 MiB); when they are more, the drain waits and the rings fill.
    pub queue_bytes: usize,
    /// Raw records that may wait for the watermark (64 MiB); when they are more, the rings of those that have most are
    /// left alone and fill.
    pub staged_bytes: usize,
    /// Wait for room in the calls that fill that queue (true), or return and leave the waiting to
    /// [`has_room`](super::TraceWriter::has_room).
    pub waits: bool,
    /// How much stays while recording (everything).
    pub limits: Limits,
    /// Merge small segments at the end (true).
    pub compact_at_close: bool,
    /// Take the time from the clock (true) or, for recorded frames, from the watermark.
    pub is_live: bool,
    /// Keep all that goes in as frames (no).
    pub frames: Option<FramePlace>,
    /// Finds kernel symbols (none by default).
    pub symbolizer: Symbolizer,
    /// Sees each batch of each event, in the order of the event's table.
    pub on_batch: Option<BatchHook>,
    /// Told at once what is not as it should be though recording goes on (nobody by default).
    pub warn: Warn,
    /// Of the threads that write (that of the caller by default).
    pub priority: Priority,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            segment_age: Duration::from_secs(1),
            zstd_level: 1,
            queue_bytes: 64 << 20,
            staged_bytes: 64 << 20,
            waits: true,
            limits: Limits::default(),
            compact_at_close: true,
            is_live: true,
            frames: None,
            symbolizer: Box::new(|_| None),
            on_batch: None,
            warn: Box::new(|_| {}),
            priority: Priority::default(),
        }
    }
}

/// How a recording ended.
#[derive(Default)]
pub struct End {
    /// Exit code of the command, if there was one.
    pub command_exit_code: Option<i32>,
    /// The last counters, read after everything was detached and drained.
    pub counters: Vec<ProbeCounters>,
    /// What was fed ends before the recording did: what came behind it is not known.
    pub is_torn: bool,
    /// Set, also meanwhile, when nobody wants to wait: small segments are not merged then.
    pub is_hurried: Arc<AtomicBool>,
}

/// What a recording gave.
#[derive(Clone, Debug)]
pub struct Summary {
    /// By event.
    pub events: BTreeMap<String, Totals>,
    /// Bytes of all files.
    pub bytes: u64,
    /// Segments.
    pub segments: u64,
    /// Every row from this time on (UTC ns) is there, if older ones were removed.
    pub kept_from_ns: Option<i64>,
    /// How many rows of table `cgroups` have no path, because no record told it.
    pub unknown_cgroups: u64,
    /// How often the wall clock was set while recording, and the first times.
    pub clock_steps: ClockSteps,
    /// Why writing ended early, if it did.
    pub failure: Option<Arc<anyhow::Error>>,
    /// Why the small segments were not merged, if they were not (the trace is right all the same).
    pub not_compacted: Option<String>,
    /// Why the frames are not all there, if they were wanted and are not.
    pub not_kept: Option<String>,
}
