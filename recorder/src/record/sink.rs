//! Opens what `--print` and `--keep-frames` name: standard output, a descriptor that the recorder was started with, a pipe, or a new file.

use std::ffi::CString;
use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::{Context, Result, anyhow, bail, ensure};
use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
use nix::unistd::{UnlinkatFlags, geteuid, unlinkat};

use crate::cli::{mark, output};
use crate::pipeline::FramePlace;
use crate::privileges::{Identity, renounce};

/// What is printed is for its owner alone, as a trace is.
const MODE: u32 = 0o600;

/// Where printed events go, or frames.
#[derive(Debug, Default)]
pub enum Sink {
    /// Standard output.
    #[default]
    Standard,
    /// Anything else.
    File {
        /// Open for writing.
        file: File,
        /// What messages call it.
        shown: String,
        /// Removes the file if it was made for nothing.
        new: Option<NewFile>,
    },
}

/// A file that was made, and is removed again unless the recording begins.
#[derive(Debug)]
pub struct NewFile {
    directory: OwnedFd,
    name: CString,
    is_kept: AtomicBool,
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.is_kept.load(Ordering::Relaxed) {
            // If it cannot be removed, an empty file stays.
            let _ = unlinkat(&self.directory, self.name.as_c_str(), UnlinkatFlags::NoRemoveDir);
        }
    }
}

impl Sink {
    /// What `place`, the value of `option`, names; files are made with the rights of `owner`. Fails if it is there
    /// already as a file.
    pub fn open(option: &str, place: Option<&Path>, owner: Option<&Identity>) -> Result<Self> {
        let Some(place) = place else { return Ok(Self::Standard) };
        let shown = place.display().to_string();
        if let Some(number) = descriptor(place) {
            let file = inherited(number).with_context(|| format!("{option}: {shown}"))?;
            return Ok(Self::File { file, shown, new: None });
        }
        let made = if owner.is_none() && geteuid().is_root() {
            create(place)
        } else {
            // Threads inherit the rights of the one that starts them, and cannot have them back.
            thread::scope(|scope| {
                let work = || {
                    renounce(owner, &[], place.parent().unwrap_or(Path::new("/")))?;
                    create(place)
                };
                scope.spawn(work).join().unwrap_or_else(|_| Err(anyhow!("the thread that opens it has died")))
            })
        };
        let (file, new) = made.with_context(|| format!("{option}: cannot write to '{shown}'"))?;
        Ok(Self::File { file, shown, new })
    }

    /// Write all of `bytes`, now. Errors are marked as those of what is printed.
    pub fn write(&self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Standard => output().write_all(bytes).and_then(|()| output().flush()),
            Self::File { file, shown, .. } => {
                let mut writer = file;
                writer.write_all(bytes).map_err(|error| mark(error, &format!("'{shown}'"), file.as_fd()))
            }
        }
    }

    /// What messages call it.
    pub fn shown(&self) -> &str {
        match self {
            Self::Standard => "standard output",
            Self::File { shown, .. } => shown,
        }
    }

    /// For a thread of its own; `None`: standard output.
    pub fn frames(&self) -> Result<Option<FramePlace>> {
        let Self::File { file, shown, .. } = self else { return Ok(None) };
        Ok(Some(FramePlace { file: file.try_clone()?, shown: shown.clone() }))
    }

    /// The recording begins: what was made stays.
    pub fn keep(&self) {
        if let Self::File { new: Some(new), .. } = self {
            new.is_kept.store(true, Ordering::Relaxed);
        }
    }

    /// Whether lines of a COMMAND can come between those of events.
    pub fn is_shared_with_command(&self) -> bool {
        match self {
            Self::Standard => true,
            Self::File { file, .. } => {
                is_same(file.as_fd(), io::stdout().as_fd()) || is_same(file.as_fd(), io::stderr().as_fd())
            }
        }
    }

    /// Whether it is, or can be, the terminal.
    pub fn is_for_terminal(&self) -> bool {
        match self {
            Self::Standard => true,
            Self::File { file, .. } => file.is_terminal() || is_same(file.as_fd(), io::stderr().as_fd()),
        }
    }
}

