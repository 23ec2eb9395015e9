//! A recorder in a directory of its own, and its trace as rows.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use arrow_array::cast::AsArray;
use arrow_array::{Array, RecordBatch};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use schemas::trace::log::{Commit, LOG_FILE, Status};
use schemas::trace::read::{Description, read};
use tempfile::TempDir;

use crate::held::held;

/// Longest time that anything here may take; attaching 200 probes is most, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(180);

/// Longest time that a recorder may take to end, when nothing has to be waited for.
pub const LIMIT: Duration = Duration::from_secs(5);

/// A directory that goes away, and the recorder run in it.
pub struct Sandbox {
    dir: TempDir,
}

impl Sandbox {
    /// In memory: how long a disk takes is not the recorder's doing.
    pub fn new() -> Self {
        let in_memory = tempfile::tempdir_in("/dev/shm");
        Self { dir: in_memory.or_else(|_| tempfile::tempdir()).expect("a temporary directory") }
    }

    /// For tests that record: they fail, and say why, where that is impossible.
    pub fn for_recording() -> Self {
        // SAFETY: asks for a number.
        let uid = unsafe { libc::geteuid() };
        assert_eq!(
            uid, 0,
            "this test records kernel events: run it as root (sudo -E cargo test -p recorder)"
        );
        Self::new()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_recorder"));
        command.args(args).current_dir(self.dir.path()).stdin(Stdio::null()).env("RUST_BACKTRACE", "0");
        // Whoever runs the tests in the background may ignore them, and a shell cannot trap what it inherits ignored.
        // SAFETY: signal(2) is async-signal-safe.
        unsafe {
            command.pre_exec(|| {
                for signal in [libc::SIGINT, libc::SIGHUP, libc::SIGTERM, libc::SIGQUIT] {
                    libc::signal(signal, libc::SIG_DFL);
                }
                Ok(())
            })
        };
        command
    }

    pub fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().expect("the recorder runs")
    }

    /// Run it, and fail unless it exits with `code`.
    pub fn expect(&self, code: i32, args: &[&str]) -> Text {
        let output = self.run(args);
        let text = Text::of(&output);
        assert_eq!(output.status.code(), Some(code), "recorder {args:?}\n{text:?}");
        text
    }

    /// Start it and wait until it says that it records.
    pub fn start(&self, args: &[&str]) -> Running {
        self.start_command(self.command(args))
    }

    /// The same with a command of [`Self::command`].
    pub fn start_command(&self, command: Command) -> Running {
        let mut running = self.spawn(command);
        wait_for("the recorder to record", || {
            assert!(running.child.try_wait().unwrap().is_none(), "it has ended: {}", running.stderr());
            running.stderr().contains("recorder: recording ")
        });
        running
    }

    /// Start a command of [`Self::command`].
    pub fn spawn(&self, mut command: Command) -> Running {
        let file = self.path("stderr.txt");
        command.stderr(File::create(&file).unwrap()).stdout(Stdio::piped());
        Running { child: command.spawn().unwrap(), stderr: file }
    }

    /// Names of what is in the directory.
    pub fn files(&self) -> Vec<String> {
        let entries = fs::read_dir(self.dir.path()).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }
}

/// Makes 100 directories, each in a process of its own, then fails to make one of them again.
pub const HUNDRED: &str =
    "i=0; while [ $i -lt 100 ]; do mkdir d$i; i=$((i+1)); done; mkdir d0 2>/dev/null; exit 0";

/// What `recorder record ARGS -o t -- sh -c SCRIPT` says; it exits with `code`.
pub fn record(sandbox: &Sandbox, code: i32, args: &[&str], script: &str) -> String {
    let mut all = vec!["record"];
    all.extend(args);
    all.extend(["-o", "t", "--", "sh", "-c", script]);
    sandbox.expect(code, &all).err
}

/// A recorder that runs; it is killed if a test fails.
pub struct Running {
    pub child: Child,
    stderr: PathBuf,
}

impl Running {
    pub fn stderr(&self) -> String {
        fs::read_to_string(&self.stderr).unwrap()
    }

    pub fn signal(&self, signal: i32) {
        // SAFETY: sends a signal to a child of ours that has not been waited for.
        assert_eq!(unsafe { libc::kill(self.child.id() as i32, signal) }, 0);
    }

    /// Its exit code, which must come within [`LIMIT`].
    pub fn wait_soon(&mut self) -> Option<i32> {
        let start = Instant::now();
        let code = self.wait();
        assert!(start.elapsed() < LIMIT, "it took {:?} to end: {}", start.elapsed(), self.stderr());
        code
    }

