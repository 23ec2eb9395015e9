//! SQL of a user goes in; out comes SQL in which every analysis is written out.
//!
//! `FROM leaks(min_age_ns => 5, top => 3)`, `FROM leaks(5)` and `FROM a.leaks` (defaults) become the query of that
//! analysis in parentheses. What comes out is plain SQL that other engines can run too.

use std::ops::ControlFlow;

use anyhow::{Error, Result, bail};
use datafusion::sql::sqlparser::ast::{
    Expr, FunctionArg, FunctionArgExpr, FunctionArgOperator, Ident, ObjectName, Query, Spanned, Statement,
    TableAlias, TableFactor, VisitMut, VisitorMut,
};
use datafusion::sql::sqlparser::tokenizer::Span;

use crate::library::Library;
use crate::library::analysis::Analysis;
use crate::library::params::Moment;
use crate::ordered;
use crate::sql::near::near;
use crate::sql::parse::{Parsed, parse};
use crate::sql::values::Values;

/// Schema of the analyses with their default parameters.
pub const VIEW_SCHEMA: &str = "a";
/// Analyses do not use each other deeper than this.
const MAX_DEPTH: usize = 4;

/// What a query is about.
#[derive(Clone, Copy)]
pub struct Scope<'a> {
    /// The analyses that it can use.
    pub library: &'a Library,
    /// Several traces are open: an analysis is planned by itself, to answer for each of them.
    pub is_apart: bool,
    /// What a time in text means.
    pub moment: Moment<'a>,
    /// The values of parameters that the user gave.
    pub values: &'a Values,
}

impl Scope<'_> {
    /// The same, as if one trace were open.
    pub fn of_one(self) -> Self {
        Self { is_apart: false, ..self }
    }
}

/// A statement whose analyses are written out, or named.
#[derive(Debug)]
pub struct Expanded {
    /// The statement.
    pub parsed: Parsed,
    /// While several traces are open, the analyses that it reads, and the name that stands for each of them: they are
    /// planned by themselves, for one trace, and [`crate::per_trace`] makes them answer for each.
    pub analyses: Vec<(String, Query)>,
}

/// Parse `sql`, which must be one statement, and write out its analyses, or name them if several traces are open.
///
/// Fails if it is no SQL, several statements, has a parameter without a value, or an analysis is called with parameters that
/// it does not have.
pub fn expand(sql: &str, scope: Scope<'_>) -> Result<Expanded> {
    let mut parsed = parse(sql, 0)?;
    scope.values.bind(parsed.inner()?, sql)?;
    let analyses = write_out(parsed.inner()?, sql, 0, scope)?;
    Ok(Expanded { parsed, analyses })
}

/// Write out the analyses in the query of an analysis.
///
/// Fails as [`expand`] does.
pub fn expand_query(query: Query, scope: Scope<'_>) -> Result<Query> {
    written_out(query, "", 0, scope)
}

fn written_out(query: Query, sql: &str, depth: usize, scope: Scope<'_>) -> Result<Query> {
    let mut statement = Statement::Query(Box::new(query));
    write_out(&mut statement, sql, depth, scope.of_one())?;
    match statement {
        Statement::Query(query) => Ok(*query),
        _ => bail!("an analysis must be a query"),
    }
}

/// The analyses that are named instead.
fn write_out(
    statement: &mut Statement,
    sql: &str,
    depth: usize,
    scope: Scope<'_>,
) -> Result<Vec<(String, Query)>> {
    ordered::normalise(statement);
    let mut expander = Expander { sql, depth, scope, named: Vec::new(), apart: Vec::new() };
    match statement.visit(&mut expander) {
        ControlFlow::Break(error) => Err(error),
        ControlFlow::Continue(()) => Ok(expander.apart),
    }
}

struct Expander<'a> {
    sql: &'a str,
    depth: usize,
    scope: Scope<'a>,
    /// What the queries around call tables themselves, with WITH.
    named: Vec<Vec<String>>,
    /// Analyses that are planned by themselves.
    apart: Vec<(String, Query)>,
}

impl VisitorMut for Expander<'_> {
    type Break = Error;

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<Error> {
        let tables = query.with.iter().flat_map(|with| &with.cte_tables);
        self.named.push(tables.map(|table| table.alias.name.value.clone()).collect());
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &mut Query) -> ControlFlow<Error> {
        self.named.pop();
        ControlFlow::Continue(())
    }

    fn post_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<Error> {
        match self.derived(factor) {
            Ok(Some(query)) => {
                *factor = query;
                ControlFlow::Continue(())
            }
            Ok(None) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(error),
        }
    }
}

