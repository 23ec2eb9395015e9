//! What the optimiser knows of aggregates and of keys that are the same for all rows.

use std::sync::Arc;

use datafusion::common::tree_node::Transformed;
use datafusion::common::{Column, Result, ScalarValue};
use datafusion::functions_aggregate::expr_fn::count;
use datafusion::functions_nested::extract::array_element;
use datafusion::logical_expr::expr::{AggregateFunction, AggregateFunctionParams};
use datafusion::logical_expr::{
    Aggregate, Expr, Extension, LogicalPlan, LogicalPlanBuilder, Projection, col, lit,
};
use datafusion::optimizer::optimizer::ApplyOrder;
use datafusion::optimizer::{OptimizerConfig, OptimizerRule};

use super::aggregate::percentiles;
use crate::ordered::Ordered;

/// Several percentiles of the same values keep these once.
#[derive(Debug)]
pub struct Together;

impl OptimizerRule for Together {
    fn name(&self) -> &str {
        "percentiles_together"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::BottomUp)
    }

    fn rewrite(&self, plan: LogicalPlan, _: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        let LogicalPlan::Aggregate(aggregate) = plan else { return Ok(Transformed::no(plan)) };
        let mut sets: Vec<(AggregateFunctionParams, Vec<Expr>)> = Vec::new();
        for params in aggregate.aggr_expr.iter().filter_map(single) {
            let (of, share) = (&params.args[0], &params.args[1]);
            match sets.iter_mut().find(|(known, _)| known.args[0] == *of && known.filter == params.filter) {
                Some((_, shares)) if !shares.contains(share) => shares.push(share.clone()),
                Some(_) => {}
                None => sets.push((params.clone(), vec![share.clone()])),
            }
        }
        sets.retain(|(_, shares)| shares.len() > 1);
        if sets.is_empty() {
            return Ok(Transformed::no(LogicalPlan::Aggregate(aggregate)));
        }
        let udaf = Arc::new(percentiles());
        let of = |params: &AggregateFunctionParams| {
            sets.iter().find(|(known, _)| known.args[0] == params.args[0] && known.filter == params.filter)
        };
        let together = |(params, shares): &(AggregateFunctionParams, Vec<Expr>)| {
            let args = std::iter::once(params.args[0].clone()).chain(shares.iter().cloned()).collect();
            let params = AggregateFunctionParams { args, ..params.clone() };
            Expr::AggregateFunction(AggregateFunction { func: udaf.clone(), params })
        };
        let mut made: Vec<Expr> = sets.iter().map(together).collect();
        let is_kept = |expr: &&Expr| single(expr).and_then(of).is_none();
        made.extend(aggregate.aggr_expr.iter().filter(is_kept).cloned());
        let group = aggregate.group_expr.clone();
        let new = Aggregate::try_new(aggregate.input.clone(), group, made)?;
        let groups = aggregate.schema.fields().len() - aggregate.aggr_expr.len();
        let mut shown: Vec<Expr> =
            (0..groups).map(|i| Expr::Column(Column::from(aggregate.schema.qualified_field(i)))).collect();
        for expr in &aggregate.aggr_expr {
            let name = expr.schema_name().to_string();
            shown.push(match single(expr).and_then(|params| Some((of(params)?, params))) {
                None => Expr::Column(Column::new_unqualified(name)),
                Some((set, params)) => {
                    let nth = set.1.iter().position(|share| *share == params.args[1]).unwrap_or_default();
                    let list = Expr::Column(Column::new_unqualified(together(set).schema_name().to_string()));
                    array_element(list, lit(nth as i64 + 1)).alias(name)
                }
            });
        }
        let shown = Projection::try_new(shown, Arc::new(LogicalPlan::Aggregate(new)))?;
        Ok(Transformed::yes(LogicalPlan::Projection(shown)))
    }
}

