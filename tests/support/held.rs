//! The directory of a table that a recorder may be changing in, its files as of one instant out.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The segments in `dir`, in their order, open; `None` if it changed meanwhile.
pub fn held(dir: &Path) -> Option<Vec<(PathBuf, File)>> {
    // While it is open no other directory gets its inode number, and each file can be read whatever becomes of its name.
    let listed = File::open(dir).ok()?;
    let entries = fs::read_dir(dir).ok()?.collect::<Result<Vec<_>, _>>().ok()?;
    let mut paths: Vec<PathBuf> = entries.iter().map(|entry| entry.path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "parquet"));
    paths.sort();
    let mut files = Vec::new();
    for path in paths {
        match File::open(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return None,
            file => files.push((path, file.unwrap())),
        }
    }
    // Another one may have taken its place, and it may have been half empty when it was listed.
    let (listed, there) = (listed.metadata().unwrap(), fs::metadata(dir).ok()?);
    ((listed.dev(), listed.ino()) == (there.dev(), there.ino())).then_some(files)
}
