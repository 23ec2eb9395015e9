//! What the pipeline's tests share: layouts, metadata, reading back.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use arrow_array::cast::AsArray;
use arrow_array::types::*;
use arrow_array::{ArrayRef, RecordBatch, StringArray};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use recorder::pipeline::{End, Options, ProbeRow, RecordBuilder, TraceWriter};
use schemas::column::{Column, Layout};
use schemas::trace::read::Description;
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
        boot_id: recorder::pipeline::boot_id(),
        cpus: 4,
        utc_minus_boottime_ns,
        start_ns: 0,
        end_ns: None,
        command_line: vec![],
        command_exit_code: None,
        recorder_pid: 1,
        events,
        kept_from_ns: None,
        gfp_flags: Vec::new(),
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

/// What a trace takes on disk with everything in it, whatever that is for. A file that has two names while a table is
/// exchanged takes it once.
pub fn disk_bytes(dir: &Path) -> u64 {
    fn collect(dir: &Path, files: &mut BTreeMap<u64, u64>) {
        for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
            let Ok(metadata) = entry.metadata() else { continue };
            files.insert(metadata.ino(), metadata.blocks() * 512);
            if metadata.is_dir() {
                collect(&entry.path(), files);
            }
        }
    }
    let collected = || {
        let mut files = BTreeMap::new();
        collect(dir, &mut files);
        files
    };
    // Files that come and go while they are looked at were never there together.
    let mut before = collected();
    let mut least = u64::MAX;
    for _ in 0..50 {
        let now = collected();
        let bytes = now.values().sum();
        if now.keys().eq(before.keys()) {
            return bytes;
        }
        (before, least) = (now, least.min(bytes));
    }
    least
}

/// What the trace says of itself.
pub fn read_meta(dir: &Path) -> Meta {
    description(dir).meta
}

pub fn description(dir: &Path) -> Description {
    schemas::trace::read::read(dir).unwrap()
}

/// The files of a table, in order of time.
pub fn segments(dir: &Path, table: &str) -> Vec<PathBuf> {
    let description = description(dir);
    let visible = description.contents.visible();
    visible.iter().filter(|it| it.table == table).map(|it| dir.join(it.path())).collect()
}

/// The files that lie in the directory of a table, in order of their names.
pub fn listed(dir: &Path, table: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir.join(table)).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<PathBuf> = entries.collect();
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

/// Beginning and end of the intervals that `rows` (of counts or losses) about `probe` tell of, each once, in their order.
/// Corrections, which are about no time, are not among them.
pub fn intervals(rows: &RecordBatch, probe: u16) -> Vec<(i64, i64)> {
    let time = |name: &str| {
        rows.column_by_name(name).unwrap().as_primitive::<TimestampNanosecondType>().values().to_vec()
    };
    let probes = rows.column_by_name("probe").unwrap().as_primitive::<UInt16Type>();
    let all = time("since_ts").into_iter().zip(time("ts")).enumerate();
    let own = all.filter(|(row, (since, ts))| probes.value(*row) == probe && since != ts);
    let own: std::collections::BTreeSet<(i64, i64)> = own.map(|(_, interval)| interval).collect();
    own.into_iter().collect()
}

/// Fail unless the intervals begin with `start_ns` and each begins where the one before ends.
pub fn assert_follow(intervals: &[(i64, i64)], start_ns: i64) {
    assert_eq!(intervals.first().map(|(since, _)| *since), Some(start_ns), "{intervals:?}");
    assert!(intervals.iter().all(|(since, ts)| since < ts), "{intervals:?}");
    let broken = intervals.windows(2).find(|pair| pair[0].1 != pair[1].0);
    assert!(broken.is_none(), "{broken:?} is a gap or an overlap");
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

/// A trace of `n` rows in files of `per_file`.
pub fn small_segments(dir: &Path, n: u64, per_file: u64) {
    let layout = layout("tick", &[("value", "u64")]);
    let options =
        Options { compact_at_close: false, segment_age: Duration::from_nanos(0), ..replay_options() };
    let mut writer = TraceWriter::create(dir, meta(vec![layout.clone()], 0), options).unwrap();
    writer.add_probe(probe(0, "tick")).unwrap();
    for i in 0..n {
        writer
            .feed(0, 0, &RecordBuilder::new(&layout, 100 + i).seq(i as u32).set_u64("value", i).build())
            .unwrap();
        if i % per_file == per_file - 1 {
            writer.tick(101 + i, &mut || Ok(vec![])).unwrap();
        }
    }
    writer.close(End::default()).unwrap();
}

/// Column `value` of all rows, in the order of the files.
pub fn values(dir: &Path, table: &str) -> Vec<u64> {
    segments(dir, table).iter().flat_map(|path| values_of(path)).collect()
}

/// Column `value` of one segment.
pub fn values_of(path: &Path) -> Vec<u64> {
    let column = |batch: &RecordBatch| {
        batch.column_by_name("value").unwrap().as_primitive::<UInt64Type>().values().to_vec()
    };
    read_segment(path).iter().flat_map(column).collect()
}

/// Run a test of this program again where it may mount.
pub fn as_root_of_a_namespace(test: &str) {
    let exe = std::env::current_exe().unwrap();
    let status =
        std::process::Command::new("unshare").arg("-rm").arg(exe).args(["--exact", test]).status().unwrap();
    assert!(status.success(), "failed as root of a user namespace");
}

/// A small file system of its own at a path.
pub struct SmallDisk(PathBuf);

impl SmallDisk {
    pub fn mount(path: &Path, size: &str) -> Self {
        let options = format!("size={size}");
        nix::mount::mount(
            Some("tmpfs"),
            path,
            Some("tmpfs"),
            nix::mount::MsFlags::empty(),
            Some(options.as_str()),
        )
        .expect("mounting a small tmpfs");
        Self(path.to_owned())
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = nix::mount::umount2(&self.0, nix::mount::MntFlags::MNT_DETACH);
    }
}
