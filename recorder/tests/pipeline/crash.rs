//! What remains of a trace when the recorder is killed, the disk is full, or a compaction stops half-way.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::common::*;
use arrow_array::cast::AsArray;
use arrow_array::types::UInt64Type;
use nix::time::{ClockId, clock_gettime};
use recorder::pipeline::compact::{Step, compact, compact_table, recover};
use recorder::pipeline::{End, Options, RecordBuilder, TraceWriter, read_meta};
use schemas::trace::State;

const CHILD_DIR: &str = "KTAPE_TEST_TRACE";
const KILLS: u32 = 12;

fn boottime_ns() -> u64 {
    let time = clock_gettime(ClockId::CLOCK_BOOTTIME).unwrap();
    (time.tv_sec() * 1_000_000_000 + time.tv_nsec()) as u64
}

/// Write a row each 20 microseconds or so, numbered from 0.
fn write_rows(dir: &Path, rows: u64) -> TraceWriter {
    let layout = layout("tick", &[("value", "u64"), ("stack", "kstack[4]")]);
    let mut writer = TraceWriter::create(dir, meta(vec![layout.clone()], 0), Options::default()).unwrap();
    writer.add_probe(probe(0, "tick")).unwrap();
    println!("writing");
    for i in 0..rows {
        let ts = boottime_ns();
        let record = RecordBuilder::new(&layout, ts).seq(i as u32).set_u64("value", i);
        writer.feed(0, (i % 2) as u16, &record.set_stack("stack", &[i % 1000]).build()).unwrap();
        if i % 10 == 9 {
            writer.tick(boottime_ns(), &mut || Ok(vec![])).unwrap();
            std::thread::sleep(Duration::from_micros(200));
        }
    }
    writer
}

/// Also the process that the next test kills: it is started with a directory and never comes to an end then.
#[test]
fn a_short_recording_is_whole_after_close() {
    if let Ok(dir) = std::env::var(CHILD_DIR) {
        write_rows(Path::new(&dir), u64::MAX);
        return;
    }
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("run.trace");
    write_rows(&dir, 5000).close(End::default()).unwrap();
    assert_eq!(values(&dir), (0..5000).collect::<Vec<u64>>());
}

#[test]
fn a_killed_recorder_leaves_whole_segments_without_gaps_and_at_most_a_second_short() {
    let temp = tempfile::tempdir().unwrap();
    for round in 0..KILLS {
        let dir = temp.path().join(format!("{round}.trace"));
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "crash::a_short_recording_is_whole_after_close", "--nocapture"])
            .env(CHILD_DIR, &dir)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap().contains("writing")), "the child did not begin");
        // From the first moments to the second or third segment.
        std::thread::sleep(Duration::from_millis(u64::from(round * 211 % 2300)));
        let killed_ns = boottime_ns();
        child.kill().unwrap();
        child.wait().unwrap();

        let files = segments(&dir, "tick");
        let mut next = 0;
        let mut last_ts = 0;
        let stacks: std::collections::HashSet<i64> = segments(&dir, "stacks")
            .iter()
            .flat_map(|path| read_segment(path))
            .flat_map(|batch| {
                batch.column(0).as_primitive::<arrow_array::types::Int64Type>().values().to_vec()
            })
            .collect();
        for batch in files.iter().flat_map(|path| read_segment(path)) {
            let values = batch.column_by_name("value").unwrap().as_primitive::<UInt64Type>().clone();
            for value in values.values() {
                assert_eq!(*value, next, "round {round}: a row is missing or doubled");
                next += 1;
            }
            let ids = batch.column_by_name("stack").unwrap();
            let ids = ids.as_primitive::<arrow_array::types::Int64Type>();
            assert!(ids.values().iter().all(|id| stacks.contains(id)), "round {round}: a stack is missing");
            last_ts = *times(&batch).last().unwrap() as u64;
        }
        if last_ts > 0 {
            let missing_ms = (killed_ns - last_ts) / 1_000_000;
            assert!(missing_ms <= 1000, "round {round}: the last {missing_ms} ms are missing");
        }
        assert_eq!(read_meta(&dir).unwrap().state, State::Open);
        let line = recover(&dir).unwrap().expect("there is something to tell");
        assert!(line.contains("the recorder died"), "{line}");
        assert_eq!(read_meta(&dir).unwrap().state, State::Recovered);
        assert_eq!(recover(&dir).unwrap(), None, "told once");
        compact(&dir).unwrap();
        if next > 0 {
            assert_sorted(&read_table(&dir, "tick"));
            assert_files_do_not_overlap(&dir, "tick");
        }
        let rows: usize =
            segments(&dir, "tick").iter().flat_map(|p| read_segment(p)).map(|b| b.num_rows()).sum();
        assert_eq!(rows as u64, next);
    }
}

