//! Analyses with their values, and errors, of a [`Session`] -> plans, and errors in the words of people.

use std::collections::{HashMap, HashSet};

use anyhow::{Context, Result, anyhow};
use arrow_array::cast::AsArray;
use arrow_schema::DataType;
use datafusion::common::DataFusionError;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::logical_expr::LogicalPlan;
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{Query, Statement as SqlStatement};

use crate::library::analysis::Analysis;
use crate::library::expand::{Scope, expand, expand_query};
use crate::library::params::Moment;
use crate::library::reserved::OPERATORS;
use crate::session::{Question, Session};
use crate::sql::bind::print;
use crate::sql::errors::{self, Known};
use crate::sql::parse::Parsed;

impl Session {
    /// Plan an analysis with these values of parameters, as written on the command line.
    ///
    /// Fails if one is no value of its parameter, or names what is not there.
    pub async fn ask_analysis(&self, analysis: &Analysis, given: &[(String, String)]) -> Result<Question> {
        self.ask_bound(analysis, &analysis.query, given).await
    }

    /// The note of an analysis on its answer, if it has one: texts.
    ///
    /// Fails if it cannot be asked.
    pub async fn note_of(&self, analysis: &Analysis, given: &[(String, String)]) -> Result<Vec<String>> {
        let Some(note) = &analysis.note else { return Ok(Vec::new()) };
        let question = self.ask_bound(analysis, note, given).await?;
        let batches = question.frame.collect().await.map_err(|error| self.explain(&error, ""))?;
        let mut texts = Vec::new();
        for batch in batches {
            let column = arrow_cast::cast(batch.column(0), &DataType::Utf8)?;
            texts.extend(column.as_string::<i32>().iter().flatten().map(str::to_owned));
        }
        Ok(texts)
    }

    async fn ask_bound(
        &self,
        analysis: &Analysis,
        query: &Query,
        given: &[(String, String)],
    ) -> Result<Question> {
        let moment = |text: &str| self.moment_ns(text);
        let mut values = Vec::new();
        for (name, text) in given {
            let Some(param) = analysis.param(name) else { continue };
            let value = param.ty.value(text, &moment);
            values.push((param.name.clone(), value.with_context(|| format!("option --{}", param.flag))?));
        }
        let query = analysis.bound(query, &values, &moment)?;
        let query = Box::new(expand_query(query, self.scope(&moment))?);
        let statement = Statement::Statement(Box::new(SqlStatement::Query(query)));
        self.plan(Parsed { statement, titles: HashMap::new(), renamed: Vec::new() }, "").await
    }

    pub(super) fn scope<'a>(&'a self, moment: Moment<'a>) -> Scope<'a> {
        Scope { library: &self.library, traces: self.traces.len(), moment }
    }

    /// What is wrong, where, and what helps, if `error` is of the query `sql` (empty: of none) on these traces.
    pub fn explain(&self, error: &DataFusionError, sql: &str) -> anyhow::Error {
        let is_of_files =
            matches!(error.find_root(), DataFusionError::ArrowError(..) | DataFusionError::ParquetError(_));
        if let Some(damaged) = is_of_files.then(|| self.damaged()).flatten() {
            return damaged;
        }
        let state = self.ctx.state();
        let functions = state.scalar_functions().keys().chain(state.aggregate_functions().keys());
        let operators = state.table_functions().keys().map(String::as_str).chain(OPERATORS.iter().copied());
        let events = schemas::def::builtin().iter().map(|event| (event.name.as_str(), event.name.as_str()));
        let known = Known {
            tables: &self.tables,
            events: events.chain([("kmem_pairs", "kmem")]).collect(),
            analyses: self.library.names().collect(),
            functions: functions.chain(state.window_functions().keys()).cloned().collect(),
            operators: operators.collect(),
            locate: &|message, span, help| self.library.problem(message, span, sql, help),
        };
        errors::explain(error, &known, sql)
    }

    /// A reader's error does not say which file it was in: look for it.
    fn damaged(&self) -> Option<anyhow::Error> {
        let tables = self.traces.iter().flat_map(|trace| &trace.tables);
        let mut segments = tables.flat_map(|table| &table.segments);
        let (path, error) = segments.find_map(|s| Some((&s.file.path, s.check().err()?)))?;
        Some(anyhow!("{} is damaged: {error:#}; move it out of the trace to ask the rest", path.display()))
    }

    /// `sql` with every analysis written out: plain SQL, which other engines run too.
    ///
    /// Fails as [`Self::ask`] does.
    pub fn written_out(&self, sql: &str) -> Result<String> {
        let moment = |text: &str| self.moment_ns(text);
        Ok(print(expand(sql, self.scope(&moment))?.inner()?))
    }
}

/// A note for each of the `renamed` columns that gets the name of another one.
pub(super) fn missing_commas(plan: &LogicalPlan, renamed: &[(String, String)]) -> Result<Vec<String>> {
    let mut columns: HashSet<String> = HashSet::new();
    plan.apply_with_subqueries(|node| {
        if matches!(node, LogicalPlan::TableScan(_) | LogicalPlan::SubqueryAlias(_)) && !renamed.is_empty() {
            columns.extend(node.schema().fields().iter().map(|field| field.name().clone()));
            if let LogicalPlan::TableScan(scan) = node {
                columns.extend(scan.source.schema().fields().iter().map(|field| field.name().clone()));
            }
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    let taken = renamed.iter().filter(|(_, name)| columns.contains(name));
    let note = |(column, name): &(String, String)| {
        format!(
            "'{name}' is another name of '{column}' here, and a column, too: is a comma missing before it?"
        )
    };
    Ok(taken.map(note).collect())
}
