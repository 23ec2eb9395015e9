//! Threads the number of the trace through a plan that was made for one trace, node by node.

use std::cell::Cell;
use std::sync::Arc;

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, Result, not_impl_err, plan_err};
use datafusion::datasource::provider_as_source;
use datafusion::logical_expr::{
    Expr, Extension, Filter, LogicalPlan, LogicalPlanBuilder, Projection, Sort, SortExpr, SubqueryAlias,
    TableScan, Union, Unnest, UserDefinedLogicalNode, in_list, lit,
};
use datafusion::logical_expr::{Window, expr::WindowFunction};

use super::of_row::need;
use super::tables::{Answer, OfTrace, TraceName, answering, namings, numbers};
use crate::functions::Dependence;
use crate::ordered::Ordered;
use crate::provider::NUMBER;
use crate::trace::names::{HOST, TRACE};

/// A plan after rewriting.
pub enum Part {
    /// Reads nothing of a trace: its rows are the same for each.
    Same(LogicalPlan),
    /// Rows of many traces, with the column that has the number of theirs.
    Numbered(LogicalPlan, Column),
}

/// What is known while a plan is rewritten.
pub struct Rewriter<'a> {
    tables: &'a [OfTrace],
    traces: Vec<i32>,
    is_every_trace: bool,
    names_made: Cell<usize>,
}

/// `plan`, written for one trace over the tables of `tables`, for each of the traces `names`.
///
/// Fails if it has a form for which no plan is known that keeps traces apart.
pub fn answer(plan: &LogicalPlan, tables: &[OfTrace], names: &[TraceName]) -> Result<Answer> {
    let (traces, notes) = answering(plan, tables, names)?;
    let is_every_trace = traces.len() == names.len();
    let rewriter = Rewriter { tables, traces, is_every_trace, names_made: Cell::default() };
    let is_sorted = match plan {
        LogicalPlan::Limit(node) => is_sorted(&node.input),
        other => is_sorted(other),
    };
    let part = match rewriter.part(plan)? {
        // Its order is that of each trace.
        Part::Same(_) if is_sorted => rewriter.limit(None, None, plan)?,
        part => part,
    };
    let (mut rewritten, number) = rewriter.numbered(part)?;
    if !is_sorted {
        rewritten = sorted(rewritten, &number, Vec::new());
    }
    let columns = plan.schema().columns();
    if let Some(own) = columns.iter().find(|column| [TRACE, HOST].contains(&column.name.as_str())) {
        return plan_err!(
            "it has a column '{}' of its own, and several traces are open, of which each answer has that column: give it \
             another name",
            own.name
        );
    }
    let [trace, host] = namings(names);
    let number = || vec![Expr::Column(number.clone())];
    let mut exprs = vec![trace.call(number()).alias(TRACE), host.call(number()).alias(HOST)];
    exprs.extend(columns.into_iter().map(Expr::Column));
    let plan = LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(rewritten))?);
    Ok(Answer { plan, notes })
}

/// Do the rows of `plan` have an order, which they do not owe to a limit within?
pub fn is_sorted(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Sort(_) => true,
        LogicalPlan::Projection(node) => is_sorted(&node.input),
        LogicalPlan::SubqueryAlias(node) => is_sorted(&node.input),
        _ => false,
    }
}

/// `plan` in the order of the traces, and of `exprs` within each.
pub fn sorted(plan: LogicalPlan, number: &Column, exprs: Vec<SortExpr>) -> LogicalPlan {
    let first = Expr::Column(number.clone()).sort(true, false);
    let expr = std::iter::once(first).chain(exprs).collect();
    LogicalPlan::Sort(Sort { expr, input: Arc::new(plan), fetch: None })
}

/// The columns `schema`, and the number of the trace under a name of its own.
pub fn columns_and(schema: &DFSchema, number: Expr, name: &str) -> Vec<Expr> {
    let columns = schema.columns().into_iter().map(Expr::Column);
    columns.chain([number.alias(name)]).collect()
}

