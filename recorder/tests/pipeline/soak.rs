//! Two hours of a flight recorder in a minute: disk, segments, memory and file descriptors stay where they are.

use std::fs;
use std::time::Duration;

use crate::common::*;
use crate::world::*;
use recorder::pipeline::{End, Limits, Options};
use recorder::source::EventSource;

const HOURS: u64 = 2;
const MAX_AGE_S: u64 = 600;
const MAX_BYTES: u64 = 24 << 20;
/// Rows of the table that is printed; the second half of them is compared.
const LOOKS: u64 = 24;

/// What it takes at one time.
#[derive(Clone, Copy, Debug)]
struct Taken {
    disk_bytes: u64,
    segments: u64,
    rss_bytes: u64,
    fds: u64,
    kept_s: u64,
}

fn rss_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

fn taken(dir: &std::path::Path, now_ns: u64) -> Taken {
    use std::os::unix::fs::MetadataExt;
    let (mut disk_bytes, mut segments) = (0, 0);
    for table in fs::read_dir(dir).unwrap().flatten() {
        for file in fs::read_dir(table.path()).into_iter().flatten().flatten() {
            disk_bytes += file.metadata().map_or(0, |file| file.blocks() * 512);
            segments += 1;
        }
    }
    let kept_from_ns = read_meta(dir).kept_from_ns.unwrap_or(10 * S as i64);
    Taken {
        disk_bytes,
        segments,
        rss_bytes: rss_bytes(),
        fds: fs::read_dir("/proc/self/fd").unwrap().count() as u64,
        kept_s: (now_ns - kept_from_ns.cast_unsigned()) / S,
    }
}

/// The process that is measured is one of its own: other tests take memory too.
const CHILD: &str = "KTAPE_TEST_SOAK";

#[test]
fn two_hours_of_a_flight_recorder_take_no_more_than_half_an_hour() {
    if std::env::var_os(CHILD).is_none() {
        let test = "soak::two_hours_of_a_flight_recorder_take_no_more_than_half_an_hour";
        let exe = std::env::current_exe().unwrap();
        let status =
            std::process::Command::new(exe).args(["--exact", test, "--nocapture"]).env(CHILD, "1").status();
        return assert!(status.unwrap().success());
    }
    let temp = fast_dir();
    let dir = temp.path().join("run.trace");
    let limits = Limits { max_age_ns: Some((MAX_AGE_S * S) as i64), max_bytes: Some(MAX_BYTES) };
    // 20 ticks, a birth or a death a second; new code each 20 s.
    let mut world = World::new(S, 20, 20 * S);
    let mut writer =
        world.writer(&dir, Options { limits, segment_age: Duration::from_secs(8), ..Options::default() });
    println!("minute  disk MiB  segments  RSS MiB  descriptors  kept s");
    let mut all = Vec::new();
    let mut largest = 0;
    for _ in 0..LOOKS {
        world.run(&mut writer, HOURS * 3600 / LOOKS, |_, now_ns| {
            if now_ns % (10 * S) == 0 {
                largest = largest.max(taken(&dir, now_ns).disk_bytes);
            }
        });
        let now = taken(&dir, world.now_ns);
        println!(
            "{:6}  {:8.1}  {:8}  {:7.1}  {:11}  {:6}",
            world.now_ns / S / 60,
            now.disk_bytes as f64 / f64::from(1 << 20),
            now.segments,
            now.rss_bytes as f64 / f64::from(1 << 20),
            now.fds,
            now.kept_s
        );
        all.push(now);
    }
    let end = End { counters: world.counters().unwrap(), ..End::default() };
    writer.close(end).unwrap();
    look(&dir);
    assert_counts_balance(&dir);

    assert!(largest <= MAX_BYTES, "{largest} bytes on disk");
    let (first, second) = all.split_at(all.len() / 2);
    let most = |part: &[Taken], of: fn(&Taken) -> u64| part.iter().map(of).max().unwrap();
    for part in [first, second] {
        assert!(most(part, |t| t.segments) < 9 * 240, "segments");
    }
    let (before, after) = (most(&first[first.len() / 2..], |t| t.rss_bytes), most(second, |t| t.rss_bytes));
    assert!(after <= before + before / 5 + (8 << 20), "memory rises from {before} to {after}");
    // Files that wait for their names, with their directories, those that are being merged, and some more.
    let fds = most(&all, |t| t.fds);
    assert!(fds <= 2 * 256 + 2 * 60 + 100, "{fds} descriptors");
    let oldest = most(second, |t| t.kept_s);
    assert!(oldest <= MAX_AGE_S * 3 / 2, "{oldest} s are kept");
}
