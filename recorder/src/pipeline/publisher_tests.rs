//! A disk that does not take what it is given.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use schemas::trace::{FORMAT_VERSION, SIDE_TABLES, State};

use super::super::keep::{Limits, SharedKept};
use super::super::merged::Input;
use super::*;

fn meta() -> Meta {
    Meta {
        format_version: FORMAT_VERSION,
        recorder_version: String::new(),
        state: State::Open,
        host: String::new(),
        kernel_release: String::new(),
        machine: String::new(),
        boot_id: String::new(),
        cpus: 1,
        utc_minus_boottime_ns: 0,
        start_ns: 0,
        end_ns: None,
        command_line: Vec::new(),
        command_exit_code: None,
        recorder_pid: 1,
        events: Vec::new(),
        kept_from_ns: None,
        gfp_flags: Vec::new(),
        frozen: None,
    }
}

/// A segment of `table` without rows that waits to be published, the one with that number.
fn publication(dir: &Path, table: &str, number: u64) -> Publication {
    let side = SIDE_TABLES.iter().find(|side| side.name == table).unwrap();
    let rows = RecordBatch::new_empty(Arc::new((side.schema)()));
    let properties = writer_properties(&rows.schema(), 1, false).unwrap();
    let name = number.to_string();
    let mut segment = Segment::create(&dir.join(table), &name, &rows.schema(), properties).unwrap();
    segment.write(&rows).unwrap();
    let mut temp = segment.finish().unwrap().temp;
    temp.is_whole(number).unwrap();
    Publication {
        temp,
        is_only: false,
        is_again: false,
        event: None,
        side_rows: Some(rows),
        rows: RowsBySource::new(),
        due_ns: None,
    }
}

#[test]
fn files_that_the_disk_did_not_take_are_written_again_and_not_synced_again() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().canonicalize().unwrap();
    SIDE_TABLES.iter().for_each(|side| fs::create_dir(dir.join(side.name)).unwrap());
    let warn = Box::new(|_: &str| {});
    let mut keeper =
        Keeper::start(&dir, meta(), Limits::default(), SharedKept::default(), warn, Priority::default())
            .unwrap();
    let progress = SharedProgress::default();
    let torn = [1, 2].map(|number| publication(&dir, "clock", number));
    let rows = torn[0].side_rows.clone();
    let without_rows = torn.into_iter().map(|torn| {
        // What is in it after a failed fsync is anybody's guess.
        fs::write(torn.temp.path(), "garbage").unwrap();
        torn.temp.tear();
        Publication { side_rows: None, ..torn }
    });
    let normal = Priority::default();
    let held = publish(without_rows.collect(), &mut keeper, &progress, &normal);
    assert!(held.len() == 2 && progress.lock().cannot_publish, "without its rows nothing can be done");
    assert_eq!(fs::read_dir(dir.join("clock")).unwrap().count(), 0);

    progress.lock().cannot_publish = false;
    let held = held.into_iter().map(|it| Publication { side_rows: rows.clone(), ..it }).collect();
    assert!(publish(held, &mut keeper, &progress, &normal).is_empty());
    assert!(!progress.lock().cannot_publish, "{:?}", progress.lock().failure);
    for name in ["clock/000000.parquet", "clock/000001.parquet"] {
        Input::open(0, &dir.join(name)).unwrap();
    }
    let hidden = fs::read_dir(&dir)
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().starts_with('.'));
    assert_eq!(hidden.count(), 0, "the torn files are gone");
}

#[test]
fn all_items_are_synced_and_one_of_the_errors_is_told() {
    let done = Mutex::new(Vec::new());
    let result = at_once(&Priority::default(), 0..500, |item| {
        done.lock().unwrap().push(item);
        ensure!(item != 7, "number {item}");
        Ok(())
    });
    assert_eq!(result.unwrap_err().to_string(), "number 7");
    let mut done = done.into_inner().unwrap();
    done.sort();
    assert_eq!(done, (0..500).collect::<Vec<_>>());
}
