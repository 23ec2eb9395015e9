//! The golden queries of `tests/slt/*.slt`, in both engines: `analyze` itself, and DuckDB over the same files.
//!
//! A file says `OPEN fixture[, fixture]` and then asks. DuckDB gets the query with every analysis written out, so the
//! text under test is the same; only the functions (`tests/duckdb/functions.sql`) are written twice.

#[path = "support/duckdb.rs"]
mod duckdb;
#[path = "support/operators.rs"]
mod operators;
#[path = "per_trace/mod.rs"]
mod per_trace;
#[path = "support/readers.rs"]
mod readers;
#[path = "support/rows.rs"]
mod rows;

use std::path::{Path, PathBuf};

use analyze::library::Library;
use analyze::library::analysis::ClassicTool;
use analyze::session::{Options, Session};
use duckdb::DuckDb;
use sqllogictest::{DB, DBOutput, DefaultColumnType};

/// An error of either engine.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct EngineError(String);

fn failed(error: anyhow::Error) -> EngineError {
    EngineError(format!("{error:#}"))
}

fn slt_files() -> Vec<PathBuf> {
    files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/slt"), "slt")
}

fn files(dir: &Path, extension: &str) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = dir.read_dir().unwrap().map(|e| e.unwrap().path()).collect();
    files.retain(|f| f.extension().is_some_and(|e| e == extension));
    files.sort();
    files
}

/// The traces that `OPEN a, b` names.
fn open(sql: &str, dir: &Path) -> anyhow::Result<Option<Session>> {
    let Some(names) = sql.trim().strip_prefix("OPEN ") else { return Ok(None) };
    let mut paths = Vec::new();
    for name in names.trim_end_matches(" MANY").split(',').map(str::trim) {
        // An absolute name is that of a trace that a test made.
        let built = if name.starts_with('/') { name.into() } else { dir.join(format!("{name}.trace")) };
        paths.push(if built.exists() { built } else { fixtures::trace(name, dir)? });
    }
    // `MANY` makes plans as several machines would run them.
    let is_for_many_machines = sql.trim().ends_with(" MANY");
    Session::open(&paths, &Options { threads: 2, is_for_many_machines, ..Options::default() }).map(Some)
}

struct Analyze {
    runtime: tokio::runtime::Runtime,
    dir: tempfile::TempDir,
    session: Option<Session>,
}

impl Analyze {
    fn new() -> Self {
        Self {
            runtime: tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()
                .unwrap(),
            dir: tempfile::tempdir().unwrap(),
            session: None,
        }
    }
}

impl DB for Analyze {
    type Error = EngineError;
    type ColumnType = DefaultColumnType;

    fn run(&mut self, sql: &str) -> Result<DBOutput<DefaultColumnType>, EngineError> {
        if let Some(session) = open(sql, self.dir.path()).map_err(failed)? {
            self.session = Some(session);
            return Ok(DBOutput::StatementComplete(0));
        }
        let session = self.session.as_ref().ok_or_else(|| EngineError("OPEN a fixture first".to_owned()))?;
        let answer = self.runtime.block_on(async {
            let frame = session.query(sql).await?;
            let schema = frame.schema().as_arrow().clone();
            let batches = frame.collect().await.map_err(|error| session.explain(&error, sql))?;
            rows::output(&schema, &batches)
        });
        answer.map_err(failed)
    }

    fn engine_name(&self) -> &str {
        "analyze"
    }
}

/// Run with more stack than test threads have: analyses within analyses, written out for DuckDB, are deep trees.
fn with_stack(run: impl FnOnce() + Send + 'static) {
    let thread = std::thread::Builder::new().stack_size(64 << 20).spawn(run).unwrap();
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
}

fn run_all<D: DB<Error = EngineError, ColumnType = DefaultColumnType> + Send + 'static>(
    make: impl Fn() -> D + Copy,
) {
    let mut failures = Vec::new();
    let files = slt_files();
    assert!(files.len() >= 9, "there is a golden file for each analysis: {files:?}");
    for file in files {
        let mut runner = sqllogictest::Runner::new(|| async { Ok(make()) });
        runner.with_column_validator(sqllogictest::strict_column_validator);
        if let Err(error) = runner.run_file(&file) {
            failures.push(format!("{}", error.display(false)));
        }
    }
    assert!(failures.is_empty(), "{} files fail\n{}", failures.len(), failures.join("\n\n"));
}

#[test]
fn analyze_gives_the_golden_rows() {
    with_stack(|| run_all(Analyze::new));
}

#[test]
fn duckdb_gives_the_same_rows() {
    with_stack(|| run_all(DuckDb::start));
}

