//! Both limits of a flight recorder at once: whichever is reached first lets the oldest rows go.

use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::flight::assert_whole;
use crate::sandbox::{Sandbox, meta, wait_for};

const MAX_AGE: Duration = Duration::from_secs(15);
const MAX_BYTES: u64 = 4 << 20;
/// Writes a second, of so many random characters each: the limit is reached in half of [`MAX_AGE`].
const FAST_PER_S: u64 = 6000;
const SLOW_PER_S: u64 = 50;
const CHARACTERS: usize = 100;
/// What is written at most between two looks at the limit, a second apart.
const WRITTEN_BYTES: u64 = 1 << 20;
/// Of the process that writes: the file that tells it to be slow.
const SLOW: &str = "KTAPE_TEST_SLOW";

/// Write to nowhere, as often as said however busy the machine is.
fn write_for_ever(slow: &Path) -> ! {
    let mut nowhere = fs::OpenOptions::new().write(true).open("/dev/null").unwrap();
    let mut random = 88_172_645_463_325_252_u64;
    let (mut began, mut written, mut per_s) = (Instant::now(), 0, FAST_PER_S);
    loop {
        let wanted_per_s = if slow.exists() { SLOW_PER_S } else { FAST_PER_S };
        if wanted_per_s != per_s {
            (began, written, per_s) = (Instant::now(), 0, wanted_per_s);
        }
        let due = began.elapsed().as_millis() as u64 * per_s / 1000;
        // What the machine had no time for is not made up for at once: that would be another rate.
        written = written.max(due.saturating_sub(per_s / 4));
        for _ in written..due {
            let text = [(); CHARACTERS].map(|()| {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                b'0' + (random % 64) as u8
            });
            nowhere.write_all(&text).unwrap();
        }
        written = due;
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A process that writes, until this is dropped: fast, or slowly while there is a file `slow` in the sandbox.
pub struct Writer(Child);

impl Writer {
    pub fn start(sandbox: &Sandbox) -> Self {
        let test = "limits::of_a_fast_and_then_a_slow_event_the_size_and_then_the_age_limits_what_is_kept";
        let mut writer = Command::new(std::env::current_exe().unwrap());
        writer.args(["--exact", test, "--nocapture"]).env(SLOW, sandbox.path("slow"));
        Self(writer.stdout(Stdio::null()).spawn().unwrap())
    }

    /// The event, and the options that record it of this process only, into `trace`.
    pub fn args(&self, trace: &str) -> Vec<String> {
        let event = format!("writes=syscall:write{{ text=buf:ustring[{CHARACTERS}] }}");
        let pid = self.0.id().to_string();
        ["record", &event, "-p", &pid, "-o", trace].map(str::to_owned).to_vec()
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What the segments of all tables take on disk.
fn disk_bytes(trace: &Path) -> u64 {
    let tables = fs::read_dir(trace).unwrap().map(|entry| entry.unwrap());
    let tables = tables.filter(|table| !table.file_name().to_string_lossy().starts_with('.'));
    let files = tables.flat_map(|table| fs::read_dir(table.path()).into_iter().flatten().flatten());
    files.filter_map(|file| Some(file.metadata().ok()?.blocks() * 512)).sum()
}

#[test]
fn of_a_fast_and_then_a_slow_event_the_size_and_then_the_age_limits_what_is_kept() {
    if let Some(slow) = std::env::var_os(SLOW) {
        write_for_ever(Path::new(&slow));
    }
    let sandbox = Sandbox::for_recording();
    let writer = Writer::start(&sandbox);
    let (own, age) = (writer.args("t"), format!("{}s", MAX_AGE.as_secs()));
    let mut args: Vec<&str> = own.iter().map(String::as_str).collect();
    args.extend(["--max-age", &age, "--max-size", "4M"]);
    let mut running = sandbox.start(&args);
    let began = Instant::now();
    let trace = sandbox.path("t");
    let mut largest = 0;
    let mut look = || {
        largest = largest.max(disk_bytes(&trace));
        std::thread::sleep(Duration::from_millis(20));
        meta(&trace)["kept_from_ns"].as_i64()
    };
    wait_for("the size to be a limit", || look().is_some());
    assert!(began.elapsed() < MAX_AGE, "{:?}: it was the age", began.elapsed());
    let until = Instant::now() + Duration::from_secs(3);
    while Instant::now() < until {
        look();
    }
    assert!(largest > MAX_BYTES / 16 * 12 && largest < MAX_BYTES + WRITTEN_BYTES, "{largest} bytes");

    fs::write(sandbox.path("slow"), "").unwrap();
    wait_for("the age to be a limit", || disk_bytes(&trace) < MAX_BYTES / 4);
    std::thread::sleep(Duration::from_secs(2));
    running.signal(libc::SIGINT);
    assert_eq!(running.wait(), Some(0), "{}", running.stderr());
    let meta = assert_whole(&trace, &["writes", "processes"]);
    let kept_ns = meta["end_ns"].as_i64().unwrap() - meta["kept_from_ns"].as_i64().unwrap();
    let (least_ns, most_ns) = (MAX_AGE.as_nanos() as i64, (MAX_AGE * 4 / 3).as_nanos() as i64);
    assert!((least_ns..most_ns).contains(&kept_ns), "{kept_ns} ns are kept");
}
