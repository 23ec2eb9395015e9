//! Operators over rows in order of time: gaps, runs, pairs, states, intervals.
//!
//! ```text
//! SQL --call--> Call --relation--> Ordered (node) --exec--> rows in order (exchange) --machine--> batches
//!                 \--definition--> plain SQL, for other engines
//! ```
//! A general engine sorts and partitions for such questions. A recording is in order of time already: an operator reads
//! it once, spread by key over all threads, and remembers no more than the last row of each key.

mod call;
mod definition;
mod exchange;
mod exec;
mod gaps;
mod keys;
mod layout;
mod machine;
mod machines;
mod node;
mod pairs;
mod relation;
mod rows;
mod runs;
mod slots;
mod spans;
mod state;
mod wire;
mod written;

pub use call::{Argument, Operator, is_call, normalise};
pub use exec::OrderedExec;
pub use node::{Ordered, Planner};
pub use relation::Relations;
pub use wire::{decode, encode};
pub use written::written_out;
