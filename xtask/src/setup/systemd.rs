//! Debian's systemd, unpacked, for guests whose process 1 it is.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use super::unpacked::Unpacked;

const NAME: &str = "systemd";
/// Program -> where it is in the package, in this release or the next.
const PROGRAMS: &[&str] = &["lib/systemd/systemd", "bin/systemctl", "lib/systemd/systemd-executor"];
/// What the first programs cannot do without.
const NEEDED: usize = 2;
/// Units of a system that only starts services. What else these want is not there, and not missed.
const UNITS: &[&str] =
    &["default", "multi-user", "basic", "sysinit", "local-fs", "sockets", "paths", "timers", "shutdown"];

/// An unpacked systemd.
pub struct Systemd(Unpacked);

impl Systemd {
    /// Programs and units: path here, path in a guest.
    pub fn files(&self) -> Result<Vec<(PathBuf, String)>> {
        let mut files = Vec::new();
        for (index, program) in PROGRAMS.iter().enumerate() {
            match self.0.file(program) {
                Some(file) => files.push(file),
                None if index >= NEEDED => {}
                None => bail!("package systemd has no {program}"),
            }
        }
        for unit in UNITS {
            let name = format!("lib/systemd/system/{unit}.target");
            files.push(self.0.file(&name).with_context(|| format!("package systemd has no {name}"))?);
        }
        Ok(files)
    }

    /// Directories with the shared libraries.
    pub fn library_dirs(&self) -> Vec<PathBuf> {
        let dirs = self.0.library_dirs();
        dirs.iter().flat_map(|dir| [dir.clone(), dir.join("systemd")]).filter(|dir| dir.is_dir()).collect()
    }
}

/// Fails if set-up has not fetched it.
pub fn systemd() -> Result<Systemd> {
    Unpacked::find(NAME).map(Systemd)
}

/// Fetch it with the libraries that it needs, unless it is there.
pub fn fetch_missing() -> Result<()> {
    Unpacked::fetch_missing(NAME, &[NAME])
}