impl Rewriter<'_> {
    /// A name that no other column has.
    pub fn new_name(&self) -> String {
        self.names_made.set(self.names_made.get() + 1);
        format!("{NUMBER}_{}", self.names_made.get())
    }

    /// `plan` with the number of the trace, which stands for each trace if it is the same for all.
    pub fn numbered(&self, part: Part) -> Result<(LogicalPlan, Column)> {
        let plan = match part {
            Part::Numbered(plan, number) => return Ok((plan, number)),
            Part::Same(plan) => plan,
        };
        let (numbers, number) = self.numbers()?;
        Ok((LogicalPlanBuilder::from(numbers).cross_join(plan)?.build()?, number))
    }

    /// A row for each trace.
    pub fn numbers(&self) -> Result<(LogicalPlan, Column)> {
        let source = provider_as_source(numbers(&self.traces)?);
        let scan = LogicalPlanBuilder::scan(format!("{NUMBER}s"), source, None)?;
        let name = self.new_name();
        let plan = scan.project([Expr::Column(Column::from_name(NUMBER)).alias(&name)])?.build()?;
        Ok((plan, Column::from_name(name)))
    }

    /// `plan` and the number of the trace, without what is only of use below.
    pub fn only(
        &self,
        plan: LogicalPlan,
        number: Column,
        schema: &DFSchema,
    ) -> Result<(LogicalPlan, Column)> {
        let name = self.new_name();
        let exprs = columns_and(schema, Expr::Column(number), &name);
        let plan = LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(plan))?);
        Ok((plan, Column::from_name(name)))
    }

    /// `plan` for many traces.
    pub fn part(&self, plan: &LogicalPlan) -> Result<Part> {
        match plan {
            LogicalPlan::TableScan(scan) => self.scan(scan),
            LogicalPlan::EmptyRelation(_) | LogicalPlan::Values(_) => Ok(Part::Same(plan.clone())),
            LogicalPlan::Projection(node) => {
                self.one_input(plan, &node.input, &node.expr, |input, mut exprs, number| {
                    exprs.push(Expr::Column(number.clone()));
                    Ok((LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(input))?), number))
                })
            }
            LogicalPlan::Filter(node) => self.one_input(
                plan,
                &node.input,
                std::slice::from_ref(&node.predicate),
                |input, mut exprs, number| {
                    let Some(predicate) = exprs.pop() else { return plan_err!("a filter has no condition") };
                    Ok((LogicalPlan::Filter(Filter::try_new(predicate, Arc::new(input))?), number))
                },
            ),
            LogicalPlan::SubqueryAlias(node) => self.one_input(plan, &node.input, &[], |input, _, number| {
                let plan = SubqueryAlias::try_new(Arc::new(input), node.alias.clone())?;
                Ok((LogicalPlan::SubqueryAlias(plan), Column::new(Some(node.alias.clone()), number.name)))
            }),
            LogicalPlan::Sort(node) => match node.fetch {
                Some(fetch) => self.limit(None, Some(lit(i64::try_from(fetch).unwrap_or(i64::MAX))), plan),
                None => self.sort(node, plan),
            },
            LogicalPlan::Window(node) => self.window(node, plan),
            LogicalPlan::Aggregate(node) => self.aggregate(node, plan),
            LogicalPlan::Distinct(node) => self.distinct(node, plan),
            LogicalPlan::Limit(node) => {
                if self.is_same(plan)? {
                    return Ok(Part::Same(plan.clone()));
                }
                self.limit(node.skip.as_deref().cloned(), node.fetch.as_deref().cloned(), &node.input)
            }
            LogicalPlan::Join(node) => self.join(node, plan),
            LogicalPlan::Union(node) => self.union(node, plan),
            LogicalPlan::Unnest(node) => self.one_input(plan, &node.input, &[], |input, _, number| {
                let columns = node.exec_columns.clone();
                let unnest = Unnest::try_new(Arc::new(input), columns, node.options.clone())?;
                Ok((LogicalPlan::Unnest(unnest), number))
            }),
            LogicalPlan::Extension(node) => {
                let parts: Vec<Part> =
                    node.node.inputs().into_iter().map(|input| self.part(input)).collect::<Result<_>>()?;
                if parts.iter().all(|part| matches!(part, Part::Same(_))) {
                    return Ok(Part::Same(plan.clone()));
                }
                let inputs = parts.into_iter().map(|part| self.numbered(part)).collect::<Result<Vec<_>>>()?;
                let (plan, number) = ordered_per_trace(node.node.as_ref(), inputs)?;
                Ok(Part::Numbered(plan, number))
            }
            _ if self.is_same(plan)? => Ok(Part::Same(plan.clone())),
            LogicalPlan::RecursiveQuery(_) => no_form("WITH RECURSIVE"),
            LogicalPlan::Subquery(_) => no_form("LATERAL"),
            other => no_form(other.display().to_string().split([':', ' ']).next().unwrap_or_default()),
        }
    }

    /// Does `plan` ask for nothing of a trace?
    pub fn is_same(&self, plan: &LogicalPlan) -> Result<bool> {
        let mut is_same = true;
        plan.apply_with_subqueries(|node| {
            if let LogicalPlan::TableScan(scan) = node {
                is_same &= OfTrace::find(self.tables, scan).is_none();
            }
            node.apply_expressions(|expr| {
                is_same &= !expr.exists(|expr| Ok(need(expr) != Dependence::No))?;
                Ok(TreeNodeRecursion::Continue)
            })
        })?;
        Ok(is_same)
    }

    /// Does each trace have one row in the table that `scan` reads, at most?
    pub fn has_one_row(&self, scan: &TableScan) -> bool {
        OfTrace::find(self.tables, scan).is_some_and(|table| table.name == "traces")
    }

    /// A node `plan` with one input and `exprs`; `rebuild` makes it anew of these for many traces.
    fn one_input(
        &self,
        plan: &LogicalPlan,
        input: &LogicalPlan,
        exprs: &[Expr],
        rebuild: impl FnOnce(LogicalPlan, Vec<Expr>, Column) -> Result<(LogicalPlan, Column)>,
    ) -> Result<Part> {
        let Some((input, number, exprs)) = self.input(self.part(input)?, exprs)? else {
            return Ok(Part::Same(plan.clone()));
        };
        let (plan, number) = rebuild(input, exprs, number)?;
        Ok(Part::Numbered(plan, number))
    }

    fn scan(&self, scan: &TableScan) -> Result<Part> {
        let Some(table) = OfTrace::find(self.tables, scan) else {
            return Ok(Part::Same(LogicalPlan::TableScan(scan.clone())));
        };
        let source = provider_as_source(table.numbered.clone());
        let mut builder = LogicalPlanBuilder::scan(scan.table_name.clone(), source, None)?;
        let number = Column::new(Some(scan.table_name.clone()), NUMBER);
        if !self.is_every_trace {
            let traces = self.traces.iter().map(|number| lit(*number)).collect();
            builder = builder.filter(in_list(Expr::Column(number.clone()), traces, false))?;
        }
        for filter in &scan.filters {
            builder = builder.filter(filter.clone())?;
        }
        let (plan, number) = self.only(builder.build()?, number, &scan.projected_schema)?;
        match scan.fetch {
            Some(_) => no_form("a scan with a limit"),
            None => Ok(Part::Numbered(plan, number)),
        }
    }

    fn sort(&self, node: &Sort, plan: &LogicalPlan) -> Result<Part> {
        let exprs: Vec<Expr> = node.expr.iter().map(|sort| sort.expr.clone()).collect();
        self.one_input(plan, &node.input, &exprs, |input, exprs, number| {
            Ok((sorted(input, &number, sort_exprs(&node.expr, exprs)), number))
        })
    }

    fn window(&self, node: &Window, plan: &LogicalPlan) -> Result<Part> {
        self.one_input(plan, &node.input, &node.window_expr, |input, exprs, number| {
            let exprs =
                exprs.into_iter().map(|expr| partitioned(expr, &number)).collect::<Result<Vec<_>>>()?;
            // They are called after what they do; above they are known by their former names.
            let outputs = node.schema.columns().into_iter().skip(node.input.schema().fields().len());
            let renamed = outputs.zip(&exprs).map(|(output, expr)| {
                let found = Expr::Column(Column::from_name(expr.schema_name().to_string()));
                found.alias_qualified(output.relation, output.name)
            });
            let kept = input.schema().columns().into_iter().map(Expr::Column);
            let columns: Vec<Expr> = kept.chain(renamed).collect();
            let window = LogicalPlan::Window(Window::try_new(exprs, Arc::new(input))?);
            Ok((LogicalPlan::Projection(Projection::try_new(columns, Arc::new(window))?), number))
        })
    }

    fn union(&self, node: &Union, plan: &LogicalPlan) -> Result<Part> {
        let parts: Vec<Part> = node.inputs.iter().map(|input| self.part(input)).collect::<Result<_>>()?;
        if parts.iter().all(|part| matches!(part, Part::Same(_))) {
            return Ok(Part::Same(plan.clone()));
        }
        let name = self.new_name();
        let mut inputs = Vec::new();
        for (part, input) in parts.into_iter().zip(&node.inputs) {
            let (rewritten, number) = self.numbered(part)?;
            let exprs = columns_and(input.schema(), Expr::Column(number), &name);
            inputs.push(Arc::new(LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(rewritten))?)));
        }
        // Of its columns, types may still have to be brought together; that of the number is known.
        let number = Arc::new(arrow_schema::Field::new(&name, arrow_schema::DataType::Int32, false));
        let fields = node.schema.iter().map(|(relation, field)| (relation.cloned(), field.clone()));
        let fields = fields.chain([(None, number)]).collect();
        let schema = Arc::new(DFSchema::new_with_metadata(fields, node.schema.metadata().clone())?);
        Ok(Part::Numbered(LogicalPlan::Union(Union { inputs, schema }), Column::from_name(name)))
    }
}

