//! Answer questions about a trace with SQL.
//!
//! ```text
//! DIR --trace--> Trace --provider, session--> tables
//! sql/NAME.sql --library--> query --sql::words, library::expand--> SQL --sql::pasted, DataFusion--> rows --output--> text, CSV, JSON
//!                                 plan of an analysis --per_trace--> plan for several traces
//! FILE --imports--> tables of the user's own
//! ```

pub mod answer;
pub mod cli;
pub mod docs;
pub mod functions;
pub mod imports;
pub mod interrupts;
pub mod library;
pub mod loss;
pub mod memory;
pub mod ordered;
pub mod output;
pub mod per_trace;
pub mod percentile;
pub mod provider;
pub mod request;
pub mod rows;
pub mod run;
pub mod session;
pub mod shell;
pub mod sql;
pub mod summary;
pub mod tables;
pub mod times;
pub mod trace;
pub mod united;
pub mod verify;
pub mod window;
