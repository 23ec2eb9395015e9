//! Makes a join, planned for one trace, join only rows of the same trace.

use std::sync::Arc;

use datafusion::common::{Column, Result};
use datafusion::functions::expr_fn::coalesce;
use datafusion::logical_expr::{
    Expr, Join, JoinConstraint, JoinType, LogicalPlan, LogicalPlanBuilder, Projection,
};

use super::rewrite::{Part, Rewriter, no_form};

/// `left` and `right` where the columns `on` are equal.
pub fn joined(
    left: LogicalPlan,
    right: LogicalPlan,
    on: Vec<(Column, Column)>,
    join_type: JoinType,
) -> Result<LogicalPlan> {
    let (left_on, right_on): (Vec<Column>, Vec<Column>) = on.into_iter().unzip();
    LogicalPlanBuilder::from(left).join(right, join_type, (left_on, right_on), None)?.build()
}

impl Rewriter<'_> {
    /// A join.
    pub fn join(&self, node: &Join, plan: &LogicalPlan) -> Result<Part> {
        let (left_on, right_on): (Vec<Expr>, Vec<Expr>) = node.on.iter().cloned().unzip();
        let left = self.side(&node.left, left_on)?;
        let right = self.side(&node.right, right_on)?;
        let ((mut left, left_on), (mut right, right_on)) = (left, right);
        let in_filter = node.filter.as_ref().is_some_and(|filter| self.needs_number(filter));
        if matches!((&left, &right), (Part::Same(_), Part::Same(_))) && !in_filter {
            return Ok(Part::Same(plan.clone()));
        }
        // A side of which each row is there at least once is so for each trace.
        let keeps_left =
            !matches!(node.join_type, JoinType::Inner | JoinType::Right) && !is_right(node.join_type);
        let keeps_right =
            matches!(node.join_type, JoinType::Right | JoinType::Full) || is_right(node.join_type);
        if keeps_left || in_filter {
            let (plan, number) = self.numbered(left)?;
            left = Part::Numbered(plan, number);
        }
        if keeps_right {
            let (plan, number) = self.numbered(right)?;
            right = Part::Numbered(plan, number);
        }
        let mut on: Vec<(Expr, Expr)> = left_on.into_iter().zip(right_on).collect();
        if let (Part::Numbered(_, left), Part::Numbered(_, right)) = (&left, &right) {
            on.push((Expr::Column(left.clone()), Expr::Column(right.clone())));
        }
        let (left, left_number) = opened(left);
        let (right, right_number) = opened(right);
        let number = if keeps_right { &right_number } else { &left_number };
        let Some(number) = number.clone().or(left_number.clone()).or(right_number.clone()) else {
            return no_form("this join");
        };
        let filter = match &node.filter {
            Some(filter) => Some(self.without_subqueries(filter.clone(), &number)?),
            None => None,
        };
        if node.null_aware {
            return no_form("NOT IN");
        }
        let (kind, nulls) = (node.join_type, node.null_equality);
        let (left, right) = (Arc::new(left), Arc::new(right));
        let join = Join::try_new(left, right, on, filter, kind, JoinConstraint::On, nulls, false)?;
        let join = LogicalPlan::Join(join);
        let (JoinType::Full, Some(left), Some(right)) = (kind, left_number, right_number) else {
            return Ok(Part::Numbered(join, number));
        };
        // Of the other side where a row of this one matches none.
        let name = self.new_name();
        let either = coalesce(vec![Expr::Column(left), Expr::Column(right)]).alias(&name);
        let columns = join.schema().columns().into_iter().map(Expr::Column).chain([either]).collect();
        let plan = LogicalPlan::Projection(Projection::try_new(columns, Arc::new(join))?);
        Ok(Part::Numbered(plan, Column::from_name(name)))
    }

    fn side(&self, input: &LogicalPlan, on: Vec<Expr>) -> Result<(Part, Vec<Expr>)> {
        let part = self.part(input)?;
        let is_needed = on.iter().any(|expr| self.needs_number(expr));
        if let (Part::Same(_), false) = (&part, is_needed) {
            return Ok((part, on));
        }
        let (plan, number) = self.numbered(part)?;
        let on = on.into_iter().map(|expr| self.without_subqueries(expr, &number)).collect::<Result<_>>()?;
        Ok((Part::Numbered(plan, number), on))
    }
}

/// Are its rows those of the right side?
fn is_right(kind: JoinType) -> bool {
    matches!(kind, JoinType::RightSemi | JoinType::RightAnti | JoinType::RightMark)
}

fn opened(part: Part) -> (LogicalPlan, Option<Column>) {
    match part {
        Part::Same(plan) => (plan, None),
        Part::Numbered(plan, number) => (plan, Some(number)),
    }
}
