//! The cgroup v2 hierarchy as it is mounted here: ids of processes and of named cgroups, and every cgroup that exists.
//! The id of a cgroup is the inode of its directory.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::resolve::Cgroup;

/// Inode of the cgroup namespace that is there from boot.
const INITIAL_NAMESPACE: u64 = 0xefff_fffb;

/// The root of the hierarchy has this id on every kernel.
const ROOT: u64 = 1;

/// A cgroup that exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Existing {
    /// Its id.
    pub id: u64,
    /// The cgroup that it is in, unless it is the root of the hierarchy or of what is mounted.
    pub parent: Option<u64>,
    /// Its path in the hierarchy. In a cgroup namespace, where the kernel does not tell what is above the namespace, it
    /// is the path below the namespace.
    pub path: String,
}

/// The mounted cgroup v2 hierarchy, if there is one.
#[derive(Debug)]
pub struct Hierarchy {
    mount: Option<PathBuf>,
    /// What of the hierarchy is mounted there.
    root: String,
}

impl Hierarchy {
    /// Find where it is mounted: where most of it is, if there are several places.
    pub fn open() -> Self {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        match cgroup2_mount(&mounts) {
            Some((mount, root)) => Self { mount: Some(mount), root },
            None => Self { mount: None, root: String::new() },
        }
    }

    /// Every cgroup that exists and can be seen here. Parents come before what is in them.
    pub fn all(&self) -> Vec<Existing> {
        let mut found = vec![Existing { id: ROOT, parent: None, path: "/".to_owned() }];
        let Some(mount) = &self.mount else { return found };
        let mut ids: HashMap<PathBuf, u64> = HashMap::new();
        for (directory, id) in Self::below(mount) {
            ids.insert(directory.clone(), id);
            if id == ROOT {
                continue;
            }
            let below = directory.strip_prefix(mount).unwrap_or(&directory).to_string_lossy();
            let path = format!("{}/{below}", self.root.trim_end_matches('/'));
            let path = if below.is_empty() { self.root.clone() } else { path };
            let parent = directory.parent().and_then(|parent| ids.get(parent)).copied();
            found.push(Existing { id, parent, path });
        }
        found
    }

    /// The id of the cgroup of the process or thread whose directory in /proc is `place`.
    pub fn of(&self, place: &str) -> Option<u64> {
        let text = fs::read_to_string(format!("{place}/cgroup")).ok()?;
        let path = text.lines().find_map(|line| line.strip_prefix("0::"))?;
        self.id(path)
    }

    /// The id of the cgroup at `path` below the mount.
    fn id(&self, path: &str) -> Option<u64> {
        let directory = self.mount.as_ref()?.join(path.trim_start_matches('/'));
        fs::metadata(directory).ok().map(|metadata| metadata.ino())
    }

    /// The cgroup at `top` and all below it: path and id of each.
    fn below(top: &Path) -> Vec<(PathBuf, u64)> {
        let mut found = Vec::new();
        let mut todo = vec![top.to_owned()];
        while let Some(directory) = todo.pop() {
            // One that goes while we look has no events any more.
            let Ok(metadata) = fs::metadata(&directory) else { continue };
            let entries = fs::read_dir(&directory).into_iter().flatten().flatten();
            todo.extend(entries.filter(|e| e.file_type().is_ok_and(|t| t.is_dir())).map(|e| e.path()));
            found.push((directory, metadata.ino()));
        }
        found
    }

    /// The ids of `cgroups`, and of all that are below them by now.
    pub fn ids_in(&self, cgroups: &[Cgroup]) -> Vec<u64> {
        let mut ids: Vec<u64> = cgroups.iter().map(|cgroup| cgroup.id).collect();
        let all = match &self.mount {
            Some(mount) if cgroups.iter().any(|cgroup| cgroup.level.is_some()) => Self::below(mount),
            _ => Vec::new(),
        };
        for cgroup in cgroups.iter().filter(|cgroup| cgroup.level.is_some()) {
            let top = all.iter().find(|(_, id)| *id == cgroup.id);
            let below = all.iter().filter(|(path, _)| top.is_some_and(|(top, _)| path.starts_with(top)));
            ids.extend(below.map(|(_, id)| id));
        }
        ids
    }

    /// The cgroup that `text` names: its path.
    fn find(mount: &Path, text: &str) -> Result<PathBuf> {
        if let Ok(id) = text.parse::<u64>() {
            let found = Self::below(mount).into_iter().find(|(_, other)| *other == id);
            return found
                .map(|(path, _)| path)
                .with_context(|| format!("there is no cgroup with this id below {}", mount.display()));
        }
        let path = Path::new(text);
        let path = match path.starts_with(mount) {
            true => path.to_owned(),
            false => mount.join(text.trim_start_matches('/')),
        };
        let metadata =
            fs::metadata(&path).with_context(|| format!("there is no cgroup {}", path.display()))?;
        if !metadata.is_dir() {
            bail!("{} is not a cgroup directory", path.display());
        }
        Ok(path)
    }

