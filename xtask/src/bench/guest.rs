//! trace-cmd and ktape on the same loads in a guest, out: how much they recorded, in how many bytes. Not how fast: the
//! guest is emulated.

use std::path::{Path, PathBuf};
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
    /// 0: kmem is left out, since attaching it takes an emulated processor half a minute.
    pub files: u64,
}

/// One recorder's output.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Size {
    pub events: u64,
    pub lost: u64,
    /// All of it.
    pub bytes: u64,
    /// Bytes per event without what any recording has: other tables, or what is in front of the events.
    pub net: f64,
}

/// All of them, on one load.
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

/// A load, and its name.
struct Case {
    name: &'static str,
    probe: Probe,
    /// Behind `xtask workload`.
    words: String,
}

/// Run the loads under all of them in a guest.
pub fn sizes(amount: Amount, buffer_bytes_per_cpu: u64, is_quick: bool) -> Result<Vec<Sizes>> {
    let Amount { calls, files } = amount;
    let out = host::target_dir()?.join("bench/guest");
    let mut cases =
        vec![Case { name: "getppid", probe: Probe::Getppid, words: format!("storm --count={calls}") }];
    if files > 0 {
        cases.push(Case { name: "kmem", probe: Probe::Kmem, words: format!("churn --files={files}") });
    }
    let lines: Vec<String> = cases.iter().map(|case| case.script(buffer_bytes_per_cpu)).collect();
    let script = format!("set -e\n{}", lines.concat());
    let mut guest = vm::Guest::new(KERNEL, &script, out.clone())?;
    guest.files.push((recorder_of(is_quick)?, "/usr/bin/recorder".to_owned()));
    guest.files.push(vm::tool_file("trace-cmd").context("trace-cmd is not in PATH")?);
    guest.timeout = LIMIT;
    let outcome = guest.run()?;
    ensure!(outcome.exit_code == 0, "the guest ended with {}:\n{}", outcome.exit_code, outcome.output);
    cases.iter().map(|case| case.read(&out)).collect()
}

/// What the workloads write down.
#[derive(serde::Deserialize)]
struct Truth {
    pid: u32,
    calls: Option<u64>,
}

impl Case {
    /// Record with each of them.
    fn script(&self, buffer_bytes_per_cpu: u64) -> String {
        let Self { name, probe, words } = self;
        let (event, kib) = (ktape_event(*probe), buffer_bytes_per_cpu >> 10);
        let tracepoints: Vec<String> = events(*probe).iter().map(|event| format!("-e {event}")).collect();
        let tracepoints = tracepoints.join(" ");
        let trace_cmd = |file: &str, compression: &str| {
            format!(
                "trace-cmd record -o {file} --compression {compression} -b {kib} {tracepoints} -F \
                 xtask workload {words} --truth {file}.json >{file}.out 2>&1\n"
            )
        };
        // The guest has two processors.
        let ktape = format!(
            "recorder record '{event}' --buffer-size {}K -o {name}.trace -- \
             xtask workload {words} --truth {name}.trace.json\n",
            kib * 2
        );
        trace_cmd(&format!("{name}.dat"), "any") + &trace_cmd(&format!("{name}-plain.dat"), "none") + &ktape
    }

    fn read(&self, out: &Path) -> Result<Sizes> {
        let name = self.name;
        let trace = out.join(format!("{name}.trace"));
        let event = ktape_event(self.probe).split('=').next().unwrap_or_default();
        let (events, lost) = in_tables(&trace, event)?;
        let net = size_bytes(&trace.join(event))? as f64 / events as f64;
        let ktape = Size { events, lost, bytes: size_bytes(&trace)?, net };
        let Truth { calls, .. } = truth(&out.join(format!("{name}.trace.json")))?;
        Ok(Sizes {
            load: name,
            calls,
            ktape,
            trace_cmd: dat(&out.join(format!("{name}.dat")))?,
            trace_cmd_plain: dat(&out.join(format!("{name}-plain.dat")))?,
        })
    }
}

/// `trace-cmd report` prints an event as `COMM-PID [CPU] TIME: NAME: ...`, a gap as `CPU:0 [12 EVENTS DROPPED]`;
/// `trace-cmd record` where it put the events: `CPU0 data recorded at offset=0x139000`.
fn dat(path: &Path) -> Result<Size> {
    let beside = |more: &str| PathBuf::from(format!("{}.{more}", path.display()));
    let Truth { pid, .. } = truth(&beside("json"))?;
    let text = host::output(Command::new("trace-cmd").args(["report", "-i"]).arg(path))?;
    let own = format!("-{pid}");
    let is_own = |line: &&str| line.split_once(" [").is_some_and(|(task, _)| task.trim_end().ends_with(&own));
    let events = text.lines().filter(is_own).count() as u64;
    let lost = text.lines().filter_map(|line| {
        let (count, _) = line.split_once(" EVENTS DROPPED")?;
        count.rsplit('[').next()?.parse::<u64>().ok()
    });
    let said = std::fs::read_to_string(beside("out")).context("trace-cmd left no output")?;
    let offsets =
        said.lines().filter_map(|line| u64::from_str_radix(line.split_once("offset=0x")?.1, 16).ok());
    let first =
        offsets.min().with_context(|| format!("trace-cmd does not say where it put the events: {said}"))?;
    let bytes = size_bytes(path)?;
    Ok(Size { events, lost: lost.sum(), bytes, net: (bytes - first) as f64 / events as f64 })
}
