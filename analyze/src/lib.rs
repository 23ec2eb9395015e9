//! Answer questions about a trace with SQL.
//!
//! ```text
//! DIR --trace, segment--> Trace --provider, session--> tables
//! sql/NAME.sql --analysis, params--> query --words, expand--> SQL --pasted, DataFusion--> rows --output--> text, CSV, JSON
//! ```

pub mod analysis;
pub mod bind;
pub mod cli;
pub mod clock;
pub mod docs;
pub mod errors;
pub mod expand;
pub mod file;
pub mod functions;
pub mod imports;
pub mod interrupts;
pub mod listing;
pub mod loss;
pub mod names;
pub mod notations;
pub mod output;
pub mod pairs;
pub mod pairs_table;
pub mod params;
pub mod pasted;
pub mod progress;
pub mod provider;
pub mod rows;
pub mod run;
pub mod segment;
pub mod session;
pub mod shell;
pub mod summary;
pub mod symbols;
pub mod tables;
pub mod trace;
pub mod whole;
pub mod window;
pub mod words;
