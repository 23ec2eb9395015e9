//! The Pythons with duckdb, pyarrow and polars, the independent readers that the tests compare with.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use super::packages;
use crate::host;

/// The newest readers, whatever they are.
const NEWEST: Readers = Readers { venv: "python", libraries: &["duckdb", "pyarrow", "polars"] };
/// The oldest readers that the documentation promises to work (docs/trace-format.md).
const OLDEST: Readers =
    Readers { venv: "python-old", libraries: &["duckdb==1.1.3", "pyarrow==18.0.0", "polars==1.21.0"] };

/// A virtual environment below the target directory.
struct Readers {
    venv: &'static str,
    libraries: &'static [&'static str],
}

/// The interpreter that has the newest readers.
pub fn python() -> Result<PathBuf> {
    Ok(host::target_dir()?.join(NEWEST.venv).join("bin/python"))
}

/// Make the virtual environment of the newest readers, unless it is there.
pub fn ensure_newest() -> Result<()> {
    NEWEST.ensure()
}

/// Make the virtual environments, unless they are there.
pub fn ensure() -> Result<()> {
    NEWEST.ensure()?;
    OLDEST.ensure()
}

impl Readers {
    fn ensure(&self) -> Result<()> {
        let dir = host::target_dir()?.join(self.venv);
        let done = dir.join("ktape-ready");
        let libraries = self.libraries.join(", ");
        if std::fs::read_to_string(&done).is_ok_and(|installed| installed == libraries) {
            return Ok(());
        }
        let venv = Command::new("python3").args(["-c", "import ensurepip, venv"]).output();
        if !venv.is_ok_and(|output| output.status.success()) {
            packages::install(&[], &["python3", "python3-venv"])?;
        }
        println!("setup: python with {libraries}");
        host::status(Command::new("python3").args(["-m", "venv"]).arg(&dir))?;
        let mut pip = Command::new(dir.join("bin/python"));
        host::status(pip.args(["-m", "pip", "install", "--quiet"]).args(self.libraries))
            .with_context(|| format!("cannot install {libraries}"))?;
        std::fs::write(&done, libraries).with_context(|| format!("cannot write {}", done.display()))
    }
}