fn is_same(one: BorrowedFd<'_>, other: BorrowedFd<'_>) -> bool {
    let id = |fd: BorrowedFd<'_>| {
        let stat = nix::sys::stat::fstat(fd).ok()?;
        Some((stat.st_dev, stat.st_ino))
    };
    id(one).is_some_and(|one| id(other) == Some(one))
}

/// The number of a descriptor that is written as a path.
fn descriptor(place: &Path) -> Option<i32> {
    match place.to_str()? {
        "/dev/stdout" => Some(libc::STDOUT_FILENO),
        "/dev/stderr" => Some(libc::STDERR_FILENO),
        text => {
            let number = text.strip_prefix("/dev/fd/").or_else(|| text.strip_prefix("/proc/self/fd/"))?;
            number.parse().ok().filter(|number| *number >= 0)
        }
    }
}

/// A copy of descriptor `number`. Fails unless the recorder was started with it: its own are closed at exec.
fn inherited(number: i32) -> Result<File> {
    let closed = || format!("the recorder was started without descriptor {number}: add {number}>FILE");
    // SAFETY: only asked about and copied, at once; a number that is not open is an error.
    let fd = unsafe { BorrowedFd::borrow_raw(number) };
    let flags = fcntl(fd, FcntlArg::F_GETFD).ok().map(FdFlag::from_bits_truncate);
    ensure!(flags.is_some_and(|flags| !flags.contains(FdFlag::FD_CLOEXEC)), closed());
    let mode = fcntl(fd, FcntlArg::F_GETFL).map(OFlag::from_bits_truncate).with_context(closed)?;
    ensure!(mode & OFlag::O_ACCMODE != OFlag::O_RDONLY, "descriptor {number} is open for reading only");
    Ok(File::from(fd.try_clone_to_owned()?))
}

/// A new file, or a pipe or device that is there.
fn create(place: &Path) -> Result<(File, Option<NewFile>)> {
    let mut options = File::options();
    options.write(true).mode(MODE);
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NOCTTY;
    match options.create_new(true).custom_flags(flags.bits()).open(place) {
        Ok(file) => {
            let parent = place.parent().filter(|parent| !parent.as_os_str().is_empty());
            let directory = parent.unwrap_or(Path::new(".")).to_owned();
            let name = CString::new(place.file_name().unwrap_or_default().as_bytes())?;
            Ok((file, new_file(directory, name)))
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok((existing(place, flags)?, None)),
        Err(error) => Err(error.into()),
    }
}

fn new_file(directory: PathBuf, name: CString) -> Option<NewFile> {
    let directory = File::options().read(true).custom_flags(OFlag::O_PATH.bits()).open(directory).ok()?;
    Some(NewFile { directory: directory.into(), name, is_kept: AtomicBool::new(false) })
}

fn existing(place: &Path, flags: OFlag) -> Result<File> {
    // Not waiting: of a pipe for its reader.
    let opened = File::options().write(true).custom_flags((flags | OFlag::O_NONBLOCK).bits()).open(place);
    let file = opened.map_err(|error| match error.raw_os_error() {
        Some(libc::ENXIO) => anyhow!("nobody reads from it yet: start its reader first"),
        Some(libc::ELOOP) => anyhow!("it is a symbolic link: name what it leads to"),
        _ => error.into(),
    })?;
    let kind = file.metadata()?.file_type();
    if !kind.is_fifo() && !kind.is_char_device() {
        bail!("it exists: remove it, or choose another name");
    }
    let mode = OFlag::from_bits_truncate(fcntl(&file, FcntlArg::F_GETFL)?);
    fcntl(&file, FcntlArg::F_SETFL(mode - OFlag::O_NONBLOCK))?;
    Ok(file)
}
