//! Options and a plan in, a trace writer out, and what it needs to know: metadata, names of addresses, who sees the
//! batches.

use std::cell::OnceCell;
use std::collections::HashSet;
use std::fs;
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::thread;

use anyhow::{Context, Result, anyhow};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::utsname::uname;
use nix::unistd::mkdtemp;
use schemas::trace::{FORMAT_VERSION, Meta, State};

use super::plan::Plan;
use crate::cli::options::Options;
use crate::kernel::KernelSymbols;
use crate::pipeline::{self, BatchHook, Symbol, Symbolizer, TraceWriter, boot_id};
use crate::print::Printer;
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

/// The writer of a trace in the new directory `dir`. Its threads have no rights but those of the owner.
pub fn writer(
    dir: &Path,
    owner: Option<&Identity>,
    meta: Meta,
    options: pipeline::Options,
) -> Result<TraceWriter> {
    // Threads inherit the rights of the one that starts them, so another one starts them.
    let made = thread::scope(|scope| {
        let work = || {
            renounce(owner, &[], dir)?;
            TraceWriter::in_new_dir(dir, meta, options)
        };
        scope.spawn(work).join().unwrap_or_else(|_| Err(anyhow!("the thread that makes the trace has died")))
    });
    if made.is_err() {
        // The directory is ours and new; if it cannot be removed, the first error says more.
        let _ = fs::remove_dir_all(dir);
    }
    made
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
        frozen: None,
    })
}

/// `0-7` -> 8; processors can be numbered up to the last possible one.
fn possible_cpus() -> u32 {
    let text = fs::read_to_string("/sys/devices/system/cpu/possible").unwrap_or_default();
    let last = text.trim().rsplit([',', '-']).next().and_then(|last| last.parse::<u32>().ok());
    last.map_or(1, |last| last + 1)
}

/// Names of kernel addresses. kallsyms is opened now, with the rights that there are, and read when the first one is
/// asked for.
pub fn symbolizer() -> Symbolizer {
    let kallsyms = KernelSymbols::open().ok();
    let symbols: OnceCell<Option<KernelSymbols>> = OnceCell::new();
    Box::new(move |address| {
        let symbols = symbols.get_or_init(|| KernelSymbols::read(kallsyms.as_ref()?).ok()).as_ref()?;
        let found = symbols.lookup(address)?;
        Some(Symbol {
            name: found.name.to_owned(),
            offset_bytes: found.offset.cast_signed(),
            module: found.module.map(str::to_owned),
        })
    })
}

/// Prints the events that were asked for.
pub fn print_hook(options: &Options, plan: &Plan, closed: Arc<OnceLock<io::Error>>) -> Option<BatchHook> {
    let format = options.print?;
    let asked: HashSet<String> = plan.asked().iter().map(|event| event.def.name.clone()).collect();
    let mut printer = Printer::new(BufWriter::new(io::stdout()), format);
    Some(Box::new(move |event, batch| {
        if asked.contains(event)
            && closed.get().is_none()
            && let Err(error) = printer.print(event, batch)
        {
            // The first error is the one that counts.
            let _ = closed.set(error);
        }
    }))
}
