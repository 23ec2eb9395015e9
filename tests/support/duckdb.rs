//! DuckDB behind a Python process: requests and answers are lines of JSON.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;

use arrow_array::RecordBatch;
use serde_json::{Value, json};
use sqllogictest::{DB, DBOutput, DefaultColumnType};

use crate::EngineError;

const SCRIPT: &str = "../tests/duckdb/engine.py";
const FUNCTIONS: &str = include_str!("../duckdb/functions.sql");

/// The Python that has the newest readers: `KTAPE_PYTHON`, or the one that set-up made in the target directory.
pub fn interpreter() -> PathBuf {
    std::env::var_os("KTAPE_PYTHON").map_or_else(|| made("python"), PathBuf::from)
}

/// The Python that has the oldest readers that are promised to work.
pub fn old_interpreter() -> PathBuf {
    made("python-old")
}

fn made(venv: &str) -> PathBuf {
    let target = Path::new(env!("CARGO_BIN_EXE_analyze")).ancestors().nth(2).unwrap();
    target.join(venv).join("bin/python")
}

/// Run the Python with the newest readers to its end; what it prints.
pub fn python(args: &[&str]) -> String {
    python_of(&interpreter(), args)
}

/// Run this Python to its end; what it prints.
pub fn python_of(interpreter: &Path, args: &[&str]) -> String {
    let output = Command::new(interpreter).args(args).output().unwrap_or_else(|e| missing(&e.to_string()));
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    if errors.contains("ModuleNotFoundError") {
        missing(&errors);
    }
    assert!(output.status.success(), "{errors}");
    String::from_utf8(output.stdout).unwrap()
}

fn missing(why: &str) -> ! {
    panic!(
        "{} with duckdb, pyarrow and polars is missing: run `cargo xtask setup` ({why})",
        interpreter().display()
    )
}

/// A DuckDB with the tables of the open fixtures.
pub struct DuckDb {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    dir: tempfile::TempDir,
    runtime: tokio::runtime::Runtime,
    session: Option<analyze::session::Session>,
}

impl DuckDb {
    /// Start the process.
    pub fn start() -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join(SCRIPT);
        let mut child = Command::new(interpreter())
            .arg(script)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|e| missing(&e.to_string()));
        let (stdin, stdout) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        Self {
            child,
            stdin,
            stdout,
            dir: tempfile::tempdir().unwrap(),
            runtime: tokio::runtime::Runtime::new().unwrap(),
            session: None,
        }
    }

    fn ask(&mut self, request: &Value) -> anyhow::Result<Value> {
        writeln!(self.stdin, "{request}")?;
        let mut line = String::new();
        if self.stdout.read_line(&mut line)? == 0 {
            missing("the process ended");
        }
        let answer: Value = serde_json::from_str(&line)?;
        match answer.get("error") {
            Some(error) => anyhow::bail!("{}", error.as_str().unwrap_or_default()),
            None => Ok(answer),
        }
    }

    /// Files of every table by host; a table without files gets one without rows.
    fn tables(&self, session: &analyze::session::Session) -> anyhow::Result<Value> {
        let mut tables = serde_json::Map::new();
        let several = session.traces.len() > 1;
        for name in session.table_names().iter().filter(|n| *n != "kmem_pairs") {
            let mut parts = Vec::new();
            for trace in &session.traces {
                let Some(table) = trace.table(name) else { continue };
                let mut files: Vec<PathBuf> = table.segments.iter().map(|s| s.file.path.clone()).collect();
                // Columns that the files lack are there, and NULL.
                let empty = RecordBatch::new_empty(table.schema.clone());
                files.push(self.write(
                    &format!("{name}.{}.empty", trace.meta.host),
                    &table.schema,
                    &empty,
                )?);
                parts.push(json!([several.then_some(&trace.meta.host), files]));
            }
            if parts.is_empty() {
                // A table of analyze's own.
                let batches = self.runtime.block_on(session.collect(&format!("SELECT * FROM {name}")))?;
                let batch = batches.first().ok_or_else(|| anyhow::anyhow!("{name} is empty"))?;
                parts.push(json!([null, [self.write(name, &batch.schema(), batch)?]]));
            }
            tables.insert(name.clone(), Value::Array(parts));
        }
        Ok(Value::Object(tables))
    }

    fn write(
        &self,
        name: &str,
        schema: &arrow_schema::SchemaRef,
        batch: &RecordBatch,
    ) -> anyhow::Result<PathBuf> {
        let path = self.dir.path().join(format!("{name}.parquet"));
        fixtures::synthetic::write_segment(&path, &Arc::clone(schema), batch)?;
        Ok(path)
    }

    fn answer(&mut self, sql: &str) -> anyhow::Result<DBOutput<DefaultColumnType>> {
        if let Some(session) = crate::open(sql, self.dir.path())? {
            let tables = self.tables(&session)?;
            self.ask(&json!({"open": tables, "functions": FUNCTIONS}))?;
            self.session = Some(session);
            return Ok(DBOutput::StatementComplete(0));
        }
        let session = self.session.as_ref().ok_or_else(|| anyhow::anyhow!("OPEN a fixture first"))?;
        let written_out = session.written_out(sql)?;
        let answer = self.ask(&json!({"sql": written_out}))?;
        let types: Vec<char> = answer["types"].as_str().unwrap_or_default().chars().collect();
        let mut rows = Vec::new();
        for row in answer["rows"].as_array().into_iter().flatten() {
            let cells = row.as_array().into_iter().flatten();
            rows.push(cells.map(|c| crate::rows::cell(c.as_str())).collect());
        }
        Ok(crate::rows::typed(&types, rows))
    }
}

impl Drop for DuckDb {
    fn drop(&mut self) {
        // It was started here and has nothing to save.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl DB for DuckDb {
    type Error = EngineError;
    type ColumnType = DefaultColumnType;

    fn run(&mut self, sql: &str) -> Result<DBOutput<DefaultColumnType>, EngineError> {
        self.answer(sql).map_err(|e| EngineError(format!("{e:#}")))
    }

    fn engine_name(&self) -> &str {
        "duckdb"
    }
}
