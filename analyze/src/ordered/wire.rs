//! Converts the physical plan of an operator to bytes and back, for machines that run a part of a plan.

use std::sync::Arc;

use datafusion::common::{Result, exec_datafusion_err};
use datafusion::physical_plan::ExecutionPlan;
use serde::{Deserialize, Serialize};

use super::call::Operator;
use super::exec::{OrderedExec, Spread};

/// What an operator is beside its input. Names stay when code changes.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    operator: String,
    max_gap_ns: Option<i64>,
    keys: Vec<String>,
    /// Workers of one process; none if the plan below brings the rows of a key together.
    workers: Option<usize>,
}

/// The operator, as bytes.
///
/// Fails if it cannot be written as JSON.
pub fn encode(exec: &OrderedExec) -> Result<Vec<u8>> {
    let workers = match exec.spread {
        Spread::Here(workers) => Some(workers),
        Spread::Below => None,
    };
    let wire = Wire {
        operator: exec.operator.name().to_owned(),
        max_gap_ns: exec.max_gap_ns,
        keys: exec.keys.clone(),
        workers,
    };
    serde_json::to_vec(&wire).map_err(|error| exec_datafusion_err!("cannot send an operator: {error}"))
}

/// The operator that [`encode`] made `bytes` of, over `input`.
///
/// Fails if they are something else, or the input lacks what the operator needs.
pub fn decode(bytes: &[u8], input: Arc<dyn ExecutionPlan>) -> Result<OrderedExec> {
    let wire: Wire = serde_json::from_slice(bytes)
        .map_err(|error| exec_datafusion_err!("this is no ordered operator: {error}"))?;
    let Wire { operator, max_gap_ns, keys, workers } = wire;
    let operator = Operator::find(&operator)
        .ok_or_else(|| exec_datafusion_err!("there is no ordered operator '{operator}'"))?;
    let spread = workers.map_or(Spread::Below, |workers| Spread::Here(workers.max(1)));
    OrderedExec::new(operator, max_gap_ns, keys, input, spread)
}