impl Expander<'_> {
    fn problem(&self, message: String, span: Span, help: impl Into<String>) -> Error {
        self.scope.library.problem(message, span, self.sql, help.into()).into()
    }

    /// The query to put in the place of `factor`, if that is an analysis.
    fn derived(&mut self, factor: &TableFactor) -> Result<Option<TableFactor>> {
        let TableFactor::Table { name, alias, args, .. } = factor else { return Ok(None) };
        if ordered::is_call(factor) {
            return Ok(None);
        }
        let library = self.scope.library;
        let parts = parts(name);
        let (name, args) = match (parts.as_slice(), args) {
            ([name], Some(args)) => (name, args.args.as_slice()),
            ([name], None) if self.is_table(name) => (name, &[][..]),
            ([schema, name], None) if schema.eq_ignore_ascii_case(VIEW_SCHEMA) => (name, &[][..]),
            _ => return Ok(None),
        };
        let span = factor_span(factor);
        let Some(found) = library.find(name) else {
            if let Some(why) = library.why_broken(name) {
                return Err(self.problem(format!("analysis '{name}' cannot be used: {why}"), span, ""));
            }
            if parts.len() == 1 {
                // A table function of DataFusion.
                return Ok(None);
            }
            let hint = near(name, library.names());
            return Err(self.problem(format!("there is no analysis '{name}'{hint}"), span, ""));
        };
        if self.depth >= MAX_DEPTH {
            let message = format!("analysis '{}' is used too deeply: does it use itself?", found.name);
            return Err(self.problem(message, span, ""));
        }
        let given = self.arguments(found, args)?;
        let query = found.bound(&found.query, &given, self.scope.moment)?;
        let query = written_out(query, self.sql, self.depth + 1, self.scope)?;
        let alias = alias.clone().unwrap_or_else(|| TableAlias {
            explicit: true,
            name: Ident::new(found.name.clone()),
            columns: Vec::new(),
            at: None,
        });
        if self.scope.is_apart {
            let name = format!("__analysis_{}", self.apart.len());
            let mut named = factor.clone();
            if let TableFactor::Table { name: reference, alias: named, args, .. } = &mut named {
                (*reference, *named, *args) =
                    (ObjectName::from(vec![Ident::new(name.clone())]), Some(alias), None);
            }
            self.apart.push((name, query));
            return Ok(Some(named));
        }
        let subquery = Box::new(query);
        Ok(Some(TableFactor::Derived { lateral: false, subquery, alias: Some(alias), sample: None }))
    }

    /// Does the name alone stand for an analysis?
    fn is_table(&self, name: &str) -> bool {
        let is_named = self.named.iter().flatten().any(|own| own.eq_ignore_ascii_case(name));
        !is_named && self.scope.library.find(name).is_some_and(|found| found.is_table)
    }

    /// Name and value of each argument.
    fn arguments(&self, analysis: &Analysis, args: &[FunctionArg]) -> Result<Vec<(String, Expr)>> {
        let names = || analysis.params.iter().map(|param| param.name.as_str());
        let usage = || format!("write {}", analysis.call());
        let mut given: Vec<(String, Expr)> = Vec::new();
        for (position, arg) in args.iter().enumerate() {
            let (param, value, span) = match arg {
                FunctionArg::Unnamed(FunctionArgExpr::Expr(value)) => {
                    let Some(param) = analysis.params.get(position) else {
                        let message = match analysis.params.len() {
                            0 => format!("{} has no parameters", analysis.name),
                            1 => format!("{} has one parameter", analysis.name),
                            n => format!("{} has {n} parameters", analysis.name),
                        };
                        return Err(self.problem(message, value.span(), usage()));
                    };
                    (param, value, value.span())
                }
                FunctionArg::Named {
                    name,
                    arg: FunctionArgExpr::Expr(value),
                    operator:
                        FunctionArgOperator::RightArrow
                        | FunctionArgOperator::Assignment
                        | FunctionArgOperator::Equals,
                } => {
                    let Some(param) = analysis.param(&name.value) else {
                        let hint = near(&name.value, names());
                        let message = format!("{} has no parameter '{}'{hint}", analysis.name, name.value);
                        return Err(self.problem(message, name.span, usage()));
                    };
                    (param, value, name.span)
                }
                other => {
                    return Err(self.problem(
                        format!("'{other}' is no value of a parameter"),
                        other.span(),
                        usage(),
                    ));
                }
            };
            if given.iter().any(|(name, _)| *name == param.name) {
                let message = format!("{}: parameter '{}' is given twice", analysis.name, param.name);
                return Err(self.problem(message, span, ""));
            }
            let value = param.ty.given(value.clone(), self.scope.moment).map_err(|error| {
                self.problem(format!("{}: parameter '{}': {error:#}", analysis.name, param.name), span, "")
            })?;
            given.push((param.name.clone(), value));
        }
        Ok(given)
    }
}

fn parts(name: &ObjectName) -> Vec<String> {
    name.0.iter().map(|part| part.as_ident().map_or_else(|| part.to_string(), |i| i.value.clone())).collect()
}

fn factor_span(factor: &TableFactor) -> Span {
    match factor {
        TableFactor::Table { name, .. } => name.span(),
        other => other.span(),
    }
}
