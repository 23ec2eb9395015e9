//! Opens traces as a [`Session`], which answers SQL about them.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, ensure};
use arrow_array::{ArrayRef, BooleanArray, RecordBatch, StringArray, TimestampNanosecondArray};
use arrow_schema::{DataType, Field, Schema};
use datafusion::catalog::TableProvider;
use datafusion::catalog::view::ViewTable;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, TableReference};
use datafusion::datasource::{MemTable, provider_as_source};
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::FairSpillPool;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::execution::{SendableRecordBatchStream, SessionStateBuilder};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder};
use datafusion::optimizer::{Analyzer, AnalyzerRule};
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use datafusion::prelude::{DataFrame, SQLOptions, SessionConfig, SessionContext};
use schemas::column::{field, timestamp};
use schemas::trace::LOSS_REASONS;

use crate::bind::Values;
use crate::clock::Clock;
use crate::expand::Expanded;
use crate::names::HOST;
use crate::output::Shape;
use crate::pairs_table::PairsTable;
use crate::params::is_date;
use crate::pasted::Pasted;
use crate::provider::SegmentTable;
use crate::symbols::Symbols;
use crate::tables::Tables;
use crate::trace::Trace;
use crate::window::{self, Window};
use crate::{errors, expand, functions, imports, notations};

/// Where DataFusion keeps tables.
const CATALOG: &str = "datafusion";
const SCHEMA: &str = "public";
/// Key in the metadata of a field: the name of the column as recorded, where that is another one.
const RECORDED: &str = "ktape_name";

/// How to run queries.
#[derive(Clone, Debug)]
pub struct Options {
    /// Memory that sorts, joins and aggregates may use together before they spill to disk, not the process; bytes.
    pub memory_bytes: usize,
    /// Threads, and parts of a plan that run side by side.
    pub threads: usize,
    /// Where to spill; default: the system's directory for temporary files.
    pub spill_dir: Option<PathBuf>,
    /// Nothing that happened before, as the user wrote it (`+1.5s`, RFC 3339).
    pub from: Option<String>,
    /// Nothing that happened from then on.
    pub to: Option<String>,
    /// Parameters of queries, `NAME=VALUE`.
    pub params: Vec<String>,
    /// Tables of the user's own, `NAME=FILE`.
    pub tables: Vec<String>,
    /// Their columns that count from 1970, `TABLE.COLUMN=UNIT`.
    pub epochs: Vec<String>,
}

impl Default for Options {
    fn default() -> Self {
        let threads = std::thread::available_parallelism().map_or(2, |n| n.get());
        let (params, tables, epochs) = Default::default();
        Self { memory_bytes: 1 << 30, threads, spill_dir: None, from: None, to: None, params, tables, epochs }
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
    values: Values,
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
        let mut notes: Vec<String> =
            given.filter_map(|(flag, text, ns)| note(flag, text, ns, start_ns, &clocks)).collect();
        let symbols = Arc::new(Symbols::new(traces.clone()));
        let ctx = context(options, &symbols)?;
        let several = traces.len() > 1;
        let catalog = ctx.catalog(CATALOG).context("DataFusion has no catalog")?;
        catalog.register_schema(SCHEMA, Arc::new(Tables::default()))?;
        let mut names: Vec<String> = Vec::new();
        for table in traces.iter().flat_map(|t| &t.tables) {
            if !names.iter().any(|name| name.eq_ignore_ascii_case(&table.name)) {
                names.push(table.name.clone());
            }
        }
        for name in &names {
            let is_event = traces.iter().any(|t| t.table(name).is_some_and(|t| t.is_event));
            let table = window.limit(name, unite(name, &traces, several)?, is_event)?;
            if name.eq_ignore_ascii_case("kmem") {
                ctx.register_table("kmem_pairs", Arc::new(PairsTable::new(table.clone(), several)))?;
            }
            ctx.register_table(TableReference::bare(name.as_str()), table)?;
        }
        ctx.register_table("traces", traces_table(&traces, window)?)?;
        ctx.register_table("loss_reasons", loss_reasons()?)?;
        for function in functions::all(&symbols) {
            ctx.register_udf(function);
        }
        if names.iter().any(|n| n.eq_ignore_ascii_case("kmem")) {
            names.push("kmem_pairs".to_owned());
        }
        names.extend(["traces", "loss_reasons"].map(str::to_owned));
        for own in imports::open(&options.tables, &options.epochs, &names)? {
            ctx.register_table(TableReference::bare(own.name.as_str()), own.table)?;
            names.push(own.name);
            notes.push(own.note);
        }
        let mut session = Self { ctx, traces, tables: names, window, notes, values: Values::default() };
        for param in &options.params {
            session.set(param)?;
        }
        Ok(session)
    }

