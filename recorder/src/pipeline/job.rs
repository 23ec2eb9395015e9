//! What the drain tells the encoder's thread.

use arrow_array::RecordBatch;
use schemas::trace::log::Status;

use super::merge::Chunk;
use crate::store::Freeze;

/// What the encoder is told.
pub enum Job {
    /// Records of the event with that number, behind the watermark.
    Rows { event: usize, chunk: Chunk },
    /// Records that are too late for the ordinary segments.
    LateRows { event: usize, chunk: Chunk },
    /// Rows of a side table.
    Side { table: &'static str, batch: RecordBatch },
    /// All rows of a side table, in place of those before.
    ReplaceSide { table: &'static str, batch: RecordBatch },
    /// All of the above becomes part of the trace.
    Commit(Box<CommitJob>),
    /// An epoch begins: what comes from now on, and `carried` rows, must be whole by themselves.
    Epoch { since_ns: i64, carried: Vec<(&'static str, RecordBatch)> },
    /// The recording ends: tables that have no file get one.
    Finish,
    /// Write again after a failure: what is known about the loss, as far as it can be written.
    Retry,
    /// Make a snapshot of everything before this.
    Freeze(Box<Freeze>),
    /// Drop this: everything before it is done, or has failed.
    Answer(std::sync::mpsc::Sender<()>),
}

/// A commit of the drain.
pub struct CommitJob {
    /// Its number.
    pub serial: u64,
    /// Every row before this time (UTC ns) that is not late is there with it.
    pub until_ns: i64,
    /// It is this time (UTC ns).
    pub now_ns: i64,
    /// It is due since this boot time (ns), if that is to be measured.
    pub due_ns: Option<u64>,
    /// No record that has not come is older than this boot time (ns).
    pub all_before_ns: u64,
    /// Bytes of all records that have come to it.
    pub record_bytes: u64,
    /// What is known of the recording, if that is new.
    pub status: Option<Status>,
}
