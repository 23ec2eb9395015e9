//! Questions about a trace whose files go away meanwhile.

use std::fs::File;

use fixtures::format2::{convert, describe, segments, write_log};
use schemas::trace::State;
use schemas::trace::log::{Commit, Segment};
use tempfile::TempDir;

use super::*;
use crate::session::{Options, Session};

const ASKED: &str = "SELECT count(*), count(DISTINCT stack_text(kstack)), min(symbol(call_site)) FROM kmem";

async fn answer(session: &Session) -> String {
    let batches = session.collect(ASKED).await.unwrap();
    arrow_cast::pretty::pretty_format_batches(&batches).unwrap().to_string()
}

/// Fixture kmem, of which a recorder still writes.
fn open_trace(dir: &Path) -> (PathBuf, Vec<Segment>, Commit) {
    let trace = dir.join("kmem.trace");
    fixtures::build_format1("kmem", &trace).unwrap();
    convert(&trace).unwrap();
    let (meta, mut status) = describe(&trace).unwrap();
    (status.state, status.end_ns) = (State::Open, None);
    let add = segments(&trace, &meta).unwrap();
    let commit = Commit { add: add.clone(), status: Some(status), ..Commit::default() };
    write_log(&trace, std::slice::from_ref(&commit)).unwrap();
    (trace, add, commit)
}

#[tokio::test]
async fn a_question_is_answered_from_files_that_were_merged_away_meanwhile() {
    let temp = TempDir::new().unwrap();
    let (trace, add, _) = open_trace(temp.path());
    let open = || Session::open(std::slice::from_ref(&trace), &Options::default()).unwrap();
    let recorder = File::open(&trace).unwrap();
    recorder.lock().unwrap();
    let before = answer(&open()).await;
    let session = open();
    assert!(session.traces[0].is_live);
    for segment in &add {
        fs::remove_file(trace.join(segment.path())).unwrap();
    }
    assert_eq!(answer(&session).await, before);
    // Who comes later is told that they are missing.
    let late = open();
    assert_eq!(late.warnings().count(), add.len());
    assert_ne!(answer(&late).await, before);
}

#[tokio::test]
async fn a_log_that_was_read_too_early_is_read_again() {
    let temp = TempDir::new().unwrap();
    let (trace, add, commit) = open_trace(temp.path());
    let early = read(&trace).unwrap();
    let moved: Vec<Segment> =
        add.iter().map(|segment| Segment { number: segment.number + 50, ..segment.clone() }).collect();
    for (from, to) in add.iter().zip(&moved) {
        fs::rename(trace.join(from.path()), trace.join(to.path())).unwrap();
    }
    let remove = add.iter().map(Segment::name).collect();
    write_log(&trace, &[commit, Commit { add: moved.clone(), remove, ..Commit::default() }]).unwrap();
    let instant = open(&trace, early, Contents::visible).unwrap();
    assert_eq!((instant.files.len(), instant.warnings), (moved.len(), Vec::new()));
    assert_eq!(instant.description.contents.last, Some(1));
}
