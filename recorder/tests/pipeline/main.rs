//! The pipeline from raw records to a trace on disk, without a kernel.

mod common;
mod crash;
mod keep;
mod replay;
mod soak;
mod values;
mod world;
