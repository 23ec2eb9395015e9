//! A Python with duckdb and pyarrow out, the independent readers that the tests compare with.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use super::packages;
use crate::host;

const LIBRARIES: &[&str] = &["duckdb", "pyarrow"];

/// The interpreter that has the libraries.
pub fn python() -> Result<PathBuf> {
    Ok(host::target_dir()?.join("python/bin/python"))
}

/// Make a virtual environment with the libraries, unless it is there.
pub fn ensure() -> Result<()> {
    let dir = host::target_dir()?.join("python");
    let done = dir.join("ktape-ready");
    if done.is_file() {
        return Ok(());
    }
    let venv = Command::new("python3").args(["-c", "import ensurepip, venv"]).output();
    if !venv.is_ok_and(|output| output.status.success()) {
        packages::install(&[], &["python3", "python3-venv"])?;
    }
    println!("setup: python with {}", LIBRARIES.join(" and "));
    host::status(Command::new("python3").args(["-m", "venv"]).arg(&dir))?;
    host::status(Command::new(python()?).args(["-m", "pip", "install", "--quiet"]).args(LIBRARIES))
        .context("cannot install the Python libraries")?;
    std::fs::write(&done, "").with_context(|| format!("cannot write {}", done.display()))
}
