//! Debian packages: installed (as root or through sudo) without removing others, or unpacked somewhere.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::host;

/// Install the packages of those programs that are missing, and `others`. Fails, naming them, where there is no apt, and
/// where a package that is installed would have to be removed.
pub fn install(tools: &[(&str, &str)], others: &[&str]) -> Result<()> {
    let missing = tools.iter().filter(|(program, _)| host::which(program).is_none());
    let mut packages: Vec<&str> =
        missing.map(|(_, package)| *package).chain(others.iter().copied()).collect();
    packages.sort_unstable();
    packages.dedup();
    if packages.is_empty() {
        return Ok(());
    }
    let names = packages.join(" ");
    if host::which("apt-get").is_none() {
        bail!("this is not Debian or Ubuntu; install what they call: {names}");
    }
    println!("setup: installing {names}");
    refresh_lists(packages[0])?;
    let mut words = vec!["install", "-y", "-q", "--no-install-recommends"];
    words.extend(packages);
    // What is not possible at all is told by the installation itself.
    let plan = Command::new("apt-get").arg("--simulate").args(&words).output();
    let plan = plan.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    refuse_removals(&plan, &names)?;
    // Should the plan change meanwhile, apt refuses.
    words.push("--no-remove");
    as_root("apt-get", &words).with_context(|| format!("cannot install {names}"))
}

/// Fails if `plan`, which `apt-get --simulate` printed for installing `names`, removes packages.
fn refuse_removals(plan: &str, names: &str) -> Result<()> {
    let removed: Vec<&str> =
        plan.lines().filter_map(|line| line.strip_prefix("Remv ")?.split_whitespace().next()).collect();
    if !removed.is_empty() {
        bail!(
            "installing {names} would remove {}; set-up removes nothing: install {names} yourself, or programs that \
             do the same, and start again",
            removed.join(", ")
        );
    }
    Ok(())
}

/// Are we root?
pub fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// Packages as apt has them: those of this machine, or of another release in lists of its own, which leaves the machine's
/// alone.
#[derive(Default)]
pub struct Apt {
    options: Vec<String>,
}

impl Apt {
    /// The packages of `release` of Debian, from where this machine has those of its own release. What apt keeps is in
    /// `state`.
    pub fn of_release(release: &str, state: &Path) -> Result<Self> {
        let targets = host::output(Command::new("apt-get").args([
            "indextargets",
            "--format",
            "$(REPO_URI) $(RELEASE) $(COMPONENT)",
            "Created-By: Packages",
        ]))?;
        let mut targets = targets.lines().filter_map(|line| {
            let mut words = line.split(' ');
            Some((words.next()?, words.next()?, words.next()?))
        });
        let is_plain = |release: &str| release.bytes().all(|byte| byte.is_ascii_lowercase());
        let (uri, ..) = targets
            .find(|(_, of, component)| is_plain(of) && *component == "main")
            .context("the package sources of this machine have no release of Debian with `main`")?;
        const KEYS: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
        fs::create_dir_all(state.join("lists/partial"))
            .with_context(|| format!("cannot make {}", state.display()))?;
        let sources = state.join("sources.list");
        fs::write(&sources, format!("deb [signed-by={KEYS}] {uri} {release} main\n"))
            .with_context(|| format!("cannot write {}", sources.display()))?;
        let option = |name: &str, value: &Path| ["-o".to_owned(), format!("{name}={}", value.display())];
        let options = [
            option("Dir::Etc::SourceList", &sources),
            option("Dir::Etc::SourceParts", Path::new("-")),
            option("Dir::State::Lists", &state.join("lists")),
            option("Dir::Cache", state),
            option("APT::Sandbox::User", Path::new("root")),
            option("Acquire::Languages", Path::new("none")),
        ];
        Ok(Self { options: options.concat() })
    }