    /// The cgroup that `text` names (an id, a path below the mount, or a full path). Where its level is not known, those
    /// below it are named one by one.
    fn named(&self, text: &str, is_level_known: bool) -> Result<Vec<Cgroup>> {
        let Some(mount) = &self.mount else { bail!("no cgroup v2 hierarchy is mounted: mount one") };
        let path = Self::find(mount, text)?;
        if !is_level_known {
            let below = Self::below(&path).into_iter();
            return Ok(below.map(|(_, id)| Cgroup { id, level: None }).collect());
        }
        let id = fs::metadata(&path).with_context(|| format!("there is no cgroup {}", path.display()))?.ino();
        let below_root = path.strip_prefix(mount).unwrap_or(&path).components().count();
        let level = u8::try_from(below_root).context("it is too deep")?;
        Ok(vec![Cgroup { id, level: Some(level) }])
    }
}

/// Where cgroup2 is mounted, and what of it: the place that shows most.
fn cgroup2_mount(mountinfo: &str) -> Option<(PathBuf, String)> {
    let mounts = mountinfo.lines().filter_map(|line| {
        let (left, right) = line.split_once(" - ")?;
        let mut fields = left.split(' ').skip(3);
        let (root, path) = (fields.next()?, fields.next()?);
        right.starts_with("cgroup2 ").then(|| (PathBuf::from(unescaped(path)), unescaped(root)))
    });
    mounts.min_by_key(|(_, root)| root.trim_end_matches('/').matches('/').count())
}

/// A field of mountinfo: spaces and the like are written in octal there.
fn unescaped(field: &str) -> String {
    let escapes = [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")];
    escapes.iter().fold(field.to_owned(), |text, (code, character)| text.replace(code, character))
}

/// Whether this is a cgroup namespace of its own, so that paths here are not the kernel's.
pub fn is_namespaced() -> bool {
    !fs::metadata("/proc/self/ns/cgroup").is_ok_and(|ns| ns.ino() == INITIAL_NAMESPACE)
}

/// The cgroups of `--cgroup TEXT`.
pub fn named(text: &str) -> Result<Vec<Cgroup>> {
    // Elsewhere the root that we see is not the kernel's.
    Hierarchy::open().named(text, !is_namespaced()).with_context(|| format!("--cgroup {text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cgroup_comes_with_all_below_it() {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir_all(directory.path().join("a/b")).unwrap();
        fs::create_dir(directory.path().join("c")).unwrap();
        let hierarchy = Hierarchy { mount: Some(directory.path().to_owned()), root: "/".to_owned() };
        let (a, b) = (hierarchy.id("/a").unwrap(), hierarchy.id("/a/b").unwrap());
        let named = |text: &str, is_level_known| hierarchy.named(text, is_level_known).unwrap();
        assert_eq!(named("a/b", true), [Cgroup { id: b, level: Some(2) }]);
        assert_eq!(named(&b.to_string(), true), named("a/b", true));
        assert_eq!(named("/", true)[0].level, Some(0));
        assert_eq!(named("a", false), [a, b].map(|id| Cgroup { id, level: None }));
        let mut ids = hierarchy.ids_in(&named("a", true));
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), 2);
        assert!(ids.contains(&a) && ids.contains(&b));
        assert_eq!(hierarchy.ids_in(&named("a", false)), [a, b]);
    }

    #[test]
    fn a_cgroup_that_is_not_there_is_an_error_that_names_it() {
        for text in ["no/such/group", "18446744073709551615"] {
            let error = format!("{:#}", named(text).unwrap_err());
            assert!(error.starts_with(&format!("--cgroup {text}: ")), "{error}");
        }
    }

    #[test]
    fn every_cgroup_that_exists_has_its_path_in_the_hierarchy() {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir_all(directory.path().join("a/b")).unwrap();
        for (root, expected) in
            [("/", ["/", "/", "/a", "/a/b"]), ("/x.slice", ["/", "/x.slice", "/x.slice/a", "/x.slice/a/b"])]
        {
            let hierarchy = Hierarchy { mount: Some(directory.path().to_owned()), root: root.to_owned() };
            let all = hierarchy.all();
            let paths: Vec<&str> = all.iter().map(|cgroup| cgroup.path.as_str()).collect();
            assert_eq!(paths, expected);
            let id = |path: PathBuf| Some(fs::metadata(path).unwrap().ino());
            let parents: Vec<Option<u64>> = all.iter().map(|cgroup| cgroup.parent).collect();
            let (top, a) = (directory.path().to_owned(), directory.path().join("a"));
            assert_eq!(parents, [None, None, id(top), id(a)]);
        }
        let nothing = Hierarchy { mount: None, root: String::new() };
        assert_eq!(nothing.all(), [Existing { id: ROOT, parent: None, path: "/".to_owned() }]);
    }

    #[test]
    fn the_cgroup2_mount_that_shows_most_is_found_among_others() {
        let part = "31 22 0:26 /docker/abc /part rw - cgroup2 cgroup2 rw\n";
        let whole = "30 22 0:26 / /sys/fs/a\\040cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw\n";
        let other = "22 1 0:21 / /sys rw - sysfs sysfs rw\n";
        let found = |text: &str| cgroup2_mount(text);
        let expected = Some((PathBuf::from("/sys/fs/a cgroup"), "/".to_owned()));
        assert_eq!(found(&format!("{other}{part}{whole}")), expected);
        assert_eq!(found(part), Some((PathBuf::from("/part"), "/docker/abc".to_owned())));
        assert_eq!(found(other), None);
    }
}
