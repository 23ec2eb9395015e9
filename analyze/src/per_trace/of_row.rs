//! Functions that depend on the trace: which of them have to be told it, and how they are told the one of their row.

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{Column, DFSchema, Result, plan_err};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::optimizer::AnalyzerRule;

use crate::functions::{Dependence, needs_trace};
use crate::trace::names::TRACE;

/// Does `expr` call a function that depends on the trace, without the trace?
pub fn need(expr: &Expr) -> Dependence {
    match expr {
        Expr::ScalarFunction(call) => needs_trace(call.name(), call.args.len()),
        _ => Dependence::No,
    }
}

/// `expr`, told the trace by the number of it, if it depends on that.
pub fn with_number(expr: Expr, number: &Column) -> Transformed<Expr> {
    let need = need(&expr);
    match expr {
        Expr::ScalarFunction(mut call) if need != Dependence::No => {
            call.args.push(Expr::Column(number.clone()));
            Transformed::yes(Expr::ScalarFunction(call))
        }
        other => Transformed::no(other),
    }
}

/// A rule for what users ask of several traces: a function that depends on the trace takes it from column `trace` of the
/// row. It comes after [`crate::sql::pasted::Pasted`], which makes calls of such functions.
#[derive(Debug)]
pub struct TraceOfRow;

impl AnalyzerRule for TraceOfRow {
    fn name(&self) -> &str {
        "trace_of_row"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        plan.transform_up_with_subqueries(told).data()
    }
}

fn told(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let mut schema = merge_schema(&plan.inputs());
    if let LogicalPlan::TableScan(scan) = &plan {
        schema.merge(&DFSchema::try_from_qualified_schema(scan.table_name.clone(), &scan.source.schema())?);
    }
    let names = NamePreserver::new(&plan);
    plan.map_expressions(|expr| {
        let name = names.save(&expr);
        let expr = expr.transform_up(|expr| {
            let trace = match need(&expr) {
                Dependence::No => return Ok(Transformed::no(expr)),
                Dependence::Needed => trace_of(&expr, &schema)?,
                Dependence::IfTheyDiffer => match beside(&expr, &schema) {
                    Some(trace) => trace,
                    None => return Ok(Transformed::no(expr)),
                },
            };
            match expr {
                Expr::ScalarFunction(mut call) => {
                    call.args.push(Expr::Column(trace));
                    Ok(Transformed::yes(Expr::ScalarFunction(call)))
                }
                other => Ok(Transformed::no(other)),
            }
        })?;
        Ok(expr.update_data(|expr| name.restore(expr)))
    })?
    .map_data(LogicalPlan::recompute_schema)
}

/// The column `trace` beside the columns of `expr`, if there is exactly one.
fn beside(expr: &Expr, schema: &DFSchema) -> Option<Column> {
    let columns = expr.column_refs();
    let mut relations = columns.iter().map(|column| &column.relation);
    let relation = relations.next().filter(|first| relations.all(|other| other == *first))?;
    let mut beside = schema
        .columns()
        .into_iter()
        .filter(|column| column.name == TRACE && (relation.is_none() || *relation == column.relation));
    match (beside.next(), beside.next()) {
        (Some(trace), None) => Some(trace),
        _ => None,
    }
}

/// [`beside`], for a function that has to be told.
fn trace_of(expr: &Expr, schema: &DFSchema) -> Result<Column> {
    if let Some(trace) = beside(expr, schema) {
        return Ok(trace);
    }
    let Expr::ScalarFunction(call) = expr else { return plan_err!("'{expr}' is no call") };
    let args: Vec<String> = call.args.iter().map(ToString::to_string).collect();
    let (name, args) = (call.name(), args.join(", "));
    plan_err!(
        "{name}({args}): several traces are open, and there is no column trace beside it that tells of which one it is: \
         write {name}({args}, trace), and group by trace too where it is grouped"
    )
}
