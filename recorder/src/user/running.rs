//! Finds a program or library by who runs it: `pid=PID` (its program), `pid=PID/NAME` (a library of it), `build-id=HEX` (what any
//! process runs). The file is the very one that runs, in whichever mount namespace it is, removed or replaced meanwhile or not.

use std::collections::HashSet;
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use procfs::process::{MMPermissions, MMapPath, MemoryMap, Process, all_processes};
use schemas::expr::near;

use super::elf;
use super::file::Found;

const OF_PROCESS: &str = "pid=";
const BY_BUILD_ID: &str = "build-id=";
/// Fewest digits of a build id that are taken for it.
const MIN_DIGITS: usize = 8;

/// The file that `text` means, if it has one of these forms.
pub fn find(text: &str) -> Option<Result<Found>> {
    if let Some(rest) = text.strip_prefix(OF_PROCESS) {
        return Some(of_process(rest).with_context(|| format!("'{text}'")));
    }
    let id = text.strip_prefix(BY_BUILD_ID)?;
    Some(by_build_id(id).with_context(|| format!("'{text}'")))
}

/// Code of a file in the memory of a process.
struct Mapped {
    process: i32,
    map: MemoryMap,
    path: PathBuf,
}

impl Mapped {
    /// Which file it is.
    fn file(&self) -> (i32, i32, u64) {
        (self.map.dev.0, self.map.dev.1, self.map.inode)
    }

    fn name(&self) -> String {
        let name = self.path.file_name().unwrap_or_default().to_string_lossy();
        name.trim_end_matches(" (deleted)").to_owned()
    }

    /// The file itself, even if it has no name any more.
    fn open(&self) -> Result<Found> {
        let (start, end) = self.map.address;
        let link = format!("/proc/{}/map_files/{start:x}-{end:x}", self.process);
        let file =
            File::open(&link).with_context(|| format!("cannot open {} ({link})", self.path.display()))?;
        let own = file.metadata()?;
        // A path that means the same when it is given again.
        let inside = PathBuf::from(format!("/proc/{}/root{}", self.process, self.path.display()));
        let is_it = |path: &Path| {
            path.metadata().is_ok_and(|other| (other.dev(), other.ino()) == (own.dev(), own.ino()))
        };
        let path = [self.path.clone(), inside].into_iter().find(|path| is_it(path));
        Ok(Found { file, path: path.unwrap_or_else(|| PathBuf::from(link)) })
    }
}

/// What of files a process may execute, each file once. Nothing of a kernel thread.
fn code(process: &Process) -> Result<Vec<Mapped>> {
    let mut known = HashSet::new();
    let mut all = Vec::new();
    for map in process.maps().with_context(|| format!("cannot read the maps of process {}", process.pid))? {
        let MMapPath::Path(path) = &map.pathname else { continue };
        if !map.perms.contains(MMPermissions::EXECUTE) || map.inode == 0 {
            continue;
        }
        let mapped = Mapped { process: process.pid, path: path.clone(), map };
        if known.insert(mapped.file()) {
            all.push(mapped);
        }
    }
    Ok(all)
}

fn of_process(text: &str) -> Result<Found> {
    let (pid, name) = match text.split_once('/') {
        Some((pid, name)) => (pid, Some(name)),
        None => (text, None),
    };
    let pid: i32 = pid.parse().ok().with_context(|| format!("'{pid}' is no process number"))?;
    let process = Process::new(pid).with_context(|| format!("there is no process {pid}"))?;
    let Some(name) = name else {
        let link = format!("/proc/{pid}/exe");
        let path = process
            .exe()
            .with_context(|| format!("process {pid} runs no program: it belongs to the kernel"))?;
        let file = File::open(&link).with_context(|| format!("cannot open {link}"))?;
        let own = file.metadata()?;
        let is_it = path.metadata().is_ok_and(|other| (other.dev(), other.ino()) == (own.dev(), own.ino()));
        return Ok(Found { file, path: if is_it { path } else { PathBuf::from(link) } });
    };
    let all = code(&process)?;
    // As with libraries elsewhere: `libc.so.6`, `libc`, `c`. The whole name goes before the others.
    let starts = [
        name.to_owned(),
        format!("{name}.so"),
        format!("{name}-"),
        format!("lib{name}.so"),
        format!("lib{name}-"),
    ];
    for (i, start) in starts.iter().enumerate() {
        let is_it = |mapped: &&Mapped| match mapped.name().strip_prefix(start.as_str()) {
            Some(rest) => i > 0 || rest.is_empty(),
            None => false,
        };
        match all.iter().filter(is_it).collect::<Vec<_>>().as_slice() {
            [] => {}
            [only] => return only.open(),
            several => bail!("process {pid} runs several of that name: {}", names(several)),
        }
    }
    let known: Vec<String> = all.iter().map(Mapped::name).collect();
    let near = near(name, known.iter().map(String::as_str));
    let near = if near.is_empty() { known.iter().map(String::as_str).collect() } else { near };
    bail!("process {pid} runs no code of a file of that name; it runs {}", near.join(", "))
}

fn by_build_id(text: &str) -> Result<Found> {
    let id = text.to_ascii_lowercase();
    ensure!(
        id.len() >= MIN_DIGITS && id.chars().all(|c| c.is_ascii_hexdigit()),
        "a build id is hexadecimal: give at least its first {MIN_DIGITS} digits, as 'readelf -n FILE' shows them"
    );
    let mut known = HashSet::new();
    let mut found: Vec<Mapped> = Vec::new();
    let mut unreadable = 0;
    for process in all_processes().context("cannot list processes")?.flatten() {
        for mapped in code(&process).unwrap_or_default() {
            if !known.insert(mapped.file()) {
                continue;
            }
            match mapped.open() {
                Ok(of) if elf::build_id(&of.file).is_some_and(|its| its.starts_with(&id)) => {
                    found.push(mapped)
                }
                Ok(_) => {}
                Err(_) => unreadable += 1,
            }
        }
    }
    match found.iter().collect::<Vec<_>>().as_slice() {
        [only] => only.open(),
        [] if unreadable > 0 => bail!("no process runs it, or one of {unreadable} files that cannot be read"),
        [] => {
            bail!("no process runs a program or library with this build id: give its path, or start it first")
        }
        several => bail!("several files have it: give the path of one, {}", names(several)),
    }
}

fn names(several: &[&Mapped]) -> String {
    let name = |mapped: &&Mapped| match mapped.open() {
        Ok(found) => found.path.display().to_string(),
        Err(_) => mapped.path.display().to_string(),
    };
    several.iter().map(name).collect::<Vec<_>>().join(", ")
}
