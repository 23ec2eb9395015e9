//! Makes the machine that runs an operator.

use datafusion::common::{Result, internal_err};

use super::call::Operator;
use super::gaps::Gaps;
use super::machine::{Machine, Setting};
use super::pairs::Pairs;
use super::runs::Runs;
use super::spans::{Concurrency, Covered};
use super::state::StateAt;

/// The machine of that operator.
pub fn machine(operator: Operator, setting: Setting) -> Result<Box<dyn Machine>> {
    Ok(match operator {
        Operator::Gaps => Box::new(Gaps::new(setting)),
        Operator::Runs => Box::new(Runs::new(setting)),
        Operator::Pairs => Box::new(Pairs::new(setting)),
        Operator::StateAt => Box::new(StateAt::new(setting)),
        Operator::Covered => Box::new(Covered::new(setting)),
        Operator::Concurrency => Box::new(Concurrency::new(setting)),
        Operator::Rate | Operator::Overlaps => return internal_err!("{} has no machine", operator.name()),
    })
}
