//! Opens the place that rows are written to. A file gets its name only once it is whole.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use anyhow::{Context, Result, ensure};
use tempfile::{Builder, NamedTempFile};

/// The file that is being written, for who ends the process at once.
static UNFINISHED: Mutex<Option<PathBuf>> = Mutex::new(None);

/// Remove what [`Destination`] has begun to write, if anything.
pub fn remove_unfinished() {
    let unfinished = UNFINISHED.lock().ok().and_then(|mut path| path.take());
    if let Some(path) = unfinished {
        // It may have got its name a moment ago.
        let _ = fs::remove_file(path);
    }
}

/// Where rows go.
pub enum Destination<'a, W> {
    /// What the caller has open.
    Given(&'a mut W),
    /// A file beside the one that is asked for, which it replaces at the end.
    Beside(NamedTempFile, PathBuf),
    /// A pipe or device.
    Special(File),
}

impl<'a, W: Write> Destination<'a, W> {
    /// `given`, or the file at `path`.
    ///
    /// Fails if that cannot be written.
    pub fn open(path: Option<&Path>, given: &'a mut W) -> Result<Self> {
        let Some(path) = path else { return Ok(Self::Given(given)) };
        Self::file(path).with_context(|| format!("cannot write {}", path.display()))
    }

    fn file(path: &Path) -> Result<Self> {
        let found = fs::metadata(path).ok();
        if let Some(meta) = &found {
            ensure!(!meta.is_dir(), "it is a directory: name a file in it");
            if !meta.is_file() {
                return Ok(Self::Special(OpenOptions::new().write(true).open(path)?));
            }
        }
        // What a symbolic link names is replaced, not the link.
        let path = if found.is_some() { fs::canonicalize(path)? } else { path.to_owned() };
        let name = path.file_name().context("it is not the name of a file")?.to_string_lossy().into_owned();
        let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        fs::metadata(dir).with_context(|| dir.display().to_string())?;
        let permissions = found.map_or(Permissions::from_mode(0o666), |meta| meta.permissions());
        let file = Builder::new()
            .prefix(&format!(".{name}."))
            .suffix(".tmp")
            .permissions(permissions)
            .tempfile_in(dir)
            .map_err(|error| error.kind())
            .map_err(io::Error::from)?;
        if let Ok(mut unfinished) = UNFINISHED.lock() {
            *unfinished = Some(file.path().to_owned());
        }
        Ok(Self::Beside(file, path))
    }

    /// All is written: let the file have its name.
    ///
    /// Fails if the disk does not take it.
    pub fn commit(mut self) -> Result<()> {
        self.flush()?;
        if let Self::Beside(file, path) = self {
            let failed = || format!("cannot write {}", path.display());
            file.as_file().sync_all().with_context(failed)?;
            file.persist(&path).map_err(|error| error.error).with_context(failed)?;
            if let Ok(mut unfinished) = UNFINISHED.lock() {
                *unfinished = None;
            }
        }
        Ok(())
    }
}

impl<W: Write> Write for Destination<'_, W> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match self {
            Self::Given(out) => out.write(buf),
            Self::Beside(file, _) => file.write(buf),
            Self::Special(file) => file.write(buf),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Given(out) => out.flush(),
            Self::Beside(file, _) => file.flush(),
            Self::Special(file) => file.flush(),
        }
    }
}
