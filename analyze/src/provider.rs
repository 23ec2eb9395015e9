//! The segments of one table, of one or several traces, go in; a DataFusion table comes out that knows its order.

use std::path::Path;
use std::sync::Arc;

use arrow_schema::{DataType, Field, SchemaRef, SortOptions};
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
use crate::trace::names::{HOST, TRACE};
use crate::trace::segment::{self, Segment};

/// Chains of files that do not overlap are merged while reading; with more of them the rows are sorted instead.
const MAX_CHAINS: usize = 8;

/// The segments of one trace.
#[derive(Debug)]
pub struct TraceFiles {
    /// Number of the trace: its place among those that are open.
    pub number: i32,
    /// Name of the trace.
    pub trace: String,
    /// Machine of the recording.
    pub host: String,
    /// Its segments of this table.
    pub segments: Vec<Segment>,
}

/// Columns that say which trace a row is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// None: one trace is open, or an analysis reads the table as if one were.
    Silent,
    /// `trace` and `host`, for users.
    Named,
    /// The number of the trace, in column [`NUMBER`], for [`crate::per_trace`].
    Numbered,
}

/// The column with the number of the trace.
pub const NUMBER: &str = "__trace";
/// The column of [`SegmentTable::aged`] that says which of two rows is the newer.
pub const AGE: &str = "__age";

impl Source {
    /// The columns, which stand after those of the table.
    pub fn fields(self) -> Vec<Field> {
        match self {
            Self::Silent => Vec::new(),
            Self::Named => vec![trace_field(), host_field()],
            Self::Numbered => vec![Field::new(NUMBER, DataType::Int32, false)],
        }
    }

    fn values(self, files: &TraceFiles) -> Vec<ScalarValue> {
        let text = |text: &str| {
            let text = ScalarValue::Utf8(Some(text.to_owned()));
            ScalarValue::Dictionary(Box::new(DataType::Int32), Box::new(text))
        };
        match self {
            Self::Silent => Vec::new(),
            Self::Named => vec![text(&files.trace), text(&files.host)],
            Self::Numbered => vec![ScalarValue::Int32(Some(files.number))],
        }
    }
}

/// A table of Parquet segments.
#[derive(Debug)]
pub struct SegmentTable {
    schema: SchemaRef,
    /// Without columns that no file has.
    recorded: SchemaRef,
    files_schema: TableSchema,
    source: Source,
    is_aged: bool,
    traces: Arc<Vec<TraceFiles>>,
}

/// Columns in order.
type Order = &'static [&'static str];
const BY_TIME: Order = &["ts"];
const BY_TRACE: Order = &[NUMBER, "ts"];

type File<'a> = (&'a TraceFiles, &'a Segment);

impl SegmentTable {
    /// A table with `schema`, and the columns of `source`, over the files of each trace.
    pub fn new(schema: SchemaRef, traces: Arc<Vec<TraceFiles>>, source: Source) -> Self {
        Self::of(schema, traces, source, false)
    }

    /// The same, and column [`AGE`] at the end.
    pub fn aged(schema: SchemaRef, traces: Arc<Vec<TraceFiles>>, source: Source) -> Self {
        Self::of(schema, traces, source, true)
    }

    fn of(recorded: SchemaRef, traces: Arc<Vec<TraceFiles>>, source: Source, is_aged: bool) -> Self {
        let age = is_aged.then(|| Field::new(AGE, DataType::Int64, false));
        let columns = source.fields().into_iter().chain(age).map(Arc::new).collect::<Vec<_>>();
        let files_schema = TableSchema::builder(recorded.clone()).with_table_partition_cols(columns).build();
        let schema = files_schema.table_schema().clone();
        Self { schema, recorded, files_schema, source, is_aged, traces }
    }

