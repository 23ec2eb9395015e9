//! Record Linux kernel events into a trace.

pub mod pipeline;
pub mod source;
