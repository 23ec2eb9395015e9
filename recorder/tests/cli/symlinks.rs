//! Whatever somebody puts in the way of a recorder, nothing is written outside its trace.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, lchown, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::fcntl::{AT_FDCWD, RenameFlags};
use recorder::pipeline::create_trace_dir;

use crate::sandbox::{Running, Sandbox, Table, meta, wait_for};

const OTHER_USER: u32 = 12_345;

/// A directory of another user, open to all.
fn outside(sandbox: &Sandbox) -> PathBuf {
    let outside = sandbox.path("outside");
    fs::create_dir(&outside).unwrap();
    fs::set_permissions(&outside, fs::Permissions::from_mode(0o777)).unwrap();
    chown(&outside, Some(OTHER_USER), Some(OTHER_USER)).unwrap();
    outside
}

/// A link of another user at `path`.
fn plant(path: &Path, target: &Path) {
    symlink(target, path).unwrap();
    lchown(path, Some(OTHER_USER), Some(OTHER_USER)).unwrap();
}

fn entries(dir: &Path) -> usize {
    fs::read_dir(dir).unwrap().count()
}

/// Records what this process does; the first segment is there.
fn start(sandbox: &Sandbox) -> Running {
    let own = std::process::id().to_string();
    let args = ["record", "mkdirs", "--segment-age", "100ms", "-o", "t", "-p", &own];
    let running = sandbox.start(&args);
    fs::create_dir(sandbox.path("first")).unwrap();
    wait_for("a segment", || {
        let mut names = fs::read_dir(sandbox.path("t/mkdirs")).unwrap().map(|entry| entry.unwrap().path());
        names.any(|path| path.extension().is_some_and(|extension| extension == "parquet"))
    });
    running
}

/// Makes events until the recorder has ended; gives its exit code.
fn until_it_ends(sandbox: &Sandbox, running: &mut Running) -> Option<i32> {
    let mut i = 0;
    wait_for("the recorder to end", || {
        fs::create_dir(sandbox.path(&format!("more{i}"))).unwrap();
        i += 1;
        running.child.try_wait().unwrap().is_some()
    });
    running.wait()
}

#[test]
fn an_output_that_is_a_link_is_refused() {
    let sandbox = Sandbox::for_recording();
    let outside = outside(&sandbox);
    plant(&sandbox.path("t"), &outside);
    plant(&sandbox.path("u"), &sandbox.path("nowhere"));
    for trace in ["t", "u"] {
        let text = sandbox.expect(2, &["record", "mkdirs", "-o", trace, "-d", "1"]);
        assert!(text.err.contains(&format!("output {trace} exists")), "{}", text.err);
    }
    assert_eq!(entries(&outside), 0);
    assert!(!sandbox.path("nowhere").exists());
}

#[test]
fn a_trace_is_made_where_the_way_led_whatever_takes_its_place_meanwhile() {
    let sandbox = Sandbox::new();
    let [place, link, outside] = ["place", "link", "outside"].map(|name| sandbox.path(name));
    fs::create_dir(&place).unwrap();
    fs::create_dir(&outside).unwrap();
    symlink(&outside, &link).unwrap();
    let is_over = AtomicBool::new(false);
    let outside = outside.canonicalize().unwrap();
    let (mut inside, mut elsewhere) = (0, 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // Sometimes the place is a directory, sometimes a link that leads elsewhere.
            while !is_over.load(Ordering::Relaxed) {
                nix::fcntl::renameat2(AT_FDCWD, &place, AT_FDCWD, &link, RenameFlags::RENAME_EXCHANGE)
                    .unwrap();
            }
        });
        let start = Instant::now();
        for i in 0.. {
            let name = format!("t{i}");
            let made = create_trace_dir(&place.join(&name), None);
            let is_outside = made.is_ok_and(|path| path.starts_with(&outside));
            if outside.join(&name).exists() != is_outside {
                is_over.store(true, Ordering::Relaxed);
                panic!("{name} is outside, though the way to it led to the place");
            }
            inside += usize::from(!is_outside);
            elsewhere += usize::from(is_outside);
            if start.elapsed() > Duration::from_secs(4) {
                break;
            }
        }
        is_over.store(true, Ordering::Relaxed);
    });
    assert!(inside > 20 && elsewhere > 20, "{inside} {elsewhere}");
}

