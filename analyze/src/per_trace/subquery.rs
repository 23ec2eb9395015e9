//! A query within an expression of a plan for one trace goes in; for many traces it is asked of the trace of the row.

use std::sync::Arc;

use datafusion::common::tree_node::Transformed;
use datafusion::common::{Column, Result};
use datafusion::logical_expr::expr::{Exists, InSubquery};
use datafusion::logical_expr::{
    Aggregate, Expr, Filter, JoinType, LogicalPlan, LogicalPlanBuilder, Projection, Subquery, SubqueryAlias,
};

use super::join::joined;
use super::rewrite::{Part, Rewriter, no_form};

impl Rewriter<'_> {
    /// `expr`, which is a query, beside the rows of `plan`; what it needs is joined to `plan`.
    pub fn subquery(&self, expr: Expr, plan: &mut LogicalPlan, number: &Column) -> Result<Transformed<Expr>> {
        match expr {
            Expr::ScalarSubquery(query) => self.value(query, plan, number),
            Expr::Exists(Exists { subquery, negated }) => {
                let subquery = self.of_row(subquery, plan, number)?;
                Ok(subquery.update_data(|subquery| Expr::Exists(Exists { subquery, negated })))
            }
            Expr::InSubquery(InSubquery { expr, subquery, negated }) => {
                let subquery = self.of_row(subquery, plan, number)?;
                if negated && subquery.transformed {
                    // A NULL among the rows of one trace would count for those of all.
                    return no_form("NOT IN with a query (write NOT EXISTS)");
                }
                Ok(subquery.update_data(|subquery| Expr::InSubquery(InSubquery { expr, subquery, negated })))
            }
            Expr::SetComparison(query) if !self.is_same(&query.subquery.subquery)? => no_form("ANY and ALL"),
            other => Ok(Transformed::no(other)),
        }
    }

    /// Only the rows of `query` that are of the trace of the row outside.
    fn of_row(
        &self,
        query: Subquery,
        outside: &LogicalPlan,
        number: &Column,
    ) -> Result<Transformed<Subquery>> {
        let Part::Numbered(plan, own) = self.part(&query.subquery)? else {
            return Ok(Transformed::no(query));
        };
        let (filter, number) = same_trace(own, outside, number)?;
        let plan = LogicalPlan::Filter(Filter::try_new(filter, Arc::new(plan))?);
        let columns = query.subquery.schema().columns().into_iter().map(Expr::Column).collect();
        let plan = LogicalPlan::Projection(Projection::try_new(columns, Arc::new(plan))?);
        let mut query = query.with_plan(Arc::new(plan));
        query.outer_ref_columns.push(number);
        Ok(Transformed::yes(query))
    }

    /// The one value of `query` for the trace of the row.
    fn value(&self, query: Subquery, plan: &mut LogicalPlan, number: &Column) -> Result<Transformed<Expr>> {
        if self.is_same(&query.subquery)? {
            return Ok(Transformed::no(Expr::ScalarSubquery(query)));
        }
        if !query.outer_ref_columns.is_empty() {
            let inside = self.correlated(&query.subquery, plan, number)?;
            let mut query = query.with_plan(Arc::new(inside));
            query.outer_ref_columns.push(same_trace(number.clone(), plan, number)?.1);
            return Ok(Transformed::yes(Expr::ScalarSubquery(query)));
        }
        if !self.is_one_row(&query.subquery) {
            return no_form("a query for one value that is no aggregate and has no LIMIT 1");
        }
        let (inside, own) = self.numbered(self.part(&query.subquery)?)?;
        let Some(value) = query.subquery.schema().columns().into_iter().next() else {
            return no_form("a query without a column");
        };
        let (own_name, value_name) = (self.new_name(), self.new_name());
        let columns = [Expr::Column(own).alias(&own_name), Expr::Column(value).alias(&value_name)];
        let inside = LogicalPlanBuilder::from(inside).project(columns)?.build()?;
        let on = vec![(number.clone(), Column::from_name(own_name))];
        *plan = joined(std::mem::take(plan), inside, on, JoinType::Left)?;
        Ok(Transformed::yes(Expr::Column(Column::from_name(value_name))))
    }

    /// An aggregate that refers to the row outside, of the trace of that row.
    fn correlated(&self, query: &LogicalPlan, outside: &LogicalPlan, number: &Column) -> Result<LogicalPlan> {
        match query {
            LogicalPlan::Projection(node) if !node.expr.iter().any(|expr| self.needs_number(expr)) => {
                let input = self.correlated(&node.input, outside, number)?;
                Ok(LogicalPlan::Projection(Projection::try_new(node.expr.clone(), Arc::new(input))?))
            }
            LogicalPlan::SubqueryAlias(node) => {
                let input = self.correlated(&node.input, outside, number)?;
                Ok(LogicalPlan::SubqueryAlias(SubqueryAlias::try_new(Arc::new(input), node.alias.clone())?))
            }
            LogicalPlan::Aggregate(node) if node.group_expr.is_empty() => {
                let part = self.part(&node.input)?;
                let Some((input, own, aggregates)) = self.input(part, &node.aggr_expr)? else {
                    return Ok(query.clone());
                };
                let mut condition = same_trace(own, outside, number)?.0;
                let input = match input {
                    LogicalPlan::Filter(Filter { predicate, input, .. }) => {
                        condition = predicate.and(condition);
                        input
                    }
                    other => Arc::new(other),
                };
                let input = Arc::new(LogicalPlan::Filter(Filter::try_new(condition, input)?));
                Ok(LogicalPlan::Aggregate(Aggregate::try_new(input, vec![], aggregates)?))
            }
            _ => no_form("a query for one value that refers to the row outside and is no plain aggregate"),
        }
    }

    /// Has `query`, asked of one trace, one row at most?
    fn is_one_row(&self, query: &LogicalPlan) -> bool {
        match query {
            LogicalPlan::TableScan(scan) => self.has_one_row(scan),
            LogicalPlan::Projection(node) => self.is_one_row(&node.input),
            LogicalPlan::Filter(node) => self.is_one_row(&node.input),
            LogicalPlan::SubqueryAlias(node) => self.is_one_row(&node.input),
            LogicalPlan::Sort(node) => self.is_one_row(&node.input),
            LogicalPlan::Limit(node) if self.is_one_row(&node.input) => true,
            other => other.max_rows().is_some_and(|rows| rows <= 1),
        }
    }
}

/// The condition that `own` is the trace `number` of the row outside, and that as an outer column.
fn same_trace(own: Column, outside: &LogicalPlan, number: &Column) -> Result<(Expr, Expr)> {
    let (_, field) = outside.schema().qualified_field_from_column(number)?;
    let number = Expr::OuterReferenceColumn(field.clone(), number.clone());
    Ok((Expr::Column(own).eq(number.clone()), number))
}