    /// Its exit code.
    pub fn wait(&mut self) -> Option<i32> {
        let mut status = None;
        wait_for("the recorder to end", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap().code()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a recorder wrote.
#[derive(Debug)]
pub struct Text {
    pub out: String,
    pub err: String,
}

impl Text {
    pub fn of(output: &Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("UTF-8");
        Self { out: text(&output.stdout), err: text(&output.stderr) }
    }
}

/// Fails if `is_done` is not true in time.
pub fn wait_for(what: &str, mut is_done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_done() {
        assert!(start.elapsed() < PATIENCE, "waited {PATIENCE:?} for {what}");
        sleep(Duration::from_millis(10));
    }
}

/// All rows of a table, in the order of its files.
pub struct Table(pub Vec<RecordBatch>);

impl Table {
    /// The table, read again if it changed meanwhile.
    pub fn read(trace: &Path, table: &str) -> Self {
        let started = Instant::now();
        loop {
            if let Some(read) = Self::read_if_there(trace, table) {
                return read;
            }
            assert!(started.elapsed() < PATIENCE, "table {table} changes all the time");
        }
    }

    /// The table; `None` if it changed meanwhile.
    pub fn read_if_there(trace: &Path, table: &str) -> Option<Self> {
        let mut batches = Vec::new();
        for (path, file) in held(trace, table)? {
            let reader = ParquetRecordBatchReaderBuilder::try_new(file)
                .and_then(|builder| builder.build())
                .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            batches.extend(reader.map(|batch| batch.unwrap()));
        }
        Some(Self(batches))
    }

    pub fn len(&self) -> usize {
        self.0.iter().map(RecordBatch::num_rows).sum()
    }

    /// A text column; NULL is "NULL".
    pub fn text(&self, name: &str) -> Vec<String> {
        let mut all = Vec::new();
        for batch in &self.0 {
            let column = arrow_cast(batch, name);
            all.extend(column);
        }
        all
    }

    /// An integer column of any type; NULL is `None`.
    pub fn integers(&self, name: &str) -> Vec<Option<i128>> {
        self.text(name).into_iter().map(|text| text.parse().ok()).collect()
    }

    /// How many rows have `value` in column `name`.
    pub fn count(&self, name: &str, value: &str) -> usize {
        self.text(name).iter().filter(|text| *text == value).count()
    }
}

fn arrow_cast(batch: &RecordBatch, name: &str) -> Vec<String> {
    use arrow_array::types::*;
    use arrow_schema::DataType;
    let array =
        batch.column_by_name(name).unwrap_or_else(|| panic!("no column {name} in {:?}", batch.schema()));
    let cell = |row: usize| -> String {
        if array.is_null(row) {
            return "NULL".to_owned();
        }
        match array.data_type() {
            DataType::Utf8 => array.as_string::<i32>().value(row).to_owned(),
            DataType::Dictionary(..) => {
                let dictionary = array.as_dictionary::<Int32Type>();
                let key = usize::try_from(dictionary.keys().value(row)).unwrap();
                dictionary.values().as_string::<i32>().value(key).to_owned()
            }
            DataType::Binary => {
                let bytes = array.as_binary::<i32>().value(row);
                bytes.iter().map(|byte| format!("{byte:02x}")).collect()
            }
            DataType::Boolean => array.as_boolean().value(row).to_string(),
            DataType::UInt8 => array.as_primitive::<UInt8Type>().value(row).to_string(),
            DataType::UInt16 => array.as_primitive::<UInt16Type>().value(row).to_string(),
            DataType::UInt32 => array.as_primitive::<UInt32Type>().value(row).to_string(),
            DataType::UInt64 => array.as_primitive::<UInt64Type>().value(row).to_string(),
            DataType::Int8 => array.as_primitive::<Int8Type>().value(row).to_string(),
            DataType::Int16 => array.as_primitive::<Int16Type>().value(row).to_string(),
            DataType::Int32 => array.as_primitive::<Int32Type>().value(row).to_string(),
            DataType::Int64 => array.as_primitive::<Int64Type>().value(row).to_string(),
            DataType::Timestamp(..) => array.as_primitive::<TimestampNanosecondType>().value(row).to_string(),
            other => panic!("column {name} has type {other}"),
        }
    };
    (0..array.len()).map(cell).collect()
}

/// Fails unless the counts of a recording balance in every row, and says how many of `event` were seen,
/// recorded and lost.
pub fn counts(trace: &Path, event: &str) -> (i128, i128, i128) {
    let table = Table::read(trace, "counts");
    let column = |name: &str| {
        table.integers(name).into_iter().map(|value| value.expect("not NULL")).collect::<Vec<_>>()
    };
    let (fired, filtered, seen) = (column("fired"), column("filtered"), column("seen"));
    let (recorded, lost, events) = (column("recorded"), column("lost"), table.text("event"));
    let mut sums: BTreeMap<&str, [i128; 5]> = BTreeMap::new();
    for i in 0..events.len() {
        assert_eq!(seen[i], recorded[i] + lost[i], "row {i} of counts");
        assert_eq!(fired[i], filtered[i] + seen[i], "row {i} of counts");
        let sum = sums.entry(&events[i]).or_default();
        let row = [fired[i], filtered[i], seen[i], recorded[i], lost[i]];
        sum.iter_mut().zip(row).for_each(|(sum, count)| *sum += count);
    }
    let [_, _, seen, recorded, lost] = sums.get(event).copied().unwrap_or_default();
    (seen, recorded, lost)
}

/// What `trace.json` and the log say of a trace.
pub fn meta(trace: &Path) -> serde_json::Value {
    let Description { meta, contents, .. } = read(trace).unwrap();
    let mut all = serde_json::to_value(meta).unwrap();
    let status = serde_json::to_value(contents.status).unwrap();
    all.as_object_mut().unwrap().extend(status.as_object().unwrap().clone());
    all
}

/// Let the trace be one whose recorder died.
pub fn reopen(trace: &Path) {
    let Description { contents, .. } = read(trace).unwrap();
    let add = contents.segments.into_values().collect();
    let commit = Commit { add, status: Some(Status::default()), durable: Some(0), ..Commit::default() };
    fs::write(trace.join(LOG_FILE), commit.line().unwrap()).unwrap();
}
