//! `cargo xtask fixtures`: a guest kernel in, recorded traces with the truth about them out (`fixtures/captured`).

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::setup;
use crate::{host, vm};

/// The kernel they are recorded on.
const KERNEL: &str = "6.12";
const SCRIPT: &str = concat!(include_str!("prelude.sh"), include_str!("fixtures.sh"));
/// Real services among the listeners.
const SERVICES: &[&str] = &["redis-server", "nginx"];
/// Most bytes of all captured fixtures together.
const MOST_BYTES: u64 = 4_000_000;

/// Record all of them anew.
pub fn run() -> Result<()> {
    setup::run(false)?;
    let mut cargo = Command::new("cargo");
    host::status(cargo.args(["build", "-p", "recorder", "-p", "xtask", "--bins"]).current_dir(host::repo()))?;
    let services = setup::services(SERVICES)?;
    let out = host::target_dir()?.join("guest/fixtures");
    let mut guest = vm::Guest::new(KERNEL, SCRIPT, out.clone())?;
    guest.library_dirs = setup::library_dirs(&services);
    for program in ["usr/bin/redis-check-rdb", "usr/sbin/nginx"] {
        let name = program.rsplit('/').next().unwrap_or(program).replace("redis-check-rdb", "redis-server");
        guest.files.push((services.join(program), format!("/usr/bin/{name}")));
    }
    guest.echo = true;
    guest.timeout = Duration::from_secs(900);
    let outcome = guest.run()?;
    ensure!(outcome.exit_code == 0, "recording the fixtures ended with {}", outcome.exit_code);
    keep(&out, &host::repo().join("fixtures/captured"))
}

fn keep(from: &Path, into: &Path) -> Result<()> {
    let bytes: u64 = host::output(Command::new("du").args(["-sb"]).arg(from))?
        .split_whitespace()
        .next()
        .and_then(|number| number.parse().ok())
        .context("du says nothing")?;
    ensure!(bytes <= MOST_BYTES, "the fixtures have {bytes} bytes, more than {MOST_BYTES}");
    if into.exists() {
        fs::remove_dir_all(into).with_context(|| format!("cannot empty {}", into.display()))?;
    }
    host::status(Command::new("cp").arg("-r").arg(from).arg(into))?;
    let about = fs::read_to_string(from.join("about")).context("the guest did not say what it is")?;
    fs::remove_file(into.join("about"))?;
    let readme = format!(
        "# Captured traces\n\nRecorded by `cargo xtask fixtures` in a guest; do not edit, record anew. `NAME.json` is \
         the truth: what the\nworkload says it did, `NAME.ss` what `ss` showed meanwhile.\n\n```text\n{about}```\n\n\
         The script that recorded them:\n\n```text\n{SCRIPT}```\n"
    );
    fs::write(into.join("README.md"), readme)?;
    println!("fixtures: {bytes} bytes in {}", into.display());
    Ok(())
}
