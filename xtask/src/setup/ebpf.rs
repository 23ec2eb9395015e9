//! The compiler and linker that rebuild the committed eBPF object.

use std::process::Command;

use anyhow::{Context, Result};

use super::packages;
use crate::host;

const LLVM: &str = "22";
const LINKER_VERSION: &str = "0.13.0";

/// Install them unless they are there.
pub fn ensure() -> Result<()> {
    let bpf_core = host::output(Command::new("dpkg").args(["-s", "libstd-rust-web-dev-bpf"])).is_ok();
    let llvm = host::which(&format!("llvm-objcopy-{LLVM}")).is_some();
    let llvm_dev = host::output(Command::new("dpkg").args(["-s", &format!("llvm-{LLVM}-dev")])).is_ok();
    if !(bpf_core && llvm && llvm_dev) {
        let llvm = format!("llvm-{LLVM}");
        let packages = ["rustc-web", "libstd-rust-web-dev-bpf", &llvm, &format!("{llvm}-dev")];
        packages::install(&[], &packages)?;
    }
    let found = host::output(Command::new("bpf-linker").arg("--version")).unwrap_or_default();
    if found.contains(LINKER_VERSION) {
        return Ok(());
    }
    println!("setup: building bpf-linker {LINKER_VERSION}");
    let prefix = format!("/usr/lib/llvm-{LLVM}");
    let path = format!("{prefix}/bin:{}", std::env::var("PATH").unwrap_or_default());
    let mut cargo = Command::new("cargo");
    cargo.args(["install", "bpf-linker", "--version", LINKER_VERSION, "--locked"]);
    cargo.args(["--no-default-features", "--features", &format!("llvm-{LLVM}")]);
    cargo.env("LLVM_PREFIX", &prefix).env(format!("LLVM_SYS_{LLVM}1_PREFIX"), &prefix).env("PATH", path);
    host::status(&mut cargo).context("cannot build bpf-linker")
}
