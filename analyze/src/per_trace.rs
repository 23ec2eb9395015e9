//! The plan of an analysis as it is written for one trace goes in; a plan that answers for each of many traces comes out.
//!
//! ```text
//! analysis --plan over tables without trace--> LogicalPlan --rewrite--> the same with the number of the trace in it
//!          --answer--> columns trace and host in front, rows in the order of the traces
//! ```
//! It is one plan, whatever the number of traces: each table is scanned once, with the number of its trace as a column, and
//! each node above keeps the rows of different traces apart (`GROUP BY`, `PARTITION BY`, join conditions, limits).

mod aggregate;
mod expressions;
mod join;
mod limit;
mod many;
mod of_row;
mod planned;
mod rewrite;
mod subquery;
mod tables;

pub use many::Many;
pub use of_row::TraceOfRow;
pub use planned::Planned;
pub use tables::{Answer, OfTrace};
