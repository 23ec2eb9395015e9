//! Plans the operators in a SQL query.

use std::sync::Arc;

use arrow_schema::{DataType, TimeUnit};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Column, DFSchema, Result, ScalarValue, plan_datafusion_err, plan_err};
use datafusion::logical_expr::planner::{
    PlannedRelation, RelationPlanner, RelationPlannerContext, RelationPlanning,
};
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::logical_expr::{Expr, ExprSchemable, Extension, LogicalPlan, LogicalPlanBuilder};
use datafusion::optimizer::simplify_expressions::ExprSimplifier;
use datafusion::sql::sqlparser::ast::{
    Expr as SqlExpr, Ident, Query, Statement, TableAlias, TableFactor, Value,
};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::parser::Parser;
use schemas::column::timestamp;

use super::call::{Call, Operator, ident};
use super::definition::{self, Constants, InputColumn, end_names, key_names, ties};
use super::layout;
use super::node::Ordered;
use crate::times::{duration_ns, time_ns};
use crate::trace::names::TRACE;

/// Plans operators.
#[derive(Debug)]
pub struct Relations;

impl RelationPlanner for Relations {
    fn plan_relation(
        &self,
        relation: TableFactor,
        context: &mut dyn RelationPlannerContext,
    ) -> Result<RelationPlanning> {
        let call = Call::read(&relation).map_err(|error| plan_datafusion_err!("{error:#}"))?;
        let (Some(call), TableFactor::Table { alias, .. }) = (call, &relation) else {
            return Ok(RelationPlanning::Original(Box::new(relation)));
        };
        let name = call.operator.name();
        let alias = alias.clone().unwrap_or_else(|| TableAlias {
            explicit: true,
            name: Ident::new(name),
            columns: Vec::new(),
            at: None,
        });
        let plan = plan(&call, context).map_err(|error| error.context(format!("in {name}")))?;
        Ok(RelationPlanning::Planned(Box::new(PlannedRelation::new(plan, Some(alias)))))
    }
}

fn derived(query: Box<Query>) -> TableFactor {
    TableFactor::Derived { lateral: false, subquery: query, alias: None, sample: None }
}

/// The columns of a plan, as definitions know them.
///
/// Fails if two have the same name.
pub fn input_columns(schema: &DFSchema) -> Result<Vec<InputColumn>> {
    let mut columns: Vec<InputColumn> = Vec::new();
    for field in schema.fields() {
        if columns.iter().any(|column| column.name == *field.name()) {
            return plan_err!(
                "its sub-query has two columns {}: give one of them another name with AS",
                field.name()
            );
        }
        let ty = field.data_type();
        let (is_number, is_floating) = (ty.is_integer() || ty.is_floating(), ty.is_floating());
        columns.push(InputColumn { name: field.name().clone(), is_number, is_floating });
    }
    Ok(columns)
}

fn plan(call: &Call, context: &mut dyn RelationPlannerContext) -> Result<LogicalPlan> {
    let input = context.plan(derived(call.input.clone()))?;
    let columns = input_columns(input.schema())?;
    let schema = input.schema().as_ref().clone();
    let constants = constants(call, &mut |expr| context.sql_to_expr(expr, &DFSchema::empty()))?;
    if matches!(call.operator, Operator::Rate | Operator::Overlaps) {
        let other = match &call.other {
            Some(other) => input_columns(context.plan(derived(other.clone()))?.schema())?,
            None => Vec::new(),
        };
        let sql = definition::sql(call, constants, &columns, &other)
            .map_err(|error| plan_datafusion_err!("{error:#}"))?;
        return context.plan(derived(parsed(&sql)?));
    }
    keep_traces_apart(call, &input)?;
    let mut inputs = Inputs { context, schema: &schema, made: Vec::new() };
    inputs.time("ts", layout::TS)?;
    let keys = inputs.keys(call)?;
    match call.operator {
        Operator::Pairs => {
            inputs.pass(&columns)?;
            for (of, name) in end_names(call, &columns) {
                inputs.column(&of, &format!("{}{name}", layout::OF_END))?;
            }
            inputs.condition(call, "begin", layout::BEGIN)?;
            inputs.condition(call, "end", layout::END)?;
        }
        Operator::Runs => {
            inputs.pass_keys(call)?;
            let is_key = |column: &&InputColumn| keys.contains(&column.name);
            for column in columns.iter().filter(|column| column.is_number && !is_key(column)) {
                inputs.column(&column.name, &format!("{}sum_{}", layout::SUM, column.name))?;
            }
        }
        Operator::Covered | Operator::Concurrency => {
            inputs.pass_keys(call)?;
            inputs.time("end_ts", layout::UNTIL)?;
        }
        _ => inputs.pass(&columns)?,
    }
    if matches!(call.operator, Operator::Gaps | Operator::Pairs | Operator::StateAt) {
        let tie = call.argument("tie").cloned();
        let of_recording = ties(&columns).map(|name| SqlExpr::Identifier(ident(name)));
        for (i, tie) in tie.into_iter().chain(of_recording).enumerate() {
            let tie = inputs.expr(&tie)?;
            inputs.made.push(tie.alias(format!("{}{i}", layout::TIE)));
        }
    }
    let made = inputs.made;
    let mut builder = LogicalPlanBuilder::from(input);
    if let (Operator::StateAt, Some(ns)) = (call.operator, constants.time_ns) {
        let time = ScalarValue::TimestampNanosecond(Some(ns), Some("UTC".into()));
        builder =
            builder.filter(Expr::Column(time_column(&schema, "ts")?).lt_eq(Expr::Literal(time, None)))?;
    }
    let input = builder.project(made)?.build()?;
    let node = Ordered::new(call.operator, constants.max_gap_ns, keys, input)?;
    Ok(LogicalPlan::Extension(Extension { node: Arc::new(node) }))
}

