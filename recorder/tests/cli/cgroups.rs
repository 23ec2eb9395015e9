//! What a cgroup id stands for is told by events, however short the cgroup lives. The truth is the inode and the name of
//! each directory, as this test made it.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::sandbox::{Sandbox, Table, wait_for};

/// Where cgroup2 is mounted.
pub fn cgroup2_mount() -> PathBuf {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    let line = mounts.lines().find(|line| line.split(' ').nth(2) == Some("cgroup2"));
    PathBuf::from(line.expect("cgroup2 is mounted").split(' ').nth(1).unwrap())
}

/// A cgroup made here and removed again; it must be empty by then.
pub struct Cgroup(pub PathBuf);

impl Cgroup {
    pub fn make(path: PathBuf) -> Self {
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn id(&self) -> i128 {
        i128::from(fs::metadata(&self.0).unwrap().ino())
    }

    fn path(&self) -> String {
        format!("/{}", self.0.strip_prefix(cgroup2_mount()).unwrap().display())
    }

    /// `sh -c SCRIPT` in this cgroup.
    fn command(&self, sandbox: &Sandbox, script: &str) -> Command {
        let script = format!("echo $$ > {}/cgroup.procs && {{ {script}; }}", self.0.display());
        let mut command = Command::new("sh");
        command.args(["-c", &script]).current_dir(sandbox.path("")).stdin(Stdio::null());
        command
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // Its last process may still be on the way out.
        for _ in 0..100 {
            if fs::remove_dir(&self.0).is_ok() {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// A parent for the cgroups of one test.
fn parent(name: &str) -> Cgroup {
    Cgroup::make(cgroup2_mount().join(format!("ktape-test-{name}-{}", std::process::id())))
}

/// A process that is killed when a test fails.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Path and container of every id in table cgroups; fails if one is there twice.
fn names(trace: &Path) -> HashMap<i128, (String, String)> {
    let table = Table::read(trace, "cgroups");
    let ids = table.integers("cgroup_id").into_iter().map(Option::unwrap);
    let rows = table.text("path").into_iter().zip(table.text("container_id"));
    let all: HashMap<_, _> = ids.zip(rows).collect();
    assert_eq!(all.len(), table.len(), "a cgroup has two rows");
    all
}

fn container(n: usize) -> String {
    format!("{n:064x}")
}

#[test]
fn containers_that_lived_for_a_moment_have_their_names() {
    let sandbox = Sandbox::for_recording();
    let top = parent("short");
    let before = Cgroup::make(top.0.join(format!("docker-{}.scope", container(100))));
    let mut running = sandbox.start(&["record", "mkdirs", "-o", "t"]);
    let mut expected = HashMap::new();
    let mut run = |cgroup: &Cgroup, n: usize| {
        let status = cgroup.command(&sandbox, &format!("mkdir by-{n}")).status().unwrap();
        assert!(status.success(), "{n}");
        expected.insert(format!("by-{n}"), (cgroup.id(), cgroup.path(), container(n)));
    };
    run(&before, 100);
    for n in 0..20 {
        run(&Cgroup::make(top.0.join(format!("docker-{}.scope", container(n)))), n);
    }
    // Kubernetes nests, and paths are longer than a record holds.
    let pod = Cgroup::make(top.0.join(format!("kubepods-{}.slice", "p".repeat(200))));
    let nested = Cgroup::make(pod.0.join(format!("cri-containerd-{}.scope", container(101))));
    run(&nested, 101);
    let lives_on = Cgroup::make(top.0.join(container(102)));
    run(&lives_on, 102);
    running.signal(libc::SIGINT);
    assert_eq!(running.wait(), Some(0), "{}", running.stderr());

    let trace = sandbox.path("t");
    let (rows, names) = (Table::read(&trace, "mkdirs"), names(&trace));
    let found: HashMap<String, _> = rows
        .text("path")
        .into_iter()
        .zip(rows.integers("cgroup_id"))
        .filter(|(path, _)| path.starts_with("by-"))
        .map(|(path, id)| {
            let id = id.unwrap();
            let (cgroup, container) = names[&id].clone();
            (path, (id, cgroup, container))
        })
        .collect();
    assert_eq!(found.len(), 23);
    assert_eq!(found, expected);

    let changes = Table::read(&trace, "cgroup_changes");
    let told: Vec<(String, Option<i128>)> =
        changes.text("ev").into_iter().zip(changes.integers("id")).collect();
    for (made, (id, path, _)) in &expected {
        let of_this: Vec<&str> =
            told.iter().filter(|(_, other)| *other == Some(*id)).map(|(ev, _)| ev.as_str()).collect();
        let is_removed = !Path::new(&cgroup2_mount()).join(path.trim_start_matches('/')).exists();
        let first = if made == "by-100" { "snapshot" } else { "mkdir" };
        let all = if is_removed { vec![first, "rmdir"] } else { vec![first] };
        assert_eq!(of_this, all, "{made}");
    }
}

#[test]
fn what_happens_to_others_does_not_matter_for_who_a_cgroup_is() {
    let sandbox = Sandbox::for_recording();
    let top = parent("filtered");
    // No process that is followed makes the cgroup, and it is not the one that is asked for.
    let script = format!(
        "mkdir ready; while [ ! -e go ]; do sleep 0.01; done; echo $$ > {}/later/cgroup.procs; mkdir in-it",
        top.0.display()
    );
    let child = Command::new("sh").args(["-c", &script]).current_dir(sandbox.path("")).spawn().unwrap();
    let mut child = Killed(child);
    let pid = child.0.id().to_string();
    let mut running = sandbox.start(&["record", "mkdirs", "-p", &pid, "--comm", "mkdir", "-o", "t"]);
    let later = Cgroup::make(top.0.join("later"));
    fs::write(sandbox.path("go"), "").unwrap();
    assert!(child.0.wait().unwrap().success());
    running.signal(libc::SIGINT);
    running.wait();
    let trace = sandbox.path("t");
    let rows = Table::read(&trace, "mkdirs");
    assert_eq!(rows.text("path"), ["in-it"], "{}", running.stderr());
    assert_eq!(rows.integers("cgroup_id"), [Some(later.id())]);
    assert_eq!(names(&trace)[&later.id()], (later.path(), "NULL".to_owned()));
}

#[test]
fn a_cgroup_keeps_its_name_when_the_row_of_its_making_has_gone() {
    let sandbox = Sandbox::for_recording();
    let top = parent("flight");
    let mut running =
        sandbox.start(&["record", "mkdirs", "--max-age", "2s", "--segment-age", "200ms", "-o", "run.trace"]);
    let container_id = container(7);
    let old = Cgroup::make(top.0.join(format!("docker-{container_id}.scope")));
    // Not a word of it until its making is forgotten.
    let script = "while [ ! -e go ]; do mkdir d; rmdir d; sleep 0.02; done; mkdir at-last";
    let child = Command::new("sh").args(["-c", script]).current_dir(sandbox.path("")).spawn().unwrap();
    let mut child = Killed(child);
    let trace = sandbox.path("run.trace");
    let is_told = |trace: &Path| {
        let changes = Table::read(trace, "cgroup_changes");
        changes.integers("id").contains(&Some(old.id()))
    };
    wait_for("the row of its making", || is_told(&trace));
    wait_for("retention", || !is_told(&trace));
    assert!(old.command(&sandbox, "mkdir by-old").status().unwrap().success());
    let is_there = |trace: &Path| Table::read(trace, "mkdirs").text("path").contains(&"by-old".to_owned());
    wait_for("its row", || is_there(&trace));
    let snapshot = PathBuf::from(sandbox.expect(0, &["snapshot", "run.trace"]).out.trim_end());
    fs::write(sandbox.path("go"), "").unwrap();
    assert!(child.0.wait().unwrap().success());
    running.signal(libc::SIGINT);
    assert_eq!(running.wait(), Some(0), "{}", running.stderr());
    assert!(is_there(&snapshot) && !is_told(&snapshot));
    assert_eq!(names(&snapshot)[&old.id()], (old.path(), container_id));
}
