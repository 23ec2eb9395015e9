//! A process that records and is killed: what it has fed is noted in a file beside the trace, so that it can be said
//! what is missing.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::common::*;
use nix::time::{ClockId, clock_gettime};
use recorder::pipeline::{End, Options, RecordBuilder, TraceWriter};

const TRACE: &str = "KTAPE_TEST_TRACE";
const ROWS: &str = "KTAPE_TEST_ROWS";
const SEGMENT_AGE_MS: &str = "KTAPE_TEST_SEGMENT_AGE_MS";
/// One row of table `rare` for so many of table `tick`.
pub const RARE_EVERY: u64 = 100;
const BURST: u64 = 10;

pub fn boottime_ns() -> u64 {
    let time = clock_gettime(ClockId::CLOCK_BOOTTIME).unwrap();
    (time.tv_sec() * 1_000_000_000 + time.tv_nsec()) as u64
}

/// Write `rows` rows, numbered from 0, some 30 thousand a second.
fn record(dir: &Path, rows: u64, segment_age: Duration) -> TraceWriter {
    let tick = layout("tick", &[("value", "u64"), ("stack", "kstack[4]")]);
    let rare = layout("rare", &[("value", "u64")]);
    let options = Options { segment_age, ..Options::default() };
    let mut writer = TraceWriter::create(dir, meta(vec![tick.clone(), rare.clone()], 0), options).unwrap();
    writer.add_probe(probe(0, "tick")).unwrap();
    writer.add_probe(probe(1, "rare")).unwrap();
    let mut fed = File::create(fed_file(dir)).unwrap();
    println!("recording");
    for i in 0..rows {
        let ts = boottime_ns();
        let record = RecordBuilder::new(&tick, ts).seq(i as u32).set_u64("value", i);
        writer.feed(0, (i % 2) as u16, &record.set_stack("stack", &[i % 1000]).build()).unwrap();
        if i % RARE_EVERY == 0 {
            let number = i / RARE_EVERY;
            let record = RecordBuilder::new(&rare, ts).seq(number as u32).set_u64("value", number);
            writer.feed(1, 0, &record.build()).unwrap();
        }
        if i % BURST == BURST - 1 {
            fed.write_all(&[(i + 1).to_le_bytes(), ts.to_le_bytes()].concat()).unwrap();
            writer.tick(boottime_ns(), &mut || Ok(vec![])).unwrap();
            std::thread::sleep(Duration::from_micros(200));
        }
    }
    println!("closing");
    writer
}

fn fed_file(dir: &Path) -> PathBuf {
    dir.with_extension("fed")
}

/// How many rows were fed at which boot time, burst by burst.
pub fn fed(dir: &Path) -> Vec<(u64, u64)> {
    let mut bytes = Vec::new();
    File::open(fed_file(dir)).unwrap().read_to_end(&mut bytes).unwrap();
    let number = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().unwrap());
    bytes.chunks_exact(16).map(|entry| (number(&entry[..8]), number(&entry[8..]))).collect()
}

/// Also the process of the other tests: it is started with a directory then.
#[test]
fn a_short_recording_is_whole_after_close() {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    if let Ok(dir) = std::env::var(TRACE) {
        let age = Duration::from_millis(number(SEGMENT_AGE_MS).unwrap_or(1000));
        record(Path::new(&dir), number(ROWS).unwrap_or(u64::MAX), age).close(End::default()).unwrap();
        return;
    }
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("run.trace");
    record(&dir, 5000, Duration::from_secs(1)).close(End::default()).unwrap();
    assert_eq!(values(&dir, "tick"), (0..5000).collect::<Vec<u64>>());
}

/// How it records.
#[derive(Default)]
pub struct Plan {
    /// Then it closes the trace; without, it never does.
    pub rows: Option<u64>,
    /// 1000 if not given.
    pub segment_age_ms: Option<u64>,
}

/// The process, killed when dropped.
pub struct Recording {
    child: Child,
    lines: Box<dyn Iterator<Item = String> + Send>,
}

impl Recording {
    /// Start one that makes the trace `dir`; returns when it records.
    pub fn start(dir: &Path, plan: &Plan) -> Self {
        let mut envs = vec![(TRACE, dir.display().to_string())];
        envs.extend(plan.rows.map(|rows| (ROWS, rows.to_string())));
        envs.extend(plan.segment_age_ms.map(|age| (SEGMENT_AGE_MS, age.to_string())));
        Self::of("crash_child::a_short_recording_is_whole_after_close", &envs)
    }

    /// Start that test of this program, for which `envs` mean to record; returns when it does.
    pub fn of(test: &str, envs: &[(&str, String)]) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", test, "--nocapture"]).envs(envs.iter().cloned());
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let mut this = Self { child, lines: Box::new(lines) };
        this.wait_for("recording");
        this
    }

    pub fn wait_for(&mut self, what: &str) {
        assert!(self.lines.any(|line| line.contains(what)), "the process ended before it was {what}");
    }

    /// Let it come to its end.
    pub fn wait(mut self) {
        assert!(self.child.wait().unwrap().success());
    }

    /// Kill it now; the result is the time just before.
    pub fn kill(mut self) -> u64 {
        let killed_ns = boottime_ns();
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        killed_ns
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
