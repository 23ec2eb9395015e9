//! The cgroup2 mount in, path and container of a cgroup id out.

use std::collections::HashMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirEntryExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use schemas::text::escape;

use super::stacks::Cgroup;

/// A cgroup id that is not known makes the tree be read again, at most this often.
const RESCAN_EVERY: Duration = Duration::from_secs(1);
/// A cgroup that is gone is known this long, unless it was asked for before: rows that name it may still be on their
/// way. Where services come and go for weeks, all that there ever were would be too many.
const REMEMBERED: Duration = Duration::from_secs(600);
const ROOT_CGROUP: u64 = 1;

/// Paths of cgroups by id, read from the mounted tree when an unknown id comes.
pub struct CgroupPaths {
    mount: Option<PathBuf>,
    paths: HashMap<u64, Seen>,
    scanned: Option<Instant>,
}

struct Seen {
    path: String,
    /// When it was in the tree.
    at: Instant,
    /// It was asked for: its row is written, or will be.
    is_found: bool,
}

impl CgroupPaths {
    /// From the cgroup2 mount of this process; without one nothing is found.
    pub fn new() -> Self {
        let mut paths = Self { mount: mount(), paths: HashMap::new(), scanned: None };
        paths.scan();
        paths
    }

    /// The cgroup of `id`, if it exists or did at an earlier look.
    pub fn find(&mut self, id: u64) -> Option<Cgroup> {
        if !self.paths.contains_key(&id) && self.scanned.is_none_or(|at| at.elapsed() >= RESCAN_EVERY) {
            self.scan();
        }
        let seen = self.paths.get_mut(&id)?;
        seen.is_found = true;
        let path = seen.path.clone();
        let container_id = container_id(&path);
        Some(Cgroup { path, container_id })
    }

    fn scan(&mut self) {
        let now = Instant::now();
        self.scanned = Some(now);
        let Some(mount) = self.mount.clone() else { return };
        self.see(ROOT_CGROUP, "/".to_owned(), now);
        let mut todo = vec![mount.clone()];
        while let Some(dir) = todo.pop() {
            // A cgroup that goes while we look is not an error.
            for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
                if entry.file_type().is_ok_and(|t| t.is_dir()) {
                    let path = entry.path();
                    let below = path.strip_prefix(&mount).unwrap_or(&path);
                    self.see(entry.ino(), format!("/{}", escape(below.as_os_str().as_bytes())), now);
                    todo.push(path);
                }
            }
        }
        self.forget(now);
    }

    fn see(&mut self, id: u64, path: String, at: Instant) {
        let is_found = self.paths.get(&id).is_some_and(|seen| seen.is_found);
        self.paths.insert(id, Seen { path, at, is_found });
    }

    /// Forget those that are not in the tree `now` and that nobody will ask for.
    fn forget(&mut self, now: Instant) {
        self.paths.retain(|_, seen| seen.at == now || (!seen.is_found && now - seen.at < REMEMBERED));
    }
}

impl Default for CgroupPaths {
    fn default() -> Self {
        Self::new()
    }
}

/// Where the cgroup2 hierarchy is mounted for this process.
pub fn mount() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    cgroup2_mount(&mounts)
}

fn cgroup2_mount(mountinfo: &str) -> Option<PathBuf> {
    mountinfo.lines().find_map(|line| {
        let (left, right) = line.split_once(" - ")?;
        let path = left.split(' ').nth(4)?;
        right.starts_with("cgroup2 ").then(|| Path::new(path).to_owned())
    })
}

/// The last part of a cgroup path that looks like a container's: 64 hexadecimal digits, perhaps in
/// `docker-ID.scope`.
pub fn container_id(path: &str) -> Option<String> {
    const DIGITS: usize = 64;
    path.rsplit('/').find_map(|part| {
        let stem = part.strip_suffix(".scope").unwrap_or(part);
        let id = stem.rsplit('-').next()?;
        let is_id = id.len() == DIGITS && id.bytes().all(|b| b.is_ascii_hexdigit());
        is_id.then(|| id.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cgroups_that_are_gone_are_forgotten_once_they_were_asked_for_or_long_ago() {
        let mount = tempfile::tempdir().unwrap();
        let mut paths = CgroupPaths {
            mount: Some(mount.path().to_owned()),
            paths: HashMap::new(),
            scanned: Some(Instant::now()),
        };
        let mut ids = HashMap::new();
        for name in ["asked", "unasked", "stays"] {
            fs::create_dir(mount.path().join(name)).unwrap();
        }
        paths.scan();
        for (id, seen) in &paths.paths {
            ids.insert(seen.path.clone(), *id);
        }
        assert_eq!(ids.len(), 4, "{ids:?}");
        let path = |paths: &mut CgroupPaths, name: &str| paths.find(ids[name]).map(|cgroup| cgroup.path);
        assert_eq!(path(&mut paths, "/asked").as_deref(), Some("/asked"));
        assert_eq!(path(&mut paths, "/stays").as_deref(), Some("/stays"));
        for name in ["asked", "unasked"] {
            fs::remove_dir(mount.path().join(name)).unwrap();
        }
        paths.scan();
        assert_eq!(path(&mut paths, "/asked"), None);
        assert_eq!(path(&mut paths, "/stays").as_deref(), Some("/stays"));
        let scanned = paths.scanned.unwrap();
        for (later, is_known) in [(Duration::ZERO, true), (REMEMBERED / 2, true), (REMEMBERED, false)] {
            paths.forget(scanned + later);
            assert_eq!(paths.paths.contains_key(&ids["/unasked"]), is_known, "after {later:?}");
        }
    }

    #[test]
    fn container_ids_are_found_in_paths_of_every_runtime() {
        let id = "0123456789abcdef".repeat(4);
        for path in [
            format!("/system.slice/docker-{id}.scope"),
            format!("/docker/{id}"),
            format!("/kubepods.slice/kubepods-pod1.slice/cri-containerd-{id}.scope"),
            format!("/machine.slice/libpod-{id}.scope/container"),
        ] {
            assert_eq!(container_id(&path), Some(id.clone()), "{path}");
        }
        assert_eq!(container_id("/user.slice/user-0.slice/session-1.scope"), None);
    }

    #[test]
    fn the_cgroup2_mount_is_found_among_others() {
        let mounts = "22 1 0:21 / /sys rw - sysfs sysfs rw\n30 22 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw\n";
        assert_eq!(cgroup2_mount(mounts), Some(PathBuf::from("/sys/fs/cgroup")));
        assert_eq!(cgroup2_mount("22 1 0:21 / /sys rw - sysfs sysfs rw\n"), None);
    }
}
