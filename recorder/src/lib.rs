//! Record Linux kernel events into a trace.

pub mod kernel;
pub mod resolve;
pub mod source;
