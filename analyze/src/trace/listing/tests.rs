//! Listings of a table that a recorder is changing, and questions about a trace whose files have gone.

use std::fs;
use std::io::Read;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use parquet::file::reader::ChunkReader;
use schemas::trace::{META_FILE, PROCESSES, whole_name};
use tempfile::TempDir;

use super::*;
use crate::session::{Options, Session};
use crate::trace::Trace;

const FILES: u64 = 3000;

fn listing(dir: &Path) -> Listing<'_> {
    Listing { dir, is_open: true, is_changing: true, is_same_boot: true }
}

/// A segment here is the numbers of the rows that it has.
fn write(path: &Path, rows: std::ops::Range<u64>) {
    fs::write(path, rows.map(|row| format!("{row} ")).collect::<String>()).unwrap();
}

fn rows(files: &Files) -> Vec<u64> {
    let mut text = String::new();
    for (_, file) in &files.files {
        file.reader().unwrap().get_read(0).unwrap().read_to_string(&mut text).unwrap();
    }
    text.split_whitespace().map(|row| row.parse().unwrap()).collect()
}

/// As a recorder does: a file waits, gets its name, and is merged with others, by an exchange of directories.
fn record(dir: &Path) {
    let (table, work) = (dir.join("t"), dir.join("work"));
    let name = |number: u64| format!("{number:06}.parquet");
    let mut merged = 0;
    for file in 0..FILES {
        let waiting = dir.join(whole_name("t", file));
        write(&dir.join("tmp"), file..file + 1);
        fs::rename(dir.join("tmp"), &waiting).unwrap();
        fs::rename(&waiting, table.join(name(file + 1))).unwrap();
        if file % 7 == 6 {
            fs::create_dir(&work).unwrap();
            write(&work.join(name(file + 1)), 0..file + 1);
            let (at, flags) = (nix::fcntl::AT_FDCWD, nix::fcntl::RenameFlags::RENAME_EXCHANGE);
            nix::fcntl::renameat2(at, &work, at, &table, flags).unwrap();
            fs::remove_dir_all(&work).unwrap();
            merged += 1;
        }
    }
    assert!(merged > 0);
}

#[test]
fn a_table_that_changes_has_each_row_once_in_every_listing() {
    let temp = TempDir::new().unwrap();
    let dir = temp.path();
    fs::create_dir(dir.join("t")).unwrap();
    let is_done = AtomicBool::new(false);
    let (mut seen, mut in_between) = (0, 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            record(dir);
            is_done.store(true, Ordering::Relaxed);
        });
        while !is_done.load(Ordering::Relaxed) {
            // That it changed all the time is an answer too, though no rows.
            let Ok(files) = listing(dir).of("t") else { continue };
            let rows = rows(&files);
            let expected: Vec<u64> = (0..rows.len() as u64).collect();
            assert_eq!(rows, expected);
            assert!(rows.len() >= seen, "{} rows, {seen} before", rows.len());
            in_between += usize::from(rows.len() > seen);
            seen = rows.len();
        }
    });
    assert_eq!(rows(&listing(dir).of("t").unwrap()), (0..FILES).collect::<Vec<_>>());
    assert!(in_between > 20, "{in_between} listings while it changed");
}

#[test]
fn the_newest_table_of_probes_takes_the_place_of_the_one_before() {
    let temp = TempDir::new().unwrap();
    let dir = temp.path();
    fs::create_dir(dir.join(PROBES)).unwrap();
    write(&dir.join(PROBES).join("000000.parquet"), 0..1);
    for number in [9, 10] {
        write(&dir.join(whole_name(PROBES, number)), 0..number);
    }
    assert_eq!(rows(&listing(dir).of(PROBES).unwrap()), (0..10).collect::<Vec<_>>());
    let other_boot = Listing { is_same_boot: false, ..listing(dir) }.of(PROBES).unwrap();
    assert_eq!((rows(&other_boot), other_boot.not_durable), (vec![0], 2));
    let closed = Listing { is_open: false, ..listing(dir) }.of(PROBES).unwrap();
    assert_eq!((rows(&closed), closed.not_durable), (vec![0], 0));
}

#[tokio::test]
async fn a_question_is_answered_from_files_that_were_merged_away_meanwhile() {
    let temp = TempDir::new().unwrap();
    let dir = temp.path().join("kmem.trace");
    fixtures::build("kmem", &dir).unwrap();
    let json = fs::read_to_string(dir.join(META_FILE)).unwrap();
    fs::write(dir.join(META_FILE), json.replace("\"state\": \"closed\"", "\"state\": \"open\"")).unwrap();
    let sql = "SELECT count(*), count(DISTINCT stack_text(kstack)), min(symbol(call_site)) FROM kmem";
    let answer = async |session: Session| {
        let batches = session.collect(sql).await.unwrap();
        arrow_cast::pretty::pretty_format_batches(&batches).unwrap().to_string()
    };
    let open = || Session::open(std::slice::from_ref(&dir), &Options::default()).unwrap();
    let before = answer(open()).await;
    let session = open();
    for table in ["kmem", "stacks", "symbols"] {
        fs::remove_dir_all(dir.join(table)).unwrap();
    }
    assert_eq!(answer(session).await, before);
    assert_ne!(answer(open()).await, before);
}

#[test]
fn rows_that_are_about_to_go_are_not_there() {
    let temp = TempDir::new().unwrap();
    let dir = temp.path();
    let captured = fixtures::trace("captured/mkdirs", dir).unwrap();
    for table in ["mkdirs", PROCESSES] {
        fs::create_dir(dir.join(table)).unwrap();
        for path in named(&captured.join(table)).unwrap() {
            fs::copy(&path, dir.join(table).join(path.file_name().unwrap())).unwrap();
        }
    }
    let open = |meta: &Meta| {
        fs::write(dir.join(META_FILE), serde_json::to_string(meta).unwrap()).unwrap();
        Trace::open(dir, &|_| Vec::new()).unwrap()
    };
    let rows = |meta: &Meta| ["mkdirs", PROCESSES].map(|table| open(meta).table(table).unwrap().rows());
    let closed: Meta = serde_json::from_str(&fs::read_to_string(captured.join(META_FILE)).unwrap()).unwrap();
    let [mkdirs, processes] = rows(&closed);
    assert!(mkdirs > 0 && processes > 0);
    let (first_ns, last_ns) = open(&closed).table("mkdirs").unwrap().span().unwrap();
    let recorder = File::open(dir).unwrap();
    recorder.lock().unwrap();
    let kept_from = |ns| Meta { state: State::Open, kept_from_ns: Some(ns), ..closed.clone() };
    for (kept_from_ns, kept) in [(first_ns, mkdirs), (last_ns, mkdirs), (last_ns + 1, 0), (i64::MAX, 0)] {
        assert_eq!(rows(&kept_from(kept_from_ns)), [kept, processes], "{kept_from_ns}");
    }
    // What is closed is what was kept, whole; nobody removes what a dead recorder left.
    assert_eq!(rows(&Meta { state: State::Closed, ..kept_from(last_ns + 1) }), [mkdirs, processes]);
    recorder.unlock().unwrap();
    assert_eq!(rows(&kept_from(last_ns + 1)), [mkdirs, processes]);
}
