//! Finds the file that the PATH of `uprobe:PATH:SYMBOL` means: a path, a program of the PATH, a library, or what a process runs.

use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf, absolute};

use anyhow::{Context, Result, bail, ensure};
use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::stat::Mode;

use super::{libraries, running};
use crate::command::search;

/// Opening must not wait for anybody, as it would for a pipe.
const FLAGS: OFlag = OFlag::O_NONBLOCK.union(OFlag::O_NOCTTY);

/// An open program or library, and the path that leads to it.
#[derive(Debug)]
pub struct Found {
    /// It stays what it is, whatever becomes of the path.
    pub file: File,
    /// Without symbolic links where they lead to the same file; as it was given otherwise.
    pub path: PathBuf,
}

/// Whether something that can be opened has this name.
pub fn exists(text: &str) -> bool {
    if let Some(found) = running::find(text) {
        return found.is_ok();
    }
    if text.contains('/') { Path::new(text).exists() } else { by_name(text).is_ok() }
}

/// The file that `text` names. Fails if it is not there or cannot be read.
pub fn find(text: &str) -> Result<Found> {
    if let Some(found) = running::find(text) {
        return found;
    }
    let path = if text.contains('/') { PathBuf::from(text) } else { by_name(text)? };
    open(&path)
}

/// A name without a slash: a program, as a shell would find it, else a library, as the loader would.
fn by_name(name: &str) -> Result<PathBuf> {
    if let Ok((path, _)) = search(name.as_ref(), std::env::var_os("PATH")) {
        return Ok(path);
    }
    match libraries::find(name)?.as_slice() {
        [path] => Ok(path.clone()),
        [] => {
            let here = if Path::new(name).exists() {
                format!(": for the file here write ./{name}")
            } else {
                String::new()
            };
            bail!("there is no program '{name}' in the PATH and no such library{here}")
        }
        several => {
            let paths: Vec<String> = several.iter().map(|path| path.display().to_string()).collect();
            bail!("several libraries are named '{name}': give the path of one, {}", paths.join(" or "))
        }
    }
}

fn open(path: &Path) -> Result<Found> {
    let shown = path.display();
    let opened = match inside(path) {
        Some((root, rest)) => open_inside(&root, &rest),
        None => File::options().read(true).custom_flags(FLAGS.bits()).open(path),
    };
    let file = opened.with_context(|| format!("cannot read {shown}"))?;
    let metadata = file.metadata().with_context(|| format!("cannot read {shown}"))?;
    ensure!(!metadata.is_dir(), "{shown} is a directory, not a program or library");
    ensure!(metadata.is_file(), "{shown} is not a program or library, but a device or a pipe");
    let is_same = |other: &PathBuf| {
        other.metadata().is_ok_and(|other| (other.dev(), other.ino()) == (metadata.dev(), metadata.ino()))
    };
    // In another root, the links of a path lead elsewhere than they seem to.
    let path = match path.canonicalize().ok().filter(is_same) {
        Some(path) => path,
        None => absolute(path).with_context(|| format!("cannot find {shown}"))?,
    };
    Ok(Found { file, path })
}

/// The root directory of another process and the path in there: `/proc/PID/root/...`.
fn inside(path: &Path) -> Option<(PathBuf, PathBuf)> {
    let rest = path.strip_prefix("/proc").ok()?;
    let process = rest.components().next()?;
    let rest = rest.strip_prefix(process).ok()?.strip_prefix("root").ok()?;
    (!rest.as_os_str().is_empty()).then(|| (Path::new("/proc").join(process).join("root"), rest.to_owned()))
}

/// A container's symbolic links mean its own files.
fn open_inside(root: &Path, rest: &Path) -> std::io::Result<File> {
    let root = File::options().read(true).custom_flags(OFlag::O_PATH.bits()).open(root)?;
    let how = OpenHow::new()
        .flags(OFlag::O_RDONLY | OFlag::O_CLOEXEC | FLAGS)
        .mode(Mode::empty())
        .resolve(ResolveFlag::RESOLVE_IN_ROOT);
    loop {
        match openat2(&root, rest.as_os_str().as_bytes(), how) {
            Ok(file) => return Ok(File::from(file)),
            Err(Errno::EINTR | Errno::EAGAIN) => {}
            Err(error) => return Err(error.into()),
        }
    }
}
