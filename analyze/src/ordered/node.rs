//! The logical plan of an operator, and what the optimiser may do with it.
//!
//! A condition on the key alone goes below the operator, because rows of other keys change nothing. One on time, or on
//! any other column, does not: without the rows before, a gap would be another.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use arrow_schema::Schema;
use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::common::{Column, DFSchema, DFSchemaRef, Result, internal_err};
use datafusion::execution::context::QueryPlanner;
use datafusion::logical_expr::{
    Expr, LogicalPlan, Projection, UserDefinedLogicalNode, UserDefinedLogicalNodeCore,
};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_planner::{DefaultPhysicalPlanner, ExtensionPlanner, PhysicalPlanner};

use super::call::Operator;
use super::exec::{OrderedExec, Spread};
use super::layout::{self, Layout};

/// An operator over its input.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Ordered {
    /// Which.
    pub operator: Operator,
    /// Longest pause within a run.
    pub max_gap_ns: Option<i64>,
    /// Columns that are passed on and are the key.
    pub keys: Vec<String>,
    /// The rows, with the columns of [`layout`].
    pub input: LogicalPlan,
    schema: DFSchemaRef,
}

impl Ordered {
    /// An operator over `input`, whose columns are named as [`layout`] says.
    pub fn new(
        operator: Operator,
        max_gap_ns: Option<i64>,
        keys: Vec<String>,
        input: LogicalPlan,
    ) -> Result<Self> {
        let has_runs = max_gap_ns.is_some();
        let fields = layout::output(operator, has_runs, input.schema().as_arrow());
        let metadata = input.schema().metadata().clone();
        let schema = Arc::new(DFSchema::try_from(Schema::new_with_metadata(fields, metadata))?);
        Ok(Self { operator, max_gap_ns, keys, input, schema })
    }

    /// Does this column of the output have the value that it has in the row that comes in?
    pub fn passes_as_it_is(&self, name: &str) -> bool {
        let is_there = self.input.schema().fields().iter().any(|field| field.name() == name);
        is_there && (self.operator != Operator::Pairs || self.keys.iter().any(|key| key == name))
    }

    /// The same without the parts of the key that are the same for all rows; `None` if there are none.
    ///
    /// Fails if its input cannot be made anew.
    pub fn without_constant_keys(&self) -> Result<Option<Self>> {
        let LogicalPlan::Projection(projection) = &self.input else { return Ok(None) };
        let is_constant = |expr: &Expr| {
            let Expr::Alias(alias) = expr else { return false };
            let is_key = alias.name.starts_with(layout::KEY);
            // A pair without a key is none.
            let is_pair = self.operator == Operator::Pairs;
            is_key && matches!(alias.expr.as_ref(), Expr::Literal(value, _) if !(is_pair && value.is_null()))
        };
        if !projection.expr.iter().any(is_constant) {
            return Ok(None);
        }
        let left = projection.expr.iter().filter(|expr| !is_constant(expr)).cloned().collect();
        let input = Projection::try_new(left, projection.input.clone())?;
        let (operator, max_gap_ns) = (self.operator, self.max_gap_ns);
        Self::new(operator, max_gap_ns, self.keys.clone(), LogicalPlan::Projection(input)).map(Some)
    }

    /// The same over rows of several traces, of which `number` says the one of each row: no trace knows of another.
    ///
    /// Fails if the input has no such column.
    pub fn per_trace(&self, input: LogicalPlan, number: &Column) -> Result<Self> {
        let mut columns: Vec<Expr> = input.schema().columns().into_iter().map(Expr::Column).collect();
        columns.push(Expr::Column(number.clone()).alias(layout::TRACE));
        columns.push(Expr::Column(number.clone()).alias(format!("{}_trace", layout::KEY)));
        let input = LogicalPlan::Projection(Projection::try_new(columns, Arc::new(input))?);
        let keys = self.keys.iter().cloned().chain([number.name.clone()]).collect();
        Self::new(self.operator, self.max_gap_ns, keys, input)
    }

    fn layout(&self) -> Result<Layout> {
        Layout::of(self.input.schema().fields().iter().map(|field| field.name().as_str()))
    }

