//! Options and a plan in, what a trace writer needs to know out: metadata, names of addresses, who sees the batches.

use std::cell::OnceCell;
use std::collections::HashSet;
use std::fs;
use std::io::{self, BufWriter};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use anyhow::{Context, Result};
use nix::sys::utsname::uname;
use schemas::trace::{FORMAT_VERSION, Meta, State};

use super::plan::Plan;
use crate::cli::options::Options;
use crate::kernel::KernelSymbols;
use crate::pipeline::{BatchHook, Symbol, Symbolizer, boot_id};
use crate::print::Printer;
use crate::snapshot::clock;

/// A place for a trace that nobody wants.
pub fn unkept_dir() -> PathBuf {
    std::env::temp_dir().join(format!("recorder-{}.trace", std::process::id()))
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
    })
}

/// `0-7` -> 8; processors can be numbered up to the last possible one.
fn possible_cpus() -> u32 {
    let text = fs::read_to_string("/sys/devices/system/cpu/possible").unwrap_or_default();
    let last = text.trim().rsplit([',', '-']).next().and_then(|last| last.parse::<u32>().ok());
    last.map_or(1, |last| last + 1)
}

/// Names of kernel addresses. kallsyms is read when the first one is asked for.
pub fn symbolizer() -> Symbolizer {
    let symbols: OnceCell<Option<KernelSymbols>> = OnceCell::new();
    Box::new(move |address| {
        let symbols = symbols.get_or_init(|| KernelSymbols::load().ok()).as_ref()?;
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
