//! The physical plan of an operator: reads its input in order of time and runs a [`Machine`] for each partition of keys.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use arrow_schema::{Schema, SchemaRef, SortOptions};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DataFusionError, Result, exec_err, internal_err};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{
    Distribution, EquivalenceProperties, LexOrdering, OrderingRequirements, Partitioning, PhysicalExpr,
    PhysicalSortExpr,
};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties,
    PlanProperties, ReplaceChildrenOptions,
};
use futures::stream;
use tokio::sync::mpsc::Receiver;

use super::call::Operator;
use super::exchange::{Message, Reading, Tasks, receive, start};
use super::keys::{Hasher, KeyReader};
use super::layout::{Layout, output};
use super::machine::{Machine, Setting};
use super::machines::machine;

/// As ORDER BY means it.
const IN_ORDER: SortOptions = SortOptions { descending: false, nulls_first: false };

/// Who brings the rows of a key together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spread {
    /// The operator itself, for so many workers of this process: nothing is copied.
    Here(usize),
    /// The plan below it: its partitions are by key, and each is in order of time. So parts of it can run on different
    /// machines.
    Below,
}

/// See the module.
#[derive(Debug)]
pub struct OrderedExec {
    /// Which operator.
    pub operator: Operator,
    /// Longest pause within a run.
    pub max_gap_ns: Option<i64>,
    /// Columns that are passed on and are the key.
    pub keys: Vec<String>,
    /// The rows.
    pub input: Arc<dyn ExecutionPlan>,
    /// Who spreads the keys.
    pub spread: Spread,
    layout: Layout,
    properties: Arc<PlanProperties>,
    /// Of an execution that has begun: what its workers, which ask one after the other, will read.
    begun: Mutex<Option<Begun>>,
}

#[derive(Debug)]
struct Begun {
    tasks: Arc<Tasks>,
    workers: Vec<Option<Receiver<Message>>>,
    hasher: Hasher,
}

impl OrderedExec {
    /// An operator over `input`.
    ///
    /// Fails if it has no column of time.
    pub fn new(
        operator: Operator,
        max_gap_ns: Option<i64>,
        keys: Vec<String>,
        input: Arc<dyn ExecutionPlan>,
        spread: Spread,
    ) -> Result<Self> {
        let schema = input.schema();
        let layout = Layout::of(schema.fields().iter().map(|field| field.name().as_str()))?;
        let fields = output(operator, max_gap_ns.is_some(), &schema);
        let out: SchemaRef = Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone()));
        let mut equivalence = EquivalenceProperties::new(out.clone());
        // Rows of gaps stay in order; `ts` may also be a column that is only called so.
        if operator == Operator::Gaps
            && layout.trace.is_none()
            && let Some(ts) = layout.passed.iter().position(|(index, _)| schema.field(*index).name() == "ts")
        {
            let ts: Arc<dyn PhysicalExpr> = Arc::new(Column::new("ts", ts));
            equivalence.add_ordering([PhysicalSortExpr::new(ts, IN_ORDER)]);
        }
        let partitions = match spread {
            Spread::Here(workers) => workers,
            Spread::Below => input.output_partitioning().partition_count(),
        };
        let properties = PlanProperties::new(
            equivalence,
            Partitioning::UnknownPartitioning(partitions),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        let (properties, begun) = (Arc::new(properties), Mutex::new(None));
        Ok(Self { operator, max_gap_ns, keys, input, spread, layout, properties, begun })
    }

    /// The order in which rows must come: that of time, trace by trace.
    ///
    /// The time may be there several times, being passed on as well, and a plan knows the order of one of them only.
    fn order(&self) -> Option<LexOrdering> {
        let schema = self.input.schema();
        let named = |name: &str| schema.index_of(name).ok();
        let copies = [named("ts"), named(&format!("{}end_ts", super::layout::OF_END))];
        let times = [self.layout.ts].into_iter().chain(copies.into_iter().flatten());
        let mut orders = times.filter_map(|ts| {
            let columns = self.layout.trace.into_iter().chain([ts]);
            LexOrdering::new(columns.map(|index| {
                let column = Column::new(schema.field(index).name(), index);
                PhysicalSortExpr::new(Arc::new(column), IN_ORDER)
            }))
        });
        let properties = self.input.equivalence_properties();
        let is_given = |order: &LexOrdering| properties.ordering_satisfy(order.clone()).unwrap_or(false);
        orders.clone().find(is_given).or_else(|| orders.next())
    }

    fn reading(&self, hasher: Hasher) -> Result<Reading> {
        let schema = self.input.schema();
        let types: Vec<_> = self.layout.keys.iter().map(|i| schema.field(*i).data_type().clone()).collect();
        Ok(Reading { layout: self.layout.clone(), keys: Arc::new(KeyReader::new(&types)?), hasher })
    }

    /// What the worker of that partition reads, and the tasks that go on until the last worker ends.
    fn rows(
        &self,
        partition: usize,
        context: &Arc<TaskContext>,
    ) -> Result<(Arc<Tasks>, Receiver<Message>, Hasher)> {
        let Spread::Here(workers) = self.spread else {
            let hasher = Hasher::default();
            let input = self.input.execute(partition, context.clone())?;
            let (tasks, receivers) = start(vec![input], &self.reading(hasher.clone())?, 1);
            let receiver = receivers.into_iter().next();
            let receiver = receiver.ok_or_else(|| DataFusionError::Internal("no worker".to_owned()))?;
            return Ok((Arc::new(tasks), receiver, hasher));
        };
        let mut begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
        if begun.is_none() {
            let partitions = self.input.output_partitioning().partition_count();
            let inputs = (0..partitions).map(|i| self.input.execute(i, context.clone()));
            let hasher = Hasher::default();
            let reading = self.reading(hasher.clone())?;
            let (tasks, receivers) = start(inputs.collect::<Result<_>>()?, &reading, workers);
            let workers = receivers.into_iter().map(Some).collect();
            *begun = Some(Begun { tasks: Arc::new(tasks), workers, hasher });
        }
        let Some(execution) = begun.as_mut() else { return internal_err!("no execution has begun") };
        let receiver = execution.workers.get_mut(partition).and_then(Option::take);
        let Some(receiver) = receiver else {
            return internal_err!("partition {partition} of {} is read twice", self.operator.name());
        };
        let answer = (execution.tasks.clone(), receiver, execution.hasher.clone());
        if execution.workers.iter().all(Option::is_none) {
            // The next execution of this plan begins anew.
            *begun = None;
        }
        Ok(answer)
    }
}

