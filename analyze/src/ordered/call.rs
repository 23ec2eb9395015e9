//! A table factor such as `gaps(packets, netns)` goes in, a [`Call`] comes out: which operator, over what, by which key.
//!
//! `gaps` is the name of an analysis as well: with a table or a sub-query as its first argument it is the operator.

use std::ops::ControlFlow;

use anyhow::{Context, Result, bail, ensure};
use datafusion::sql::sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgOperator, FunctionArguments, Ident, ObjectName,
    ObjectNamePart, Query, Statement, TableFactor, TableFunctionArgs, VisitMut, VisitorMut,
};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::parser::Parser;

/// An operator that reads its rows in order of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operator {
    /// Every row with the time since the row before it of the same key.
    Gaps,
    /// Stretches of rows of the same key without a longer pause than `max_gap`.
    Runs,
    /// Begins and ends of the same key.
    Pairs,
    /// The last row of each key up to a time.
    StateAt,
    /// How many rows of each key there are in each interval.
    Rate,
    /// Stretches of time that are covered by the intervals of a key.
    Covered,
    /// How many intervals of a key are open at a time, from change to change.
    Concurrency,
    /// Intervals of two tables that overlap, and where.
    Overlaps,
}

/// What can be given to an operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Argument {
    /// Its name, for `NAME => VALUE`.
    pub name: &'static str,
    /// Must it be given?
    pub is_needed: bool,
    /// What it means.
    pub doc: &'static str,
}

const fn needed(name: &'static str, doc: &'static str) -> Argument {
    Argument { name, is_needed: true, doc }
}

const fn optional(name: &'static str, doc: &'static str) -> Argument {
    Argument { name, is_needed: false, doc }
}

const TABLE: Argument = needed("table", "a table, or a sub-query in parentheses, with a column ts");
const KEY: Argument =
    optional("key", "a column, an expression, or several as (a, b); without it all rows are one stream");
const TIE: Argument =
    optional("tie", "which of two rows of the same time comes first: the one with the smaller value");
const MAX_GAP: &str = "longest pause within a run: nanoseconds, or a text such as '100us'";

impl Operator {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Gaps,
        Self::Runs,
        Self::Pairs,
        Self::StateAt,
        Self::Rate,
        Self::Covered,
        Self::Concurrency,
        Self::Overlaps,
    ];

    /// Its name in SQL.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gaps => "gaps",
            Self::Runs => "runs",
            Self::Pairs => "pairs",
            Self::StateAt => "state_at",
            Self::Rate => "rate",
            Self::Covered => "covered",
            Self::Concurrency => "concurrency",
            Self::Overlaps => "overlaps",
        }
    }

    /// What it does, and which columns come out.
    pub fn doc(self) -> &'static str {
        match self {
            Self::Gaps => {
                "every row with gap_ns, the time since the row before it of the same key (NULL for the first), and nth, its \
                 number in the key; with max_gap also run, the number of its run, and nth_in_run"
            }
            Self::Runs => {
                "a row for each run of rows of the same key that follow each other within max_gap: the key, run, ts, end_ts, \
                 duration_ns, row_count, and sum_X for every other numeric column X"
            }
            Self::Pairs => {
                "begins and ends of the same key: class (paired, outstanding, end_missed, begin_missed, before_recording), \
                 the columns of the begin, those of the end as end_X, and next_ts, the time of the row that ended the \
                 waiting; at the same time an end comes before a begin"
            }
            Self::StateAt => "the last row of each key up to that time",
            Self::Rate => "a row for each key and interval that has rows: the key, ts, row_count, per_s",
            Self::Covered => {
                "the stretches of time that the intervals from ts to end_ts of a key cover: the key, ts, end_ts, \
                 duration_ns, row_count"
            }
            Self::Concurrency => {
                "how many intervals from ts to end_ts of a key are open, from change to change: the key, ts, end_ts, open"
            }
            Self::Overlaps => {
                "the intervals of two tables that overlap: the columns of the first, those of the second as other_X, and \
                 the overlap as overlap_ts, overlap_end_ts"
            }
        }
    }

    /// Its arguments in the order in which they stand without names.
    pub fn arguments(self) -> &'static [Argument] {
        const MOST: Argument = needed("max_gap", MAX_GAP);
        match self {
            Self::Gaps => const { &[TABLE, KEY, optional("max_gap", MAX_GAP), TIE] },
            Self::Runs => const { &[TABLE, KEY, MOST, TIE] },
            Self::Pairs => {
                const {
                    &[
                        TABLE,
                        needed("begin", "condition: this row begins"),
                        needed("end", "condition: this row ends what began before"),
                        needed("key", "what begin and end have in common; rows without it are left out"),
                        TIE,
                    ]
                }
            }
            Self::StateAt => {
                const {
                    &[
                        TABLE,
                        KEY,
                        optional("time", "the moment, a time or UTC nanoseconds; NULL or nothing: the end"),
                        TIE,
                    ]
                }
            }
            Self::Rate => {
                const { &[TABLE, needed("interval", "width: nanoseconds, or a text such as '100ms'"), KEY] }
            }
            Self::Covered | Self::Concurrency => const { &[TABLE, KEY] },
            Self::Overlaps => const { &[TABLE, needed("other", "another table or sub-query"), KEY] },
        }
    }

    /// How it is written.
    pub fn usage(self) -> String {
        let mut text = format!("{}(", self.name());
        for (i, argument) in self.arguments().iter().enumerate() {
            let comma = if i > 0 { ", " } else { "" };
            text += &match argument.is_needed {
                true => format!("{comma}{}", argument.name),
                false => format!("[{comma}{}]", argument.name),
            };
        }
        text + ")"
    }

    /// One line for plans.
    pub fn describe(self, keys: &[String], max_gap_ns: Option<i64>) -> String {
        let max_gap = max_gap_ns.map_or_else(String::new, |ns| format!(", max_gap={ns}ns"));
        format!("{} key=[{}]{max_gap}", self.name(), keys.join(", "))
    }

    /// The operator of that name.
    pub fn find(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|operator| operator.name().eq_ignore_ascii_case(name))
    }
}

