//! A process that keeps only so much of a made-up machine's time, makes snapshots, and is killed. What it has fed is
//! noted in a file beside the trace.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::common::*;
use crate::crash_child::Recording;
use crate::world::*;
use recorder::pipeline::{End, Limits, Options, SnapshotName};
use recorder::source::EventSource;
use schemas::trace::{Frozen, FrozenBy};

const TRACE: &str = "KTAPE_TEST_KEPT_TRACE";
const MAX_BYTES: &str = "KTAPE_TEST_MAX_BYTES";
pub const STEP_NS: u64 = S / 20;
pub const TICKS_PER_STEP: u64 = 20;
pub const MAX_AGE_NS: u64 = 6 * S;
/// Code that was forgotten has come again by then.
const WARM_UP_S: u64 = 17;
/// Between two snapshots, at least.
const FREEZE_EVERY_NS: u64 = S;

/// Record for so many seconds of made-up time.
pub fn record(dir: &Path, max_bytes: Option<u64>, seconds: u64) {
    let limits = Limits { max_age_ns: Some(MAX_AGE_NS as i64), max_bytes };
    let mut world = World::new(STEP_NS, TICKS_PER_STEP, 3 * S / 2).whose_code_comes_again();
    let options = Options { limits, segment_age: Duration::from_millis(400), ..Options::default() };
    let mut writer = world.writer(dir, options);
    let fed = File::create(fed_file(dir)).unwrap();
    let why = Frozen { by: FrozenBy::Command, text: None, event: None, from: dir.display().to_string() };
    let (warm_ns, end_ns) = (world.now_ns + WARM_UP_S * S, world.now_ns + seconds * S);
    let (mut answer, mut frozen, mut next_ns) = (None, 0, warm_ns);
    println!("recording");
    while world.now_ns < end_ns {
        writer.pump(&mut world).unwrap();
        fed.write_all_at(&world.ticks().to_le_bytes(), 0).unwrap();
        if world.now_ns == warm_ns {
            println!("keeping");
        }
        if world.now_ns < next_ns {
            continue;
        }
        let is_done = |answer: &std::sync::mpsc::Receiver<_>| answer.try_recv().is_ok();
        if answer.as_ref().is_none_or(is_done) {
            let path = dir.with_file_name(format!("snapshot-{frozen}.trace"));
            let to = SnapshotName { path, is_exact: true };
            answer = Some(writer.freeze(to, why.clone(), &mut || world.counters()).unwrap());
            (frozen, next_ns) = (frozen + 1, world.now_ns + FREEZE_EVERY_NS);
        }
    }
    let counters = world.counters().unwrap();
    writer.close(End { counters, ..End::default() }).unwrap();
}

fn fed_file(dir: &Path) -> PathBuf {
    dir.with_extension("fed")
}

/// How many ticks were fed.
pub fn fed(dir: &Path) -> u64 {
    u64::from_le_bytes(std::fs::read(fed_file(dir)).unwrap().try_into().unwrap())
}

/// Also the process of the other tests: it is started with a directory then.
#[test]
fn code_that_comes_again_after_it_was_forgotten_is_there_once() {
    if let Ok(dir) = std::env::var(TRACE) {
        let max_bytes = std::env::var(MAX_BYTES).ok().map(|text| text.parse().unwrap());
        return record(Path::new(&dir), max_bytes, u64::from(u32::MAX));
    }
    let temp = fast_dir();
    let dir = temp.path().join("run.trace");
    record(&dir, None, 2 * WARM_UP_S);
    assert_eq!(*look(&dir).values.last().unwrap() + 1, fed(&dir));
    assert_counts_balance(&dir);
}

/// Start the process; returns when it lets go what is old.
pub fn start(dir: &Path, max_bytes: Option<u64>) -> Recording {
    let mut envs = vec![(TRACE, dir.display().to_string())];
    envs.extend(max_bytes.map(|bytes| (MAX_BYTES, bytes.to_string())));
    let test = "keep_child::code_that_comes_again_after_it_was_forgotten_is_there_once";
    let mut recording = Recording::of(test, &envs);
    recording.wait_for("keeping");
    recording
}
