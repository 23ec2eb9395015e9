//! Directories of traces go in, a [`Session`] comes out that answers SQL with bounded memory.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, ensure};
use arrow_array::{ArrayRef, BooleanArray, RecordBatch, StringArray, TimestampNanosecondArray};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::TableProvider;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::datasource::MemTable;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::FairSpillPool;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::logical_expr::LogicalPlan;
use datafusion::prelude::{DataFrame, SQLOptions, SessionConfig, SessionContext};
use schemas::column::{field, timestamp};
use schemas::trace::LOSS_REASONS;

use crate::clock::Clock;
use crate::pairs_table::PairsTable;
use crate::params::is_date;
use crate::provider::SegmentTable;
use crate::symbols::Symbols;
use crate::trace::Trace;
use crate::window::{self, Window};
use crate::{errors, expand, functions};

/// Tables that `analyze` makes itself; no event may have such a name.
pub const RESERVED_TABLES: &[&str] = &["traces", "loss_reasons", "kmem_pairs"];

/// How to run queries.
#[derive(Clone, Debug)]
pub struct Options {
    /// Memory that sorts, joins and aggregates may use together before they spill to disk; bytes.
    pub memory_bytes: usize,
    /// Threads, and parts of a plan that run side by side.
    pub threads: usize,
    /// Where to spill; default: the system's directory for temporary files.
    pub spill_dir: Option<PathBuf>,
    /// Nothing that happened before, as the user wrote it (`+1.5s`, RFC 3339).
    pub from: Option<String>,
    /// Nothing that happened from then on.
    pub to: Option<String>,
}

impl Default for Options {
    fn default() -> Self {
        let threads = std::thread::available_parallelism().map_or(2, |n| n.get());
        Self { memory_bytes: 1 << 30, threads, spill_dir: None, from: None, to: None }
    }
}

/// Open traces, ready for queries.
pub struct Session {
    ctx: SessionContext,
    /// The traces in the order given.
    pub traces: Vec<Arc<Trace>>,
    tables: Vec<String>,
    window: Window,
    /// How times that a user wrote were understood, one line each.
    notes: Vec<String>,
}

impl Session {
    /// Open `dirs` as one database: tables of the same name are put together, with a column `host` if there are several.
    ///
    /// Fails if a directory is no trace, or two traces differ in the type of a column.
    pub fn open(dirs: &[PathBuf], options: &Options) -> Result<Self> {
        ensure!(!dirs.is_empty(), "no trace given");
        let traces: Vec<Arc<Trace>> =
            dirs.iter().map(|d| Trace::open(d).map(Arc::new)).collect::<Result<_>>()?;
        let start_ns = traces.iter().map(|t| t.meta.start_ns).min().unwrap_or_default();
        let has_date = [&options.from, &options.to].into_iter().flatten().any(|text| is_date(text));
        let clocks = if has_date { clocks(&traces)? } else { Vec::new() };
        let window = Window::new(options.from.as_deref(), options.to.as_deref(), start_ns, &clocks)?;
        let given = [("--from", &options.from, window.from_ns), ("--to", &options.to, window.to_ns)];
        let given = given.into_iter().filter_map(|(flag, text, ns)| Some((flag, text.as_deref()?, ns?)));
        let notes = given.filter_map(|(flag, text, ns)| note(flag, text, ns, start_ns, &clocks)).collect();
        let ctx = context(options)?;
        let several = traces.len() > 1;
        let mut names: Vec<String> = Vec::new();
        for table in traces.iter().flat_map(|t| &t.tables) {
            if !names.contains(&table.name) {
                names.push(table.name.clone());
            }
        }
        for name in &names {
            let is_event = traces.iter().any(|t| t.table(name).is_some_and(|t| t.is_event));
            let table = window.limit(name, Arc::new(unite(name, &traces, several)?), is_event)?;
            if name == "kmem" {
                ctx.register_table("kmem_pairs", Arc::new(PairsTable::new(table.clone(), several)))?;
            }
            ctx.register_table(name.as_str(), table)?;
        }
        ctx.register_table("traces", traces_table(&traces, window)?)?;
        ctx.register_table("loss_reasons", loss_reasons()?)?;
        let symbols = Arc::new(Symbols::new(traces.clone()));
        for function in functions::all(&symbols) {
            ctx.register_udf(function);
        }
        if names.iter().any(|n| n == "kmem") {
            names.push("kmem_pairs".to_owned());
        }
        names.extend(["traces", "loss_reasons"].map(str::to_owned));
        Ok(Self { ctx, traces, tables: names, window, notes })
    }

