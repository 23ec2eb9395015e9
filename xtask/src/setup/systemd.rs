//! Debian's systemd, unpacked, out (under `target/guest/systemd`), for guests whose process 1 it is. Nothing is
//! installed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::packages;
use crate::host;

/// Program -> where it is in the package, in this release or the next.
const PROGRAMS: &[&str] = &["lib/systemd/systemd", "bin/systemctl", "lib/systemd/systemd-executor"];
/// What the first programs cannot do without.
const NEEDED: usize = 2;
/// Units of a system that only starts services. What else these want is not there, and not missed.
const UNITS: &[&str] =
    &["default", "multi-user", "basic", "sysinit", "local-fs", "sockets", "paths", "timers", "shutdown"];

/// An unpacked systemd.
pub struct Systemd {
    root: PathBuf,
}

impl Systemd {
    /// Programs and units: path here, path in a guest.
    pub fn files(&self) -> Result<Vec<(PathBuf, String)>> {
        let mut files = Vec::new();
        for (index, program) in PROGRAMS.iter().enumerate() {
            match self.find(program) {
                Some(file) => files.push(file),
                None if index >= NEEDED => {}
                None => bail!("package systemd has no {program}"),
            }
        }
        for unit in UNITS {
            let name = format!("lib/systemd/system/{unit}.target");
            files.push(self.find(&name).with_context(|| format!("package systemd has no {name}"))?);
        }
        Ok(files)
    }

    /// Directories with the shared libraries.
    pub fn library_dirs(&self) -> Vec<PathBuf> {
        let architecture = format!("{}-linux-gnu", std::env::consts::ARCH);
        let dirs = ["lib", "usr/lib"].map(|lib| self.root.join(lib).join(&architecture));
        dirs.iter().flat_map(|dir| [dir.clone(), dir.join("systemd")]).filter(|dir| dir.is_dir()).collect()
    }

    /// Releases before 13 have some things in `/lib` and `/bin`, later ones all in `/usr`.
    fn find(&self, name: &str) -> Option<(PathBuf, String)> {
        let places = [name.to_owned(), format!("usr/{name}")];
        let place = places.into_iter().find(|place| self.root.join(place).is_file())?;
        Some((self.root.join(&place), format!("/{place}")))
    }
}

/// Fails if set-up has not fetched it.
pub fn systemd() -> Result<Systemd> {
    let root = host::target_dir()?.join("guest/systemd");
    if !done(&root).is_file() {
        bail!("there is no systemd for guests; run: cargo xtask setup");
    }
    Ok(Systemd { root })
}

/// Fetch it with the libraries that it needs, unless it is there.
pub fn fetch_missing() -> Result<()> {
    if systemd().is_ok() {
        return Ok(());
    }
    let root = host::target_dir()?.join("guest/systemd");
    packages::refresh_lists("systemd")?;
    println!("setup: systemd for guests");
    packages::extract(&with_libraries("systemd")?, &root).context("cannot get systemd")?;
    fs::write(done(&root), "").with_context(|| format!("cannot write into {}", root.display()))
}

/// Written last.
fn done(root: &Path) -> PathBuf {
    root.join("ktape-ready")
}

/// A package and the packages of libraries that it needs. The C library is that of this machine, as its loader is.
fn with_libraries(package: &str) -> Result<Vec<String>> {
    let kinds = ["recommends", "suggests", "conflicts", "breaks", "replaces", "enhances"];
    let mut list = Command::new("apt-cache");
    list.args(["depends", "--recurse"]).args(kinds.map(|kind| format!("--no-{kind}"))).arg(package);
    let listing = host::output(&mut list)?;
    let names = listing.lines().filter(|line| line.starts_with("lib") && !line.contains(':'));
    let names = names.filter(|name| !["libc6", "libgcc-s1"].contains(name)).map(str::to_owned);
    Ok(std::iter::once(package.to_owned()).chain(names).collect())
}
