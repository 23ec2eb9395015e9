//! What the drain tells the encoder's thread.

use arrow_array::RecordBatch;
use schemas::trace::Meta;

use super::keep::Freeze;
use super::merge::Chunk;

/// What the encoder is told.
pub enum Job {
    /// Records of the event with that number, behind the watermark.
    Rows { event: usize, chunk: Chunk },
    /// Records that are too late for the ordinary segments.
    LateRows { event: usize, chunk: Chunk },
    /// Publish what there is of that event. It is due since boot time `due_ns`, if that is to be measured.
    Publish { event: usize, due_ns: Option<u64> },
    /// Rows of a side table, published at once.
    Side { table: &'static str, batch: RecordBatch },
    /// All rows of a side table, in place of those before.
    ReplaceSide { table: &'static str, batch: RecordBatch },
    /// The recording ends: tables that have no segment get an empty one, so that every table can be opened by any
    /// reader.
    Finish,
    /// Write again after a failure: what is known about the loss, as far as it can be written.
    Retry,
    /// It is that time (UTC ns), about a second after the last time. No record that has not come is older than
    /// `staged_ns`, if there are any, nor than boot time `all_before_ns`.
    Keep { now_ns: i64, staged_ns: Option<i64>, all_before_ns: u64 },
    /// What `trace.json` is to say.
    Describe(Box<Meta>),
    /// Make a snapshot of everything before this.
    Freeze(Box<Freeze>),
    /// Drop this: everything before it is done, or has failed.
    Answer(std::sync::mpsc::Sender<()>),
}
