//! Makes groups and distinct rows, planned for one trace, those of each trace.

use std::sync::Arc;

use datafusion::common::{Column, Result};
use datafusion::logical_expr::{
    Aggregate, Distinct, DistinctOn, EmptyRelation, Expr, JoinType, LogicalPlan, LogicalPlanBuilder,
    Projection, when,
};

use super::join::joined;
use super::rewrite::{Part, Rewriter, no_form, sort_exprs};

impl Rewriter<'_> {
    /// An aggregate: a group for each trace and value, or one for each trace.
    pub fn aggregate(&self, node: &Aggregate, plan: &LogicalPlan) -> Result<Part> {
        let exprs = [node.group_expr.as_slice(), &node.aggr_expr].concat();
        let Some((input, number, mut group)) = self.input(self.part(&node.input)?, &exprs)? else {
            return Ok(Part::Same(plan.clone()));
        };
        if matches!(node.group_expr.as_slice(), [Expr::GroupingSet(_)]) {
            return no_form("GROUPING SETS, ROLLUP and CUBE");
        }
        let aggregates = group.split_off(node.group_expr.len());
        if group.is_empty() {
            return self.one_group(input, number, aggregates);
        }
        group.insert(0, Expr::Column(number.clone()));
        let aggregate = Aggregate::try_new(Arc::new(input), group, aggregates)?;
        Ok(Part::Numbered(LogicalPlan::Aggregate(aggregate), number))
    }

    /// One row for each trace, also for those without rows: it says what `aggregates` are of no rows.
    fn one_group(&self, input: LogicalPlan, number: Column, aggregates: Vec<Expr>) -> Result<Part> {
        let nothing = LogicalPlan::EmptyRelation(EmptyRelation {
            produce_one_row: false,
            schema: input.schema().clone(),
        });
        let nothing =
            LogicalPlan::Aggregate(Aggregate::try_new(Arc::new(nothing), vec![], aggregates.clone())?);
        let columns = nothing.schema().columns();
        let names: Vec<String> = columns.iter().map(|_| self.new_name()).collect();
        let renamed =
            columns.iter().zip(&names).map(|(column, name)| Expr::Column(column.clone()).alias(name));
        let nothing = LogicalPlanBuilder::from(nothing).project(renamed.collect::<Vec<_>>())?.build()?;

        let group = vec![Expr::Column(number.clone())];
        let groups = LogicalPlan::Aggregate(Aggregate::try_new(Arc::new(input), group, aggregates)?);
        let (all, every) = self.numbers()?;
        let all = joined(all, groups, vec![(every.clone(), number.clone())], JoinType::Left)?;
        let all = LogicalPlanBuilder::from(all).cross_join(nothing)?.build()?;
        let value = |(column, name): (Column, String)| {
            let is_missing = Expr::Column(number.clone()).is_null();
            let mut value = when(is_missing, Expr::Column(Column::from_name(name)));
            let value = value.otherwise(Expr::Column(column.clone()))?;
            Ok(value.alias_qualified(column.relation, column.name))
        };
        let mut exprs = columns.into_iter().zip(names).map(value).collect::<Result<Vec<_>>>()?;
        exprs.push(Expr::Column(every.clone()));
        Ok(Part::Numbered(LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(all))?), every))
    }

    /// `SELECT DISTINCT`, `DISTINCT ON`.
    pub fn distinct(&self, node: &Distinct, plan: &LogicalPlan) -> Result<Part> {
        match node {
            Distinct::All(input) => match self.part(input)? {
                Part::Same(_) => Ok(Part::Same(plan.clone())),
                Part::Numbered(rewritten, number) => {
                    let (rewritten, number) = self.only(rewritten, number, input.schema())?;
                    Ok(Part::Numbered(LogicalPlan::Distinct(Distinct::All(Arc::new(rewritten))), number))
                }
            },
            Distinct::On(node) => {
                let sorts = node.sort_expr.as_deref().unwrap_or_default();
                let sorted: Vec<Expr> = sorts.iter().map(|sort| sort.expr.clone()).collect();
                let exprs = [node.on_expr.as_slice(), &node.select_expr, &sorted].concat();
                let Some((input, number, mut on)) = self.input(self.part(&node.input)?, &exprs)? else {
                    return Ok(Part::Same(plan.clone()));
                };
                let mut select = on.split_off(node.on_expr.len());
                let sorted = select.split_off(node.select_expr.len());
                let first = Expr::Column(number.clone());
                on.insert(0, first.clone());
                select.push(first.clone());
                let mut sorts = sort_exprs(sorts, sorted);
                sorts.insert(0, first.sort(true, false));
                let sorts = node.sort_expr.is_some().then_some(sorts);
                let distinct = DistinctOn::try_new(on, select, sorts, Arc::new(input))?;
                Ok(Part::Numbered(LogicalPlan::Distinct(Distinct::On(distinct)), number))
            }
        }
    }
}
