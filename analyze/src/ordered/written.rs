//! Writes out each operator of a statement as its definition in plain SQL.

use std::ops::ControlFlow;

use anyhow::{Context, Result, anyhow};
use datafusion::common::DFSchema;
use datafusion::execution::SessionState;
use datafusion::sql::parser::Statement as DFStatement;
use datafusion::sql::sqlparser::ast::{
    Expr as SqlExpr, ExprWithAlias as SqlExprWithAlias, Query, Statement, TableAlias, TableFactor, VisitMut,
    VisitorMut,
};
use futures::FutureExt;

use super::call::{Call, ident, normalise};
use super::definition;
use super::relation::{constants, input_columns, parsed};

/// Write out the operators in `statement`, inner ones first.
///
/// Fails if one is called wrongly.
pub fn written_out(statement: &mut Statement, state: &SessionState) -> Result<()> {
    normalise(statement);
    match VisitMut::visit(statement, &mut Writer { state }) {
        ControlFlow::Break(error) => Err(error),
        ControlFlow::Continue(()) => Ok(()),
    }
}

struct Writer<'a> {
    state: &'a SessionState,
}

impl VisitorMut for Writer<'_> {
    type Break = anyhow::Error;

    fn post_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<anyhow::Error> {
        match self.definition(factor) {
            Ok(Some(query)) => {
                *factor = query;
                ControlFlow::Continue(())
            }
            Ok(None) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(error),
        }
    }
}

impl Writer<'_> {
    fn definition(&self, factor: &TableFactor) -> Result<Option<TableFactor>> {
        let TableFactor::Table { alias, .. } = factor else { return Ok(None) };
        let Some(call) = Call::read(factor)? else { return Ok(None) };
        let columns = self.columns(&call.input)?;
        let other = call.other.as_ref().map(|other| self.columns(other)).transpose()?.unwrap_or_default();
        let plan = &mut |expr: SqlExpr| {
            self.state
                .create_logical_expr_from_sql_expr(SqlExprWithAlias { expr, alias: None }, &DFSchema::empty())
        };
        let sql = definition::sql(&call, constants(&call, plan)?, &columns, &other)?;
        let alias = alias.clone().unwrap_or_else(|| TableAlias {
            explicit: true,
            name: ident(call.operator.name()),
            columns: Vec::new(),
            at: None,
        });
        let subquery = parsed(&sql)?;
        Ok(Some(TableFactor::Derived { lateral: false, subquery, alias: Some(alias), sample: None }))
    }

    fn columns(&self, query: &Query) -> Result<Vec<definition::InputColumn>> {
        let statement = Statement::Query(Box::new(query.clone()));
        let planning = self.state.statement_to_plan(DFStatement::Statement(Box::new(statement)));
        // All tables are there: nothing is waited for.
        let plan = planning.now_or_never().context("a table is not there at once")?;
        let plan = plan.map_err(|error| anyhow!("{}", error.strip_backtrace()))?;
        Ok(input_columns(plan.schema())?)
    }
}