/// Fails if rows of several traces would be taken for one key: pointers, processes and processors of one machine mean
/// nothing on another.
fn keep_traces_apart(call: &Call, input: &LogicalPlan) -> Result<()> {
    let is_of_key = matches!(call.operator, Operator::Covered | Operator::Concurrency);
    if is_of_key || key_names(&call.keys).iter().any(|(name, is_plain)| *is_plain && name == TRACE) {
        return Ok(());
    }
    let mut has_several = false;
    input.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node {
            has_several |= scan.source.schema().column_with_name(TRACE).is_some();
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    if !has_several {
        return Ok(());
    }
    let keys: String = call.keys.iter().map(|key| format!(", {key}")).collect();
    let key = if keys.is_empty() { TRACE.to_owned() } else { format!("({TRACE}{keys})") };
    plan_err!(
        "several traces are open, and rows of different traces have nothing to do with each other: write key => {key}"
    )
}

/// The arguments of a call that are the same for all rows.
///
/// Fails if they are not, or are no times.
pub fn constants(call: &Call, plan: &mut dyn FnMut(SqlExpr) -> Result<Expr>) -> Result<Constants> {
    let mut duration = |name: &str| {
        call.argument(name)
            .map(|expr| constant(name, expr, plan).and_then(|value| ns_of(name, value)))
            .transpose()
    };
    let (max_gap_ns, interval_ns) = (duration("max_gap")?, duration("interval")?);
    if max_gap_ns.is_some_and(|ns| ns < 0) {
        return plan_err!("max_gap must not be negative");
    }
    if interval_ns.is_some_and(|ns| ns <= 0) {
        return plan_err!("interval must be longer than nothing");
    }
    let time_ns = match call.argument("time") {
        None => None,
        Some(expr) => moment_ns(constant("time", expr, plan)?)?,
    };
    Ok(Constants { max_gap_ns, interval_ns, time_ns })
}

fn constant(
    name: &str,
    expr: &SqlExpr,
    plan: &mut dyn FnMut(SqlExpr) -> Result<Expr>,
) -> Result<ScalarValue> {
    if let SqlExpr::Value(value) = expr
        && let Value::SingleQuotedString(text) = &value.value
    {
        return Ok(ScalarValue::Utf8(Some(text.clone())));
    }
    let wrong = || plan_datafusion_err!("{name} must be the same for all rows, and {expr} is not");
    let simplifier = ExprSimplifier::new(SimplifyContext::default());
    match simplifier.simplify(plan(expr.clone()).map_err(|_| wrong())?)? {
        Expr::Literal(value, _) => Ok(value),
        _ => Err(wrong()),
    }
}

fn ns_of(name: &str, value: ScalarValue) -> Result<i64> {
    if let ScalarValue::Utf8(Some(text)) = &value {
        return duration_ns(text).map_err(|error| plan_datafusion_err!("{name}: {error:#}"));
    }
    match value.cast_to(&DataType::Int64) {
        Ok(ScalarValue::Int64(Some(ns))) => Ok(ns),
        _ => plan_err!("{name} must be a duration: nanoseconds, or a text such as '100us'"),
    }
}

fn moment_ns(value: ScalarValue) -> Result<Option<i64>> {
    if value.is_null() {
        return Ok(None);
    }
    if let ScalarValue::Utf8(Some(text)) = &value {
        return match text.starts_with('+') {
            true => plan_err!("time: '{text}' counts from the start; write a date, or UTC nanoseconds"),
            false => time_ns(text, 0).map(Some).map_err(|error| plan_datafusion_err!("time: {error:#}")),
        };
    }
    let value = match value.data_type() {
        DataType::Timestamp(..) => value.cast_to(&timestamp())?.cast_to(&DataType::Int64),
        _ => value.cast_to(&DataType::Int64),
    };
    match value {
        Ok(ScalarValue::Int64(ns)) => Ok(ns),
        _ => plan_err!("time must be a time, or UTC nanoseconds"),
    }
}

/// The projection below an operator, as it grows.
struct Inputs<'a> {
    context: &'a mut dyn RelationPlannerContext,
    schema: &'a DFSchema,
    made: Vec<Expr>,
}

