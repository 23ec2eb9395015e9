//! Kernel series in, an unpacked kernel image with the modules a guest loads out (under `target/guest/SERIES`).

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::packages::Apt;
use crate::host;

/// The series that tests want. This release of Debian, or the one after it, has them.
pub const SERIES: &[&str] = &["6.1", "6.12"];

/// Series that are fetched when a guest is to boot them, and the release of Debian that has them.
pub const OTHERS: &[(&str, &str)] = &[("5.10", "bullseye"), ("7", "sid")];

/// What guests load, as far as the kernel has it as module: the ports to the host, `ss`, interfaces, a disk with ext4
/// and its checksums.
const MODULES: &[&str] = &[
    "virtio_pci",
    "virtio_console",
    "tcp_diag",
    "udp_diag",
    "mptcp_diag",
    "veth",
    "dummy",
    "virtio_blk",
    "crc32c_generic",
    "ext4",
];

/// A kernel that guests can boot.
pub struct Kernel {
    /// The image.
    pub image: PathBuf,
    /// Modules, uncompressed, and `order`: their names, dependencies first.
    pub modules: PathBuf,
}

/// The kernel of that series. Fails if set-up has not fetched it, unless it is one of [`OTHERS`], which is fetched now.
pub fn kernel(series: &str) -> Result<Kernel> {
    let dir = dir()?.join(series);
    let kernel = Kernel { image: dir.join("vmlinuz"), modules: dir.join("modules") };
    if complete(&dir) {
        return Ok(kernel);
    }
    if let Some((_, release)) = OTHERS.iter().find(|(other, _)| *other == series) {
        let apt = Apt::of_release(release, &dir.with_file_name(release));
        apt.and_then(|apt| fetch(series, &apt))
            .with_context(|| format!("cannot get a guest kernel {series} of Debian {release}"))?;
        return Ok(kernel);
    }
    let others = OTHERS.iter().map(|(series, _)| *series);
    let there: Vec<_> = SERIES.iter().copied().filter(|s| complete(&dir.with_file_name(s))).collect();
    bail!(
        "there is no guest kernel {series} (there is: {}; to be fetched: {}); run: cargo xtask setup",
        there.join(", "),
        others.collect::<Vec<_>>().join(", ")
    );
}

/// Fetch the newest kernel of each of [`SERIES`] that is not there yet.
pub fn fetch_missing() -> Result<()> {
    for series in SERIES {
        if !complete(&dir()?.join(series)) {
            fetch(series, &Apt::default()).with_context(|| format!("cannot get a guest kernel {series}"))?;
        }
    }
    Ok(())
}

/// Is the file there that is written last, and does it name the modules wanted now?
fn complete(dir: &Path) -> bool {
    fs::read_to_string(dir.join("package")).is_ok_and(|text| text.lines().nth(1) == Some(&MODULES.join(" ")))
}

fn dir() -> Result<PathBuf> {
    Ok(host::target_dir()?.join("guest"))
}

fn fetch(series: &str, apt: &Apt) -> Result<()> {
    let prefix = format!("linux-image-{series}.");
    if apt.names(&prefix)?.is_empty() {
        apt.refresh_lists(&format!("{prefix}0-cloud-amd64"))?;
    }
    let names = apt.names(&prefix)?;
    let cloud = names.into_iter().filter(|name| name.ends_with("-cloud-amd64"));
    let Some(package) = cloud.max_by_key(|name| numbers(name)) else {
        bail!(
            "this release has no package {prefix}*-cloud-amd64; Debian 12 has it: add its `main` to the package \
             sources, or run this there"
        );
    };
    println!("setup: guest kernel {series}: {package}");
    let guest = dir()?;
    let unpacked = guest.join(format!("{series}.unpacked"));
    apt.extract(std::slice::from_ref(&package), &unpacked)?;
    let into = guest.join(series);
    let modules = into.join("modules");
    fs::create_dir_all(&modules).with_context(|| format!("cannot make {}", modules.display()))?;
    let image = only_file(&unpacked.join("boot"), "vmlinuz-")?;
    fs::copy(&image, into.join("vmlinuz")).with_context(|| format!("cannot copy {}", image.display()))?;
    let release = image.to_string_lossy().split("vmlinuz-").last().unwrap_or_default().to_owned();
    // Debian 13 has /lib in /usr.
    let places =
        ["lib/modules", "usr/lib/modules"].map(|place| unpacked.join(place).join(&release).join("kernel"));
    let tree = places.into_iter().find(|place| place.is_dir()).context("the package has no modules")?;
    let mut order = Vec::new();
    let files = walk(&tree)?;
    for module in MODULES {
        add_module(module, &files, &modules, &mut order, &mut HashSet::new())?;
    }
    write(&modules.join("order"), &order.join("\n"))?;
    fs::remove_dir_all(&unpacked).with_context(|| format!("cannot remove {}", unpacked.display()))?;
    write(&into.join("package"), &format!("{package}\n{}", MODULES.join(" ")))
}

