//! Names and bytes in, files and directories of a trace out: private to the user who writes, visible only when whole,
//! and never through a symbolic link that somebody put in the way.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, fchown};
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use nix::errno::Errno;
use nix::fcntl::{
    AT_FDCWD, AtFlags, OFlag, OpenHow, RenameFlags, ResolveFlag, openat, openat2, posix_fallocate, renameat,
    renameat2,
};
use nix::sys::stat::{Mode, fstatat, mkdirat};
use nix::unistd::{UnlinkatFlags, geteuid, unlinkat};

/// Mode of every file of a trace.
pub const FILE_MODE: u32 = 0o600;
const DIR_MODE: u32 = 0o700;
/// Ending of a file that is being written.
pub const TEMP_SUFFIX: &str = ".tmp";

/// Make the directory of a new trace and give it to user and group `ids`. Fails if anything has that name already. The result is
/// the way there as it is now, without symbolic links.
pub fn create_trace_dir(path: &Path, ids: Option<(u32, u32)>) -> Result<PathBuf> {
    let cannot = || format!("cannot create directory '{}'", path.display());
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let parent = parent.canonicalize().with_context(cannot)?;
    let name = path.file_name().with_context(cannot)?;
    let path = parent.join(name);
    // From here on it is this directory, whatever takes its place.
    let parent = open_dir(&parent)?;
    mkdirat(&parent, name, Mode::from_bits_truncate(DIR_MODE))
        .map_err(io::Error::from)
        .with_context(cannot)?;
    let done = own_new_dir(&parent, name, &path, ids).and_then(|()| parent.sync_all().with_context(cannot));
    if done.is_err() {
        // It is empty, or not ours; the first error says more.
        let _ = unlinkat(&parent, name, UnlinkatFlags::RemoveDir);
    }
    done.map(|()| path)
}

/// Give the directory `name`, which was made in `parent` just now, to user and group `ids`.
fn own_new_dir(parent: &File, name: &OsStr, path: &Path, ids: Option<(u32, u32)>) -> Result<()> {
    let cannot = || format!("cannot create directory '{}'", path.display());
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let dir =
        File::from(openat(parent, name, flags, Mode::empty()).map_err(io::Error::from).with_context(cannot)?);
    // Another one of ours, moved to this place, is not given away.
    let entries = fs::read_dir(format!("/proc/self/fd/{}", dir.as_raw_fd())).with_context(cannot)?;
    ensure!(entries.count() == 0, "'{}' was replaced while it was made: nothing is written", path.display());
    own(&dir, path, ids)
}

/// Give a new trace directory of ours to user and group `ids`.
pub fn own_trace_dir(path: &Path, ids: Option<(u32, u32)>) -> Result<()> {
    own(&open_dir(path)?, path, ids)
}

fn own(dir: &File, path: &Path, ids: Option<(u32, u32)>) -> Result<()> {
    check_owner(dir, path)?;
    if let Some((uid, gid)) = ids {
        fchown(dir, Some(uid), Some(gid))
            .with_context(|| format!("cannot give '{}' to user {uid}", path.display()))?;
    }
    Ok(())
}

/// Make the directory `path`. Fails if anything has that name already.
pub fn create_dir(path: &Path) -> Result<()> {
    DirBuilder::new()
        .mode(DIR_MODE)
        .create(path)
        .with_context(|| format!("cannot create directory '{}'", path.display()))
}

/// Open a directory, to lock or sync it or to reach files in it. `path` is a way without symbolic links; if one is on
/// it now, somebody else put it there.
pub fn open_dir(path: &Path) -> Result<File> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let how = OpenHow::new().flags(flags).resolve(ResolveFlag::RESOLVE_NO_SYMLINKS);
    let opened = match openat2(AT_FDCWD, path, how) {
        Err(Errno::ENOSYS) => open_by_parts(path, flags),
        opened => opened,
    };
    match opened {
        Ok(dir) => Ok(dir.into()),
        Err(Errno::ELOOP) => {
            bail!("'{}' leads through a symbolic link now: nothing is written", path.display())
        }
        Err(error) => {
            Err(io::Error::from(error)).with_context(|| format!("cannot open directory '{}'", path.display()))
        }
    }
}

