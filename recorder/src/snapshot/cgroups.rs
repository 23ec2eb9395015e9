//! The cgroup v2 hierarchy in, ids of processes and of named cgroups out. The id of a cgroup is the inode of its
//! directory.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// The mounted cgroup v2 hierarchy, if there is one.
#[derive(Debug)]
pub struct Hierarchy {
    mount: Option<PathBuf>,
}

impl Hierarchy {
    /// Find where it is mounted.
    pub fn open() -> Self {
        Self { mount: crate::pipeline::cgroups::mount() }
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

    /// The ids of the cgroup at `top` and of all below it.
    fn below(&self, top: &Path) -> Vec<u64> {
        let mut found = Vec::new();
        let mut todo = vec![top.to_owned()];
        while let Some(directory) = todo.pop() {
            // One that goes while we look has no events any more.
            let Ok(metadata) = fs::metadata(&directory) else { continue };
            found.push(metadata.ino());
            let entries = fs::read_dir(&directory).into_iter().flatten().flatten();
            todo.extend(entries.filter(|e| e.file_type().is_ok_and(|t| t.is_dir())).map(|e| e.path()));
        }
        found
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
    Ok(hierarchy.below(&top))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cgroup_comes_with_all_below_it() {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir_all(directory.path().join("a/b")).unwrap();
        fs::create_dir(directory.path().join("c")).unwrap();
        let hierarchy = Hierarchy { mount: Some(directory.path().to_owned()) };
        let ids = hierarchy.below(&directory.path().join("a"));
        assert_eq!(ids, [hierarchy.id("/a").unwrap(), hierarchy.id("/a/b").unwrap()]);
    }

    #[test]
    fn a_cgroup_that_is_not_there_is_an_error_that_names_it() {
        let error = format!("{:#}", ids_of("no/such/group").unwrap_err());
        assert!(error.contains("--cgroup no/such/group"), "{error}");
        assert_eq!(ids_of("4711").unwrap(), [4711]);
    }
}
