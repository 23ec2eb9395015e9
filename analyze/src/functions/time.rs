//! Converts between timestamps and nanoseconds, and takes logarithms.

use std::sync::Arc;

use arrow_array::ArrayRef;
use arrow_array::types::Int64Type;
use arrow_cast::cast;
use arrow_schema::DataType;
use datafusion::common::{Result, exec_err};
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::{Expr, cast as cast_expr};
use schemas::column::timestamp;

use super::{Args, Def, Dependence, integers};

/// See each `doc`.
pub const DEFS: &[Def] = &[
    Def {
        name: "ns",
        call: "ns(ts)",
        doc: "UTC nanoseconds of a timestamp as Int64: subtract these, never unsigned numbers",
        args: Args::Any(&[1]),
        depends_on_trace: Dependence::No,
        returns: || DataType::Int64,
        eval: |_, args| Ok(cast(&cast(&args[0], &timestamp())?, &DataType::Int64)?),
    },
    Def {
        name: "utc",
        call: "utc(ns)",
        doc: "the timestamp of UTC nanoseconds",
        args: Args::Any(&[1]),
        depends_on_trace: Dependence::No,
        returns: timestamp,
        eval: |_, args| Ok(cast(&args[0], &timestamp())?),
    },
    Def {
        name: "log2_floor",
        call: "log2_floor(n)",
        doc: "the exponent of the largest power of two that is at most n; 0 for n below 2",
        args: Args::Exact(&[DataType::Int64]),
        depends_on_trace: Dependence::No,
        returns: || DataType::Int64,
        eval: |_, args| Ok(Arc::new(integers(&args[0])?.unary::<_, Int64Type>(log2_floor_of)) as ArrayRef),
    },
];

/// The exponent of the largest power of two that is at most `n`; 0 below 2.
pub fn log2_floor_of(n: i64) -> i64 {
    i64::from(n.max(1).ilog2())
}

/// `ns` and `utc` become casts, so that DataFusion sees through them (order, statistics).
pub fn simplify(name: &str, mut args: Vec<Expr>, info: &SimplifyContext) -> Result<ExprSimplifyResult> {
    let (wanted, to) = match name {
        "ns" => (timestamp(), DataType::Int64),
        "utc" => (DataType::Int64, timestamp()),
        _ => return Ok(ExprSimplifyResult::Original(args)),
    };
    let Some(arg) = args.pop() else { return exec_err!("{name} takes one argument") };
    let found = info.get_data_type(&arg)?;
    let is_direct = found == wanted || (name == "utc" && matches!(found, DataType::Timestamp(..)));
    let inner = if is_direct { arg } else { cast_expr(arg, wanted) };
    Ok(ExprSimplifyResult::Simplified(cast_expr(inner, to)))
}
