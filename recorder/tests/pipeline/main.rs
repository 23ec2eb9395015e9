//! The pipeline from raw records to a trace on disk, without a kernel.

mod common;
mod crash;
mod crash_child;
mod crash_compact;
mod crash_keep;
mod crash_kill;
#[path = "../../../tests/support/held.rs"]
mod held;
mod keep;
mod keep_bounds;
mod keep_child;
mod keep_failures;
mod kills;
mod look;
mod replay;
mod soak;
mod stacks;
mod stalled;
mod values;
mod world;
