//! Aggregates of SQL that look at how values are distributed: exact percentiles and histograms.

mod aggregate;
mod histogram;
mod rules;
mod values;

use datafusion::logical_expr::AggregateUDF;

pub use rules::{ConstantKeys, Together};

/// All of them.
pub fn all() -> Vec<AggregateUDF> {
    vec![
        aggregate::percentile(),
        aggregate::percentiles(),
        histogram::log2_histogram(),
        histogram::linear_histogram(),
    ]
}