/// A trace of `n` rows in files of `per_file`.
fn small_segments(dir: &Path, n: u64, per_file: u64) {
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

fn values(dir: &Path) -> Vec<u64> {
    let column = |batch: &arrow_array::RecordBatch| {
        batch.column_by_name("value").unwrap().as_primitive::<UInt64Type>().values().to_vec()
    };
    segments(dir, "tick")
        .iter()
        .flat_map(|path| read_segment(path))
        .flat_map(|batch| column(&batch))
        .collect()
}

#[test]
fn a_compaction_stopped_at_any_step_shows_each_row_once_and_can_be_done_again() {
    let expected: Vec<u64> = (0..1000).collect();
    for step in [Step::Begun, Step::FileMade, Step::Built, Step::Exchanged] {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("run.trace");
        small_segments(&dir, 1000, 100);
        assert_eq!(segments(&dir, "tick").len(), 10);
        let mut was_there = false;
        let stopped = compact_table(&dir, "tick", Default::default(), &mut |at| {
            was_there |= at == step;
            assert_eq!(values(&dir), expected, "during {at:?}");
            if at == step { Err(anyhow::anyhow!("stopped")) } else { Ok(()) }
        });
        assert!(was_there && stopped.is_err());
        assert_eq!(values(&dir), expected, "stopped at {step:?}");
        compact(&dir).unwrap();
        assert_eq!(values(&dir), expected, "compacted again after {step:?}");
        assert_eq!(segments(&dir, "tick").len(), 1);
        let left: Vec<_> = std::fs::read_dir(&dir).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert!(left.iter().all(|name| !name.to_string_lossy().starts_with('.')), "{left:?}");
    }
}

#[test]
fn large_row_groups_are_spliced_and_small_ones_are_joined() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("run.trace");
    small_segments(&dir, 300_000, 90_000);
    assert_eq!(segments(&dir, "tick").len(), 4);
    compact(&dir).unwrap();
    assert_eq!(segments(&dir, "tick").len(), 1);
    assert_eq!(values(&dir), (0..300_000).collect::<Vec<u64>>());
    let done = compact(&dir).unwrap();
    assert_eq!(done.segments_before, done.segments_after, "nothing to do");
}

#[test]
fn a_trace_being_written_cannot_be_compacted() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("run.trace");
    let writer = TraceWriter::create(&dir, meta(vec![], 0), replay_options()).unwrap();
    let error = compact(&dir).unwrap_err().to_string();
    assert!(error.ends_with("is being written by another recorder: wait until it ends"), "{error}");
    writer.abandon().unwrap();
}

#[test]
fn a_full_disk_ends_the_recording_and_what_was_written_stays() {
    if !nix::unistd::geteuid().is_root() {
        // Mounting needs root: be root of a user namespace.
        let test = "crash::a_full_disk_ends_the_recording_and_what_was_written_stays";
        let exe = std::env::current_exe().unwrap();
        let status = Command::new("unshare").arg("-rm").arg(exe).args(["--exact", test]).status().unwrap();
        return assert!(status.success(), "failed as root of a user namespace");
    }
    let temp = tempfile::tempdir().unwrap();
    let disk = SmallDisk::mount(temp.path(), "1m");
    let dir = temp.path().join("run.trace");
    let layout = layout("noise", &[("value", "u64"), ("other", "u64")]);
    let options = Options { segment_age: Duration::from_millis(100), ..replay_options() };
    let mut writer = TraceWriter::create(&dir, meta(vec![layout.clone()], 0), options).unwrap();
    writer.add_probe(probe(0, "noise")).unwrap();
    let mut random = 88172645463325252u64;
    let started = Instant::now();
    let mut fed = 0u64;
    let error = 'feed: loop {
        for _ in 0..1000 {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            let record = RecordBuilder::new(&layout, fed * 10_000).seq(fed as u32);
            let record = record.set_u64("value", random).set_u64("other", random.wrapping_mul(77));
            writer.feed(0, 0, &record.build()).unwrap();
            fed += 1;
        }
        if let Err(error) = writer.tick(fed * 10_000, &mut || Ok(vec![])) {
            break 'feed error;
        }
        assert!(started.elapsed() < Duration::from_secs(60), "the disk did not fill");
    };
    let message = format!("{error:#}");
    assert!(message.contains("noise") && message.contains("No space left on device"), "{message}");
    let summary = writer.close(End::default()).unwrap();
    assert!(summary.failure.is_some());
    let totals = &summary.events["noise"];
    let batches: Vec<_> = segments(&dir, "noise").iter().flat_map(|path| read_segment(path)).collect();
    let rows: u64 = batches.iter().map(|b| b.num_rows() as u64).sum();
    assert!(rows > 0);
    assert_eq!((totals.recorded, totals.lost, totals.seen), (rows, fed - rows, fed));
    assert_eq!(totals.reasons["disk"], fed - rows);
    let losses = read_table(&dir, "losses");
    let reasons = arrow_cast_text(losses.column_by_name("reason").unwrap());
    assert!(reasons.as_string::<i32>().iter().all(|reason| reason == Some("disk")));
    let counts =
        losses.column_by_name("count").unwrap().as_primitive::<arrow_array::types::Int64Type>().clone();
    assert_eq!(counts.values().iter().sum::<i64>() as u64, fed - rows);
    assert_eq!(recover(&dir).unwrap(), None, "no temporary file is left");
    drop(disk);
}

