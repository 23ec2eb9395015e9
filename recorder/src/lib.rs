//! Record Linux kernel events into a trace.

pub mod engine;
pub mod source;
