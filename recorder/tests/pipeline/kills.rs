//! What tests share that kill recorders: random instants, several at a time, and what tidying up must do.

use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::common::*;
use schemas::trace::State;

/// Numbers that look random and come again with the same seed.
pub struct Random(u64);

impl Random {
    pub fn new(what: &str) -> Self {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let given = std::env::var("KTAPE_TEST_SEED").ok().and_then(|text| text.parse().ok());
        let seed = given.unwrap_or(now.as_nanos() as u64);
        println!("{what}: KTAPE_TEST_SEED={seed}");
        Self(seed)
    }

    /// Below `end`.
    pub fn next(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % end
    }
}

/// Kill after each of `lives`, several at a time. Fails if `kill` did, after all others.
pub fn in_parallel(at_a_time: usize, lives: &[u64], kill: impl Fn(u64) + Sync) {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let work = || {
            while let Some(life) = lives.get(next.fetch_add(1, Ordering::Relaxed)) {
                kill(*life);
            }
        };
        (0..at_a_time).for_each(|_| drop(scope.spawn(work)));
    });
}

/// What `recorder compact` says. In a process of its own, for this one starts others, which hold its locks for a moment.
fn compact(dir: &Path) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_recorder")).arg("compact").arg(dir).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{said}");
    said
}

/// Fail unless `recorder compact` tidies the trace up and tells that once, if its recorder died.
pub fn assert_tidied_up(dir: &Path) {
    let before = read_meta(dir);
    let was_open = before.state == State::Open;
    let told = |said: &str| said.lines().filter(|line| line.contains("the recorder died")).count();
    let said = compact(dir);
    assert_eq!(told(&said), usize::from(was_open), "{said}");
    let state = read_meta(dir).state;
    // One that had written everything, and was merging small segments, is closed.
    let is_whole = !was_open || before.end_ns.is_some();
    assert_eq!(state, if is_whole { State::Closed } else { State::Recovered });
    assert_eq!(left_over(dir), [] as [String; 0]);
    assert_only_named(dir);
    let said = compact(dir);
    assert_eq!((told(&said), said.lines().count()), (0, 1), "told once: {said}");
}

/// Fail unless each table of a trace that nobody writes has exactly the files that its log names.
pub fn assert_only_named(dir: &Path) {
    let description = description(dir);
    for table in recorder::pipeline::meta::tables(&description.meta) {
        assert_eq!(listed(dir, table), segments(dir, table), "{table}");
    }
}

/// Names of what is no part of a trace.
pub fn left_over(dir: &Path) -> Vec<String> {
    let tables = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let dirs = std::iter::once(dir.to_owned()).chain(tables);
    let names = dirs.filter_map(|dir| std::fs::read_dir(dir).ok()).flatten();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with('.')).collect()
}
