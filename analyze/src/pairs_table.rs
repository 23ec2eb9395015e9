//! Table `kmem_pairs`: a plan node that reads `kmem` in order of time and runs the [`Pairer`].

use std::fmt;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DataFusionError, Result, exec_err};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{
    Distribution, EquivalenceProperties, LexOrdering, OrderingRequirements, Partitioning, PhysicalExpr,
    PhysicalSortExpr,
};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties,
    ReplaceChildrenOptions,
};
use futures::{StreamExt, stream};

use crate::pairs::{INPUT, Pairer, schema};
use crate::provider::{NUMBER, Source};
use crate::trace::names::TRACE;

/// The table over `kmem`.
#[derive(Debug)]
pub struct PairsTable {
    kmem: Arc<dyn TableProvider>,
    schema: SchemaRef,
}

impl PairsTable {
    /// Pairs of the rows of `kmem`.
    pub fn new(kmem: Arc<dyn TableProvider>, source: Source) -> Self {
        Self { kmem, schema: schema(source) }
    }
}

#[async_trait]
impl TableProvider for PairsTable {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::View
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        _limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let schema = match projection {
            Some(indices) => Arc::new(self.schema.project(indices)?),
            None => self.schema.clone(),
        };
        let kmem = self.kmem.schema();
        let needed = |name: &&&str| {
            matches!(**name, "ts" | "kind" | "ptr" | TRACE | NUMBER)
                || schema.column_with_name(name).is_some()
        };
        let columns = INPUT.iter().filter(needed).filter_map(|name| kmem.index_of(name).ok()).collect();
        let input = self.kmem.scan(state, Some(&columns), &[], None).await?;
        Ok(Arc::new(PairsExec::new(input, schema)))
    }
}

#[derive(Debug)]
struct PairsExec {
    input: Arc<dyn ExecutionPlan>,
    properties: Arc<PlanProperties>,
}

impl PairsExec {
    fn new(input: Arc<dyn ExecutionPlan>, schema: SchemaRef) -> Self {
        let properties = PlanProperties::new(
            EquivalenceProperties::new(schema),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        Self { input, properties: Arc::new(properties) }
    }
}

impl DisplayAs for PairsExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("PairsExec: kmem by ptr")
    }
}

impl ExecutionPlan for PairsExec {
    fn name(&self) -> &str {
        "PairsExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn required_input_distribution(&self) -> Vec<Distribution> {
        vec![Distribution::SinglePartition]
    }

    fn required_input_ordering(&self) -> Vec<Option<OrderingRequirements>> {
        let ts = self.input.schema().index_of("ts").ok().map(|index| {
            PhysicalSortExpr::new(
                Arc::new(Column::new("ts", index)) as Arc<dyn PhysicalExpr>,
                Default::default(),
            )
        });
        vec![ts.and_then(|ts| LexOrdering::new([ts])).map(OrderingRequirements::from)]
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
            Ok([input]) => Ok(Arc::new(Self::new(input, self.schema()))),
            Err(_) => exec_err!("kmem_pairs has one input"),
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
        let state = Running {
            input: self.input.execute(partition, context.clone())?,
            pairer: Pairer::default(),
            memory: MemoryConsumer::new("kmem_pairs").register(context.memory_pool()),
            batch_rows: context.session_config().batch_size(),
            schema: self.schema(),
            finished: false,
        };
        let batches =
            stream::try_unfold(state, |mut state| async move { Ok(state.next().await?.map(|b| (b, state))) });
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), batches)))
    }
}

struct Running {
    input: SendableRecordBatchStream,
    pairer: Pairer,
    memory: MemoryReservation,
    batch_rows: usize,
    schema: SchemaRef,
    finished: bool,
}

impl Running {
    async fn next(&mut self) -> Result<Option<RecordBatch>> {
        let failed = |error: anyhow::Error| DataFusionError::Execution(format!("{error:#}"));
        while !self.finished && self.pairer.ready() < self.batch_rows {
            match self.input.next().await.transpose()? {
                Some(batch) => self.pairer.push(&batch).map_err(failed)?,
                None => {
                    self.pairer.finish();
                    self.finished = true;
                }
            }
            self.memory.try_resize(self.pairer.bytes())?;
        }
        if self.pairer.ready() == 0 {
            return Ok(None);
        }
        self.pairer.take(self.batch_rows, &self.schema).map(Some).map_err(failed)
    }
}
