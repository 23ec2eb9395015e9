//! Opens traces as a [`Session`], which answers SQL about them.

mod ask;
mod options;
mod question;

pub use options::Options;
pub use question::Question;

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, ensure};
use arrow_array::RecordBatch;
use datafusion::common::TableReference;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::execution::{SendableRecordBatchStream, SessionStateBuilder};
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::optimizer::{Analyzer, AnalyzerRule, Optimizer, OptimizerRule};
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use datafusion::prelude::{DataFrame, SQLOptions, SessionConfig, SessionContext};

use crate::library::Library;
use crate::library::expand::{Expanded, expand};
use crate::memory::ProcessPool;
use crate::per_trace::{Many, OfTrace, Planned, TraceOfRow};
use crate::provider::Source;
use crate::sql::parse::Parsed;
use crate::sql::pasted::Pasted;
use crate::sql::values::Values;
use crate::tables::Tables;
use crate::times::is_date;
use crate::trace::Trace;
use crate::trace::clock::Clock;
use crate::trace::symbols::Symbols;
use crate::united::{United, loss_reasons, traces_table};
use crate::window::{self, Window};
use crate::{functions, imports, ordered, percentile};

/// Where DataFusion keeps tables.
const CATALOG: &str = "datafusion";
const SCHEMA: &str = "public";

/// Until when the losses of a trace are known.
#[derive(Clone, Debug)]
pub struct KnownUntil {
    /// Its name, if several are open.
    pub trace: Option<String>,
    /// UTC nanoseconds.
    pub ns: i64,
    /// A recorder is still counting.
    pub is_live: bool,
}

/// Open traces, ready for queries.
pub struct Session {
    ctx: SessionContext,
    /// The traces in the order given.
    pub traces: Vec<Arc<Trace>>,
    tables: Vec<String>,
    library: Arc<Library>,
    window: Window,
    /// How times that a user wrote were understood, one line each.
    notes: Vec<String>,
    /// What analyses need to answer for each trace, if there are several.
    many: Option<Many>,
    /// The parameters of queries.
    values: Values,
}