/// `sorts` with other expressions.
pub fn sort_exprs(sorts: &[SortExpr], exprs: Vec<Expr>) -> Vec<SortExpr> {
    sorts.iter().zip(exprs).map(|(sort, expr)| sort.with_expr(expr)).collect()
}

/// The window function `expr` for each trace by itself.
fn partitioned(expr: Expr, number: &Column) -> Result<Expr> {
    match expr {
        Expr::WindowFunction(call) => {
            let WindowFunction { fun, mut params } = *call;
            params.partition_by.insert(0, Expr::Column(number.clone()));
            Ok(Expr::WindowFunction(Box::new(WindowFunction { fun, params })))
        }
        Expr::Alias(alias) => partitioned(*alias.expr, number),
        other => plan_err!("'{other}' is no window function"),
    }
}

/// A node of our own, an ordered operator, over `inputs`, each with the number of its trace: the same for each trace, and
/// the column with the number.
fn ordered_per_trace(
    node: &dyn UserDefinedLogicalNode,
    inputs: Vec<(LogicalPlan, Column)>,
) -> Result<(LogicalPlan, Column)> {
    let (Some(ordered), Ok([(input, number)])) =
        (node.as_any().downcast_ref::<Ordered>(), <[_; 1]>::try_from(inputs))
    else {
        return no_form(node.name());
    };
    let node = Arc::new(ordered.per_trace(input, &number)?);
    Ok((LogicalPlan::Extension(Extension { node }), Column::new_unqualified(number.name)))
}

/// There is no plan that keeps traces apart.
pub fn no_form<T>(what: &str) -> Result<T> {
    not_impl_err!("{what} cannot be answered for several traces at once: open one trace")
}