    /// File groups, and the columns in whose order each of them is.
    fn groups(&self, partitions: usize) -> Result<(Vec<FileGroup>, Vec<Order>)> {
        let mut files: Vec<File<'_>> = Vec::new();
        for trace in self.traces.iter() {
            files.extend(trace.segments.iter().map(|segment| (trace, segment)));
        }
        files.retain(|(_, s)| s.rows > 0);
        let timed = self.schema.index_of("ts").is_ok() && files.iter().all(|(_, s)| s.ts_range.is_some());
        if !timed {
            return Ok((vec![self.group(&files)?], Vec::new()));
        }
        let (mut found, mut orders) = (chains(files.clone(), |_| 0), vec![BY_TIME]);
        if self.source == Source::Numbered {
            // A few traces side by side; more of them one after the other, so that few files are open at a time.
            let by_trace = chains(files, |trace| trace.number);
            let of_traces =
                by_trace.iter().flat_map(|chain| chain.chunk_by(|(a, _), (b, _)| a.number == b.number));
            let of_traces: Vec<Vec<File<'_>>> = of_traces.map(<[File<'_>]>::to_vec).collect();
            (found, orders) = match of_traces.len() <= MAX_CHAINS {
                true => (of_traces, vec![BY_TRACE, BY_TIME]),
                false => (by_trace, vec![BY_TRACE]),
            };
        }
        if found.len() > MAX_CHAINS {
            (found, orders) = (vec![found.concat()], Vec::new());
        }
        let groups = found.iter().flat_map(|chain| deal(chain, partitions)).map(|chain| self.group(&chain));
        Ok((groups.collect::<Result<_>>()?, orders))
    }

    /// Rows of all files together.
    fn rows(&self) -> u64 {
        let segments = self.traces.iter().flat_map(|trace| &trace.segments);
        segments.map(|segment| segment.rows).fold(0, u64::saturating_add)
    }

    fn group(&self, files: &[File<'_>]) -> Result<FileGroup> {
        let mut group = Vec::with_capacity(files.len());
        for (trace, segment) in files {
            let mut file = PartitionedFile::new(object_path(&segment.file.path)?, segment.bytes);
            file.partition_values = self.source.values(trace);
            file.partition_values.extend(self.is_aged.then(|| ScalarValue::Int64(Some(segment.age))));
            let statistics = segment::statistics(segment.rows, segment.ts_range, &self.recorded);
            let file = file.with_statistics(Arc::new(statistics));
            group.push(file.with_extension(segment.file.clone()));
        }
        Ok(FileGroup::new(group))
    }
}

/// `files` as chains, in each of which a file begins after the one before it has ended, or is of a trace in a later place.
fn chains<'a>(mut files: Vec<File<'a>>, place: impl Fn(&TraceFiles) -> i32) -> Vec<Vec<File<'a>>> {
    files.sort_by_key(|(trace, s)| (place(trace), s.ts_range));
    let follows = |(trace, next): &File<'a>, (last_trace, last): &File<'a>| {
        let ((first, until), (_, end)) =
            (next.ts_range.unwrap_or_default(), last.ts_range.unwrap_or_default());
        place(last_trace) < place(trace) || end < first || (end == first && first == until)
    };
    let mut chains: Vec<Vec<File<'a>>> = Vec::new();
    for file in files {
        match chains.iter_mut().find(|c| c.last().is_some_and(|last| follows(&file, last))) {
            Some(chain) => chain.push(file),
            None => chains.push(vec![file]),
        }
    }
    chains
}

/// The virtual column `trace`.
pub fn trace_field() -> Field {
    let doc = "name of the trace, as it was given; there when several traces are open";
    schemas::column::field(TRACE, schemas::column::text_dictionary(), false, None, doc)
}

/// The virtual column `host`.
pub fn host_field() -> Field {
    let doc = "machine of the recording; there when several traces are open";
    schemas::column::field(HOST, schemas::column::text_dictionary(), true, None, doc)
}

/// Deal the files of a chain out to at most `parts` chains, like cards: who reads all of them in order of time reads them
/// side by side, and none has to wait until another ends.
fn deal<'f>(chain: &[File<'f>], parts: usize) -> Vec<Vec<File<'f>>> {
    let parts = parts.clamp(1, chain.len().max(1));
    (0..parts).map(|part| chain.iter().skip(part).step_by(parts).copied().collect()).collect()
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
        let (groups, orders) = self.groups(state.config().target_partitions())?;
        if groups.iter().all(|g| g.is_empty()) {
            let schema = match projection {
                Some(indices) => Arc::new(self.schema.project(indices)?),
                None => self.schema.clone(),
            };
            return Ok(Arc::new(EmptyExec::new(schema)));
        }
        let source = ParquetSource::new(self.files_schema.clone());
        let source = Arc::new(source.with_parquet_file_reader_factory(Arc::new(Readers)));
        let mut config =
            FileScanConfigBuilder::new(ObjectStoreUrl::local_filesystem(), source).with_limit(limit);
        for group in groups {
            config = config.with_file_group(group);
        }
        let mut orderings = Vec::new();
        for order in orders {
            // Neither column is ever NULL: this is the place of NULL that ORDER BY means without a word about it.
            let options = SortOptions { descending: false, nulls_first: false };
            let columns = order.iter().map(|name| {
                let column = Arc::new(Column::new(name, self.schema.index_of(name)?));
                Ok(PhysicalSortExpr::new(column, options))
            });
            orderings.extend(LexOrdering::new(columns.collect::<Result<Vec<_>>>()?));
        }
        config = config.with_output_ordering(orderings);
        if projection.is_some_and(Vec::is_empty) {
            // Whoever only counts them need not open a file. Else they stay untold: joins would change sides by them, and
            // some forms of a join cannot be ended half-way.
            config = config.with_statistics(segment::statistics(self.rows(), None, &self.schema));
        }
        let config = config.with_projection_indices(projection.cloned())?.build();
        Ok(DataSourceExec::from_data_source(config))
    }
}
