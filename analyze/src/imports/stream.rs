//! Makes a table of a text file whose columns are known; each query reads the file from its beginning.

use std::fmt::Debug;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Result, anyhow};
use arrow_array::{ArrayRef, RecordBatch, StringArray};
use arrow_schema::{Field, SchemaRef};
use datafusion::catalog::TableProvider;
use datafusion::catalog::streaming::StreamingTable;
use datafusion::common::DataFusionError;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::PartitionStream;
use futures::stream;

use super::infer::Kind;

/// Rows that are in memory at a time.
pub const BATCH_ROWS: usize = 8192;

/// The batches of a file.
pub type Batches = Box<dyn Iterator<Item = Result<RecordBatch>> + Send>;

/// A file that can be read again and again.
pub trait Source: Debug + Send + Sync + 'static {
    /// Its columns.
    fn schema(&self) -> &SchemaRef;
    /// How they were understood.
    fn note(&self) -> String;
    /// Its rows.
    ///
    /// Fails if it cannot be opened.
    fn batches(&self) -> Result<Batches>;
}

#[derive(Debug)]
struct Partition(Arc<dyn Source>);

impl PartitionStream for Partition {
    fn schema(&self) -> &SchemaRef {
        self.0.schema()
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        // A user's error, which is shown as it is.
        let failed = |error: anyhow::Error| DataFusionError::Execution(format!("{error:#}"));
        let batches: Batches = match self.0.batches() {
            Ok(batches) => batches,
            Err(error) => Box::new(std::iter::once(Err(error))),
        };
        let rows = stream::iter(batches.map(move |batch| batch.map_err(failed)));
        Box::pin(RecordBatchStreamAdapter::new(self.0.schema().clone(), rows))
    }
}

/// The table of `source`.
pub fn table(source: Arc<dyn Source>) -> Result<Arc<dyn TableProvider>> {
    let schema = source.schema().clone();
    Ok(Arc::new(StreamingTable::try_new(schema, vec![Arc::new(Partition(source))])?))
}

/// Names and types of all columns.
pub fn noted(schema: &SchemaRef, kinds: &[String]) -> String {
    let columns = schema.fields().iter().zip(kinds).map(|(field, kind)| format!("{} {kind}", field.name()));
    columns.collect::<Vec<_>>().join(", ")
}

/// The values of a column whose rows stand on `lines`.
///
/// Fails if one is not of that type, though it was when the types were inferred.
pub fn with_lines(
    kind: Kind,
    texts: &StringArray,
    field: &Field,
    path: &Path,
    lines: &[u64],
) -> Result<ArrayRef> {
    kind.convert(texts).map_err(|row| {
        anyhow!(
            "{} line {}: '{}' in column {} is no {}: the file has changed since it was opened, ask again",
            path.display(),
            lines.get(row).copied().unwrap_or_default(),
            texts.value(row).escape_debug(),
            field.name(),
            kind.text()
        )
    })
}
