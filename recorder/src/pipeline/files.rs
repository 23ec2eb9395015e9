//! Names and bytes in, files and directories of a trace out: private to the user who writes, visible only when whole,
//! and never through a symbolic link that somebody put in the way.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, fchown};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, openat, openat2, posix_fallocate, renameat};
use nix::sys::stat::Mode;
use nix::unistd::{UnlinkatFlags, geteuid, unlinkat};

/// Mode of every file of a trace.
pub const FILE_MODE: u32 = 0o600;
const DIR_MODE: u32 = 0o700;
/// Ending of a file that is being written.
pub const TEMP_SUFFIX: &str = ".tmp";
/// Ending of a segment that is whole and waits for the disk.
pub const WHOLE_SUFFIX: &str = ".whole";

/// Make the directory of a new trace and give it to user and group `ids`. Fails if anything has that name already. The result is
/// the way there as it is now, without symbolic links.
pub fn create_trace_dir(path: &Path, ids: Option<(u32, u32)>) -> Result<PathBuf> {
    let cannot = || format!("cannot create directory '{}'", path.display());
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let parent = parent.canonicalize().with_context(cannot)?;
    let path = parent.join(path.file_name().with_context(cannot)?);
    create_dir(&path)?;
    own_trace_dir(&path, ids)?;
    File::open(&parent).and_then(|parent| parent.sync_all()).with_context(cannot)?;
    Ok(path)
}

/// Give a new trace directory of ours to user and group `ids`.
pub fn own_trace_dir(path: &Path, ids: Option<(u32, u32)>) -> Result<()> {
    let dir = open_own_dir(path)?;
    if let Some((uid, gid)) = ids {
        fchown(&dir, Some(uid), Some(gid))
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
    match openat2(AT_FDCWD, path, how) {
        Ok(dir) => Ok(dir.into()),
        Err(Errno::ELOOP) => {
            bail!("'{}' leads through a symbolic link now: nothing is written", path.display())
        }
        Err(error) => {
            Err(io::Error::from(error)).with_context(|| format!("cannot open directory '{}'", path.display()))
        }
    }
}

/// Open a directory to write into it: it must belong to this user, as all do that a recorder makes.
pub fn open_own_dir(path: &Path) -> Result<File> {
    let dir = open_dir(path)?;
    let owner = dir.metadata().with_context(|| format!("cannot open directory '{}'", path.display()))?.uid();
    let own = geteuid().as_raw();
    ensure!(owner == own, "'{}' belongs to user {owner}, not to {own}: nothing is written", path.display());
    Ok(dir)
}

/// Make what happened in the directory `path` durable.
pub fn sync_dir(path: &Path) -> Result<()> {
    sync(&open_dir(path)?, path)
}

fn sync(dir: &File, path: &Path) -> Result<()> {
    dir.sync_all().with_context(|| format!("cannot sync directory '{}'", path.display()))
}

/// Hold the trace in `dir` for this process, as long as the result lives. Fails if another process holds it.
pub fn lock(dir: &Path) -> Result<File> {
    let file = open_dir(dir)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => {
            bail!("'{}' is being written by another recorder: wait until it ends", dir.display())
        }
        Err(fs::TryLockError::Error(error)) => {
            Err(error).with_context(|| format!("cannot lock '{}'", dir.display()))
        }
    }
}

/// A file under a temporary name. Dropped before it is published, it is removed.
pub struct TempFile {
    file: File,
    /// Where it is for now. The directory itself: what takes its place under its name meanwhile is not written to.
    at: File,
    at_path: PathBuf,
    name: String,
    /// The directory that it is meant for.
    target: PathBuf,
    is_published: bool,
}

impl TempFile {
    /// Create `DIR/.NAME.tmp`.
    pub fn create(dir_path: &Path, name: &str) -> Result<Self> {
        Self::open(dir_path, &format!(".{name}{TEMP_SUFFIX}"), dir_path)
    }

