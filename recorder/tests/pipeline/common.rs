//! What the pipeline's tests share: layouts, metadata, reading back.

use std::path::{Path, PathBuf};

use arrow_array::cast::AsArray;
use arrow_array::types::*;
use arrow_array::{ArrayRef, RecordBatch, StringArray};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use recorder::pipeline::{Options, ProbeRow};
use schemas::column::{Column, Layout};
use schemas::trace::{FORMAT_VERSION, Meta, State};

pub fn layout(event: &str, columns: &[(&str, &str)]) -> Layout {
    let columns = columns
        .iter()
        .map(|(name, ty)| Column {
            name: (*name).into(),
            ty: ty.parse().unwrap(),
            unit: None,
            doc: format!("doc of {name}"),
            offset: 0,
            bit: 0,
        })
        .collect();
    Layout::new(event, "a synthetic event", columns, |_| false).0
}

pub fn meta(events: Vec<Layout>, utc_minus_boottime_ns: i64) -> Meta {
    Meta {
        format_version: FORMAT_VERSION,
        recorder_version: "0".into(),
        state: State::Open,
        host: "test".into(),
        kernel_release: "0".into(),
        machine: "x86_64".into(),
        boot_id: "0".into(),
        cpus: 4,
        utc_minus_boottime_ns,
        start_ns: 0,
        end_ns: None,
        command_line: vec![],
        command_exit_code: None,
        recorder_pid: 1,
        events,
        kept_from_ns: None,
        frozen: None,
    }
}

pub fn probe(probe: u16, event: &str) -> ProbeRow {
    ProbeRow {
        probe: Some(probe),
        event: event.into(),
        source: "test".into(),
        kind: "tp_btf".into(),
        target: "test".into(),
        ..ProbeRow::default()
    }
}

pub fn replay_options() -> Options {
    Options { is_live: false, ..Options::default() }
}

/// A directory that is not slowed down by a disk: recorded time runs fast there.
pub fn fast_dir() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

pub fn segments(dir: &Path, table: &str) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(dir.join(table))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "parquet"))
        .collect();
    paths.sort();
    paths
}

pub fn read_segment(path: &Path) -> Vec<RecordBatch> {
    let file = std::fs::File::open(path).unwrap();
    ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap().map(Result::unwrap).collect()
}

/// All rows in the order of the files.
pub fn read_table(dir: &Path, table: &str) -> RecordBatch {
    let paths = segments(dir, table);
    assert!(!paths.is_empty(), "table {table} has no segment");
    let batches: Vec<RecordBatch> = paths.iter().flat_map(|path| read_segment(path)).collect();
    arrow_select::concat::concat_batches(&batches[0].schema(), &batches).unwrap()
}

pub fn arrow_cast_text(column: &ArrayRef) -> ArrayRef {
    match column.as_dictionary_opt::<Int32Type>() {
        Some(dictionary) => {
            let typed = dictionary.downcast_dict::<StringArray>().unwrap();
            std::sync::Arc::new(typed.into_iter().collect::<StringArray>())
        }
        None => column.clone(),
    }
}

pub fn times(batch: &RecordBatch) -> Vec<i64> {
    batch.column(0).as_primitive::<TimestampNanosecondType>().values().to_vec()
}

pub fn assert_sorted(batch: &RecordBatch) {
    let times = times(batch);
    if let Some(row) = times.windows(2).position(|pair| pair[0] > pair[1]) {
        panic!("row {row} of {} is at {}, the next one at {}", times.len(), times[row], times[row + 1]);
    }
}

/// Each file is sorted, and the next one begins after it ends.
pub fn assert_files_do_not_overlap(dir: &Path, table: &str) {
    let mut end = i64::MIN;
    for path in segments(dir, table) {
        for batch in read_segment(&path) {
            let times = times(&batch);
            assert!(times.is_sorted() && times[0] >= end, "{}", path.display());
            end = *times.last().unwrap();
        }
    }
}
