//! Chooses and makes the directory that a snapshot of a trace is built in.
//!
//! On the file system of the trace it is a part of the trace, so that tidying up finds what a recorder that died has
//! left. Elsewhere it is beside the target, and the next snapshot there finds it.

use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::pipeline::files::{TEMP_SUFFIX, create_dir, lock, open_own_dir, remove_dir};

/// What its name starts with in a trace.
const PREFIX: &str = ".freeze-";
/// What its name starts with elsewhere; the number of the process follows.
const FAR_PREFIX: &str = ".ktape-freeze-";

/// The directory; dropped, it is removed, unless it has another name by then.
pub struct Place {
    path: PathBuf,
    /// Tells others that it is not left over.
    lock: Option<File>,
    is_needed: bool,
}

impl Place {
    /// Make one for snapshot `number` of the trace `dir`, which is to go into `parent`.
    pub fn create(dir: &Path, parent: &Path, number: u64) -> Result<Self> {
        if is_near(dir, parent) {
            let path = dir.join(format!("{PREFIX}{number}{TEMP_SUFFIX}"));
            create_dir(&path)?;
            return Ok(Self { path, lock: None, is_needed: false });
        }
        sweep(parent);
        let path = parent.join(format!("{FAR_PREFIX}{}-{number}{TEMP_SUFFIX}", std::process::id()));
        create_dir(&path)?;
        let mut place = Self { path, lock: None, is_needed: false };
        place.lock = Some(lock(&place.path)?);
        Ok(place)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// It has got its name.
    pub fn keep(&mut self) {
        self.is_needed = true;
        self.lock = None;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.is_needed {
            // What cannot be removed has a name that says that it is not whole.
            let _ = remove_dir(&self.path);
        }
    }
}

/// Can `dir` be renamed into `parent`?
fn is_near(dir: &Path, parent: &Path) -> bool {
    let place = |path: &Path| Some((path.metadata().ok()?.dev(), mount_of(path)?));
    place(dir).is_some_and(|own| place(parent) == Some(own))
}

/// The mount that `path` is on: two of the same file system are two.
fn mount_of(path: &Path) -> Option<u64> {
    let file = File::open(path).ok()?;
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", file.as_raw_fd())).ok()?;
    info.lines().find_map(|line| line.strip_prefix("mnt_id:")?.trim().parse().ok())
}

/// Remove what recorders that died have left in `parent`. What cannot be looked at or removed is left alone: it is not
/// in the way.
fn sweep(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let number = name.to_str().and_then(|name| {
            let (pid, _) = name.strip_prefix(FAR_PREFIX)?.strip_suffix(TEMP_SUFFIX)?.split_once('-')?;
            pid.parse::<u32>().ok()
        });
        // One that is alive has not locked it yet, or is in another pid namespace and has.
        let is_left = |pid: u32| {
            !Path::new(&format!("/proc/{pid}")).exists()
                && open_own_dir(&entry.path()).is_ok_and(|dir| dir.try_lock().is_ok())
        };
        if number.is_some_and(is_left) {
            let _ = remove_dir(&entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_recorder_that_died_has_left_elsewhere_is_removed_and_nothing_else() {
        let temp = tempfile::tempdir().unwrap();
        let parent = temp.path().canonicalize().unwrap();
        let own = std::process::id();
        // No process has a number above 2^22.
        let dead =
            [format!("{FAR_PREFIX}5000000-0{TEMP_SUFFIX}"), format!("{FAR_PREFIX}5000000-1{TEMP_SUFFIX}")];
        let others = [
            format!("{FAR_PREFIX}{own}-0{TEMP_SUFFIX}"),
            format!("{FAR_PREFIX}x-0{TEMP_SUFFIX}"),
            format!(".other-5000000-0{TEMP_SUFFIX}"),
        ];
        for name in dead.iter().chain(&others) {
            fs::create_dir_all(parent.join(name).join("tick")).unwrap();
        }
        let _held = lock(&parent.join(&dead[1])).unwrap();
        sweep(&parent);
        assert!(!parent.join(&dead[0]).exists() && parent.join(&dead[1]).exists());
        assert!(others.iter().all(|name| parent.join(name).exists()));
    }

    #[test]
    fn a_place_of_others_is_not_removed() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("t");
        let other = dir.join(format!("{PREFIX}0{TEMP_SUFFIX}"));
        fs::create_dir_all(&other).unwrap();
        assert!(Place::create(&dir, temp.path(), 0).is_err());
        assert!(other.exists());
        drop(Place::create(&dir, temp.path(), 1).unwrap());
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 1);
    }
}