impl DisplayAs for OrderedExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "OrderedExec: {}", self.operator.describe(&self.keys, self.max_gap_ns))
    }
}

impl ExecutionPlan for OrderedExec {
    fn name(&self) -> &str {
        "OrderedExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn required_input_distribution(&self) -> Vec<Distribution> {
        let key = |i: &usize| {
            let name = self.input.schema().field(*i).name().clone();
            Arc::new(Column::new(&name, *i)) as Arc<dyn PhysicalExpr>
        };
        vec![match self.spread {
            Spread::Here(_) => Distribution::UnspecifiedDistribution,
            Spread::Below if self.layout.keys.is_empty() => Distribution::SinglePartition,
            Spread::Below => Distribution::KeyPartitioned(self.layout.keys.iter().map(key).collect()),
        }]
    }

    fn required_input_ordering(&self) -> Vec<Option<OrderingRequirements>> {
        vec![self.order().map(OrderingRequirements::from)]
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![false]
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    fn replace_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        match <[_; 1]>::try_from(children) {
            Ok([input]) => Ok(Arc::new(Self::new(
                self.operator,
                self.max_gap_ns,
                self.keys.clone(),
                input,
                self.spread,
            )?)),
            Err(_) => internal_err!("an ordered operator has one input"),
        }
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let options = ReplaceChildrenOptions { children_properties: ChildrenPropertiesMode::Recompute };
        self.replace_children(children, options)
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let (tasks, rows, hasher) = self.rows(partition, &context)?;
        let (partition, partitions) = match self.spread {
            Spread::Here(workers) => (partition, workers),
            Spread::Below => (0, 1),
        };
        let setting = Setting {
            layout: self.layout.clone(),
            input: self.input.schema(),
            output: self.schema(),
            max_gap_ns: self.max_gap_ns,
            keys: self.keys.clone(),
            hasher,
            partition,
            partitions,
            batch_rows: context.session_config().batch_size(),
        };
        let worker = Worker {
            operator: self.operator,
            rows,
            machine: machine(self.operator, setting)?,
            memory: MemoryConsumer::new(self.operator.name()).register(context.memory_pool()),
            ready: Vec::new(),
            is_read: false,
            _tasks: tasks,
        };
        let batches = stream::try_unfold(worker, |mut worker| async move {
            Ok(worker.next().await?.map(|batch| (batch, worker)))
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), batches)))
    }
}

struct Worker {
    operator: Operator,
    rows: Receiver<Message>,
    machine: Box<dyn Machine>,
    memory: MemoryReservation,
    /// Batches that are made, the last one first.
    ready: Vec<arrow_array::RecordBatch>,
    is_read: bool,
    _tasks: Arc<Tasks>,
}

impl Worker {
    async fn next(&mut self) -> Result<Option<arrow_array::RecordBatch>> {
        loop {
            if let Some(batch) = self.ready.pop() {
                return Ok(Some(batch));
            }
            if self.is_read {
                return self.machine.finish();
            }
            match receive(&mut self.rows).await.map_err(DataFusionError::Shared)? {
                None => self.is_read = true,
                Some(rows) => {
                    self.machine.push(&rows, &mut self.ready)?;
                    self.ready.reverse();
                    self.account()?;
                }
            }
        }
    }

    fn account(&mut self) -> Result<()> {
        let bytes = self.machine.bytes();
        if self.memory.try_resize(bytes).is_err() {
            return exec_err!(
                "{} has to remember more keys than fit into --memory: it needs more than {} MiB for them; give more, or \
                 fewer rows (--from, --to, or a condition in a sub-query)",
                self.operator.name(),
                bytes >> 20
            );
        }
        Ok(())
    }
}