/// The same where there is no openat2, one part of the path after the other. Filters of system calls that cannot see
/// its flags refuse it: those of systemd's `RestrictSUIDSGID=`, and of some containers.
fn open_by_parts(path: &Path, flags: OFlag) -> nix::Result<OwnedFd> {
    let step = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let start = if path.is_absolute() { "/" } else { "." };
    let mut dir = openat(AT_FDCWD, start, step, Mode::empty())?;
    for part in path.components() {
        if let Component::Normal(_) | Component::ParentDir = part {
            let name = part.as_os_str();
            dir = openat(&dir, name, step, Mode::empty()).map_err(|error| {
                let found = fstatat(&dir, name, AtFlags::AT_SYMLINK_NOFOLLOW);
                let is_link = found.is_ok_and(|found| found.st_mode & libc::S_IFMT == libc::S_IFLNK);
                if is_link { Errno::ELOOP } else { error }
            })?;
        }
    }
    openat(&dir, ".", flags, Mode::empty())
}

/// Open a directory to write into it: it must belong to this user, as all do that a recorder makes.
pub fn open_own_dir(path: &Path) -> Result<File> {
    let dir = open_dir(path)?;
    check_owner(&dir, path)?;
    Ok(dir)
}

fn check_owner(dir: &File, path: &Path) -> Result<()> {
    let owner = dir.metadata().with_context(|| format!("cannot open directory '{}'", path.display()))?.uid();
    let own = geteuid().as_raw();
    ensure!(owner == own, "'{}' belongs to user {owner}, not to {own}: nothing is written", path.display());
    Ok(())
}

/// Make what happened in the directory `path` durable.
pub fn sync_dir(path: &Path) -> Result<()> {
    sync(&open_dir(path)?, path)
}

fn sync(dir: &File, path: &Path) -> Result<()> {
    dir.sync_all().with_context(|| format!("cannot sync directory '{}'", path.display()))
}

/// Times that a lock is tried, and the time between: who looks whether a recorder lives holds it for microseconds.
const LOCK_TRIES: usize = 10;
const LOCK_EVERY: Duration = Duration::from_millis(10);

/// Hold the trace in `dir` for this process, as long as the result lives. Fails if another process holds it all the
/// time that it is tried.
pub fn lock(dir: &Path) -> Result<File> {
    let file = open_dir(dir)?;
    let mut locked = file.try_lock();
    for _ in 1..LOCK_TRIES {
        if !matches!(locked, Err(fs::TryLockError::WouldBlock)) {
            break;
        }
        std::thread::sleep(LOCK_EVERY);
        locked = file.try_lock();
    }
    match locked {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => {
            bail!("'{}' is being written by another recorder: wait until it ends", dir.display())
        }
        Err(fs::TryLockError::Error(error)) => {
            Err(error).with_context(|| format!("cannot lock '{}'", dir.display()))
        }
    }
}

/// A file under a temporary name, in the directory that it is meant for. Dropped before it is published, it is removed.
pub struct TempFile {
    file: File,
    /// The directory itself: what takes its place under its name meanwhile is not written to.
    dir: File,
    dir_path: PathBuf,
    name: String,
    is_published: bool,
    is_torn: AtomicBool,
}

impl TempFile {
    /// Create `DIR/.NAME.tmp`.
    pub fn create(dir_path: &Path, name: &str) -> Result<Self> {
        let (dir, name) = (open_own_dir(dir_path)?, format!(".{name}{TEMP_SUFFIX}"));
        let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let file = openat(&dir, name.as_str(), flags, Mode::from_bits_truncate(FILE_MODE))
            .map_err(io::Error::from)
            .with_context(|| format!("cannot create '{}'", dir_path.join(&name).display()))?;
        let (dir_path, is_torn) = (dir_path.to_owned(), AtomicBool::new(false));
        Ok(Self { file: file.into(), dir, dir_path, name, is_published: false, is_torn })
    }

    /// Another handle of the file.
    pub fn handle(&self) -> Result<File> {
        self.file.try_clone().with_context(|| format!("cannot use '{}'", self.path().display()))
    }

    /// Where it is.
    pub fn path(&self) -> PathBuf {
        self.dir_path.join(&self.name)
    }

    /// Make the contents durable. Once that has failed, it fails for good: Linux takes pages that could not be written
    /// for clean, and the next fsync would say that all is well.
    pub fn sync(&self) -> Result<()> {
        let cannot = || format!("cannot write '{}'", self.path().display());
        if self.is_torn.load(Ordering::Relaxed) {
            return Err(io::Error::from(Errno::EIO)).with_context(cannot);
        }
        let result = self.file.sync_all();
        self.is_torn.store(result.is_err(), Ordering::Relaxed);
        result.with_context(cannot)
    }

