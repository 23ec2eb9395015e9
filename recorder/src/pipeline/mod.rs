//! Raw records in, a trace on disk out.
//!
//! ```text
//! EventSource -> TraceWriter::feed -> staging (runs per probe and cpu) --watermark--> chunk --queue-->
//!   merge (sorted rows) -> decode (Arrow batch) -> segment (Parquet)          counts -> counts, losses
//!   segments -> commit (crate::store)
//! What goes in is kept, if wanted: TraceWriter -> frame log -> frame file -> FrameFile (an EventSource) -> replay.
//! ```

pub mod profile;

mod frame_log;
mod replay;

mod table;
mod text;

mod merge;
#[cfg(test)]
mod merge_tests;
#[cfg(test)]
mod random;
mod staging;

mod alive;
mod stack_hash;
mod stacks;

mod decode;
mod encode;

mod job;
mod outbox;
pub mod queue;

pub mod files;
pub mod segment;

pub mod clock;
mod count_rows;
mod counts;
pub mod event_table;
mod probes;

mod failure;
pub mod meta;
mod options;
pub mod pace;
pub mod priority;
mod progress;
mod worker;
mod writer;

pub mod cgroups;
pub mod merged;

pub use crate::store::{Limits, SnapshotName, Warn};
pub use cgroups::Cgroup;
pub use clock::{ClockSteps, Step, boottime_ns, utc_minus_boottime_ns};
pub use counts::Totals;
pub use decode::decode_record;
pub use files::{create_trace_dir, own_trace_dir};
pub use frame_log::FramePlace;
pub use meta::boot_id;
pub use options::{End, Options, Summary};
pub use priority::{Priority, allow_raising, short_slices};
pub use replay::{FrameFile, Replayed, replay};
pub use schemas::frames::ProbeRow;
pub use schemas::record::RecordBuilder;
pub use stacks::{Symbol, Symbolizer};
pub use worker::BatchHook;
pub use writer::TraceWriter;
