//! Record Linux kernel events into a trace.
//!
//! ```text
//! command line --cli, select--> definitions --kernel, resolve--> ways to observe --engine--> attached probes
//!   --source--> raw records --pipeline--> segments --store--> trace                    snapshot --> what was there before the first event
//! ```
//! `record` puts them together and `command` starts what is to be watched; `print` shows events as they come; `list`
//! and `doctor` tell what there is and what works here.

pub mod kernel;
pub mod resolve;
pub mod user;

pub mod engine;
pub mod source;

pub mod pipeline;
pub mod store;

pub mod snapshot;

pub mod cli;
pub mod command;
pub mod print;
pub mod privileges;
pub mod select;

pub mod doctor;
pub mod list;
pub mod record;