/// Copy a module, uncompressed, and what it depends on. One that is not there is built in, or a kernel lacks it.
fn add_module(
    name: &str,
    files: &[PathBuf],
    into: &Path,
    order: &mut Vec<String>,
    seen: &mut HashSet<String>,
) -> Result<()> {
    let plain = name.replace('-', "_");
    let found = files.iter().find(|file| {
        let file = file.file_name().unwrap_or_default().to_string_lossy();
        file.split(".ko").next().is_some_and(|stem| stem.replace('-', "_") == plain)
    });
    let Some(file) = found else { return Ok(()) };
    let target = format!("{plain}.ko");
    if order.contains(&target) || !seen.insert(plain) {
        return Ok(());
    }
    let content = match file.extension().is_some_and(|extension| extension == "xz") {
        true => {
            let output = Command::new("xz").arg("-dc").arg(file).output().context("cannot run xz")?;
            output.stdout
        }
        false => fs::read(file).with_context(|| format!("cannot read {}", file.display()))?,
    };
    for needed in depends(&content) {
        add_module(&needed, files, into, order, seen)?;
    }
    fs::write(into.join(&target), content).with_context(|| format!("cannot write {target}"))?;
    order.push(target);
    Ok(())
}

/// The modules that a module names in its `.modinfo`: `depends=a,b`.
fn depends(module: &[u8]) -> Vec<String> {
    let key = b"\0depends=";
    let Some(at) = module.windows(key.len()).position(|window| window == key) else { return Vec::new() };
    let value = module[at + key.len()..].split(|byte| *byte == 0).next().unwrap_or_default();
    let text = String::from_utf8_lossy(value);
    text.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

/// The numbers in a package name, so that 6.1.0-50 comes after 6.1.0-9.
fn numbers(name: &str) -> Vec<u64> {
    name.split(|c: char| !c.is_ascii_digit()).filter_map(|digits| digits.parse().ok()).collect()
}

fn walk(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(walk(&path)?);
        } else {
            files.push(path);
        }
    }
    Ok(files)
}

fn only_file(dir: &Path, prefix: &str) -> Result<PathBuf> {
    let name = |path: &PathBuf| path.file_name().unwrap_or_default().to_string_lossy().starts_with(prefix);
    walk(dir)?.into_iter().find(name).with_context(|| format!("no {prefix}* in {}", dir.display()))
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, format!("{text}\n")).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_kernel_is_the_one_with_the_largest_numbers() {
        let names = ["linux-image-6.1.0-9-cloud-amd64", "linux-image-6.1.0-50-cloud-amd64"];
        assert_eq!(names.iter().max_by_key(|name| numbers(name)), Some(&names[1]));
    }

    #[test]
    fn a_module_says_what_it_depends_on() {
        assert_eq!(depends(b"x\0license=GPL\0depends=inet_diag,tcp_diag\0y"), ["inet_diag", "tcp_diag"]);
        assert!(depends(b"x\0depends=\0y").is_empty());
    }
}