impl Inputs<'_> {
    fn expr(&mut self, expr: &SqlExpr) -> Result<Expr> {
        self.context.sql_to_expr(expr.clone(), self.schema)
    }

    fn column(&mut self, of: &str, name: &str) -> Result<()> {
        let index = self.schema.index_of_column_by_name(None, of);
        let index = index.ok_or_else(|| plan_datafusion_err!("its table has no column {of}"))?;
        self.made.push(Expr::Column(Column::from(self.schema.qualified_field(index))).alias(name));
        Ok(())
    }

    fn time(&mut self, of: &str, name: &str) -> Result<()> {
        let column = Expr::Column(time_column(self.schema, of)?);
        self.made.push(column.cast_to(&timestamp(), self.schema)?.alias(name));
        Ok(())
    }

    fn pass(&mut self, columns: &[InputColumn]) -> Result<()> {
        columns.iter().try_for_each(|column| self.column(&column.name, &column.name))
    }

    /// The parts of the key, for the operator; which of them are columns that it passes on.
    fn keys(&mut self, call: &Call) -> Result<Vec<String>> {
        for (i, key) in call.keys.iter().enumerate() {
            let key = self.expr(key)?;
            self.made.push(key.alias(format!("{}{i}", layout::KEY)));
        }
        let is_passed_as_it_is =
            !matches!(call.operator, Operator::Runs | Operator::Covered | Operator::Concurrency);
        let names = key_names(&call.keys).into_iter();
        Ok(names.filter(|(_, is_plain)| *is_plain || !is_passed_as_it_is).map(|(name, _)| name).collect())
    }

    /// The parts of the key, under their names.
    fn pass_keys(&mut self, call: &Call) -> Result<()> {
        for (key, (name, _)) in call.keys.iter().zip(key_names(&call.keys)) {
            let key = self.expr(key)?;
            self.made.push(key.alias(name));
        }
        Ok(())
    }

    fn condition(&mut self, call: &Call, argument: &str, name: &str) -> Result<()> {
        let Some(condition) = call.argument(argument) else { return plan_err!("{argument} is missing") };
        let planned = self.expr(condition)?;
        if planned.get_type(self.schema)? != DataType::Boolean {
            return plan_err!("{argument} must be a condition, and {condition} is none");
        }
        self.made.push(planned.alias(name));
        Ok(())
    }
}

fn time_column(schema: &DFSchema, name: &str) -> Result<Column> {
    let Some(index) = schema.index_of_column_by_name(None, name) else {
        return plan_err!(
            "its table has no column {name}: it needs a time under that name, as in (SELECT time AS {name}, ...)"
        );
    };
    match schema.field(index).data_type() {
        DataType::Timestamp(TimeUnit::Nanosecond, _) => Ok(Column::from(schema.qualified_field(index))),
        other => plan_err!(
            "its column {name} must be a time, and is {other}: utc({name}) makes one of nanoseconds"
        ),
    }
}

/// The query that `sql` is.
pub fn parsed(sql: &str) -> Result<Box<Query>> {
    let mut statements =
        Parser::parse_sql(&GenericDialect {}, sql).map_err(|error| plan_datafusion_err!("{error}: {sql}"))?;
    match statements.pop() {
        Some(Statement::Query(query)) => Ok(query),
        _ => plan_err!("'{sql}' is no query"),
    }
}