    /// Names of all tables.
    pub fn table_names(&self) -> &[String] {
        &self.tables
    }

    /// What could not be read, one line each.
    pub fn warnings(&self) -> impl Iterator<Item = &str> {
        self.traces.iter().flat_map(|t| &t.warnings).map(String::as_str)
    }

    /// How times that the user wrote were understood, where that is not plain: one line each.
    pub fn notes(&self) -> impl Iterator<Item = &str> {
        self.notes.iter().map(String::as_str)
    }

    /// The wall clock of each trace.
    ///
    /// Fails if a table `clock` cannot be read.
    pub fn clocks(&self) -> Result<Vec<Clock>> {
        clocks(&self.traces)
    }

    /// The moment that a user wrote, UTC nanoseconds on the time scale of the traces; of a time that the clock showed
    /// twice, the second.
    ///
    /// Fails if it is no time, or not the same one in all traces.
    pub fn moment_ns(&self, text: &str) -> Result<i64> {
        let clocks = if is_date(text) { self.clocks()? } else { Vec::new() };
        Ok(window::meaning(text, self.start_ns(), &clocks)?.last_ns)
    }

    /// UTC nanoseconds of the first start; times that a user gives count from it.
    pub fn start_ns(&self) -> i64 {
        self.traces.iter().map(|t| t.meta.start_ns).min().unwrap_or_default()
    }

    /// UTC nanoseconds until which all losses are known, if that is not to the end of what was asked about; whether a
    /// recorder is still counting.
    pub fn losses_known_until(&self) -> Option<(i64, bool)> {
        let unknown =
            self.traces.iter().filter_map(|trace| Some((trace.losses_known_until()?, trace.is_live)));
        let first = unknown.min()?;
        self.window.to_ns.is_none_or(|to_ns| to_ns > first.0).then_some(first)
    }

    /// Event tables that `plan` reads.
    pub fn events_of(&self, plan: &LogicalPlan) -> Result<Vec<String>> {
        let mut events: Vec<String> = Vec::new();
        plan.apply_with_subqueries(|node| {
            if let LogicalPlan::TableScan(scan) = node {
                let name = scan.table_name.table();
                let name = if name == "kmem_pairs" { "kmem" } else { name };
                let is_event = self.traces.iter().any(|t| t.table(name).is_some_and(|t| t.is_event));
                if is_event && !events.iter().any(|e| e == name) {
                    events.push(name.to_owned());
                }
            }
            Ok(TreeNodeRecursion::Continue)
        })?;
        Ok(events)
    }

    /// Plan `sql`, in which analyses may stand as tables.
    ///
    /// Fails if it is no single query, or names what is not there.
    pub async fn query(&self, sql: &str) -> Result<DataFrame> {
        let statement = expand::expand(sql, self.traces.len())?;
        let state = self.ctx.state();
        let plan = state.statement_to_plan(statement).await.map_err(|e| errors::explain(e, self))?;
        let options =
            SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
        options
            .verify_plan(&plan)
            .map_err(|_| anyhow!("only queries are possible: a trace is not changed"))?;
        Ok(DataFrame::new(state, plan))
    }

    /// Run a query: the schema of its rows, and the rows as they come.
    ///
    /// Fails if it cannot be planned or started.
    pub async fn run(&self, frame: DataFrame) -> Result<(SchemaRef, SendableRecordBatchStream)> {
        let schema = Arc::new(frame.schema().as_arrow().clone());
        let stream = frame.execute_stream().await.map_err(|e| errors::explain(e, self))?;
        Ok((schema, stream))
    }

    /// Run `sql` and keep all rows; for small answers.
    pub async fn collect(&self, sql: &str) -> Result<Vec<RecordBatch>> {
        self.query(sql).await?.collect().await.map_err(|e| errors::explain(e, self))
    }
}

fn clocks(traces: &[Arc<Trace>]) -> Result<Vec<Clock>> {
    traces.iter().map(|trace| Clock::read(trace)).collect()
}

