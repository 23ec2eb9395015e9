//! Expressions of a plan for one trace go in; for many traces they ask what depends on the trace with the number of theirs.

use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{Column, Result};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{Expr, LogicalPlan};

use super::of_row::{need, with_number};
use super::rewrite::{Part, Rewriter, no_form};
use crate::functions::Dependence;

impl Rewriter<'_> {
    /// The input of a node and its expressions for many traces; `None`: it is the same for each.
    pub fn input(&self, part: Part, exprs: &[Expr]) -> Result<Option<(LogicalPlan, Column, Vec<Expr>)>> {
        if matches!(part, Part::Same(_)) && !exprs.iter().any(|expr| self.needs_number(expr)) {
            return Ok(None);
        }
        let (mut plan, number) = self.numbered(part)?;
        let names = NamePreserver::new_for_projection();
        let mut rewritten = Vec::with_capacity(exprs.len());
        for expr in exprs {
            let name = names.save(expr);
            let expr = expr.clone().transform_up(|expr| self.expr(expr, &mut plan, &number))?;
            rewritten.push(if expr.transformed { name.restore(expr.data) } else { expr.data });
        }
        Ok(Some((plan, number, rewritten)))
    }

    /// Does `expr` ask for something of a trace?
    pub fn needs_number(&self, expr: &Expr) -> bool {
        let needs = |expr: &Expr| match expr {
            Expr::ScalarFunction(_) => Ok(need(expr) != Dependence::No),
            Expr::ScalarSubquery(query) => Ok(!self.is_same(&query.subquery)?),
            Expr::InSubquery(query) => Ok(!self.is_same(&query.subquery.subquery)?),
            Expr::Exists(query) => Ok(!self.is_same(&query.subquery.subquery)?),
            Expr::SetComparison(query) => Ok(!self.is_same(&query.subquery.subquery)?),
            _ => Ok(false),
        };
        // What cannot be told is looked at with the number.
        expr.exists(needs).unwrap_or(true)
    }

    /// `expr` where no input can be joined to the plan.
    pub fn without_subqueries(&self, expr: Expr, number: &Column) -> Result<Expr> {
        let rewrite = |expr: Expr| match expr {
            Expr::ScalarSubquery(_) | Expr::InSubquery(_) | Expr::Exists(_) | Expr::SetComparison(_)
                if self.needs_number(&expr) =>
            {
                no_form("a query within the condition of a join")
            }
            other => Ok(with_number(other, number)),
        };
        expr.transform_up(rewrite).data()
    }

    fn expr(&self, expr: Expr, plan: &mut LogicalPlan, number: &Column) -> Result<Transformed<Expr>> {
        match expr {
            Expr::ScalarSubquery(_) | Expr::InSubquery(_) | Expr::Exists(_) | Expr::SetComparison(_) => {
                self.subquery(expr, plan, number)
            }
            other => Ok(with_number(other, number)),
        }
    }
}
