//! Makes a limit, planned for one trace, hold for each trace.

use std::sync::Arc;

use datafusion::common::{Column, Result, ScalarValue, plan_err};
use datafusion::functions_window::row_number::row_number;
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::logical_expr::{
    Expr, ExprFunctionExt, Filter, LogicalPlan, Projection, Sort, SortExpr, SubqueryAlias, Window, lit,
};
use datafusion::optimizer::simplify_expressions::ExprSimplifier;

use super::rewrite::{Part, Rewriter, is_sorted, no_form, sort_exprs, sorted};

impl Rewriter<'_> {
    /// Of each trace, `fetch` rows of `input` after the first `skip`, in the order of `input`.
    pub fn limit(&self, skip: Option<Expr>, fetch: Option<Expr>, input: &LogicalPlan) -> Result<Part> {
        match input {
            LogicalPlan::Projection(node) if is_sorted(&node.input) => {
                let below = self.limit(skip, fetch, &node.input)?;
                let Some((below, number, mut exprs)) = self.input(below, &node.expr)? else {
                    return Ok(Part::Same(input.clone()));
                };
                exprs.push(Expr::Column(number.clone()));
                let plan = Projection::try_new(exprs, Arc::new(below))?;
                Ok(Part::Numbered(LogicalPlan::Projection(plan), number))
            }
            LogicalPlan::SubqueryAlias(node) if is_sorted(&node.input) => {
                let (below, number) = self.numbered(self.limit(skip, fetch, &node.input)?)?;
                let plan = SubqueryAlias::try_new(Arc::new(below), node.alias.clone())?;
                let number = Column::new(Some(node.alias.clone()), number.name);
                Ok(Part::Numbered(LogicalPlan::SubqueryAlias(plan), number))
            }
            LogicalPlan::Sort(Sort { expr, input, fetch: None }) => self.first(skip, fetch, input, expr),
            LogicalPlan::Limit(node) if skip.is_none() && fetch.is_none() => {
                self.limit(node.skip.as_deref().cloned(), node.fetch.as_deref().cloned(), &node.input)
            }
            LogicalPlan::Sort(_) => no_form("a limit on a sort that has one"),
            other => self.first(skip, fetch, other, &[]),
        }
    }

    /// Of each trace, `fetch` rows of `input` after the first `skip`, in the order of `sorts`.
    fn first(
        &self,
        skip: Option<Expr>,
        fetch: Option<Expr>,
        input: &LogicalPlan,
        sorts: &[SortExpr],
    ) -> Result<Part> {
        let exprs: Vec<Expr> = sorts.iter().map(|sort| sort.expr.clone()).collect();
        let (plan, number) = self.numbered(self.part(input)?)?;
        let Some((plan, number, exprs)) = self.input(Part::Numbered(plan, number), &exprs)? else {
            return no_form("this limit");
        };
        let sorts = sort_exprs(sorts, exprs);
        let mut ranked = row_number().partition_by(vec![Expr::Column(number.clone())]);
        if !sorts.is_empty() {
            ranked = ranked.order_by(sorts.clone());
        }
        let ranked = ranked.build()?;
        let rank = Expr::Column(Column::from_name(ranked.schema_name().to_string()));
        let skip = constant("OFFSET", skip)?.unwrap_or(0);
        let mut condition = rank.clone().gt(lit(skip));
        if let Some(fetch) = constant("LIMIT", fetch)? {
            condition = condition.and(rank.lt_eq(lit(skip.saturating_add(fetch))));
        }
        let window = LogicalPlan::Window(Window::try_new(vec![ranked], Arc::new(plan))?);
        let schema = input.schema();
        let first = LogicalPlan::Filter(Filter::try_new(condition, Arc::new(window))?);
        let (plan, number) = if sorts.is_empty() {
            self.only(first, number, schema)?
        } else {
            let plan = sorted(first, &number, sorts);
            self.only(plan, number, schema)?
        };
        Ok(Part::Numbered(plan, number))
    }
}

/// The number that `expr` is; `None`: there is no limit.
fn constant(what: &str, expr: Option<Expr>) -> Result<Option<u64>> {
    let Some(expr) = expr else { return Ok(None) };
    let simplifier = ExprSimplifier::new(SimplifyContext::builder().build());
    match simplifier.simplify(expr)? {
        Expr::Literal(value, _) if value.is_null() => Ok(None),
        Expr::Literal(value, _) => match value.cast_to(&arrow_schema::DataType::Int64)? {
            ScalarValue::Int64(Some(n)) if n >= 0 => Ok(Some(n.cast_unsigned())),
            other => plan_err!("{what} must be >= 0, '{other}' was provided"),
        },
        other => plan_err!("{what} must be a number, not '{other}'"),
    }
}