    /// Create `TRACE/.TABLE-NAME.tmp` for a file of the directory TRACE/TABLE: beside it, because another directory
    /// may take its place while the file is being written.
    pub fn create_beside(table_dir: &Path, name: &str) -> Result<Self> {
        let table = table_dir.file_name().unwrap_or_default().to_string_lossy();
        let parent = table_dir.parent().unwrap_or(table_dir);
        Self::open(parent, &format!(".{table}-{name}{TEMP_SUFFIX}"), table_dir)
    }

    fn open(dir_path: &Path, name: &str, target: &Path) -> Result<Self> {
        let dir = open_own_dir(dir_path)?;
        let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let cannot = || format!("cannot create '{}'", dir_path.join(name).display());
        let file = openat(&dir, name, flags, Mode::from_bits_truncate(FILE_MODE))
            .map_err(io::Error::from)
            .with_context(cannot)?;
        let (at_path, name, target) = (dir_path.to_owned(), name.to_owned(), target.to_owned());
        Ok(Self { file: file.into(), at: dir, at_path, name, target, is_published: false })
    }

    /// Another handle of the file.
    pub fn handle(&self) -> Result<File> {
        self.file.try_clone().with_context(|| format!("cannot use '{}'", self.path().display()))
    }

    /// The directory that it is meant for.
    pub fn dir(&self) -> &Path {
        &self.target
    }

    /// Where it is for now.
    pub fn path(&self) -> PathBuf {
        self.at_path.join(&self.name)
    }

    /// Make the contents durable: a file that has its name is whole, also after a power-off.
    pub fn sync(&self) -> Result<()> {
        self.file.sync_all().with_context(|| format!("cannot write '{}'", self.path().display()))
    }

    /// The segment, [created beside](Self::create_beside) its table, is whole, though the disk may not have it: from now
    /// on it is `TRACE/.TABLE-NUMBER.whole`, so that tidying up can publish it if the recorder dies before it does so itself.
    pub fn is_whole(&mut self, number: u64) -> Result<()> {
        let table = self.target.file_name().unwrap_or_default().to_string_lossy();
        let name = format!(".{table}-{number}{WHOLE_SUFFIX}");
        renameat(&self.at, self.name.as_str(), &self.at, name.as_str())
            .map_err(io::Error::from)
            .with_context(|| format!("cannot create '{}'", self.at_path.join(&name).display()))?;
        self.name = name;
        Ok(())
    }

    /// Give the file, which was [synced](Self::sync), its `name`, replacing a file or link of that name. That is
    /// durable once the directory is synced too.
    pub fn reveal(&mut self, name: &str) -> Result<PathBuf> {
        let target = self.target.clone();
        self.reveal_in(&target, name)
    }

    /// The same in another directory of the same file system.
    pub fn reveal_in(&mut self, dir_path: &Path, name: &str) -> Result<PathBuf> {
        let path = dir_path.join(name);
        let cannot = || format!("cannot create '{}'", path.display());
        if dir_path == self.at_path {
            renameat(&self.at, self.name.as_str(), &self.at, name)
                .map_err(io::Error::from)
                .with_context(cannot)?;
        } else {
            let dir = open_own_dir(dir_path)?;
            renameat(&self.at, self.name.as_str(), &dir, name)
                .map_err(io::Error::from)
                .with_context(cannot)?;
        }
        self.is_published = true;
        Ok(path)
    }

    /// Make the contents durable, give the file its `name`, make that durable too.
    pub fn publish(mut self, name: &str) -> Result<PathBuf> {
        self.sync()?;
        let path = self.reveal(name)?;
        sync_dir(&self.target)?;
        Ok(path)
    }
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
            let _ = unlinkat(&self.at, self.name.as_str(), UnlinkatFlags::NoRemoveDir);
        }
    }
}

/// Write `DIR/NAME` as a whole, replacing it if it exists.
pub fn replace(dir: &Path, name: &str, contents: &[u8]) -> Result<()> {
    let mut temp = TempFile::create(dir, name)?;
    temp.file.write_all(contents).with_context(|| format!("cannot write '{}'", dir.join(name).display()))?;
    temp.publish(name)?;
    Ok(())
}