/// A call of an operator.
#[derive(Clone, Debug)]
pub struct Call {
    /// Which.
    pub operator: Operator,
    /// The rows.
    pub input: Box<Query>,
    /// The other rows of an operator that has two inputs.
    pub other: Option<Box<Query>>,
    /// The parts of the key.
    pub keys: Vec<Expr>,
    named: Vec<(&'static str, Expr)>,
}

impl Call {
    /// The call that `factor` is; `None` if it is something else.
    ///
    /// Fails if an argument is missing, unknown or given twice.
    pub fn read(factor: &TableFactor) -> Result<Option<Self>> {
        let TableFactor::Table { name, args: Some(args), .. } = factor else { return Ok(None) };
        let Some(operator) = of(name, args) else { return Ok(None) };
        let wrong = || format!("{}: write {}", operator.name(), operator.usage());
        let named = named(operator, &args.args).with_context(wrong)?;
        let mut call =
            Self { operator, input: Box::new(nothing()?), other: None, keys: Vec::new(), named: Vec::new() };
        for (name, value) in named {
            match (name, value) {
                ("table", Expr::Subquery(query)) => call.input = query,
                ("other", value) => {
                    call.other = Some(query_of(&value).context("other must be a table").with_context(wrong)?)
                }
                ("key", Expr::Tuple(parts)) => call.keys = parts,
                ("key", Expr::Nested(part)) => call.keys = vec![*part],
                ("key", part) if is_null(&part) => {}
                ("key", part) => call.keys = vec![part],
                (name, value) => call.named.push((name, value)),
            }
        }
        if operator == Operator::Pairs {
            ensure!(!call.keys.is_empty(), "pairs needs a key: what a begin and its end have in common");
        }
        Ok(Some(call))
    }

    /// What was given as `name`.
    pub fn argument(&self, name: &str) -> Option<&Expr> {
        self.named.iter().find(|(given, _)| *given == name).map(|(_, value)| value)
    }
}

fn is_null(expr: &Expr) -> bool {
    matches!(expr, Expr::Value(value) if value.value == datafusion::sql::sqlparser::ast::Value::Null)
}

/// The operator that this name means with these arguments.
fn of(name: &ObjectName, args: &TableFunctionArgs) -> Option<Operator> {
    let [ObjectNamePart::Identifier(name)] = name.0.as_slice() else { return None };
    let operator = Operator::find(&name.value)?;
    let has_table = args.args.first().and_then(table_argument).is_some_and(|expr| query_of(expr).is_some());
    (has_table || operator != Operator::Gaps).then_some(operator)
}

fn table_argument(arg: &FunctionArg) -> Option<&Expr> {
    match arg {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr),
        FunctionArg::Named { name, arg: FunctionArgExpr::Expr(expr), .. } if name.value == "table" => {
            Some(expr)
        }
        _ => None,
    }
}

