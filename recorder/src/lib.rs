//! Record Linux kernel events into a trace.

pub mod kernel;
pub mod source;

pub mod cli;
pub mod command;
pub mod doctor;
pub mod list;
pub mod print;
pub mod record;
pub mod select;
pub mod snapshot;