/// How a date was understood, if a clock was set while recording.
fn note(flag: &str, text: &str, ns: i64, start_ns: i64, clocks: &[Clock]) -> Option<String> {
    let was_set = clocks.iter().any(|clock| clock.steps().next().is_some());
    (was_set && is_date(text)).then(|| {
        let after = crate::loss::seconds(ns.saturating_sub(start_ns));
        format!("{flag} {text} is what the wall clock showed, which was set while recording: it is {after} after the start")
    })
}

fn context(options: &Options) -> Result<SessionContext> {
    let mode = match &options.spill_dir {
        Some(dir) => DiskManagerMode::Directories(vec![dir.clone()]),
        None => DiskManagerMode::OsTmpDirectory,
    };
    let runtime = RuntimeEnvBuilder::new()
        .with_memory_pool(Arc::new(FairSpillPool::new(options.memory_bytes)))
        .with_disk_manager_builder(DiskManagerBuilder::default().with_mode(mode))
        .build_arc()
        .context("cannot set up temporary files")?;
    let mut config =
        SessionConfig::new().with_target_partitions(options.threads.max(1)).with_information_schema(true);
    let settings = config.options_mut();
    // Types stay as the trace has them, and files are as small as the order of time allows.
    settings.execution.parquet.schema_force_view_types = false;
    settings.execution.parquet.pushdown_filters = true;
    // A sort keeps this much for its merge; the default does not fit into a small --memory.
    let reserve = options.memory_bytes / options.threads.max(1) / 8;
    settings.execution.sort_spill_reservation_bytes = reserve.clamp(64 << 10, 10 << 20);
    settings.sql_parser.map_string_types_to_utf8view = false;
    Ok(SessionContext::new_with_config_rt(config, runtime))
}

/// One table over the segments of all traces that have it.
fn unite(name: &str, traces: &[Arc<Trace>], several: bool) -> Result<SegmentTable> {
    let mut fields: Vec<Field> = Vec::new();
    let mut metadata = Default::default();
    let mut files = Vec::new();
    for trace in traces {
        let Some(table) = trace.table(name) else { continue };
        for new in table.schema.fields() {
            match fields.iter().find(|f| f.name() == new.name()) {
                Some(old) => ensure!(
                    old.data_type() == new.data_type(),
                    "{}: column {name}.{} is {}, but {} in a trace before it: open them apart",
                    trace.dir.display(),
                    new.name(),
                    new.data_type(),
                    old.data_type()
                ),
                None => fields.push(new.as_ref().clone()),
            }
        }
        metadata = table.schema.metadata().clone();
        files.push((trace.meta.host.clone(), table.segments.clone()));
    }
    let schema = Arc::new(Schema::new(fields).with_metadata(metadata));
    Ok(SegmentTable::new(schema, files, several))
}

/// Schema of table `traces`.
pub fn traces_schema() -> Schema {
    let text = |name, doc| field(name, DataType::Utf8, false, None, doc);
    Schema::new(vec![
        text("trace", "directory"),
        text("host", "machine"),
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

fn traces_table(traces: &[Arc<Trace>], window: Window) -> Result<Arc<dyn TableProvider>> {
    let text = |get: &dyn Fn(&Trace) -> String| {
        Arc::new(traces.iter().map(|t| Some(get(t))).collect::<StringArray>()) as ArrayRef
    };
    let time = |get: &dyn Fn(&Trace) -> i64| {
        let times: Vec<i64> = traces.iter().map(|t| get(t)).collect();
        Arc::new(TimestampNanosecondArray::from(times).with_timezone("UTC")) as ArrayRef
    };
    memory_table(
        traces_schema(),
        vec![
            text(&|t| t.dir.display().to_string()),
            text(&|t| t.meta.host.clone()),
            text(&|t| t.meta.kernel_release.clone()),
            text(&|t| t.meta.machine.clone()),
            text(&|t| format!("{:?}", t.meta.state).to_lowercase()),
            text(&|t| t.meta.command_line.join(" ")),
            time(&|t| window.clip((t.meta.start_ns, t.end_ns())).0),
            time(&|t| window.clip((t.meta.start_ns, t.end_ns())).1),
        ],
    )
}

/// Schema of table `loss_reasons`.
pub fn loss_reasons_schema() -> Schema {
    let text = |name, doc| field(name, DataType::Utf8, false, None, doc);
    Schema::new(vec![
        text("reason", "as in table losses"),
        text("severity", "event missing; event missing, as asked for; or event there, incomplete"),
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

fn loss_reasons() -> Result<Arc<dyn TableProvider>> {
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
