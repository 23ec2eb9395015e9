//! Record Linux kernel events into a trace.

pub mod source;
