//! Plans analyses with their values, and puts errors of a [`Session`] in the words of people.

use std::collections::{HashMap, HashSet};

use anyhow::{Context, Result, anyhow, bail};
use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use arrow_schema::DataType;
use datafusion::common::DataFusionError;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::logical_expr::LogicalPlan;
use datafusion::prelude::DataFrame;
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{Query, Statement as SqlStatement};

use crate::library::analysis::Analysis;
use crate::library::expand::{Expanded, Scope, expand, expand_query};
use crate::library::params::Moment;
use crate::ordered::{self, Operator};
use crate::per_trace::Answer;
use crate::session::{Question, Session};
use crate::sql::bind::print;
use crate::sql::errors::{self, Known};
use crate::sql::parse::Parsed;
use crate::trace::file::damage;

impl Session {
    /// Plan an analysis with these values of parameters, as written on the command line: for each trace, if there are
    /// several.
    ///
    /// Fails if one is no value of its parameter, names what is not there, or has a form that does not keep traces apart.
    pub async fn ask_analysis(&self, analysis: &Analysis, given: &[(String, String)]) -> Result<Question> {
        let query = self.bound(analysis, &analysis.query, given)?;
        self.answer_each(query, HashMap::new(), "").await
    }

    /// Plan `sql`, which is written for one trace, to answer for each: with columns `trace` and `host` in front if there are
    /// several, in the order of the traces.
    ///
    /// Fails as [`Self::ask`], and if it has a form that does not keep traces apart.
    pub async fn ask_each(&self, sql: &str) -> Result<Question> {
        let moment = |text: &str| self.moment_ns(text);
        let Parsed { statement, titles, .. } = expand(sql, self.scope(&moment).of_one())?.parsed;
        match statement {
            Statement::Statement(statement) => match *statement {
                SqlStatement::Query(query) => self.answer_each(*query, titles, sql).await,
                _ => bail!("an analysis must be a query"),
            },
            _ => bail!("an analysis must be a query"),
        }
    }

    /// Run `sql`, which is written for one trace, for each, and keep all rows with the name of their trace, if there are
    /// several; for small answers.
    pub async fn collect_each(&self, sql: &str) -> Result<Vec<(Option<String>, RecordBatch)>> {
        let frame = self.ask_each(sql).await?.frame;
        self.apart(frame.collect().await.map_err(|error| self.explain(&error, sql))?)
    }

    /// The note of an analysis on its answer, if it has one: texts, each with the trace that it is about if there are
    /// several.
    ///
    /// Fails if it cannot be asked.
    pub async fn note_of(
        &self,
        analysis: &Analysis,
        given: &[(String, String)],
    ) -> Result<Vec<(Option<String>, String)>> {
        let Some(note) = &analysis.note else { return Ok(Vec::new()) };
        let question = self.answer_each(self.bound(analysis, note, given)?, HashMap::new(), "").await?;
        let batches = question.frame.collect().await.map_err(|error| self.explain(&error, ""))?;
        let mut texts = Vec::new();
        for (trace, batch) in self.apart(batches)? {
            let column = arrow_cast::cast(batch.column(0), &DataType::Utf8)?;
            texts.extend(
                column.as_string::<i32>().iter().flatten().map(|text| (trace.clone(), text.to_owned())),
            );
        }
        Ok(texts)
    }

    /// Rows of an answer for each trace, by trace.
    fn apart(&self, batches: Vec<RecordBatch>) -> Result<Vec<(Option<String>, RecordBatch)>> {
        if self.many.is_none() {
            return Ok(batches.into_iter().map(|batch| (None, batch)).collect());
        }
        let mut found = Vec::new();
        for batch in batches {
            let traces = arrow_cast::cast(batch.column(0), &DataType::Utf8)?;
            let traces = traces.as_string::<i32>();
            let rest = batch.project(&(2..batch.num_columns()).collect::<Vec<_>>())?;
            for row in 0..batch.num_rows() {
                found.push((Some(traces.value(row).to_owned()), rest.slice(row, 1)));
            }
        }
        Ok(found)
    }

    /// The query of an analysis, or its note, with its values and with the analyses in it written out.
    fn bound(&self, analysis: &Analysis, query: &Query, given: &[(String, String)]) -> Result<Query> {
        let moment = |text: &str| self.moment_ns(text);
        let mut values = Vec::new();
        for (name, text) in given {
            let Some(param) = analysis.param(name) else { continue };
            let value = param.ty.value(text, &moment);
            values.push((param.name.clone(), value.with_context(|| format!("option --{}", param.flag))?));
        }
        let query = analysis.bound(query, &values, &moment)?;
        expand_query(query, self.scope(&moment).of_one())
    }

    async fn answer_each(
        &self,
        query: Query,
        titles: HashMap<String, String>,
        sql: &str,
    ) -> Result<Question> {
        let Some(many) = &self.many else {
            let statement = Statement::Statement(Box::new(SqlStatement::Query(Box::new(query))));
            let parsed = Parsed { statement, titles, renamed: Vec::new() };
            return self.plan(Expanded { parsed, analyses: Vec::new() }, sql).await;
        };
        let Answer { plan, notes } = many.answer(query).await.map_err(|error| self.explain(&error, sql))?;
        Ok(Question::new(DataFrame::new(self.ctx.state(), plan), titles, notes, sql))
    }

    pub(super) fn scope<'a>(&'a self, moment: Moment<'a>) -> Scope<'a> {
        Scope { library: &self.library, is_apart: self.many.is_some(), moment, values: &self.values }
    }

    /// What is wrong, where, and what helps, if `error` is of the query `sql` (empty: of none) on these traces.
    pub fn explain(&self, error: &DataFusionError, sql: &str) -> anyhow::Error {
        if let DataFusionError::ParquetError(error) = error.find_root()
            && let Some(damaged) = damage(error)
        {
            return anyhow!("{damaged}");
        }
        let is_of_files =
            matches!(error.find_root(), DataFusionError::ArrowError(..) | DataFusionError::ParquetError(_));
        if let Some(damaged) = is_of_files.then(|| self.damaged()).flatten() {
            return damaged;
        }
        let state = self.ctx.state();
        let functions = state.scalar_functions().keys().chain(state.aggregate_functions().keys());
        let operators =
            state.table_functions().keys().map(String::as_str).chain(Operator::ALL.map(Operator::name));
        let events = schemas::def::builtin().iter().map(|event| (event.name.as_str(), event.name.as_str()));
        let known = Known {
            tables: &self.tables,
            events: events.collect(),
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

    /// `sql` with every analysis and every ordered operator written out: plain SQL, which other engines run too.
    ///
    /// Fails as [`Self::ask`] does.
    pub fn written_out(&self, sql: &str) -> Result<String> {
        let moment = |text: &str| self.moment_ns(text);
        let mut parsed = expand(sql, self.scope(&moment).of_one())?.parsed;
        let statement = parsed.inner()?;
        ordered::written_out(statement, &self.ctx.state())?;
        Ok(print(statement))
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