    /// Unpack packages into `into` without installing them.
    pub fn extract(&self, packages: &[String], into: &Path) -> Result<()> {
        let debs = tempfile::tempdir().context("cannot make a temporary directory")?;
        let debs = debs.path();
        if let Some(first) = packages.first() {
            self.refresh_lists(first)?;
        }
        let mut download = self.command("apt-get");
        if is_root() {
            // Else apt changes to a user that cannot write here, fails, warns and goes on as root.
            download.args(["-o", "APT::Sandbox::User=root"]);
        }
        host::output(download.args(["download", "-q"]).args(packages).current_dir(debs))?;
        fs::create_dir_all(into).with_context(|| format!("cannot make {}", into.display()))?;
        for deb in fs::read_dir(debs).with_context(|| format!("cannot read {}", debs.display()))? {
            host::output(Command::new("dpkg-deb").arg("-x").arg(deb?.path()).arg(into))?;
        }
        Ok(())
    }

    /// Names of all packages that begin with `prefix`.
    pub fn names(&self, prefix: &str) -> Result<Vec<String>> {
        let listing = host::output(self.command("apt-cache").args(["pkgnames", prefix]))?;
        Ok(listing.lines().map(str::to_owned).collect())
    }

    /// Fetch the package lists if they do not know `package` (a fresh container has none).
    pub fn refresh_lists(&self, package: &str) -> Result<()> {
        let known = host::output(self.command("apt-cache").args(["show", "--no-all-versions", package]));
        if known.is_ok_and(|text| !text.is_empty()) {
            return Ok(());
        }
        println!("setup: fetching package lists");
        match self.options.is_empty() {
            true => as_root("apt-get", &["update", "-q"]),
            false => host::status(self.command("apt-get").args(["update", "-q"])),
        }
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.args(&self.options);
        command
    }
}

/// Unpack packages of this machine's release into `into` without installing them.
pub fn extract(packages: &[String], into: &Path) -> Result<()> {
    Apt::default().extract(packages, into)
}

/// Fetch the package lists if they do not know `package`.
pub fn refresh_lists(package: &str) -> Result<()> {
    Apt::default().refresh_lists(package)
}

/// Packages of services unpacked, with those that they need and that are not installed here. Nothing is installed, and
/// nothing is started.
pub fn services(names: &[&str]) -> Result<PathBuf> {
    let dir = host::target_dir()?.join("guest").join(format!("services-{}", names.join("-")));
    let done = dir.join("ktape-ready");
    if !done.is_file() {
        println!("setup: fetching {}", names.join(" and "));
        let mut simulate = Command::new("apt-get");
        if !is_root() {
            simulate.args(["-o", "Debug::NoLocking=true"]);
        }
        let plan = host::output(simulate.args(["install", "-s", "--no-install-recommends"]).args(names))?;
        let named = plan.lines().filter_map(|line| line.strip_prefix("Inst ")?.split(' ').next());
        let packages: Vec<String> = named.map(str::to_owned).collect();
        extract(&packages, &dir)?;
        fs::write(&done, packages.join("\n")).with_context(|| format!("cannot write {}", done.display()))?;
    }
    Ok(dir)
}

/// Where unpacked packages have their shared libraries.
pub fn library_dirs(root: &Path) -> Vec<PathBuf> {
    let architecture = format!("{}-linux-gnu", std::env::consts::ARCH);
    let places = ["usr/lib", "lib"].map(|place| root.join(place).join(&architecture));
    places.into_iter().filter(|dir| dir.is_dir()).collect()
}

fn as_root(program: &str, args: &[&str]) -> Result<()> {
    let mut command = Command::new(if is_root() { "env" } else { "sudo" });
    if !is_root() && host::which("sudo").is_none() {
        bail!("this needs root and there is no sudo; as root, run: {program} {}", args.join(" "));
    }
    host::status(command.arg("DEBIAN_FRONTEND=noninteractive").arg(program).args(args))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Plans as apt 2.6 printed them.
    #[test]
    fn an_installation_that_would_remove_a_package_is_refused() {
        let plan = "The following packages will be REMOVED:\n  qemu-utils\n\
                    Remv qemu-utils [1:10.0.2+ds-2+deb13u1~bpo12+1]\n\
                    Inst busybox-static (1:1.35.0-4+deb12u1+b1 Debian:12.15/oldstable [amd64])\n";
        let error = refuse_removals(plan, "qemu-system-x86").unwrap_err().to_string();
        assert!(error.contains("installing qemu-system-x86 would remove qemu-utils;"), "{error}");
        refuse_removals("Inst strace (6.1-0.1 Debian:12.15/oldstable [amd64])\n", "strace").unwrap();
    }
}
