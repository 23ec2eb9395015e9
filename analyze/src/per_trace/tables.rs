//! The traces that are open, and their tables with the number of the trace as a column.

use std::collections::HashSet;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int32Type;
use arrow_array::{DictionaryArray, Int32Array, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, FieldRef, Schema};
use datafusion::catalog::TableProvider;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, ScalarValue, exec_err};
use datafusion::datasource::{MemTable, source_as_provider};
use datafusion::logical_expr::{
    ColumnarValue, LogicalPlan, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    TableScan, Volatility,
};

use crate::provider::{NUMBER, host_field, trace_field};

/// A plan for many traces.
pub struct Answer {
    /// The plan, its first columns are `trace` and `host`.
    pub plan: LogicalPlan,
    /// What it does not answer, one line each.
    pub notes: Vec<String>,
}

/// A table that has rows of each trace.
#[derive(Debug)]
pub struct OfTrace {
    /// Its name.
    pub name: String,
    /// As analyses see it: without a column for the trace.
    pub silent: Arc<dyn TableProvider>,
    /// The same with column [`NUMBER`].
    pub numbered: Arc<dyn TableProvider>,
    /// Numbers of the traces that do not have it.
    pub missing: Vec<i32>,
}

/// Name and host of each trace, by its number.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TraceName {
    /// Directory, as the user gave it.
    pub trace: String,
    /// Machine of the recording.
    pub host: String,
}

impl OfTrace {
    /// The table of `tables` that `scan` reads.
    pub fn find<'a>(tables: &'a [Self], scan: &TableScan) -> Option<&'a Self> {
        let provider = source_as_provider(&scan.source).ok()?;
        tables.iter().find(|table| std::ptr::addr_eq(Arc::as_ptr(&table.silent), Arc::as_ptr(&provider)))
    }
}

/// Numbers of the traces that have all tables that `plan` reads, and a line for each one that does not.
pub fn answering(
    plan: &LogicalPlan,
    tables: &[OfTrace],
    names: &[TraceName],
) -> Result<(Vec<i32>, Vec<String>)> {
    let (mut without, mut notes) = (HashSet::new(), Vec::new());
    plan.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node
            && let Some(table) = OfTrace::find(tables, scan)
        {
            for number in &table.missing {
                let is_new = without.insert(*number);
                if let (true, Some(name)) = (is_new, usize::try_from(*number).ok().and_then(|n| names.get(n)))
                {
                    notes
                        .push(format!("{} is not in the answer: it has no table {}", name.trace, table.name));
                }
            }
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    let all = (0..).zip(names).map(|(number, _)| number);
    Ok((all.filter(|number| !without.contains(number)).collect(), notes))
}

/// A table with the numbers of these traces.
pub fn numbers(numbers: &[i32]) -> Result<Arc<dyn TableProvider>> {
    let schema = Arc::new(Schema::new(vec![Field::new(NUMBER, DataType::Int32, false)]));
    let column = Arc::new(Int32Array::from(numbers.to_vec()));
    let batch = RecordBatch::try_new(schema.clone(), vec![column])?;
    Ok(Arc::new(MemTable::try_new(schema, vec![vec![batch]])?))
}

/// The function from the number of a trace to its name or host.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Naming {
    name: &'static str,
    signature: Signature,
    texts: Arc<Vec<String>>,
}

/// The functions that give the name and the host of the trace of a number.
pub fn namings(names: &[TraceName]) -> [ScalarUDF; 2] {
    let naming = |name, text: fn(&TraceName) -> &String| {
        let texts = Arc::new(names.iter().map(|name| text(name).clone()).collect());
        let signature = Signature::exact(vec![DataType::Int32], Volatility::Immutable);
        ScalarUDF::new_from_impl(Naming { name, signature, texts })
    };
    [naming("trace_name", |name| &name.trace), naming("trace_host", |name| &name.host)]
}

impl ScalarUDFImpl for Naming {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(schemas::column::text_dictionary())
    }

    fn return_field_from_args(&self, _: ReturnFieldArgs) -> Result<FieldRef> {
        Ok(Arc::new(if self.name == "trace_name" { trace_field() } else { host_field() }))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [arg] = args.args.as_slice() else { return exec_err!("{} takes one argument", self.name) };
        let scalar = matches!(arg, ColumnarValue::Scalar(_));
        let numbers = arg.to_array(if scalar { 1 } else { args.number_rows })?;
        let texts = Arc::new(StringArray::from_iter_values(self.texts.iter()));
        let names = DictionaryArray::try_new(numbers.as_primitive::<Int32Type>().clone(), texts)?;
        if scalar {
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&names, 0)?));
        }
        Ok(ColumnarValue::Array(Arc::new(names)))
    }
}