#[test]
fn pyarrow_opens_every_segment_and_sees_docs_and_units() {
    let dir = tempfile::tempdir().unwrap();
    let trace = fixtures::trace("kmem", dir.path()).unwrap();
    let script = "import sys, pyarrow.parquet as pq\n\
                  s = pq.read_schema(sys.argv[1])\n\
                  f = s.field('bytes_alloc')\n\
                  print(s.field('ts').type, s.metadata[b'doc'].decode()[:10], f.metadata[b'unit'].decode(), '|', f.metadata[b'doc'].decode())";
    let output = duckdb::python(&["-c", script, trace.join("kmem/000000.parquet").to_str().unwrap()]);
    assert_eq!(output, "timestamp[ns, tz=UTC] the kernel bytes | size taken from memory; NULL for free\n");
}

#[test]
fn every_analysis_is_in_a_golden_file() {
    let text: String = slt_files().iter().map(|f| std::fs::read_to_string(f).unwrap()).collect();
    for analysis in Library::shipped().all() {
        assert!(text.contains(&format!("{}(", analysis.name)), "no golden query of {}", analysis.name);
    }
}

#[test]
fn the_columns_of_an_analysis_are_those_of_its_header() {
    let dir = tempfile::tempdir().unwrap();
    let session = open("OPEN open_empty", dir.path()).unwrap().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for analysis in Library::shipped().all() {
        let frame = runtime.block_on(session.ask_analysis(analysis, &[])).unwrap().frame;
        let found: Vec<&str> = frame.schema().fields().iter().map(|f| f.name().as_str()).collect();
        let wanted: Vec<&str> = analysis.columns.iter().map(|c| c.name.as_str()).collect();
        assert_eq!(found, wanted, "{}", analysis.name);
    }
}

#[test]
fn the_column_types_of_an_analysis_are_those_of_the_events() {
    let events = fixtures::layouts::builtin(&[]).unwrap();
    for analysis in Library::shipped().all() {
        for used in &analysis.tables {
            let Some(layout) = events.get(&used.name) else { continue };
            // Stacks are recorded on request, of any event.
            for (name, ty) in used.columns.iter().filter(|(name, _)| name != "kstack" && name != "ustack") {
                let found = layout.column(name).map(|c| &c.ty);
                assert_eq!(found, Some(ty), "{}: {}.{name}", analysis.name, used.name);
            }
        }
    }
}

/// Classic tools about what does not happen on the kernels that tests run.
fn tools_not_run() -> Vec<ClassicTool> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/not_run.sql");
    let text = std::fs::read_to_string(&file).unwrap();
    analyze::library::header::recipes(&text, &file.display().to_string()).unwrap()
}

#[test]
fn what_tools_not_run_ask_is_in_a_golden_file_about_rows_of_their_events() {
    let read = |path: &str| {
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)).unwrap()
    };
    let golden = read("tests/slt/not_run.slt");
    let golden = golden.split_whitespace().collect::<Vec<_>>().join(" ");
    let fixture = read("fixtures/synthetic/not_run/trace.toml");
    let tools = tools_not_run();
    assert!(!tools.is_empty());
    for tool in tools {
        let query =
            tool.ask.split('"').nth(1).unwrap_or_else(|| panic!("{} asks without a query", tool.name));
        assert!(golden.contains(query), "tests/slt/not_run.slt does not ask: {query}");
        let probes: Vec<&str> = tool.record.split('\'').skip(1).step_by(2).collect();
        assert!(!probes.is_empty(), "{} records no event of its own", tool.name);
        for probe in probes {
            assert!(fixture.contains(probe), "the fixture not_run does not have the event: {probe}");
        }
    }
}

#[test]
fn the_pages_on_analyses_are_up_to_date() {
    let repo = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut recipes = Vec::new();
    for file in files(&repo.join("tests/kernel/tools"), "sql") {
        let text = std::fs::read_to_string(&file).unwrap();
        recipes.extend(analyze::library::header::recipes(&text, &file.display().to_string()).unwrap());
    }
    for (page, wanted) in [
        ("docs/analyses.md", analyze::docs::analyses_md()),
        ("docs/from-bcc.md", analyze::docs::from_bcc_md(&recipes, &tools_not_run())),
    ] {
        let path = repo.join(page);
        if std::env::var_os("KTAPE_BLESS").is_some() {
            std::fs::write(&path, &wanted).unwrap();
        }
        let found = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(found == wanted, "{page} is old: KTAPE_BLESS=1 cargo test --test goldens writes it");
    }
}
