//! What guests are started with: QEMU, and the busybox of their first processes. Installed ones are used; otherwise
//! their packages are unpacked, because installing them can remove others (QEMU's parts must be of one version, and
//! `busybox-static` and `busybox` exclude each other).

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::unpacked::Unpacked;
use crate::host;

const QEMU: &str = "qemu-system-x86_64";
const QEMU_PACKAGES: &[&str] = &["qemu-system-x86", "qemu-system-common", "qemu-system-data", "seabios"];
const BUSYBOX: &str = "busybox";
const BUSYBOX_PACKAGES: &[&str] = &["busybox-static"];

/// Unpack what is not installed.
pub fn fetch_missing() -> Result<()> {
    if host::which(QEMU).is_none() {
        Unpacked::fetch_missing("qemu", QEMU_PACKAGES)?;
    }
    if installed_busybox().is_none() {
        Unpacked::fetch_missing(BUSYBOX, BUSYBOX_PACKAGES)?;
    }
    Ok(())
}

/// The command that runs QEMU. Fails if set-up has not fetched it.
pub fn qemu() -> Result<Command> {
    if let Some(installed) = host::which(QEMU) {
        return Ok(Command::new(installed));
    }
    let qemu = Unpacked::find("qemu")?;
    let (program, _) = qemu.file(&format!("bin/{QEMU}")).context("package qemu-system-x86 has no QEMU")?;
    let mut command = Command::new(program);
    let libraries = qemu.library_dirs();
    if let Some(modules) = libraries.iter().map(|dir| dir.join("qemu")).find(|dir| dir.is_dir()) {
        command.env("QEMU_MODULE_DIR", modules);
    }
    command.env("LD_LIBRARY_PATH", std::env::join_paths(libraries)?);
    for data in ["usr/share/qemu", "usr/share/seabios"] {
        command.args(qemu.directory(data).iter().flat_map(|dir| [Path::new("-L"), dir.as_path()]));
    }
    Ok(command)
}

/// A busybox that needs no libraries. Fails if set-up has not fetched it.
pub fn busybox() -> Result<PathBuf> {
    if let Some(installed) = installed_busybox() {
        return Ok(installed);
    }
    let (file, _) =
        Unpacked::find(BUSYBOX)?.file("bin/busybox").context("package busybox-static is empty")?;
    Ok(file)
}

/// The installed one, if it is static: `ldd` fails for that.
fn installed_busybox() -> Option<PathBuf> {
    host::which(BUSYBOX).filter(|file| host::output(Command::new("ldd").arg(file)).is_err())
}
