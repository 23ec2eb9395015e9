//! SQL of a user goes in; out comes SQL in which every analysis is written out.
//!
//! `FROM leaks(min_age_ns => 5, top => 3)`, `FROM leaks(5)` and `FROM a.leaks` (defaults) become the query of that
//! analysis in parentheses. What comes out is plain SQL that other engines can run too.

use std::collections::HashMap;
use std::ops::ControlFlow;

use anyhow::{Context, Result, anyhow, bail};
use datafusion::sql::parser::{DFParserBuilder, Statement};
use datafusion::sql::sqlparser::ast::{
    FunctionArg, FunctionArgExpr, FunctionArgOperator, Ident, ObjectName, Query, Statement as SqlStatement,
    TableAlias, TableFactor, VisitMut, VisitorMut,
};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::parser::Parser;

use crate::library::analysis::{self, Analysis};
use crate::ordered;
use crate::sql::words::{self, Words};

/// Schema of the analyses with their default parameters.
pub const VIEW_SCHEMA: &str = "a";
/// Analyses do not use each other deeper than this.
const MAX_DEPTH: usize = 4;

/// A statement with its analyses written out.
#[derive(Debug)]
pub struct Expanded {
    /// For DataFusion to plan.
    pub statement: Statement,
    /// While several traces are open, the analyses that it reads, and the name that stands for each of them: they are
    /// planned by themselves, for one trace, and [`crate::per_trace`] makes them answer for each.
    pub analyses: Vec<(String, Query)>,
    /// See [`Words::titles`].
    pub titles: HashMap<String, String>,
}

/// Parse `sql`, which must be one statement, and write out its analyses, or name them if several `traces` are open.
///
/// Fails if it is no SQL, several statements, or an analysis is called with parameters that it does not have.
pub fn expand(sql: &str, traces: usize) -> Result<Expanded> {
    let Words { tokens, titles } = words::read(sql)?;
    let parsed = DFParserBuilder::new(tokens).build().and_then(|mut parser| parser.parse_statements());
    let mut statements = parsed.map_err(|e| anyhow!("{}", e.strip_backtrace()))?;
    let Some(mut statement) = statements.pop_front() else {
        bail!("the query is empty: try \"SHOW TABLES\" or \"SELECT * FROM listens LIMIT 10\"");
    };
    if !statements.is_empty() {
        bail!("there are {} statements: give one query at a time", statements.len() + 1);
    }
    let inner = match &mut statement {
        Statement::Statement(inner) => inner,
        Statement::Explain(explain) => match explain.statement.as_mut() {
            Statement::Statement(inner) => inner,
            _ => bail!("only queries can be explained"),
        },
        _ => bail!("only queries are possible: a trace is not changed"),
    };
    let mut expander = Expander { depth: 0, apart: (traces > 1).then(Vec::new) };
    expander.statement(inner)?;
    let analyses = expander.apart.unwrap_or_default();
    Ok(Expanded { statement, titles, analyses })
}

struct Expander {
    depth: usize,
    /// Analyses that are planned by themselves, if they are.
    apart: Option<Vec<(String, Query)>>,
}

impl Expander {
    fn statement(&mut self, statement: &mut SqlStatement) -> Result<()> {
        ordered::normalise(statement);
        match statement.visit(self) {
            ControlFlow::Break(error) => Err(error),
            ControlFlow::Continue(()) => Ok(()),
        }
    }
}

impl VisitorMut for Expander {
    type Break = anyhow::Error;

    fn post_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<anyhow::Error> {
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

impl Expander {
    /// The query to put in the place of `factor`, if that is an analysis.
    fn derived(&mut self, factor: &TableFactor) -> Result<Option<TableFactor>> {
        let TableFactor::Table { name, alias, args, .. } = factor else { return Ok(None) };
        if ordered::is_call(factor) {
            return Ok(None);
        }
        let parts = parts(name);
        let (found, given) = match (parts.as_slice(), args) {
            ([name], Some(args)) => match analysis::find(name) {
                Some(found) => (found, arguments(found, &args.args)?),
                None => return Ok(None),
            },
            ([name], None) if name.eq_ignore_ascii_case("kmem_pairs") => match analysis::find(name) {
                Some(found) => (found, Vec::new()),
                None => return Ok(None),
            },
            ([schema, name], None) if schema.eq_ignore_ascii_case(VIEW_SCHEMA) => {
                match analysis::find(name) {
                    Some(found) => (found, Vec::new()),
                    None => bail!(
                        "there is no analysis '{name}'{}",
                        crate::sql::errors::near(name, analysis::all().iter().map(|a| a.name))
                    ),
                }
            }
            _ => return Ok(None),
        };
        let alias = alias.clone().unwrap_or_else(|| TableAlias {
            explicit: true,
            name: Ident::new(found.name),
            columns: Vec::new(),
            at: None,
        });
        let subquery = Box::new(parse_query(&found.query(&given)?, self.depth + 1)?);
        let Some(apart) = &mut self.apart else {
            return Ok(Some(TableFactor::Derived {
                lateral: false,
                subquery,
                alias: Some(alias),
                sample: None,
            }));
        };
        let name = format!("__analysis_{}", apart.len());
        let mut named = factor.clone();
        if let TableFactor::Table { name: reference, alias: named, args, .. } = &mut named {
            (*reference, *named, *args) =
                (ObjectName::from(vec![Ident::new(name.clone())]), Some(alias), None);
        }
        apart.push((name, *subquery));
        Ok(Some(named))
    }
}

fn parse_query(sql: &str, depth: usize) -> Result<Query> {
    if depth > MAX_DEPTH {
        bail!("analyses use each other too deeply");
    }
    let mut statements = Parser::parse_sql(&GenericDialect {}, sql)?;
    let mut statement = statements.pop().context("the analysis has no query")?;
    Expander { depth, apart: None }.statement(&mut statement)?;
    match statement {
        SqlStatement::Query(query) => Ok(*query),
        _ => bail!("an analysis must be a query"),
    }
}

fn parts(name: &ObjectName) -> Vec<String> {
    name.0.iter().map(|part| part.as_ident().map_or_else(|| part.to_string(), |i| i.value.clone())).collect()
}

/// Name and SQL of each argument.
fn arguments(analysis: &Analysis, args: &[FunctionArg]) -> Result<Vec<(String, String)>> {
    let names = || analysis.params.iter().map(|p| p.name.as_str()).collect::<Vec<_>>().join(", ");
    let mut given: Vec<(String, String)> = Vec::new();
    for (position, arg) in args.iter().enumerate() {
        let (name, value) = match arg {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(value)) => {
                let param = analysis.params.get(position).with_context(|| {
                    format!("{} has {} parameters: {}", analysis.name, analysis.params.len(), names())
                })?;
                (param.name.clone(), value)
            }
            FunctionArg::Named {
                name,
                arg: FunctionArgExpr::Expr(value),
                operator:
                    FunctionArgOperator::RightArrow
                    | FunctionArgOperator::Assignment
                    | FunctionArgOperator::Equals,
            } => (name.value.clone(), value),
            other => bail!("{}: write NAME => VALUE, not '{other}'", analysis.name),
        };
        if !analysis.params.iter().any(|p| p.name == name) {
            bail!("{} has no parameter '{name}': it has {}", analysis.name, names());
        }
        if given.iter().any(|(n, _)| *n == name) {
            bail!("{}: parameter '{name}' is given twice", analysis.name);
        }
        given.push((name, format!("({value})")));
    }
    Ok(given)
}
