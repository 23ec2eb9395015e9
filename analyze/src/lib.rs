//! Answer questions about a trace with SQL.
//!
//! ```text
//! DIR --trace, segment--> Trace --provider, session--> tables
//! sql/NAME.sql --analysis, params--> query --expand--> SQL --DataFusion--> rows --output--> text, CSV, JSON
//! ```

pub mod trace;
pub mod segment;
pub mod provider;
pub mod symbols;
pub mod functions;
pub mod pairs;
pub mod pairs_table;
pub mod analysis;
pub mod params;
pub mod expand;
pub mod session;
pub mod errors;
pub mod loss;
pub mod output;
pub mod cli;
pub mod summary;
pub mod run;
pub mod docs;
