//! Options and a plan in, a trace writer out, and what it needs to know: metadata, names of addresses.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::thread;

use anyhow::{Context, Result, anyhow};
use nix::fcntl::{AT_FDCWD, AtFlags};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::utsname::uname;
use nix::unistd::{AccessFlags, faccessat, geteuid, mkdtemp};
use schemas::trace::{FORMAT_VERSION, Meta, State};

use super::plan::Plan;
use crate::cli::options::Options;
use crate::cli::say;
use crate::kernel::{KernelSymbols, Tracefs};
use crate::pipeline::{self, Symbol, Symbolizer, TraceWriter, boot_id};
use crate::privileges::{Identity, renounce};
use crate::snapshot::clock;

/// Make the directory of the trace and give it to its owner. Without a name it is a place that nobody can guess, for
/// a trace that nobody wants.
pub fn trace_dir(name: Option<&Path>, owner: Option<&Identity>) -> Result<PathBuf> {
    let owner = owner.map(Identity::ids);
    let Some(name) = name else {
        let place = std::env::temp_dir().canonicalize().context("cannot find the temporary directory")?;
        let template = place.join("recorder-XXXXXX");
        let dir = mkdtemp(&template)
            .with_context(|| format!("cannot create a directory in '{}'", place.display()))?;
        return pipeline::own_trace_dir(&dir, owner).map(|()| dir);
    };
    pipeline::create_trace_dir(name, owner)
}

/// The writer of a trace in the new directory `dir`, and why there cannot be snapshots beside it, if there cannot. Its
/// threads have no rights but those of the owner. Fails if there are to be snapshots for sure (`must_freeze`) and cannot.
pub fn writer(
    dir: &Path,
    owner: Option<&Identity>,
    meta: Meta,
    options: pipeline::Options,
    must_freeze: bool,
) -> Result<(TraceWriter, Option<String>)> {
    // Threads inherit the rights of the one that starts them, so another one starts them.
    let made = thread::scope(|scope| {
        let work = || {
            renounce(owner, &[], dir)?;
            let place = snapshot_place(dir);
            let problem = if must_freeze { place.map(|()| None)? } else { place.err() };
            let writer = TraceWriter::in_new_dir(dir, meta, options)?;
            Ok((writer, problem.map(|problem| format!("{problem:#}"))))
        };
        scope.spawn(work).join().unwrap_or_else(|_| Err(anyhow!("the thread that makes the trace has died")))
    });
    if made.is_err() {
        // The directory is ours and new; if it cannot be removed, the first error says more.
        let _ = fs::remove_dir_all(dir);
    }
    made
}

/// May this thread make directories beside `dir`? Whoever made this one may have had more rights.
fn snapshot_place(dir: &Path) -> Result<()> {
    let parent = dir.parent().unwrap_or(Path::new("/"));
    faccessat(AT_FDCWD, parent, AccessFlags::W_OK | AccessFlags::X_OK, AtFlags::AT_EACCESS)
        .map_err(io::Error::from)
        .with_context(|| {
            format!(
                "snapshots cannot be made in '{}': user {} may not write there; record to a directory of that user \
                 (-o), or name another place with 'recorder snapshot -o'",
                parent.display(),
                geteuid()
            )
        })
}

/// Every probe has about a dozen descriptors and one per processor: hundreds of probes need more than programs are
/// given to begin with, though no more than they may have.
pub fn raise_file_limit() {
    if let Ok((_, most)) = getrlimit(Resource::RLIMIT_NOFILE) {
        // Where that is refused, attaching tells what it could not open.
        let _ = setrlimit(Resource::RLIMIT_NOFILE, most, most);
    }
}

/// `trace.json` as it is at the start.
pub fn meta(options: &Options, plan: &Plan, utc_minus_boottime_ns: i64) -> Result<Meta> {
    let uts = uname().context("cannot ask for the kernel's name")?;
    let text = |text: &std::ffi::OsStr| text.to_string_lossy().into_owned();
    Ok(Meta {
        format_version: FORMAT_VERSION,
        recorder_version: env!("CARGO_PKG_VERSION").to_owned(),
        state: State::Open,
        host: text(uts.nodename()),
        kernel_release: text(uts.release()),
        machine: text(uts.machine()),
        boot_id: boot_id(),
        cpus: possible_cpus(),
        utc_minus_boottime_ns,
        start_ns: clock::boottime_ns() + utc_minus_boottime_ns,
        end_ns: None,
        command_line: options.command_line.clone(),
        command_exit_code: None,
        recorder_pid: std::process::id(),
        events: plan.layouts(),
        kept_from_ns: None,
        gfp_flags: gfp_flags(plan),
        frozen: None,
    })
}

/// What this kernel calls allocation flags, if an event has some and the kernel says so.
fn gfp_flags(plan: &Plan) -> Vec<(u64, String)> {
    let layouts = plan.layouts();
    let has_flags =
        layouts.iter().flat_map(|layout| &layout.columns).any(|column| column.name.starts_with("gfp"));
    let tracefs = has_flags.then(Tracefs::mounted).flatten();
    tracefs.map_or_else(Vec::new, |tracefs| tracefs.flags("kmem", "kmalloc", "gfp_flags"))
}

/// `0-7` -> 8; processors can be numbered up to the last possible one.
fn possible_cpus() -> u32 {
    let text = fs::read_to_string("/sys/devices/system/cpu/possible").unwrap_or_default();
    let last = text.trim().rsplit([',', '-']).next().and_then(|last| last.parse::<u32>().ok());
    last.map_or(1, |last| last + 1)
}

/// Names of kernel addresses.
#[derive(Clone)]
pub struct Names(Arc<NamesOnce>);

struct NamesOnce {
    kallsyms: Option<File>,
    symbols: OnceLock<Option<KernelSymbols>>,
}

impl Names {
    /// kallsyms is opened now, with the rights that there are, and read when the first name is asked for.
    pub fn open() -> Self {
        Self(Arc::new(NamesOnce { kallsyms: KernelSymbols::open().ok(), symbols: OnceLock::new() }))
    }

    /// All of them, if the kernel tells them.
    pub fn get(&self) -> Option<&KernelSymbols> {
        let NamesOnce { kallsyms, symbols } = &*self.0;
        symbols.get_or_init(|| KernelSymbols::read(kallsyms.as_ref()?).ok()).as_ref()
    }

    /// For the writer of a trace.
    pub fn symbolizer(&self) -> Symbolizer {
        let names = self.clone();
        Box::new(move |address| names.get()?.lookup(address).map(Symbol::from))
    }
}

/// A trace that nobody wants: removed when it is closed, and whatever else becomes of it.
pub struct Unwanted(PathBuf);

impl Unwanted {
    /// The new directory `dir`.
    pub fn new(dir: &Path) -> Self {
        Self(dir.to_owned())
    }

    /// Remove it. Fails if it cannot be.
    pub fn remove(&self) -> Result<()> {
        match fs::remove_dir_all(&self.0) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("cannot remove '{}'", self.0.display()))
            }
            _ => Ok(()),
        }
    }
}

impl Drop for Unwanted {
    fn drop(&mut self) {
        if let Err(error) = self.remove() {
            say(format_args!("warning: {error:#}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_that_nobody_wants_goes_with_whoever_made_it() {
        let place = tempfile::tempdir().unwrap();
        let dir = place.path().join("t");
        fs::create_dir_all(dir.join("mkdirs")).unwrap();
        let failed: Result<()> = (|| {
            let _unwanted = Unwanted::new(&dir);
            anyhow::bail!("closing failed")
        })();
        assert!(failed.is_err() && !dir.exists());
    }
}
