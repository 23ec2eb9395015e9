//! The cgroup v2 hierarchy in; ids, paths and container ids out. The id of a cgroup is the inode of its directory.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// Hexadecimal digits of a container id.
const CONTAINER_ID_DIGITS: usize = 64;
/// Shortest time between two walks of the hierarchy.
const REFRESH: Duration = Duration::from_secs(1);

/// The mounted cgroup v2 hierarchy, if there is one.
#[derive(Debug)]
pub struct Hierarchy {
    mount: Option<PathBuf>,
}

/// A row of table `cgroups`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cgroup {
    /// Inode of its directory.
    pub id: u64,
    /// Path below the mount, `/` for the root.
    pub path: String,
    /// Container id found in the path.
    pub container_id: Option<String>,
}

impl Hierarchy {
    /// Find where it is mounted.
    pub fn open() -> Self {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        Self { mount: mount_point(&mounts).map(PathBuf::from) }
    }

    /// The id of the cgroup of process `pid`.
    pub fn of_process(&self, pid: u32) -> Option<u64> {
        let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
        let path = text.lines().find_map(|line| line.strip_prefix("0::"))?;
        self.id(path)
    }

    /// The id of the cgroup at `path` below the mount.
    fn id(&self, path: &str) -> Option<u64> {
        let directory = self.mount.as_ref()?.join(path.trim_start_matches('/'));
        fs::metadata(directory).ok().map(|metadata| metadata.ino())
    }

    /// Every cgroup at `top` and below.
    fn below(&self, top: &Path) -> Vec<Cgroup> {
        let Some(mount) = &self.mount else { return Vec::new() };
        let mut found = Vec::new();
        let mut todo = vec![top.to_owned()];
        while let Some(directory) = todo.pop() {
            let Ok(metadata) = fs::metadata(&directory) else { continue };
            let relative = directory.strip_prefix(mount).unwrap_or(&directory).to_string_lossy();
            let path = format!("/{relative}");
            found.push(Cgroup { id: metadata.ino(), container_id: container_id(&path), path });
            let entries = fs::read_dir(&directory).into_iter().flatten().flatten();
            todo.extend(entries.filter(|e| e.file_type().is_ok_and(|t| t.is_dir())).map(|e| e.path()));
        }
        found
    }

    /// Every cgroup there is.
    pub fn all(&self) -> Vec<Cgroup> {
        self.mount.as_deref().map(|mount| self.below(mount)).unwrap_or_default()
    }
}

/// Ids of the cgroup that `text` names (an id, a path below the mount, or a full path) and of those below it.
pub fn ids_of(text: &str) -> Result<Vec<u64>> {
    if let Ok(id) = text.parse::<u64>() {
        return Ok(vec![id]);
    }
    let hierarchy = Hierarchy::open();
    let Some(mount) = &hierarchy.mount else {
        bail!("--cgroup {text}: no cgroup v2 hierarchy is mounted; mount one, or give the cgroup's id");
    };
    let path = Path::new(text);
    let top =
        if path.starts_with(mount) { path.to_owned() } else { mount.join(text.trim_start_matches('/')) };
    let metadata = fs::metadata(&top)
        .with_context(|| format!("--cgroup {text}: there is no cgroup {}", top.display()))?;
    if !metadata.is_dir() {
        bail!("--cgroup {text}: {} is not a cgroup directory", top.display());
    }
    Ok(hierarchy.below(&top).into_iter().map(|cgroup| cgroup.id).collect())
}

/// Paths of cgroups as their ids turn up.
#[derive(Debug)]
pub struct Names {
    hierarchy: Hierarchy,
    known: HashMap<u64, bool>,
    walked: Option<Instant>,
}

impl Names {
    /// Nothing is known yet.
    pub fn new(hierarchy: Hierarchy) -> Self {
        Self { hierarchy, known: HashMap::new(), walked: None }
    }

    /// Rows not given before, for the ids in `seen` and everything else there is now, if `seen` has an unknown id
    /// and the last walk was long enough ago.
    pub fn refresh(&mut self, seen: impl IntoIterator<Item = u64>) -> Vec<Cgroup> {
        for id in seen {
            self.known.entry(id).or_insert(false);
        }
        let due = self.walked.is_none_or(|at| at.elapsed() >= REFRESH);
        if !due || (self.walked.is_some() && self.known.values().all(|named| *named)) {
            return Vec::new();
        }
        self.walked = Some(Instant::now());
        let mut new = self.hierarchy.all();
        new.retain(|cgroup| self.known.insert(cgroup.id, true) != Some(true));
        // What was not found is gone: looking again would not help.
        self.known.values_mut().for_each(|named| *named = true);
        new
    }
}

fn mount_point(mountinfo: &str) -> Option<String> {
    mountinfo.lines().find_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        (after.split(' ').next() == Some("cgroup2")).then(|| before.split(' ').nth(4))?.map(unescape)
    })
}

/// mountinfo writes space, tab, newline and backslash as `\040` and so on.
fn unescape(text: &str) -> String {
    text.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\")
}

/// The id of the innermost container in a cgroup path: docker, containerd, cri-o and podman all put 64 hexadecimal
/// digits there (`docker-ID.scope`, `/docker/ID`, `cri-containerd-ID.scope`, `crio-ID.scope`, `libpod-ID.scope`).
fn container_id(path: &str) -> Option<String> {
    path.rsplit('/').find_map(|part| {
        let part = part.strip_suffix(".scope").unwrap_or(part);
        let id = part.rsplit(['-', ':']).next()?;
        (id.len() == CONTAINER_ID_DIGITS && id.bytes().all(|b| b.is_ascii_hexdigit())).then(|| id.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn container_ids_are_found_in_the_paths_of_all_runtimes() {
        let id = "0123456789abcdef".repeat(4);
        for path in [
            format!("/docker/{id}"),
            format!("/system.slice/docker-{id}.scope"),
            format!("/kubepods.slice/kubepods-pod1.slice/cri-containerd-{id}.scope"),
            format!("/kubepods/besteffort/pod1/{id}"),
            format!("/kubepods-pod1.slice:cri-containerd:{id}"),
            format!("/kubepods.slice/crio-{id}.scope/container"),
            format!("/machine.slice/libpod-{id}.scope/libpod-payload"),
        ] {
            assert_eq!(container_id(&path).as_ref(), Some(&id), "{path}");
        }
        assert_eq!(container_id("/user.slice/user-1000.slice/session-2.scope"), None);
    }

    #[test]
    fn the_v2_hierarchy_is_found_among_others() {
        let text = "32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu\n\
                    41 31 0:38 / /sys/fs/cgroup/uni\\040fied rw shared:9 - cgroup2 cgroup2 rw\n";
        assert_eq!(mount_point(text).as_deref(), Some("/sys/fs/cgroup/uni fied"));
        assert_eq!(mount_point("32 31 0:29 / / rw - ext4 /dev/sda rw"), None);
    }

    #[test]
    fn a_name_is_given_once() {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("a")).unwrap();
        let mut names = Names::new(Hierarchy { mount: Some(directory.path().to_owned()) });
        let first = names.refresh([7]);
        let paths: Vec<_> = first.iter().map(|cgroup| cgroup.path.as_str()).collect();
        assert_eq!(paths, ["/", "/a"]);
        assert_eq!(names.refresh([8]), [], "too early for a second walk");
    }
}
