//! Names and bytes in, files and directories of a trace out: private to the invoking user, visible only when whole.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::fcntl::posix_fallocate;

const FILE_MODE: u32 = 0o600;
const DIR_MODE: u32 = 0o700;
/// Ending of a file that is being written.
pub const TEMP_SUFFIX: &str = ".tmp";
/// Ending of a segment that is whole and waits for the disk.
pub const WHOLE_SUFFIX: &str = ".whole";

/// Who owns what the recorder writes: the user who called sudo, if one did.
#[derive(Clone, Copy, Debug, Default)]
pub struct Owner(Option<(u32, u32)>);

impl Owner {
    /// From `SUDO_UID` and `SUDO_GID`, which count only for root.
    pub fn of_this_process() -> Self {
        let id = |name| std::env::var(name).ok().and_then(|text| text.parse().ok());
        let is_root = nix::unistd::geteuid().is_root();
        Self(if is_root { id("SUDO_UID").zip(id("SUDO_GID")) } else { None })
    }

    fn give(self, file: &File, path: &Path) -> Result<()> {
        match self.0 {
            Some((uid, gid)) => fchown(file, Some(uid), Some(gid))
                .with_context(|| format!("cannot give '{}' to user {uid}", path.display())),
            None => Ok(()),
        }
    }
}

/// Make the directory `path`. Fails if anything has that name already.
pub fn create_dir(path: &Path, owner: Owner) -> Result<()> {
    DirBuilder::new()
        .mode(DIR_MODE)
        .create(path)
        .with_context(|| format!("cannot create directory '{}'", path.display()))?;
    owner.give(&open_dir(path)?, path)
}

/// Open a directory, not through a symbolic link, to lock or sync it.
pub fn open_dir(path: &Path) -> Result<File> {
    OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_DIRECTORY | libc::O_NOFOLLOW)
        .open(path)
        .with_context(|| format!("cannot open directory '{}'", path.display()))
}

/// Make what happened in the directory `path` durable.
pub fn sync_dir(path: &Path) -> Result<()> {
    open_dir(path)?.sync_all().with_context(|| format!("cannot sync directory '{}'", path.display()))
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

/// A file under a temporary name. Dropped before [`publish`](Self::publish), it is removed.
pub struct TempFile {
    file: File,
    temp: PathBuf,
    dir: PathBuf,
    is_published: bool,
}

impl TempFile {
    /// Create `DIR/.NAME.tmp`.
    pub fn create(dir: &Path, name: &str, owner: Owner) -> Result<Self> {
        let temp = dir.join(format!(".{name}{TEMP_SUFFIX}"));
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(FILE_MODE)
            .custom_flags(libc::O_NOFOLLOW)
            .open(&temp)
            .with_context(|| format!("cannot create '{}'", temp.display()))?;
        let this = Self { file, temp, dir: dir.to_owned(), is_published: false };
        owner.give(&this.file, &this.temp)?;
        Ok(this)
    }

    /// Another handle of the file.
    pub fn handle(&self) -> Result<File> {
        self.file.try_clone().with_context(|| format!("cannot use '{}'", self.temp.display()))
    }

    /// Where it is for now.
    pub fn path(&self) -> &Path {
        &self.temp
    }

    /// Make the contents durable: a file that has its name is whole, also after a power-off.
    pub fn sync(&self) -> Result<()> {
        self.file.sync_all().with_context(|| format!("cannot write '{}'", self.temp.display()))
    }

    /// The segment is whole, though the disk may not have it: from now on it is `TRACE/.TABLE-NUMBER.whole`, so that
    /// tidying up can publish it if the recorder dies before it does so itself.
    pub fn is_whole(&mut self, number: u64) -> Result<()> {
        let table = self.dir.file_name().unwrap_or_default().to_string_lossy();
        let whole = self.dir.with_file_name(format!(".{table}-{number}{WHOLE_SUFFIX}"));
        fs::rename(&self.temp, &whole).with_context(|| format!("cannot create '{}'", whole.display()))?;
        self.temp = whole;
        Ok(())
    }

    /// Give the file, which was [synced](Self::sync), its `name`, replacing a file of that name. That is durable once
    /// the directory is synced too.
    pub fn reveal(&mut self, name: &str) -> Result<PathBuf> {
        let path = self.dir.join(name);
        fs::rename(&self.temp, &path).with_context(|| format!("cannot create '{}'", path.display()))?;
        self.is_published = true;
        Ok(path)
    }

    /// Make the contents durable, give the file its `name`, make that durable too.
    pub fn publish(mut self, name: &str) -> Result<PathBuf> {
        self.sync()?;
        let path = self.reveal(name)?;
        if let Some(dir) = path.parent() {
            sync_dir(dir)?;
        }
        Ok(path)
    }
}

/// Name of the file that keeps room.
pub const RESERVE: &str = "reserve";

/// A part of the disk that is kept free, until this is dropped.
pub struct Reserve(PathBuf);

impl Reserve {
    /// Keep `bytes` in `dir`. Fails if there is no room.
    pub fn new(dir: &Path, bytes: i64, owner: Owner) -> Result<Self> {
        // Dropped at a failure. Not kept open, which would be in the way of whoever wants the file system read-only.
        let mut temp = TempFile::create(dir, RESERVE, owner)?;
        match posix_fallocate(&temp.file, 0, bytes) {
            // A file system that cannot promise room does not get in the way.
            Ok(()) | Err(Errno::EOPNOTSUPP | Errno::EINVAL) => {}
            Err(error) => {
                let error = std::io::Error::from(error);
                return Err(error).with_context(|| format!("cannot write '{}'", temp.temp.display()));
            }
        }
        temp.is_published = true;
        Ok(Self(temp.temp.clone()))
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
            let _ = fs::remove_file(&self.temp);
        }
    }
}

/// Write `DIR/NAME` as a whole, replacing it if it exists.
pub fn replace(dir: &Path, name: &str, contents: &[u8], owner: Owner) -> Result<()> {
    let mut temp = TempFile::create(dir, name, owner)?;
    temp.file.write_all(contents).with_context(|| format!("cannot write '{}'", dir.join(name).display()))?;
    temp.publish(name)?;
    Ok(())
}