/// The arguments of a plain `percentile(x, share)`.
fn single(expr: &Expr) -> Option<&AggregateFunctionParams> {
    match expr {
        Expr::AggregateFunction(AggregateFunction { func, params })
            if func.name() == "percentile"
                && params.args.len() == 2
                && !params.distinct
                && params.order_by.is_empty() =>
        {
            Some(params)
        }
        _ => None,
    }
}

/// A key that is the same for all rows needs no look at it: an analysis that can answer by key, and is not asked to, has
/// such keys.
#[derive(Debug)]
pub struct ConstantKeys;

impl OptimizerRule for ConstantKeys {
    fn name(&self) -> &str {
        "constant_keys"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::BottomUp)
    }

    fn rewrite(&self, plan: LogicalPlan, _: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        match plan {
            LogicalPlan::Aggregate(aggregate) => one_group(aggregate),
            LogicalPlan::Extension(Extension { node }) => {
                let ordered = node.as_any().downcast_ref::<Ordered>();
                match ordered.map(Ordered::without_constant_keys).transpose()?.flatten() {
                    Some(node) => {
                        Ok(Transformed::yes(LogicalPlan::Extension(Extension { node: Arc::new(node) })))
                    }
                    None => Ok(Transformed::no(LogicalPlan::Extension(Extension { node }))),
                }
            }
            plan => Ok(Transformed::no(plan)),
        }
    }
}

/// Groups by constants only are one group, which is not there without rows.
fn one_group(aggregate: Aggregate) -> Result<Transformed<LogicalPlan>> {
    let value = |expr: &Expr| match expr {
        Expr::Column(column) => constant(&aggregate.input, column),
        Expr::Literal(value, _) => Some(value.clone()),
        _ => None,
    };
    let values: Option<Vec<ScalarValue>> = aggregate.group_expr.iter().map(value).collect();
    let Some(values) = values.filter(|values| !values.is_empty()) else {
        return Ok(Transformed::no(LogicalPlan::Aggregate(aggregate)));
    };
    const ROWS: &str = "$rows";
    let mut made = aggregate.aggr_expr.clone();
    made.push(count(lit(1i64)).alias(ROWS));
    let mut shown = Vec::new();
    for (i, value) in values.into_iter().enumerate() {
        let (qualifier, field) = aggregate.schema.qualified_field(i);
        let value = value.cast_to(field.data_type())?;
        let metadata = Some(field.metadata().into()).filter(|_| !field.metadata().is_empty());
        shown.push(Expr::Literal(value, metadata).alias_qualified(qualifier.cloned(), field.name()));
    }
    for expr in &aggregate.aggr_expr {
        shown.push(Expr::Column(Column::new_unqualified(expr.schema_name().to_string())));
    }
    let plan = LogicalPlanBuilder::from(aggregate.input.as_ref().clone())
        .aggregate(Vec::<Expr>::new(), made)?
        .filter(col(Column::new_unqualified(ROWS)).gt(lit(0i64)))?
        .project(shown)?
        .build()?;
    Ok(Transformed::yes(plan))
}

/// The value of a column of `plan`, if it is the same in all rows.
fn constant(plan: &LogicalPlan, column: &Column) -> Option<ScalarValue> {
    let index = plan.schema().maybe_index_of_column(column)?;
    match plan {
        LogicalPlan::Projection(projection) => match projection.expr[index].clone().unalias_nested().data {
            Expr::Literal(value, _) => Some(value),
            Expr::Column(column) => constant(&projection.input, &column),
            _ => None,
        },
        LogicalPlan::SubqueryAlias(alias) => {
            constant(&alias.input, &Column::from(alias.input.schema().qualified_field(index)))
        }
        LogicalPlan::Filter(filter) => constant(&filter.input, column),
        LogicalPlan::Extension(Extension { node }) => {
            let ordered = node.as_any().downcast_ref::<Ordered>()?;
            let is_passed = ordered.passes_as_it_is(&column.name);
            is_passed.then(|| constant(&ordered.input, &Column::new_unqualified(&column.name)))?
        }
        _ => None,
    }
}
