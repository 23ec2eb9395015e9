//! Where things are on this machine, and commands run on it: names in, paths and output out.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// The root of the repository.
pub fn repo() -> PathBuf {
    let manifest =
        std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    let here = PathBuf::from(manifest);
    here.parent().unwrap_or(&here).to_owned()
}

/// Cargo's target directory: the one this very program was built into.
pub fn target_dir() -> Result<PathBuf> {
    let exe = std::env::current_exe().context("cannot find the running program")?;
    let found = exe.ancestors().find(|dir| dir.join("CACHEDIR.TAG").is_file());
    found.map(Path::to_owned).with_context(|| {
        format!("{} is not in a cargo target directory; run it as `cargo xtask`", exe.display())
    })
}

/// A program of this workspace, as built by `cargo build`.
pub fn built(name: &str) -> Result<PathBuf> {
    let path = target_dir()?.join("debug").join(name);
    if !path.is_file() {
        bail!("{} is not there; build it: cargo build --bin {name}", path.display());
    }
    Ok(path)
}

/// The program `name` of `PATH`, or of the directories of administrators.
pub fn which(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let extra = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    std::env::split_paths(&path).chain(extra).map(|dir| dir.join(name)).find(|file| file.is_file())
}

/// Run a program, its output on ours; fails if it does.
pub fn run(program: impl AsRef<OsStr>, args: &[impl AsRef<OsStr>]) -> Result<()> {
    status(Command::new(program).args(args))
}

/// Run a prepared command, its output on ours; fails if it does.
pub fn status(command: &mut Command) -> Result<()> {
    let text = show(command);
    let status = command.status().with_context(|| format!("cannot run {text}"))?;
    if !status.success() {
        bail!("{text}: {status}");
    }
    Ok(())
}

/// Run a prepared command and give its standard output; fails, with its standard error, if it does.
pub fn output(command: &mut Command) -> Result<String> {
    let text = show(command);
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot run {text}"))?;
    if !output.status.success() {
        bail!("{text}: {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn show(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}
