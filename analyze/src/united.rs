//! The tables of traces go in; the tables of a session come out: those of the same name as one, and those of its own.

use std::sync::Arc;

use anyhow::{Result, ensure};
use arrow_array::{ArrayRef, BooleanArray, Int32Array, RecordBatch, StringArray, TimestampNanosecondArray};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::TableProvider;
use datafusion::catalog::view::ViewTable;
use datafusion::common::{Column, TableReference};
use datafusion::datasource::{MemTable, provider_as_source};
use datafusion::functions_aggregate::first_last::first_value;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder};
use schemas::column::{field, timestamp};
use schemas::trace::LOSS_REASONS;

use crate::provider::{AGE, SegmentTable, Source, TraceFiles};
use crate::trace::Trace;
use crate::trace::names::{HOST, TRACE};
use crate::window::Window;

/// Key in the metadata of a field: the name of the column as recorded, where that is another one.
pub const RECORDED: &str = "ktape_name";

/// The tables of one name of all traces that have it.
pub struct United {
    name: String,
    schema: SchemaRef,
    /// Name in SQL of each column of `schema`.
    names: Vec<String>,
    traces: Arc<Vec<TraceFiles>>,
    /// Numbers of the traces that do not have it.
    pub missing: Vec<i32>,
    /// Is it a table of events in one of them?
    pub is_event: bool,
    /// The column of which each value is to be there once, and is there once in each epoch.
    id: Option<&'static str>,
}

/// Tables that are written anew in each epoch, and the column that says what a row is about.
pub const DICTIONARIES: [(&str, &str); 3] =
    [("stacks", "stack_id"), ("symbols", "addr"), ("cgroups", "cgroup_id")];

impl United {
    /// The tables `name` of `traces`.
    ///
    /// Fails if two traces differ in the type of a column.
    pub fn new(name: &str, traces: &[Arc<Trace>]) -> Result<Self> {
        let mut fields: Vec<Field> = Vec::new();
        let mut names: Vec<String> = Vec::new();
        let (mut files, mut missing, mut is_event, mut is_repeated) = (Vec::new(), Vec::new(), false, false);
        for (number, trace) in (0..).zip(traces) {
            let Some(table) = trace.table(name) else {
                missing.push(number);
                continue;
            };
            for (new, new_name) in table.schema.fields().iter().zip(&table.names) {
                let known = fields.iter().zip(&names).find(|(_, name)| *name == new_name);
                match known {
                    Some((old, _)) => ensure!(
                        old.data_type() == new.data_type() && old.name() == new.name(),
                        "{}: column {name}.{} is {}, but {} is {} in a trace before it: open them apart",
                        trace.dir.display(),
                        new.name(),
                        new.data_type(),
                        old.name(),
                        old.data_type()
                    ),
                    None => {
                        fields.push(new.as_ref().clone());
                        names.push(new_name.clone());
                    }
                }
            }
            is_event |= table.is_event;
            is_repeated |= table.is_repeated;
            let (trace, host) = (trace.name(), trace.meta.host.clone());
            files.push(TraceFiles { number, trace, host, segments: table.segments.clone() });
        }
        for (field, _) in fields.iter_mut().zip(&names).filter(|(field, name)| field.name() != *name) {
            let mut metadata = field.metadata().clone();
            metadata.insert(RECORDED.to_owned(), field.name().clone());
            field.set_metadata(metadata);
        }
        // Without metadata of the whole: unions lose it, and an optimized plan must have the schema that was planned.
        let schema = Arc::new(Schema::new(fields));
        let id = DICTIONARIES.iter().find(|(dictionary, _)| *dictionary == name).map(|(_, id)| *id);
        let id = id.filter(|_| is_repeated);
        Ok(Self { name: name.to_owned(), schema, names, traces: Arc::new(files), missing, is_event, id })
    }

    /// Its files, with columns as they were recorded.
    pub fn files(&self, source: Source) -> Arc<dyn TableProvider> {
        let (schema, traces) = (self.schema.clone(), self.traces.clone());
        Arc::new(match self.id {
            None => SegmentTable::new(schema, traces, source),
            Some(_) => SegmentTable::aged(schema, traces, source),
        })
    }

