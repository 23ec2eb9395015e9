//! The segments of one table, of one or several traces, go in; a DataFusion table comes out that knows its order.

use std::path::Path;
use std::sync::Arc;

use arrow_schema::{DataType, Field, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{DataFusionError, Result, ScalarValue};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::datasource::table_schema::TableSchema;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::object_store::path::Path as ObjectPath;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{LexOrdering, PhysicalSortExpr};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;

use crate::trace::file::Readers;
use crate::trace::segment::Segment;

/// Chains of files that do not overlap are merged while reading; with more of them the rows are sorted instead.
const MAX_CHAINS: usize = 8;

/// Where files lie that have no host column.
pub type HostFiles = (String, Vec<Segment>);

/// A table of Parquet segments.
#[derive(Debug)]
pub struct SegmentTable {
    schema: SchemaRef,
    source: TableSchema,
    /// The virtual column `host` is there: several traces are open.
    with_host: bool,
    files: Vec<HostFiles>,
}

impl SegmentTable {
    /// A table with `schema` over the files of each host; `with_host` adds the column `host`.
    pub fn new(schema: SchemaRef, files: Vec<HostFiles>, with_host: bool) -> Self {
        let mut host = Vec::new();
        if with_host {
            host.push(Arc::new(host_field()));
        }
        let source = TableSchema::builder(schema).with_table_partition_cols(host).build();
        Self { schema: source.table_schema().clone(), source, with_host, files }
    }

    /// File groups, and whether each of them is in order of ts.
    fn groups(&self, partitions: usize) -> Result<(Vec<FileGroup>, bool)> {
        let mut files: Vec<(&str, &Segment)> = self
            .files
            .iter()
            .flat_map(|(host, segments)| segments.iter().map(|s| (host.as_str(), s)))
            .collect();
        files.retain(|(_, s)| s.rows > 0);
        let timed = self.schema.index_of("ts").is_ok() && files.iter().all(|(_, s)| s.ts_range.is_some());
        if !timed {
            return Ok((vec![self.group(&files)?], false));
        }
        files.sort_by_key(|(_, s)| s.ts_range);
        let mut chains: Vec<Vec<(&str, &Segment)>> = Vec::new();
        for file in files {
            let (first, last) = file.1.ts_range.unwrap_or_default();
            let free = chains.iter_mut().find(|c| {
                c.last()
                    .and_then(|(_, s)| s.ts_range)
                    .is_some_and(|(_, end)| end < first || (end == first && first == last))
            });
            match free {
                Some(chain) => chain.push(file),
                None => chains.push(vec![file]),
            }
        }
        let ordered = chains.len() <= MAX_CHAINS;
        if !ordered {
            chains = vec![chains.concat()];
        }
        let groups = chains.iter().flat_map(|c| split(c, partitions)).map(|c| self.group(c));
        Ok((groups.collect::<Result<_>>()?, ordered))
    }

    fn group(&self, files: &[(&str, &Segment)]) -> Result<FileGroup> {
        let mut group = Vec::with_capacity(files.len());
        for (host, segment) in files {
            let mut file = PartitionedFile::new(object_path(&segment.file.path)?, segment.bytes);
            if self.with_host {
                file.partition_values = vec![host_value(host)];
            }
            group.push(file.with_statistics(segment.statistics.clone()).with_extension(segment.file.clone()));
        }
        Ok(FileGroup::new(group))
    }
}

/// The virtual column `host`.
pub fn host_field() -> Field {
    let doc = "machine of the recording; there when several traces are open";
    schemas::column::field("host", schemas::column::text_dictionary(), true, None, doc)
}

fn host_value(host: &str) -> ScalarValue {
    ScalarValue::Dictionary(Box::new(DataType::Int32), Box::new(ScalarValue::Utf8(Some(host.to_owned()))))
}

/// Cut a chain into at most `parts` runs of about as many rows each.
fn split<'a, T>(chain: &'a [(T, &'a Segment)], parts: usize) -> Vec<&'a [(T, &'a Segment)]> {
    let total: u64 = chain.iter().map(|(_, s)| s.rows).sum();
    let share = total.div_ceil(parts.max(1) as u64).max(1);
    let (mut runs, mut start, mut rows) = (Vec::new(), 0, 0);
    for (i, (_, segment)) in chain.iter().enumerate() {
        rows += segment.rows;
        if rows >= share || i + 1 == chain.len() {
            runs.push(&chain[start..=i]);
            (start, rows) = (i + 1, 0);
        }
    }
    runs
}

fn object_path(path: &Path) -> Result<String> {
    let path = ObjectPath::from_absolute_path(path).map_err(|e| DataFusionError::External(e.into()))?;
    Ok(path.to_string())
}

#[async_trait]
impl TableProvider for SegmentTable {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let (groups, ordered) = self.groups(state.config().target_partitions())?;
        if groups.iter().all(|g| g.is_empty()) {
            let schema = match projection {
                Some(indices) => Arc::new(self.schema.project(indices)?),
                None => self.schema.clone(),
            };
            return Ok(Arc::new(EmptyExec::new(schema)));
        }
        let source = ParquetSource::new(self.source.clone());
        let source = Arc::new(source.with_parquet_file_reader_factory(Arc::new(Readers)));
        let mut config =
            FileScanConfigBuilder::new(ObjectStoreUrl::local_filesystem(), source).with_limit(limit);
        for group in groups {
            config = config.with_file_group(group);
        }
        if ordered {
            let ts = Column::new("ts", self.schema.index_of("ts")?);
            let ordering = LexOrdering::new([PhysicalSortExpr::new(Arc::new(ts), Default::default())]);
            config = config.with_output_ordering(ordering.into_iter().collect());
        }
        let config = config.with_projection_indices(projection.cloned())?.build();
        Ok(DataSourceExec::from_data_source(config))
    }
}
