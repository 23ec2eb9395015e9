//! Debian packages that are unpacked under the target directory and never installed, so that set-up leaves the
//! machine's own packages alone.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::packages;
use crate::host;

/// A program with what it needs, in a directory tree of its own.
pub struct Unpacked {
    root: PathBuf,
}

impl Unpacked {
    /// The tree `name`. Fails if set-up has not unpacked it.
    pub fn find(name: &str) -> Result<Self> {
        let unpacked = Self::at(name)?;
        if !unpacked.done().is_file() {
            bail!("{name} is not unpacked for guests; run: cargo xtask setup");
        }
        Ok(unpacked)
    }

    /// Unpack `packages`, and the libraries that the first one depends on, unless the tree `name` is there.
    pub fn fetch_missing(name: &str, packages: &[&str]) -> Result<()> {
        let unpacked = Self::at(name)?;
        let Some(first) = packages.first().filter(|_| !unpacked.done().is_file()) else { return Ok(()) };
        packages::refresh_lists(first)?;
        println!("setup: unpacking {name} for guests");
        let mut all: Vec<String> = packages.iter().map(|package| (*package).to_owned()).collect();
        all.extend(libraries(first)?);
        packages::extract(&all, &unpacked.root).with_context(|| format!("cannot get {name}"))?;
        fs::write(unpacked.done(), "")
            .with_context(|| format!("cannot write into {}", unpacked.root.display()))
    }

    /// The file of that path, which begins with a directory that later releases have in `/usr`.
    pub fn file(&self, path: &str) -> Option<(PathBuf, String)> {
        let places = [path.to_owned(), format!("usr/{path}")];
        let place = places.into_iter().find(|place| self.root.join(place).is_file())?;
        Some((self.root.join(&place), format!("/{place}")))
    }

    /// The directory of that path, if it is there.
    pub fn directory(&self, path: &str) -> Option<PathBuf> {
        Some(self.root.join(path)).filter(|dir| dir.is_dir())
    }

    /// Directories with its shared libraries.
    pub fn library_dirs(&self) -> Vec<PathBuf> {
        let architecture = format!("{}-linux-gnu", std::env::consts::ARCH);
        ["lib", "usr/lib"].iter().filter_map(|lib| self.directory(&format!("{lib}/{architecture}"))).collect()
    }

    fn at(name: &str) -> Result<Self> {
        Ok(Self { root: host::target_dir()?.join("guest").join(name) })
    }

    /// Written last.
    fn done(&self) -> PathBuf {
        self.root.join("ktape-ready")
    }
}

/// The packages of libraries that a package needs, directly or not, and that are not installed here as new as they are to
/// be had: an installed version need not be in the lists, and then cannot be fetched. The C library is that of this
/// machine, as its loader is.
fn libraries(package: &str) -> Result<Vec<String>> {
    let kinds = ["recommends", "suggests", "conflicts", "breaks", "replaces", "enhances"];
    let mut list = Command::new("apt-cache");
    list.args(["depends", "--recurse"]).args(kinds.map(|kind| format!("--no-{kind}"))).arg(package);
    let listing = host::output(&mut list)?;
    let names = listing.lines().filter(|line| line.starts_with("lib") && !line.contains(':'));
    let names: Vec<&str> = names.filter(|name| !["libc6", "libgcc-s1"].contains(name)).collect();
    let policy = host::output(Command::new("apt-cache").arg("policy").args(&names).env("LC_ALL", "C"))?;
    let here = up_to_date(&policy);
    Ok(names.into_iter().filter(|name| !here.contains(name)).map(str::to_owned).collect())
}

/// Packages of which `apt-cache policy` says that what is installed is what would be.
fn up_to_date(policy: &str) -> Vec<&str> {
    let (mut package, mut installed, mut found) = ("", "", Vec::new());
    for line in policy.lines() {
        match line.trim_start().split_once(": ") {
            None if !line.starts_with(' ') => package = line.trim_end_matches(':'),
            Some(("Installed", version)) => installed = version,
            Some(("Candidate", version)) if version == installed && version != "(none)" => {
                found.push(package)
            }
            _ => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_installed_as_new_as_it_is_to_be_had_is_not_fetched() {
        let policy = "liba1:\n  Installed: 1.2-3+deb12u1\n  Candidate: 1.2-3+deb12u1\n  Version table:\n *** \
                      1.2-3+deb12u1 100\nlibb2:\n  Installed: (none)\n  Candidate: 2:4.0\nlibc3:\n  Installed: 1.0\n  \
                      Candidate: 1.1\nlibd4:\n  Installed: (none)\n  Candidate: (none)\n";
        assert_eq!(up_to_date(policy), ["liba1"]);
    }
}
