//! docs/kernel-support.md: which kernel shows each built-in event, and by what, as a recording in a guest of each says.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use schemas::def::builtin;
use serde::Deserialize;
use xtask::{host, setup, vm};

use crate::tools::Case;

pub const NAME: &str = "events_are_observed_as_the_page_says";

/// What table `probes` says of a way to observe a source.
#[derive(Deserialize)]
struct Probe {
    event: String,
    source: String,
    kind: String,
    attached: bool,
}

/// How the sources of each event are observed on a kernel: `None` those that are not.
type Observed = BTreeMap<String, BTreeMap<String, Option<String>>>;

/// Record each event in a guest of each kernel, and compare what was observed with the page. `KTAPE_BLESS` writes it.
pub fn judge() -> Result<()> {
    let others = setup::OTHERS.iter().map(|(series, _)| *series);
    let mut all: Vec<&str> = setup::SERIES.iter().copied().chain(others).collect();
    all.sort_by_key(|series| series.split('.').map(|part| part.parse().unwrap_or(0)).collect::<Vec<u32>>());
    let observed = all.iter().map(|series| observe(series)).collect::<Result<Vec<_>>>()?;
    let found = page(&all, &observed);
    let path = host::repo().join("docs/kernel-support.md");
    if std::env::var_os("KTAPE_BLESS").is_some() {
        return fs::write(&path, found).with_context(|| format!("cannot write {}", path.display()));
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    ensure!(
        found == written,
        "{} is old; KTAPE_BLESS=1 cargo xtask test --all kernel writes:\n{found}",
        path.display()
    );
    Ok(())
}

fn observe(series: &str) -> Result<Observed> {
    let dir = host::target_dir()?.join("kernel-tests").join(format!("{series}-support"));
    let names: Vec<&str> = builtin().iter().map(|event| event.name.as_str()).collect();
    let script = format!(
        "for name in {}; do recorder record $name -d 0.5 -o $name.trace >$name.log 2>&1; done",
        names.join(" ")
    );
    let mut guest = vm::Guest::new(series, &script, dir.clone())?;
    host::built("recorder").context("the recorder is to be built first")?;
    guest.timeout = Duration::from_secs(3000);
    guest.run()?;
    let mut observed = Observed::new();
    for name in names {
        // An event of which nothing is observed leaves no trace.
        let trace = dir.join(name).with_extension("trace");
        for Probe { event, source, kind, attached } in
            probes(&trace)?.into_iter().filter(|it| it.event == name)
        {
            let way = observed.entry(event).or_default().entry(source).or_default();
            *way = way.take().or_else(|| attached.then_some(kind));
        }
    }
    Ok(observed)
}

fn probes(trace: &Path) -> Result<Vec<Probe>> {
    if !trace.exists() {
        return Ok(Vec::new());
    }
    let mut analyze = Command::new(host::built("analyze")?);
    analyze.args(["sql", "--format", "ndjson"]).arg(trace);
    let output = analyze.arg("SELECT event, source, kind, attached FROM probes").output()?;
    ensure!(output.status.success(), "{}: {}", trace.display(), String::from_utf8_lossy(&output.stderr));
    let rows = String::from_utf8_lossy(&output.stdout).into_owned();
    rows.lines().map(|row| serde_json::from_str(row).with_context(|| row.to_owned())).collect()
}

fn page(all: &[&str], observed: &[Observed]) -> String {
    let mut text = String::from(
        "# Kernels\n\n\
         What a recording of each built-in event observed in a guest with Debian's kernel of that series, and by what: \
         `cargo xtask test --all` records them all and compares. A source of its own name is one of several that the event \
         has, see [events.md](events.md). What is missing has no rows there, which table `probes` says in each trace, with \
         the reason. The last column names the tests (`tests/kernel/tools`) that ask the event's rows and compare with what \
         the kernel itself counts, or with what the workload did; those run on 6.1 and 6.12.\n\n",
    );
    let _ = writeln!(text, "| event | {} | asked by |", all.join(" | "));
    let _ = writeln!(text, "|---|{}---|", "---|".repeat(all.len()));
    for event in builtin() {
        let cells = observed.iter().map(|kernel| cell(kernel.get(&event.name)));
        let cells = cells.collect::<Vec<_>>().join(" | ");
        let _ = writeln!(text, "| {} | {cells} | {} |", event.name, asked_by(&event.name));
    }
    text
}

fn cell(sources: Option<&BTreeMap<String, Option<String>>>) -> String {
    let Some(sources) = sources else { return "no".to_owned() };
    let ways: BTreeSet<&str> = sources.values().flatten().map(String::as_str).collect();
    if ways.is_empty() {
        return "no".to_owned();
    }
    let missing: Vec<&str> =
        sources.iter().filter(|(_, way)| way.is_none()).map(|(source, _)| source.as_str()).collect();
    let without =
        if missing.is_empty() { String::new() } else { format!(", without {}", missing.join(", ")) };
    ways.into_iter().collect::<Vec<_>>().join(", ") + &without
}

/// Scripts that record the event.
fn asked_by(event: &str) -> String {
    let records = |case: &Case| {
        let lines = case
            .script
            .lines()
            .filter(|line| line.contains("recorder record") || line.contains("record_load"));
        lines.flat_map(|line| line.split([' ', '"', '\''])).any(|word| word == event)
    };
    let names = Case::all().into_iter().filter(records).map(|case| case.name);
    names.collect::<Vec<_>>().join(", ")
}