    /// Do the columns that decide between rows of the same time make a difference for these output columns?
    fn needs_ties(&self, wanted: &[usize], layout: &Layout) -> bool {
        let input = self.input.schema();
        match self.operator {
            Operator::Gaps | Operator::Pairs | Operator::StateAt => wanted.iter().any(|wanted| {
                layout.passed.get(*wanted).is_some_and(|(index, _)| {
                    let name = input.field(*index).name();
                    let is_end_ts = name.strip_prefix(layout::OF_END) == Some("end_ts");
                    name != "ts" && !is_end_ts && !self.keys.contains(name)
                })
            }),
            _ => false,
        }
    }
}

impl PartialOrd for Ordered {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        let by_setting = (self.operator, self.max_gap_ns, &self.keys).partial_cmp(&(
            other.operator,
            other.max_gap_ns,
            &other.keys,
        ))?;
        let order = by_setting.then(self.input.partial_cmp(&other.input)?);
        (order.is_ne() || self == other).then_some(order)
    }
}

impl UserDefinedLogicalNodeCore for Ordered {
    fn name(&self) -> &str {
        "Ordered"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        Vec::new()
    }

    fn prevent_predicate_push_down_columns(&self) -> HashSet<String> {
        let names = self.schema.fields().iter().map(|field| field.name().clone());
        names.filter(|name| !self.keys.contains(name)).collect()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "Ordered: {}", self.operator.describe(&self.keys, self.max_gap_ns))
    }

    fn with_exprs_and_inputs(&self, _: Vec<Expr>, inputs: Vec<LogicalPlan>) -> Result<Self> {
        match <[_; 1]>::try_from(inputs) {
            Ok([input]) => Self::new(self.operator, self.max_gap_ns, self.keys.clone(), input),
            Err(_) => internal_err!("an ordered operator has one input"),
        }
    }

    fn necessary_children_exprs(&self, wanted: &[usize]) -> Option<Vec<Vec<usize>>> {
        let layout = self.layout().ok()?;
        let mut needed: Vec<usize> =
            wanted.iter().filter_map(|wanted| layout.passed.get(*wanted)).map(|(index, _)| *index).collect();
        needed.extend([layout.ts]);
        needed.extend(
            layout
                .keys
                .iter()
                .chain(&layout.trace)
                .chain(&layout.until)
                .chain(&layout.begin)
                .chain(&layout.end),
        );
        if self.needs_ties(wanted, &layout) {
            needed.extend(&layout.ties);
        }
        needed.sort_unstable();
        needed.dedup();
        Some(vec![needed])
    }
}

/// Makes physical plans, also of operators.
#[derive(Clone, Copy, Debug, Default)]
pub struct Planner {
    /// Rows are spread by key by the plan, as parts of it need that run on different machines; on one it is slower.
    pub is_for_many_machines: bool,
}

#[async_trait]
impl QueryPlanner for Planner {
    async fn create_physical_plan(
        &self,
        plan: &LogicalPlan,
        state: &dyn Session,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let planner = DefaultPhysicalPlanner::with_extension_planners(vec![Arc::new(*self)]);
        planner.create_physical_plan(plan, state).await
    }
}

#[async_trait]
impl ExtensionPlanner for Planner {
    async fn plan_extension(
        &self,
        _: &dyn PhysicalPlanner,
        node: &dyn UserDefinedLogicalNode,
        _: &[&LogicalPlan],
        inputs: &[Arc<dyn ExecutionPlan>],
        session: &dyn Session,
        _: &datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        let Some(node) = node.as_any().downcast_ref::<Ordered>() else { return Ok(None) };
        let [input] = inputs else { return internal_err!("an ordered operator has one input") };
        let spread = match (self.is_for_many_machines, node.layout()?.keys.is_empty()) {
            (true, _) => Spread::Below,
            (false, true) => Spread::Here(1),
            (false, false) => Spread::Here(session.config().target_partitions()),
        };
        let exec =
            OrderedExec::new(node.operator, node.max_gap_ns, node.keys.clone(), input.clone(), spread)?;
        Ok(Some(Arc::new(exec)))
    }
}
