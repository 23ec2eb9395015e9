//! recorder-ebpf -> the committed eBPF object, and a stamp with the digests of what it was made of.
//!
//! A user needs neither compiler nor linker for BPF: the object is in the repository, a test of `recorder` compares
//! the stamp with the sources, and `--check` rebuilds and compares bytes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

const TARGET: &str = "bpfel-unknown-none";
/// Debian's rustc-web: it has a `core` for BPF.
const RUSTC: &str = "/usr/bin/rustc";
const OBJCOPY: &str = "llvm-objcopy-22";
const OBJECT: &str = "recorder/src/engine/ktape.bpf.o";
const STAMP: &str = "recorder/src/engine/ktape.bpf.stamp";
/// What the object is made of, besides all of recorder-ebpf/.
const SHARED_SOURCES: [&str; 1] = ["schemas/src/wire.rs"];
/// Packages whose version is part of the object.
const PACKAGES: [&str; 4] = ["aya-ebpf", "aya-ebpf-bindings", "aya-ebpf-cty", "aya-ebpf-macros"];

/// Build the object and put it and its stamp into the source tree; with `check` compare instead, and fail if they
/// differ from what is there.
pub fn build(check: bool) -> Result<()> {
    let root = root()?;
    let object = compile(&root)?;
    let stamp = stamp(&root, &object)?;
    for (path, new) in [(OBJECT, object), (STAMP, stamp.into_bytes())] {
        let path = root.join(path);
        if !check {
            fs::write(&path, new).with_context(|| format!("cannot write {}", path.display()))?;
        } else if fs::read(&path).ok().as_ref() != Some(&new) {
            bail!("{} is not what its sources give: run `cargo xtask ebpf` and commit it", path.display());
        }
    }
    println!("ebpf: {OBJECT} {}", if check { "is up to date" } else { "is written" });
    Ok(())
}

fn root() -> Result<PathBuf> {
    let manifest =
        std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    let root = PathBuf::from(manifest).join("..");
    root.canonicalize().with_context(|| format!("cannot find {}", root.display()))
}

/// The object without DWARF and line numbers (the kernel wants no two lines for one instruction, which inline
/// assembly leads to).
fn compile(root: &Path) -> Result<Vec<u8>> {
    let cargo_home = std::env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::home_dir().map(|home| home.join(".cargo")))
        .context("cannot find cargo's directory: set CARGO_HOME")?;
    let flags = [
        "-Clink-arg=--btf".to_owned(),
        "-Cdebuginfo=2".to_owned(),
        "-Ctarget-cpu=v3".to_owned(),
        "--cfg=bpf_target_arch=\"x86_64\"".to_owned(),
        format!("--remap-path-prefix={}=/ktape", root.display()),
        format!("--remap-path-prefix={}=/cargo", cargo_home.join("registry/src").display()),
    ];
    let target_dir = root.join("target/ebpf");
    let path = format!("{}:{}", cargo_home.join("bin").display(), std::env::var("PATH").unwrap_or_default());
    let mut cargo = Command::new("cargo");
    cargo.current_dir(root).args([
        "build",
        "--quiet",
        "--locked",
        "--package",
        "recorder-ebpf",
        "--profile",
        "bpf",
    ]);
    cargo.args(["--target", TARGET, "--target-dir"]).arg(&target_dir);
    // The stable compiler of Debian may use what is unstable: there is no other with a `core` for BPF.
    cargo.env("RUSTC", RUSTC).env("RUSTC_BOOTSTRAP", "1").env("PATH", path);
    cargo.env_remove("RUSTFLAGS").env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"));
    run(&mut cargo)?;
    let built = target_dir.join(TARGET).join("bpf/ktape");
    let stripped = built.with_extension("stripped");
    let mut objcopy = Command::new(OBJCOPY);
    objcopy.args(["--strip-debug", "--remove-section=.BTF.ext", "--remove-section=.rel.BTF.ext"]);
    run(objcopy.arg(&built).arg(&stripped))?;
    fs::read(&stripped).with_context(|| format!("cannot read {}", stripped.display()))
}

fn run(command: &mut Command) -> Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let status = command
        .status()
        .with_context(|| format!("cannot run {name}: `cargo xtask setup --ebpf` installs what is missing"))?;
    if !status.success() {
        bail!("{name} failed ({status}); `cargo xtask setup --ebpf` installs what is missing");
    }
    Ok(())
}

/// Lines of `DIGEST PATH` for each source and for the object, and `VERSION PACKAGE` for each package.
fn stamp(root: &Path, object: &[u8]) -> Result<String> {
    let mut sources: Vec<String> = SHARED_SOURCES.map(str::to_owned).to_vec();
    list(root, Path::new("recorder-ebpf"), &mut sources)?;
    sources.sort();
    let mut text = format!("{} {OBJECT}\n", digest(object));
    for source in sources {
        let bytes = fs::read(root.join(&source)).with_context(|| format!("cannot read {source}"))?;
        text += &format!("{} {source}\n", digest(&bytes));
    }
    let lock = fs::read_to_string(root.join("Cargo.lock")).context("cannot read Cargo.lock")?;
    for package in PACKAGES {
        let version = lock
            .split_once(&format!("name = \"{package}\"\nversion = \""))
            .and_then(|(_, rest)| rest.split('"').next())
            .with_context(|| format!("Cargo.lock has no {package}"))?;
        text += &format!("{version} {package}\n");
    }
    Ok(text)
}

fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn list(root: &Path, dir: &Path, files: &mut Vec<String>) -> Result<()> {
    let here = root.join(dir);
    for entry in fs::read_dir(&here).with_context(|| format!("cannot read {}", here.display()))? {
        let entry = entry?;
        let path = dir.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            list(root, &path, files)?;
        } else {
            files.push(path.to_string_lossy().into_owned());
        }
    }
    Ok(())
}