/// Is it a call of an operator?
pub fn is_call(factor: &TableFactor) -> bool {
    matches!(factor, TableFactor::Table { name, args: Some(args), .. } if of(name, args).is_some())
}

/// Name and value of each argument.
fn named(operator: Operator, args: &[FunctionArg]) -> Result<Vec<(&'static str, Expr)>> {
    let arguments = operator.arguments();
    let names = || arguments.iter().map(|argument| argument.name).collect::<Vec<_>>().join(", ");
    let mut given: Vec<(&'static str, Expr)> = Vec::new();
    for (position, arg) in args.iter().enumerate() {
        let (name, value) = match arg {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(value)) => {
                let argument = arguments.get(position);
                (argument.with_context(|| format!("it has {} arguments", arguments.len()))?.name, value)
            }
            FunctionArg::Named {
                name,
                arg: FunctionArgExpr::Expr(value),
                operator: FunctionArgOperator::RightArrow | FunctionArgOperator::Equals,
            } => {
                let argument = arguments.iter().find(|a| a.name.eq_ignore_ascii_case(&name.value));
                (
                    argument.with_context(|| format!("it has no argument '{name}', but {}", names()))?.name,
                    value,
                )
            }
            other => bail!("'{other}' is no argument: write NAME => VALUE"),
        };
        ensure!(!given.iter().any(|(known, _)| *known == name), "argument '{name}' is given twice");
        given.push((name, value.clone()));
    }
    for argument in arguments.iter().filter(|argument| argument.is_needed) {
        let is_given = given.iter().any(|(name, _)| *name == argument.name);
        ensure!(is_given, "argument '{}' is missing ({})", argument.name, argument.doc);
    }
    ensure!(
        matches!(given.first(), Some(("table", Expr::Subquery(_)))),
        "its first argument must be a table, or a sub-query in parentheses"
    );
    Ok(given)
}

fn nothing() -> Result<Query> {
    parse("SELECT 1")
}

fn parse(sql: &str) -> Result<Query> {
    match Parser::parse_sql(&GenericDialect {}, sql)?.pop() {
        Some(Statement::Query(query)) => Ok(*query),
        _ => bail!("'{sql}' is no query"),
    }
}

/// The query that an argument in the place of a table means: a sub-query as it is, all of a table, or of another call.
fn query_of(expr: &Expr) -> Option<Box<Query>> {
    let (name, args) = match expr {
        Expr::Subquery(query) => return Some(query.clone()),
        Expr::Nested(inner) => return query_of(inner),
        Expr::Identifier(name) => (ObjectName::from(vec![name.clone()]), None),
        Expr::CompoundIdentifier(names) => (ObjectName::from(names.clone()), None),
        Expr::Function(Function { name, args: FunctionArguments::List(list), over: None, .. }) => {
            let settings = None;
            (name.clone(), Some(TableFunctionArgs { args: list.args.clone(), settings }))
        }
        _ => return None,
    };
    let mut query = parse("SELECT * FROM t").ok()?;
    if let datafusion::sql::sqlparser::ast::SetExpr::Select(select) = query.body.as_mut()
        && let Some(from) = select.from.first_mut()
        && let TableFactor::Table { name: table, args: of, .. } = &mut from.relation
    {
        (*table, *of) = (name, args);
    }
    Some(Box::new(query))
}

/// Make a sub-query of each table that is given to an operator, so that whatever looks for tables finds it.
pub fn normalise(statement: &mut Statement) {
    let _: ControlFlow<()> = VisitMut::visit(statement, &mut Normaliser);
}

struct Normaliser;

impl VisitorMut for Normaliser {
    type Break = ();

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        let TableFactor::Table { name, args: Some(args), .. } = factor else {
            return ControlFlow::Continue(());
        };
        let Some(operator) = of(name, args) else { return ControlFlow::Continue(()) };
        for (position, arg) in args.args.iter_mut().enumerate() {
            let (name, value) = match arg {
                FunctionArg::Unnamed(FunctionArgExpr::Expr(value)) => (None, value),
                FunctionArg::Named { name, arg: FunctionArgExpr::Expr(value), .. } => {
                    (Some(name.value.clone()), value)
                }
                _ => continue,
            };
            let name = name.as_deref().or_else(|| operator.arguments().get(position).map(|a| a.name));
            if matches!(name, Some("table" | "other"))
                && let Some(query) = query_of(value)
            {
                *value = Expr::Subquery(query);
            }
        }
        ControlFlow::Continue(())
    }
}

/// An identifier in quotes where it needs them.
pub fn ident(name: &str) -> Ident {
    Ident::with_quote('"', name)
}