impl Session {
    /// Open `dirs` as one database: tables of the same name are put together, with columns `trace` and `host` if there are
    /// several.
    ///
    /// Fails if a directory is no trace, is there twice, or two traces differ in the type of a column.
    pub fn open(dirs: &[PathBuf], options: &Options) -> Result<Self> {
        ensure!(!dirs.is_empty(), "no trace given");
        let library = options.library.clone();
        let wanted =
            |event: &str| library.wanted(event).map(|(name, ty)| (name.to_owned(), ty.clone())).collect();
        let traces: Vec<Arc<Trace>> =
            dirs.iter().map(|d| Trace::open(d, &wanted).map(Arc::new)).collect::<Result<_>>()?;
        let mut given = HashSet::new();
        for trace in &traces {
            let name = trace.name();
            ensure!(!given.contains(&name), "trace '{name}' is given twice: give it once");
            given.insert(name);
        }
        let start_ns = traces.iter().map(|t| t.meta.start_ns).min().unwrap_or_default();
        let has_date = [&options.from, &options.to].into_iter().flatten().any(|text| is_date(text));
        let clocks = if has_date { clocks(&traces)? } else { Vec::new() };
        let window = Window::new(options.from.as_deref(), options.to.as_deref(), start_ns, &clocks)?;
        let given = [("--from", &options.from, window.from_ns), ("--to", &options.to, window.to_ns)];
        let given = given.into_iter().filter_map(|(flag, text, ns)| Some((flag, text.as_deref()?, ns?)));
        let mut notes: Vec<String> =
            given.filter_map(|(flag, text, ns)| note(flag, text, ns, start_ns, &clocks)).collect();
        let symbols = Arc::new(Symbols::new(traces.clone()));
        let several = traces.len() > 1;
        let ctx = context(options, &symbols, several)?;
        let catalog = ctx.catalog(CATALOG).context("DataFusion has no catalog")?;
        catalog.register_schema(SCHEMA, Arc::new(Tables::default()))?;
        for function in functions::all(&symbols) {
            ctx.register_udf(function);
        }
        for aggregate in percentile::all() {
            ctx.register_udaf(aggregate);
        }
        let mut names: Vec<String> = Vec::new();
        for table in traces.iter().flat_map(|t| &t.tables) {
            if !names.iter().any(|name| name.eq_ignore_ascii_case(&table.name)) {
                names.push(table.name.clone());
            }
        }
        let pasted = Pasted { symbol: Arc::new(functions::symbol(&symbols)) };
        let mut many = several.then(|| Many::new(&ctx, pasted, &traces)).transpose()?;
        let source = if several { Source::Named } else { Source::Silent };
        for name in &names {
            let united = United::new(name, &traces)?;
            let limited = |files, source| window.limit(name, united.named(files, source)?, united.is_event);
            let table = limited(united.files(source), source)?;
            ctx.register_table(TableReference::bare(name.as_str()), table)?;
            let Some(many) = &mut many else { continue };
            let [silent, numbered] = [Source::Silent, Source::Numbered].map(|source| united.files(source));
            let table = limited(silent.clone(), Source::Silent)?;
            let (of_trace, missing) = (name.clone(), united.missing);
            many.add(name, table, OfTrace { name: of_trace, silent, numbered, missing })?;
        }
        let reasons = loss_reasons()?;
        ctx.register_table("traces", traces_table(&traces, window, source)?)?;
        ctx.register_table("loss_reasons", reasons.clone())?;
        if let Some(many) = &mut many {
            let table = |source| traces_table(&traces, window, source);
            let (silent, numbered) = (table(Source::Silent)?, table(Source::Numbered)?);
            let (name, missing) = ("traces".to_owned(), Vec::new());
            many.add("traces", silent.clone(), OfTrace { name, silent, numbered, missing })?;
            many.add_same("loss_reasons", reasons)?;
        }
        names.extend(["traces", "loss_reasons"].map(str::to_owned));
        for own in imports::open(&options.tables, &options.epochs, &names)? {
            ctx.register_table(TableReference::bare(own.name.as_str()), own.table.clone())?;
            if let Some(many) = &many {
                many.add_same(&own.name, own.table)?;
            }
            names.push(own.name);
            notes.push(own.note);
        }
        let values = Values::default();
        let mut session = Self { ctx, traces, tables: names, library, window, notes, many, values };
        for param in &options.params {
            session.set(param)?;
        }
        Ok(session)
    }

