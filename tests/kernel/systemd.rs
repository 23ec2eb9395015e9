//! The unit of contrib/ in a guest whose process 1 is systemd; verdict on its rights, its traces and its end.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use schemas::trace::{FrozenBy, State};
use xtask::{host, setup, vm};

use crate::trace::{Trace, int};

/// Of the test.
pub const NAME: &str = "the_systemd_unit_records_snapshots_restarts_and_stops";
/// Where it is done. What systemd and the unit agree about is the same on all.
pub const SERIES: &str = "6.12";
const UNIT: &str = "contrib/ktape-recorder.service";
/// Numbers of linux/capability.h.
const CAPABILITIES: [(&str, u32); 6] = [
    ("CAP_BPF", 39),
    ("CAP_PERFMON", 38),
    ("CAP_DAC_READ_SEARCH", 2),
    ("CAP_SYS_PTRACE", 19),
    ("CAP_SYSLOG", 34),
    ("CAP_SYS_ADMIN", 21),
];

/// Boot, install the unit, use it, then look.
pub fn judge() -> Result<()> {
    let dir = host::target_dir()?.join("kernel-tests").join(format!("{SERIES}-systemd"));
    let mut guest = vm::Guest::new(SERIES, "sh /kernel/systemd.sh", dir.clone())?;
    let systemd = setup::systemd()?;
    guest.library_dirs = systemd.library_dirs();
    guest.files.extend(systemd.files()?);
    let init = guest.files.iter().find(|(_, there)| there.ends_with("/systemd")).context("no systemd")?;
    guest.files.push((init.0.clone(), "/sbin/init".into()));
    guest.files.push((host::built("recorder")?, "/usr/local/bin/recorder".into()));
    guest.files.push((host::repo().join("tests/kernel/systemd.sh"), "/kernel/systemd.sh".into()));
    guest.files.push((host::repo().join(UNIT), "/kernel/ktape-recorder.service".into()));
    let outcome = guest.run()?;
    Left { dir, output: outcome.output }.judge()
}

/// What the script left.
struct Left {
    dir: PathBuf,
    output: String,
}

impl Left {
    fn judge(&self) -> Result<()> {
        self.rights().with_context(|| self.story())?;
        self.traces().with_context(|| self.story())?;
        self.end().with_context(|| self.story())
    }

    fn text(&self, name: &str) -> Result<String> {
        let file = self.dir.join(name);
        let text = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        Ok(text.trim().to_owned())
    }

    /// For errors.
    fn story(&self) -> String {
        let said = ["recorder.log", "systemd.log"].map(|log| self.text(log).unwrap_or_default());
        format!("{}\n{}", self.output, said.join("\n"))
    }

    /// A set of capabilities of every thread in a status file.
    fn sets(&self, file: &str, set: &str) -> Result<Vec<u64>> {
        let text = self.text(file)?;
        let lines = text.lines().filter_map(|line| line.strip_prefix(set)?.strip_prefix(":"));
        lines.map(|digits| Ok(u64::from_str_radix(digits.trim(), 16)?)).collect()
    }

    /// What the unit names, until the probes are attached; then nothing.
    fn rights(&self) -> Result<()> {
        ensure!(self.text("active")? == "active", "the unit is {}", self.text("active")?);
        let unit = fs::read_to_string(host::repo().join(UNIT))?;
        let named = unit.lines().find_map(|line| line.strip_prefix("AmbientCapabilities="));
        let named: Vec<&str> = named.context("the unit names no capabilities")?.split(' ').collect();
        let mut mask = 0;
        for (name, number) in CAPABILITIES {
            ensure!(named.contains(&name), "the unit does not name {name}");
            mask |= 1_u64 << number;
        }
        ensure!(named.len() == CAPABILITIES.len(), "the unit names {named:?}");
        for set in ["CapEff", "CapPrm", "CapBnd"] {
            let found = self.sets("before.status", set)?;
            ensure!(found == [mask], "{set} was {found:x?} before, not {mask:x}");
        }
        for set in ["CapEff", "CapPrm", "CapInh", "CapAmb"] {
            let found = self.sets("after.status", set)?;
            ensure!(found.len() > 1 && found.iter().all(|set| *set == 0), "{set} is {found:x?} after");
        }
        // It cannot be made smaller without CAP_SETPCAP; nothing that is executed gains anything.
        let bounding = self.sets("after.status", "CapBnd")?;
        ensure!(bounding.iter().all(|set| *set == mask), "CapBnd is {bounding:x?}");
        ensure!(self.sets("after.status", "NoNewPrivs")?.iter().all(|flag| *flag == 1), "it may gain some");
        Ok(())
    }

    /// A trigger and a signal made a snapshot each; what was killed was tidied up by the unit, what was stopped is closed.
    fn traces(&self) -> Result<()> {
        let mut by = Vec::new();
        for entry in fs::read_dir(self.dir.join("ktape"))? {
            let path = entry?.path();
            if path.to_string_lossy().contains("-snapshot-") {
                let trace = Trace::open(path)?;
                ensure!(trace.meta.state == State::Closed, "{:?}", trace.meta.state);
                self.has_listener(&trace)?;
                let frozen = trace.meta.frozen.as_ref().context("it does not say why it is there")?;
                by.push((frozen.by, frozen.text.clone().unwrap_or_default()));
            }
        }
        by.sort_by_key(|(_, text)| text.clone());
        let expected = [(FrozenBy::Signal, "SIGUSR1"), (FrozenBy::Trigger, "listens: port == 4444")];
        ensure!(by == expected.map(|(by, text)| (by, text.to_owned())), "snapshots: {by:?}");

        let killed = self.trace("killed.name")?;
        ensure!(killed.meta.state == State::Recovered, "{:?}", killed.meta.state);
        self.has_listener(&killed)?;
        ensure!(!killed.rows("switches")?.is_empty(), "no task switches");
        let stopped = self.trace("stopped.name")?;
        ensure!(stopped.dir != killed.dir, "it was not restarted");
        ensure!(stopped.meta.state == State::Closed, "{:?}", stopped.meta.state);
        Ok(())
    }

    fn trace(&self, name_in: &str) -> Result<Trace> {
        let name = self.text(name_in)?;
        Trace::open(self.dir.join("ktape").join(name.rsplit('/').next().unwrap_or_default()))
    }

    fn has_listener(&self, trace: &Trace) -> Result<()> {
        let pid: i64 = self.text("listener.pid")?.parse()?;
        let rows = trace.rows("listens")?;
        let own = |row: &&crate::trace::Row| {
            row["ev"] == "listen" && int(row, "port").ok() == Some(4444) && int(row, "pid").ok() == Some(pid)
        };
        let count = rows.iter().filter(own).count();
        ensure!(count == 1, "{count} rows of the listener in {}", trace.dir.display());
        Ok(())
    }

    /// Killed, it is started again, once; stopped, it ends well and in time.
    fn end(&self) -> Result<()> {
        ensure!(self.text("restarts")? == "1", "{} restarts", self.text("restarts")?);
        let stopped = self.text("stopped")?;
        for line in ["Result=success", "ActiveState=inactive", "ExecMainStatus=0"] {
            ensure!(stopped.lines().any(|found| found == line), "not {line}: {stopped}");
        }
        let times = self.text("stop.uptime")?;
        let times: Vec<f64> = times.split(' ').map(|time| Ok(time.parse()?)).collect::<Result<_>>()?;
        println!("{SERIES}: systemd stopped it in {:.2} s", times[1] - times[0]);
        ensure!(times[1] - times[0] < 60.0, "it took longer than TimeoutStopSec: {times:?}");
        Ok(())
    }
}
