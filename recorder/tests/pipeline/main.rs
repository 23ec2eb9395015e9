//! The pipeline from raw records to a trace on disk, without a kernel.

mod common;
mod crash;
mod crash_child;
mod crash_compact;
mod crash_kill;
mod keep;
mod replay;
mod soak;
mod values;
mod world;