    /// Give the file its `name`. Fails if anything has that name: no number is used twice.
    pub fn reveal(&mut self, name: &str) -> Result<PathBuf> {
        self.rename(name, RenameFlags::RENAME_NOREPLACE)
    }

    /// The same, replacing a file or link of that name.
    pub fn replace(&mut self, name: &str) -> Result<PathBuf> {
        self.rename(name, RenameFlags::empty())
    }

    fn rename(&mut self, name: &str, flags: RenameFlags) -> Result<PathBuf> {
        let is_torn = self.is_torn.load(Ordering::Relaxed);
        ensure!(!is_torn, "'{}': the disk may not have all of it", self.path().display());
        let (dir, own) = (&self.dir, self.name.as_str());
        let renamed = match renameat2(dir, own, dir, name, flags) {
            // Some file systems know no flags. Nobody but us makes files here.
            Err(Errno::EINVAL) if !flags.is_empty() => {
                match fstatat(dir, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
                    Err(Errno::ENOENT) => renameat(dir, own, dir, name),
                    result => Err(result.err().unwrap_or(Errno::EEXIST)),
                }
            }
            result => result,
        };
        renamed
            .map_err(io::Error::from)
            .with_context(|| format!("cannot create '{}'", self.dir_path.join(name).display()))?;
        (self.name, self.is_published) = (name.to_owned(), true);
        Ok(self.path())
    }

    /// Make the contents durable, give the file its `name`, make that durable too.
    pub fn publish(mut self, name: &str) -> Result<PathBuf> {
        self.sync()?;
        let path = self.reveal(name)?;
        sync_dir(&self.dir_path)?;
        Ok(path)
    }
}

/// Open the file `name` of the directory `dir_path`, to write to it. Fails if it is a link.
pub fn open_file(dir_path: &Path, name: &str) -> Result<File> {
    let flags = OFlag::O_RDWR | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let file = openat(&open_own_dir(dir_path)?, name, flags, Mode::empty()).map_err(io::Error::from);
    Ok(file.with_context(|| format!("cannot open '{}'", dir_path.join(name).display()))?.into())
}

/// Remove the file `name` of the directory `dir_path`. Fails if it is not there.
pub fn remove_file(dir_path: &Path, name: &str) -> Result<()> {
    unlinkat(&open_own_dir(dir_path)?, name, UnlinkatFlags::NoRemoveDir)
        .map_err(io::Error::from)
        .with_context(|| format!("cannot remove '{}'", dir_path.join(name).display()))
}

/// Remove a directory with all that is in it.
pub fn remove_dir(path: &Path) -> Result<()> {
    fs::remove_dir_all(path).with_context(|| format!("cannot remove '{}'", path.display()))
}

/// Name of the file that keeps room.
pub const RESERVE: &str = "reserve";

/// A part of the disk that is kept free, until this is dropped.
pub struct Reserve(PathBuf);

impl Reserve {
    /// Keep `bytes` in `dir`. Fails if there is no room.
    pub fn new(dir: &Path, bytes: i64) -> Result<Self> {
        // Dropped at a failure. Not kept open, which would be in the way of whoever wants the file system read-only.
        let mut temp = TempFile::create(dir, RESERVE)?;
        match posix_fallocate(&temp.file, 0, bytes) {
            // A file system that cannot promise room does not get in the way.
            Ok(()) | Err(Errno::EOPNOTSUPP | Errno::EINVAL) => {}
            Err(error) => {
                let error = io::Error::from(error);
                return Err(error).with_context(|| format!("cannot write '{}'", temp.path().display()));
            }
        }
        temp.is_published = true;
        Ok(Self(temp.path()))
    }
}

impl Drop for Reserve {
    fn drop(&mut self) {
        // Nothing more can be done than leave it to `recorder compact`.
        let _ = fs::remove_file(&self.0);
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        if !self.is_published {
            // Nothing more can be done than leave it to `recorder compact`.
            let _ = unlinkat(&self.dir, self.name.as_str(), UnlinkatFlags::NoRemoveDir);
        }
    }
}

/// Write `DIR/NAME` as a whole, replacing it if it exists.
pub fn replace(dir: &Path, name: &str, contents: &[u8]) -> Result<()> {
    let mut temp = TempFile::create(dir, name)?;
    temp.file.write_all(contents).with_context(|| format!("cannot write '{}'", dir.join(name).display()))?;
    temp.sync()?;
    temp.replace(name)?;
    sync_dir(dir)
}

#[cfg(test)]
mod tests;