/// A small file system of its own at a path.
struct SmallDisk(std::path::PathBuf);

impl SmallDisk {
    fn mount(path: &Path, size: &str) -> Self {
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

#[test]
fn a_trace_of_a_later_format_or_with_tables_elsewhere_is_refused() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("run.trace");
    small_segments(&dir, 10, 10);
    let path = dir.join("trace.json");
    let json = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, json.replace("\"format_version\": 1", "\"format_version\": 99")).unwrap();
    let error = compact(&dir).unwrap_err().to_string();
    assert!(error.ends_with("is of format 99, this recorder knows 1 and older: use a newer one"), "{error}");
    std::fs::write(&path, json.replace("\"event\": \"tick\"", "\"event\": \"../tick\"")).unwrap();
    let error = format!("{:#}", compact(&dir).unwrap_err());
    assert!(error.contains("event name '../tick' cannot be a directory"), "{error}");
}

#[test]
fn a_removed_output_directory_ends_the_recording_with_a_clear_message() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("run.trace");
    let layout = layout("tick", &[("value", "u64")]);
    let mut writer = TraceWriter::create(&dir, meta(vec![layout.clone()], 0), replay_options()).unwrap();
    writer.add_probe(probe(0, "tick")).unwrap();
    std::fs::remove_dir_all(&dir).unwrap();
    let started = Instant::now();
    let mut now_ns = 0;
    let error = loop {
        now_ns += 100_000_000;
        writer.feed(0, 0, &RecordBuilder::new(&layout, now_ns).build()).unwrap();
        if let Err(error) = writer.tick(now_ns + 1, &mut || Ok(vec![])) {
            break format!("{error:#}");
        }
        assert!(started.elapsed() < Duration::from_secs(20), "nobody noticed");
        std::thread::sleep(Duration::from_millis(1));
    };
    assert!(error.contains("No such file or directory") && error.contains("run.trace' is gone"), "{error}");
    let summary = writer.close(End::default()).unwrap();
    let error = format!("{:#}", summary.failure.unwrap());
    assert!(error.contains("No such file or directory") && error.contains("run.trace' is gone"), "{error}");
    assert!(!dir.exists());
}

#[test]
fn files_are_private_and_belong_to_the_user_who_called_sudo() {
    use std::os::unix::fs::MetadataExt;
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("run.trace");
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "crash::a_short_recording_is_whole_after_close", "--nocapture"])
        .env(CHILD_DIR, &dir)
        .envs([("SUDO_UID", "1234"), ("SUDO_GID", "2345")])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let started = Instant::now();
    while !dir.join("tick").is_dir() || segments(&dir, "tick").is_empty() {
        assert!(started.elapsed() < Duration::from_secs(20), "the child writes nothing");
        std::thread::sleep(Duration::from_millis(20));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    // SUDO_UID counts only for root, who alone could give files away.
    let is_root = nix::unistd::geteuid().is_root();
    let expected = if is_root {
        (1234, 2345)
    } else {
        (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw())
    };
    let tick = dir.join("tick");
    let (trace_json, segment) = (dir.join("trace.json"), segments(&dir, "tick").remove(0));
    for (path, mode) in [(&dir, 0o700), (&tick, 0o700), (&trace_json, 0o600), (&segment, 0o600)] {
        let metadata = std::fs::metadata(path).unwrap();
        assert_eq!(metadata.mode() & 0o777, mode, "{}", path.display());
        assert_eq!((metadata.uid(), metadata.gid()), expected, "{}", path.display());
    }
}