    /// `files` with columns under their names in SQL, and without what newer rows have told anew.
    ///
    /// Fails if that is no plan.
    pub fn named(&self, files: Arc<dyn TableProvider>, source: Source) -> Result<Arc<dyn TableProvider>> {
        let recorded: Vec<&String> = self.schema.fields().iter().map(|field| field.name()).collect();
        if self.id.is_none() && recorded.iter().zip(&self.names).all(|(recorded, name)| *recorded == name) {
            return Ok(files);
        }
        let column = |name: &String| Expr::Column(Column::new_unqualified(name));
        let renamed = recorded.into_iter().zip(&self.names).map(|(from, name)| column(from).alias(name));
        let of_trace = source.fields();
        let of_trace = of_trace.iter().map(|field| column(field.name()));
        let mut rows = LogicalPlanBuilder::scan(
            TableReference::bare(self.name.as_str()),
            provider_as_source(files),
            None,
        )?;
        if let Some(id) = self.id {
            let newest = |name: &String| {
                let by_age = vec![column(&AGE.to_owned()).sort(false, false)];
                first_value(column(name), by_age).alias(name)
            };
            let group = std::iter::once(column(&id.to_owned())).chain(of_trace.clone());
            let others = self.schema.fields().iter().map(|field| field.name()).filter(|name| *name != id);
            rows = rows.aggregate(group.collect::<Vec<_>>(), others.map(newest).collect::<Vec<_>>())?;
        }
        let plan: LogicalPlan = rows.project(renamed.chain(of_trace).collect::<Vec<_>>())?.build()?;
        Ok(Arc::new(ViewTable::new(plan, None)))
    }
}

/// Schema of table `traces`.
pub fn traces_schema() -> Schema {
    let text = |name, doc| field(name, DataType::Utf8, false, None, doc);
    Schema::new(vec![
        text(TRACE, "its name: the directory, as it was given"),
        text(HOST, "machine"),
        text("kernel_release", "as uname -r says"),
        text("machine", "as uname -m says"),
        text("state", "open, closed or recovered"),
        text("command_line", "the recorder's"),
        field("start_ts", timestamp(), false, Some("ns"), "every probe was attached"),
        field(
            "end_ts",
            timestamp(),
            false,
            Some("ns"),
            "end of the recording; the last row if it did not end well",
        ),
    ])
}

/// Table `traces`; `source` can add the number of each.
pub fn traces_table(traces: &[Arc<Trace>], window: Window, source: Source) -> Result<Arc<dyn TableProvider>> {
    let text = |get: &dyn Fn(&Trace) -> String| {
        Arc::new(traces.iter().map(|t| Some(get(t))).collect::<StringArray>()) as ArrayRef
    };
    let time = |get: &dyn Fn(&Trace) -> i64| {
        let times: Vec<i64> = traces.iter().map(|t| get(t)).collect();
        Arc::new(TimestampNanosecondArray::from(times).with_timezone("UTC")) as ArrayRef
    };
    let mut columns = vec![
        text(&|t| t.name()),
        text(&|t| t.meta.host.clone()),
        text(&|t| t.meta.kernel_release.clone()),
        text(&|t| t.meta.machine.clone()),
        text(&|t| format!("{:?}", t.meta.state).to_lowercase()),
        text(&|t| t.meta.command_line.join(" ")),
        time(&|t| window.clip((t.meta.start_ns, t.end_ns())).0),
        time(&|t| window.clip((t.meta.start_ns, t.end_ns())).1),
    ];
    let mut fields: Vec<Field> =
        traces_schema().fields().iter().map(|field| field.as_ref().clone()).collect();
    if source == Source::Numbered {
        fields.extend(source.fields());
        columns.push(Arc::new((0..).take(traces.len()).collect::<Int32Array>()));
    }
    memory_table(Schema::new(fields), columns)
}

/// Schema of table `loss_reasons`.
pub fn loss_reasons_schema() -> Schema {
    let text = |name, doc| field(name, DataType::Utf8, false, None, doc);
    Schema::new(vec![
        text("reason", "as in table losses"),
        text(
            "severity",
            "event missing; event missing, as asked for; event there, incomplete; or no event, which nothing is missing of",
        ),
        field(
            "loses_event",
            DataType::Boolean,
            false,
            None,
            "true: rows are missing; false: values are incomplete",
        ),
        text("meaning", "what happened"),
        text("remedy", "what to do about it"),
    ])
}

/// Table `loss_reasons`.
pub fn loss_reasons() -> Result<Arc<dyn TableProvider>> {
    let text = |get: fn(&schemas::trace::LossReason) -> &'static str| {
        Arc::new(LOSS_REASONS.iter().map(|r| Some(get(r))).collect::<StringArray>()) as ArrayRef
    };
    let loses: BooleanArray = LOSS_REASONS.iter().map(|r| Some(r.loses_event)).collect();
    let columns = vec![
        text(|r| r.name),
        text(schemas::trace::LossReason::severity),
        Arc::new(loses),
        text(|r| r.meaning),
        text(|r| r.remedy),
    ];
    memory_table(loss_reasons_schema(), columns)
}

fn memory_table(schema: Schema, columns: Vec<ArrayRef>) -> Result<Arc<dyn TableProvider>> {
    let schema = Arc::new(schema);
    let batch = RecordBatch::try_new(schema.clone(), columns)?;
    Ok(Arc::new(MemTable::try_new(schema, vec![vec![batch]])?))
}