    /// Give a parameter of queries a value: `NAME=VALUE`.
    ///
    /// Fails if it is not written so, or its value looks like a time and is none.
    pub fn set(&mut self, param: &str) -> Result<()> {
        let mut values = std::mem::take(&mut self.values);
        let set = values.set(param, |text| self.moment_ns(text));
        self.values = values;
        set
    }

    /// The parameters of queries.
    pub fn values(&self) -> &Values {
        &self.values
    }

    /// What DataFusion knows: tables, columns, functions.
    pub fn context(&self) -> &SessionContext {
        &self.ctx
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

    /// What has another name than was recorded, one line each.
    pub fn renamed(&self) -> impl Iterator<Item = &str> {
        self.traces.iter().flat_map(|t| &t.renamed).map(String::as_str)
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

    /// Events whose tables `plan` reads, itself or in a function, as recorded.
    pub fn events_of(&self, plan: &LogicalPlan) -> Result<Vec<String>> {
        let mut events: Vec<String> = Vec::new();
        plan.apply_with_subqueries(|node| {
            node.apply_expressions(|expr| {
                expr.apply(|expr| {
                    if let Expr::ScalarFunction(call) = expr
                        && let Some(event) = functions::event_of(call.name())
                        && !events.iter().any(|known| known == event)
                    {
                        events.push(event.to_owned());
                    }
                    Ok(TreeNodeRecursion::Continue)
                })
            })?;
            if let LogicalPlan::TableScan(scan) = node {
                let name = scan.table_name.table();
                let name = if name == "kmem_pairs" { "kmem" } else { name };
                for table in self.traces.iter().filter_map(|t| t.table(name)).filter(|t| t.is_event) {
                    if !events.contains(&table.recorded) {
                        events.push(table.recorded.clone());
                    }
                }
            }
            Ok(TreeNodeRecursion::Continue)
        })?;
        Ok(events)
    }

    /// Plan `sql`, in which analyses may stand as tables.
    ///
    /// Fails if it is no single query, or names what is not there.
    pub async fn ask(&self, sql: &str) -> Result<Question> {
        let Expanded { mut statement, titles } = expand::expand(sql, self.traces.len())?;
        self.values.bind(&mut statement)?;
        let state = self.ctx.state();
        let plan = state.statement_to_plan(statement).await.map_err(|e| errors::explain(e, self))?;
        let options =
            SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
        options
            .verify_plan(&plan)
            .map_err(|_| anyhow!("only queries are possible: a trace is not changed"))?;
        Ok(Question { frame: DataFrame::new(state, plan), titles, docs: HashMap::new() })
    }

    /// [`Self::ask`], for rows that are not shown.
    pub async fn query(&self, sql: &str) -> Result<DataFrame> {
        Ok(self.ask(sql).await?.frame)
    }

    /// Run a query: its plan, and its rows as they come.
    ///
    /// Fails if it cannot be started.
    pub async fn run(&self, frame: DataFrame) -> Result<(Arc<dyn ExecutionPlan>, SendableRecordBatchStream)> {
        let context = Arc::new(frame.task_ctx());
        let plan = frame.create_physical_plan().await.map_err(|e| errors::explain(e, self))?;
        let rows = execute_stream(plan.clone(), context).map_err(|e| errors::explain(e, self))?;
        Ok((plan, rows))
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

/// A planned query.
pub struct Question {
    /// Its plan.
    pub frame: DataFrame,
    titles: HashMap<String, String>,
    /// Doc and unit of columns that are made by the query.
    docs: HashMap<String, (String, Option<String>)>,
}

impl Question {
    /// Say what its columns are: name, doc, unit.
    pub fn describe<'a>(&mut self, docs: impl Iterator<Item = (&'a str, &'a str, Option<&'a str>)>) {
        let owned = |(name, doc, unit): (&str, &str, Option<&str>)| {
            (name.to_owned(), (doc.to_owned(), unit.map(str::to_owned)))
        };
        self.docs = docs.map(owned).collect();
    }

    /// Titles and notations of its columns.
    pub fn shape(&self) -> Shape {
        let schema = self.frame.schema().as_arrow();
        let title = |field: &Field| {
            // What the query named so, else as the trace has it.
            let recorded =
                field.metadata().get(RECORDED).filter(|name| name.eq_ignore_ascii_case(field.name()));
            let name = self.titles.get(field.name()).or(recorded).unwrap_or(field.name());
            let mut metadata = field.metadata().clone();
            if let Some((doc, unit)) = self.docs.get(field.name()) {
                metadata.insert("doc".to_owned(), doc.clone());
                metadata.extend(unit.iter().map(|unit| ("unit".to_owned(), unit.clone())));
            }
            field.clone().with_name(name.as_str()).with_metadata(metadata)
        };
        let fields: Vec<Field> = schema.fields().iter().map(|field| title(field)).collect();
        let notations = notations::of(self.frame.logical_plan());
        Shape { schema: Arc::new(Schema::new(fields)), notations }
    }
}

fn context(options: &Options, symbols: &Arc<Symbols>) -> Result<SessionContext> {
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
    let pasted: Arc<dyn AnalyzerRule + Send + Sync> =
        Arc::new(Pasted { symbol: Arc::new(functions::symbol(symbols)) });
    let rules = std::iter::once(pasted).chain(Analyzer::new().rules).collect();
    let state = SessionStateBuilder::new()
        .with_config(config)
        .with_runtime_env(runtime)
        .with_default_features()
        .with_analyzer_rules(rules)
        .build();
    Ok(SessionContext::new_with_state(state))
}

/// One table over the segments of all traces that have it, its columns under their names in SQL.
fn unite(name: &str, traces: &[Arc<Trace>], several: bool) -> Result<Arc<dyn TableProvider>> {
    let mut fields: Vec<Field> = Vec::new();
    let mut names: Vec<String> = Vec::new();
    let mut metadata = Default::default();
    let mut files = Vec::new();
    for trace in traces {
        let Some(table) = trace.table(name) else { continue };
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
        metadata = table.schema.metadata().clone();
        files.push((trace.meta.host.clone(), table.segments.clone()));
    }
    let is_as_recorded = fields.iter().zip(&names).all(|(field, name)| field.name() == name);
    for field in fields.iter_mut().filter(|_| !is_as_recorded) {
        let mut metadata = field.metadata().clone();
        metadata.insert(RECORDED.to_owned(), field.name().clone());
        field.set_metadata(metadata);
    }
    let columns: Vec<String> = fields.iter().map(|field| field.name().clone()).collect();
    let schema = Arc::new(Schema::new(fields).with_metadata(metadata));
    let table = Arc::new(SegmentTable::new(schema, files, several));
    if is_as_recorded {
        return Ok(table);
    }
    let host = several.then(|| Expr::Column(Column::new_unqualified(HOST)));
    let renamed = columns.into_iter().zip(names);
    let renamed = renamed.map(|(column, name)| Expr::Column(Column::new_unqualified(column)).alias(name));
    let plan = LogicalPlanBuilder::scan(TableReference::bare(name), provider_as_source(table), None)?
        .project(renamed.chain(host))?
        .build()?;
    Ok(Arc::new(ViewTable::new(plan, None)))
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