    /// The analyses that can be asked.
    pub fn library(&self) -> &Arc<Library> {
        &self.library
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

    /// Until when all losses are known, of each trace where that is not to the end of what was asked about.
    pub fn losses_known_until(&self) -> Vec<KnownUntil> {
        let known = self.traces.iter().filter_map(|trace| {
            let ns = trace.losses_known_until()?;
            let trace_name = self.many.is_some().then(|| trace.name());
            Some(KnownUntil { trace: trace_name, ns, is_live: trace.is_live })
        });
        known.filter(|known| self.window.to_ns.is_none_or(|to_ns| to_ns > known.ns)).collect()
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
        let moment = |text: &str| self.moment_ns(text);
        self.plan(expand(sql, self.scope(&moment))?, sql).await
    }

    async fn plan(&self, expanded: Expanded, sql: &str) -> Result<Question> {
        let Expanded { parsed: Parsed { statement, titles, renamed }, analyses } = expanded;
        let (mut planned, mut notes) = (Planned::default(), Vec::new());
        for (name, query) in analyses {
            let many = self.many.as_ref().context("one trace is open")?;
            let answer = many.answer(query).await.map_err(|error| self.explain(&error, sql))?;
            planned.0.insert(name, answer.plan);
            notes.extend(answer.notes.into_iter().filter(|note| !notes.contains(note)).collect::<Vec<_>>());
        }
        let mut state = self.ctx.state();
        state.register_relation_planner(Arc::new(planned))?;
        let plan = state.statement_to_plan(statement).await.map_err(|error| self.explain(&error, sql))?;
        let options =
            SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
        options
            .verify_plan(&plan)
            .map_err(|_| anyhow!("only queries are possible: a trace is not changed"))?;
        notes.extend(ask::missing_commas(&plan, &renamed)?);
        Ok(Question::new(DataFrame::new(state, plan), titles, notes, sql))
    }

    /// [`Self::ask`], for rows that are not shown.
    pub async fn query(&self, sql: &str) -> Result<DataFrame> {
        Ok(self.ask(sql).await?.frame)
    }

    /// Run a query: its plan, and its rows as they come.
    ///
    /// Fails if it cannot be started.
    pub async fn run(
        &self,
        question: Question,
    ) -> Result<(Arc<dyn ExecutionPlan>, SendableRecordBatchStream)> {
        let Question { frame, sql, .. } = question;
        let context = Arc::new(frame.task_ctx());
        let plan = frame.create_physical_plan().await.map_err(|error| self.explain(&error, &sql))?;
        let rows = execute_stream(plan.clone(), context).map_err(|error| self.explain(&error, &sql))?;
        Ok((plan, rows))
    }

    /// Run `sql` and keep all rows; for small answers.
    pub async fn collect(&self, sql: &str) -> Result<Vec<RecordBatch>> {
        self.query(sql).await?.collect().await.map_err(|error| self.explain(&error, sql))
    }
}

fn clocks(traces: &[Arc<Trace>]) -> Result<Vec<Clock>> {
    traces.iter().map(|trace| Clock::read(trace)).collect()
}

/// How a date was understood, if a clock was set while recording.
fn note(flag: &str, text: &str, ns: i64, start_ns: i64, clocks: &[Clock]) -> Option<String> {
    let was_set = clocks.iter().any(|clock| clock.steps().next().is_some());
    (was_set && is_date(text)).then(|| {
        let after = crate::times::seconds(ns.saturating_sub(start_ns));
        format!("{flag} {text} is what the wall clock showed, which was set while recording: it is {after} after the start")
    })
}

fn context(options: &Options, symbols: &Arc<Symbols>, several: bool) -> Result<SessionContext> {
    let mode = match &options.spill_dir {
        Some(dir) => DiskManagerMode::Directories(vec![dir.clone()]),
        None => DiskManagerMode::OsTmpDirectory,
    };
    let runtime = RuntimeEnvBuilder::new()
        .with_memory_pool(Arc::new(ProcessPool::new(options.memory_bytes)))
        .with_disk_manager_builder(DiskManagerBuilder::default().with_mode(mode))
        .build_arc()
        .context("cannot set up temporary files")?;
    let mut config =
        SessionConfig::new().with_target_partitions(options.threads.max(1)).with_information_schema(true);
    let settings = config.options_mut();
    // Types stay as the trace has them, and files are as small as the order of time allows.
    settings.execution.parquet.schema_force_view_types = false;
    settings.execution.parquet.pushdown_filters = true;
    // Docs and units of columns are metadata, which a union of columns with other ones keeps in the plan and not in what
    // runs; the check would refuse the query for it.
    settings.execution.skip_physical_aggregate_schema_check = true;
    // A sort keeps this much for its merge; the default does not fit into a small --memory.
    let reserve = options.memory_bytes / options.threads.max(1) / 8;
    settings.execution.sort_spill_reservation_bytes = reserve.clamp(64 << 10, 10 << 20);
    settings.sql_parser.map_string_types_to_utf8view = false;
    // So that an error says where it is.
    settings.sql_parser.collect_spans = true;
    let pasted: Arc<dyn AnalyzerRule + Send + Sync> =
        Arc::new(Pasted { symbol: Arc::new(functions::symbol(symbols)) });
    let of_row: Option<Arc<dyn AnalyzerRule + Send + Sync>> = several.then(|| Arc::new(TraceOfRow) as _);
    let rules = std::iter::once(pasted).chain(of_row).chain(Analyzer::new().rules).collect();
    // Before the others, which then know of what it makes; and after them, which find what is constant.
    let mut optimizer: Vec<Arc<dyn OptimizerRule + Send + Sync>> = vec![Arc::new(percentile::Together)];
    optimizer.extend(Optimizer::new().rules);
    optimizer.push(Arc::new(percentile::ConstantKeys));
    let state = SessionStateBuilder::new()
        .with_config(config)
        .with_runtime_env(runtime)
        .with_default_features()
        .with_analyzer_rules(rules)
        .with_optimizer_rules(optimizer)
        .with_relation_planners(vec![Arc::new(ordered::Relations)])
        .with_query_planner(Arc::new(ordered::Planner { is_for_many_machines: options.is_for_many_machines }))
        .build();
    Ok(SessionContext::new_with_state(state))
}