#[test]
fn a_link_in_place_of_a_table_ends_the_recording() {
    let sandbox = Sandbox::for_recording();
    let outside = outside(&sandbox);
    let mut running = start(&sandbox);
    fs::rename(sandbox.path("t/mkdirs"), sandbox.path("moved")).unwrap();
    plant(&sandbox.path("t/mkdirs"), &outside);
    assert_eq!(until_it_ends(&sandbox, &mut running), Some(2), "{}", running.stderr());
    assert!(running.stderr().contains("symbolic link"), "{}", running.stderr());
    assert_eq!(entries(&outside), 0);
    // Compacting does not follow it either.
    let text = sandbox.run(&["compact", "t"]);
    assert_eq!(text.status.code(), Some(2), "{text:?}");
    assert_eq!(entries(&outside), 0);
}

#[test]
fn a_directory_of_somebody_else_in_place_of_a_table_ends_the_recording() {
    let sandbox = Sandbox::for_recording();
    let outside = outside(&sandbox);
    let mut running = start(&sandbox);
    fs::rename(sandbox.path("t/mkdirs"), sandbox.path("moved")).unwrap();
    fs::rename(&outside, sandbox.path("t/mkdirs")).unwrap();
    assert_eq!(until_it_ends(&sandbox, &mut running), Some(2), "{}", running.stderr());
    assert!(running.stderr().contains("belongs to user 12345"), "{}", running.stderr());
    assert_eq!(entries(&sandbox.path("t/mkdirs")), 0);
}

#[test]
fn a_link_in_place_of_the_trace_ends_the_recording() {
    let sandbox = Sandbox::for_recording();
    let outside = outside(&sandbox);
    let mut running = start(&sandbox);
    fs::rename(sandbox.path("t"), sandbox.path("moved")).unwrap();
    plant(&sandbox.path("t"), &outside);
    assert_eq!(until_it_ends(&sandbox, &mut running), Some(2), "{}", running.stderr());
    assert_eq!(entries(&outside), 0);
}

#[test]
fn a_link_under_a_temporary_name_is_not_followed() {
    let sandbox = Sandbox::for_recording();
    let outside = outside(&sandbox);
    let mut running = start(&sandbox);
    let trace = sandbox.path("t");
    let mut planted = 0;
    for table in ["mkdirs", "processes", "counts", "losses", "clock"] {
        for path in (0..400).map(|number| trace.join(table).join(format!(".{number}.tmp"))) {
            // One that is being written is there already.
            if symlink(outside.join("written"), &path).is_ok() {
                lchown(&path, Some(OTHER_USER), Some(OTHER_USER)).unwrap();
                planted += 1;
            }
        }
    }
    assert!(planted > 1900);
    assert_eq!(until_it_ends(&sandbox, &mut running), Some(2), "{}", running.stderr());
    assert!(running.stderr().contains("File exists"), "{}", running.stderr());
    assert_eq!(entries(&outside), 0);
}

#[test]
fn a_link_in_place_of_a_file_is_replaced_and_not_followed() {
    let sandbox = Sandbox::for_recording();
    let precious = sandbox.path("precious");
    fs::write(&precious, "precious").unwrap();
    let mut running = start(&sandbox);
    // It is written anew when the trace is closed.
    let file = sandbox.path("t/log.jsonl");
    fs::remove_file(&file).unwrap();
    plant(&file, &precious);
    running.signal(libc::SIGTERM);
    assert_eq!(running.wait(), Some(0), "{}", running.stderr());
    assert_eq!(fs::read_to_string(&precious).unwrap(), "precious");
    assert!(file.symlink_metadata().unwrap().is_file());
    assert_eq!(meta(&sandbox.path("t"))["state"], "closed");
    assert!(Table::read(&sandbox.path("t"), "mkdirs").len() >= 1);
}
