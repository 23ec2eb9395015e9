//! trace-cmd and ktape on the same loads in a guest, out: how much they recorded, in how many bytes. Not how fast: the
//! guest is emulated.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::Serialize;

use super::load::Probe;
use super::tracer::{events, in_tables, ktape_event, recorder_of, size_bytes};
use crate::workload::truth;
use crate::{host, vm};

const KERNEL: &str = "6.12";
const LIMIT: Duration = Duration::from_secs(180);

/// How much is done in the guest.
#[derive(Clone, Copy)]
pub struct Amount {
    pub calls: u64,
    pub files: u64,
}

/// One recorder's output.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Size {
    pub events: u64,
    pub lost: u64,
    pub bytes: u64,
    /// Bytes per event, without what a recording of next to nothing has.
    pub net: f64,
}

/// Both of them, on one load.
#[derive(Debug, Serialize)]
pub struct Sizes {
    pub load: &'static str,
    /// Calls of getppid that the workload made; its kmem events nobody counts but the tracers.
    pub calls: Option<u64>,
    pub ktape: Size,
    pub trace_cmd: Size,
    /// Without the compression that trace-cmd uses unless told otherwise.
    pub trace_cmd_plain: Size,
}

/// Run both loads under both in a guest.
pub fn sizes(amount: Amount, buffer_bytes_per_cpu: u64, is_quick: bool) -> Result<Vec<Sizes>> {
    let out = host::target_dir()?.join("bench/guest");
    let loads = [
        ("getppid", Probe::Getppid, format!("storm --count={}", amount.calls), "storm --count=1".to_owned()),
        ("kmem", Probe::Kmem, format!("churn --files={}", amount.files), "churn --files=1".to_owned()),
    ];
    let mut script = "set -e\n".to_owned();
    for (name, probe, load, idle) in &loads {
        for (name, load) in [(format!("{name}-full"), load), (format!("{name}-idle"), idle)] {
            script += &lines(&name, *probe, load, buffer_bytes_per_cpu);
        }
    }
    let mut guest = vm::Guest::new(KERNEL, &script, out.clone())?;
    guest.files.push((recorder_of(is_quick)?, "/usr/bin/recorder".to_owned()));
    guest.files.push(vm::tool_file("trace-cmd").context("trace-cmd is not in PATH")?);
    guest.timeout = LIMIT;
    let outcome = guest.run()?;
    ensure!(outcome.exit_code == 0, "the guest ended with {}:\n{}", outcome.exit_code, outcome.output);
    loads.iter().map(|(name, probe, ..)| read(&out, name, *probe)).collect()
}

/// Record one load with each of them.
fn lines(name: &str, probe: Probe, load: &str, buffer_bytes_per_cpu: u64) -> String {
    let tracepoints: Vec<String> = events(probe).iter().map(|event| format!("-e {event}")).collect();
    let (kib, tracepoints) = (buffer_bytes_per_cpu >> 10, tracepoints.join(" "));
    let event = ktape_event(probe);
    let trace_cmd = |file: &str, more: &str| {
        format!(
            "trace-cmd record -o {file} {more} -b {kib} {tracepoints} -F xtask workload {load} --truth {file}.json\n"
        )
    };
    trace_cmd(&format!("{name}.dat"), "")
        + &trace_cmd(&format!("{name}.plain.dat"), "--compression none")
        + &format!(
            "recorder record '{event}' --buffer-size $(({kib} * 2))K -o {name}.trace -- \
         xtask workload {load} --truth {name}.trace.json\n"
        )
}

/// What they all write down.
#[derive(serde::Deserialize)]
struct Truth {
    pid: u32,
    calls: Option<u64>,
}

fn read(out: &Path, name: &'static str, probe: Probe) -> Result<Sizes> {
    let of_trace = |part: &str| -> Result<(u64, u64, u64)> {
        let trace = out.join(format!("{name}-{part}.trace"));
        let event = ktape_event(probe).split('=').next().unwrap_or_default();
        let (events, lost) = in_tables(&trace, event)?;
        Ok((events, lost, size_bytes(&trace)?))
    };
    let of_dat = |part: &str| -> Result<(u64, u64, u64)> {
        let dat = out.join(format!("{name}-{part}"));
        let Truth { pid, .. } = truth(&dat.with_extension("dat.json"))?;
        let (events, lost) = in_dat(&dat, pid)?;
        Ok((events, lost, size_bytes(&dat)?))
    };
    let size = |full: (u64, u64, u64), idle: (u64, u64, u64)| Size {
        events: full.0,
        lost: full.1,
        bytes: full.2,
        net: full.2.saturating_sub(idle.2) as f64 / full.0.saturating_sub(idle.0) as f64,
    };
    let Truth { calls, .. } = truth(&out.join(format!("{name}-full.trace.json")))?;
    Ok(Sizes {
        load: name,
        calls,
        ktape: size(of_trace("full")?, of_trace("idle")?),
        trace_cmd: size(of_dat("full.dat")?, of_dat("idle.dat")?),
        trace_cmd_plain: size(of_dat("full.plain.dat")?, of_dat("idle.plain.dat")?),
    })
}

/// `trace-cmd report` prints an event as `COMM-PID [CPU] TIME: NAME: ...`, a gap as `CPU:0 [12 EVENTS DROPPED]`.
fn in_dat(dat: &Path, pid: u32) -> Result<(u64, u64)> {
    let text = host::output(Command::new("trace-cmd").args(["report", "-i"]).arg(dat))?;
    let own = format!("-{pid}");
    let events = text
        .lines()
        .filter(|line| line.split_once(" [").is_some_and(|(task, _)| task.trim_end().ends_with(&own)));
    let lost = text.lines().filter_map(|line| {
        let (count, _) = line.split_once(" EVENTS DROPPED")?;
        count.rsplit('[').next()?.parse::<u64>().ok()
    });
    Ok((events.count() as u64, lost.sum()))
}
