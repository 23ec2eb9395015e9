//! `cargo xtask demo`: nothing in, a recording of a small known load and the answers to questions about it out.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::{host, setup, vm, workload};

const SCRIPT: &str = concat!(include_str!("prelude.sh"), include_str!("demo.sh"));

/// The questions: what they are about, and the words behind `analyze`.
const QUESTIONS: &[(&str, &[&str])] = &[
    ("What is in a trace?", &["services.trace"]),
    ("How many sockets listened, in which network namespace?", &["listens_by_netns", "services.trace"]),
    (
        "Which memory was allocated and not freed, and by which code?",
        &["leaks", "memory.trace", "--by", "stack", "--top", "3"],
    ),
    ("How much time passed between packets?", &["gaps", "traffic.trace"]),
    // Bursts are 50 ms apart; an emulated guest takes longer than the default 100us between their packets.
    ("Were there bursts?", &["bursts", "traffic.trace", "--threshold", "30ms"]),
];

/// Set up, build, record (in a guest of the series `kernel` if given), ask.
pub fn run(kernel: Option<&str>) -> Result<()> {
    setup::run(false)?;
    heading("Building (the first time takes some minutes)");
    build()?;
    let dir = host::target_dir()?.join("demo");
    let guest = match kernel {
        Some(series) => Some((series, "you asked for it".to_owned())),
        None => refusal(&dir)?.map(|why| (*setup::SERIES.last().unwrap_or(&""), why)),
    };
    match guest {
        Some((series, why)) => {
            heading(&format!("Recording in a guest with Linux {series}, because {why}"));
            let mut guest = vm::Guest::new(series, &format!("set guest\n{SCRIPT}"), dir.clone())?;
            guest.echo = true;
            let code = guest.run()?.exit_code;
            ensure!(code == 0, "recording in the guest ended with {code}");
        }
        None => {
            heading("Recording on this machine, because its kernel allows all that is needed");
            natively(&dir)?;
        }
    }
    answers(&dir)
}

/// The programs, built as the tests need them too.
pub fn build() -> Result<()> {
    host::status(Command::new("cargo").args(["build", "--bins"]).current_dir(host::repo()))
}

/// Why this machine's kernel cannot be recorded; `None` if it can: everything attaches.
fn refusal(dir: &Path) -> Result<Option<String>> {
    if !setup::is_root() {
        return Ok(Some("recording this machine takes root".to_owned()));
    }
    empty(dir)?;
    let trial = dir.join("trial.trace");
    let mut recorder = Command::new(host::built("recorder")?);
    recorder
        .args(["record", "listens", "kmem", "packets", "--require", "-o"])
        .arg(&trial)
        .args(["--", "true"]);
    let output = recorder.output().context("cannot run the recorder")?;
    if output.status.success() {
        return Ok(None);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let last = said.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("it failed");
    Ok(Some(format!("this machine's kernel does not allow everything\n   ({last})")))
}

fn natively(dir: &Path) -> Result<()> {
    empty(dir)?;
    let recorder = host::built("recorder")?;
    let programs = recorder.parent().map(Path::to_owned).unwrap_or_default();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::join_paths([programs].into_iter().chain(std::env::split_paths(&path)))?;
    let mut script = Command::new("sh");
    host::status(script.args(["-c", SCRIPT, "demo", "native"]).current_dir(dir).env("PATH", path))
}

fn empty(dir: &Path) -> Result<()> {
    if dir.exists() {
        fs::remove_dir_all(dir).with_context(|| format!("cannot empty {}", dir.display()))?;
    }
    fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))
}

fn answers(dir: &Path) -> Result<()> {
    let analyze = host::built("analyze")?;
    let mut failed = 0;
    for (question, words) in QUESTIONS {
        heading(question);
        println!("$ analyze {}", words.join(" "));
        let status =
            Command::new(&analyze).args(*words).current_dir(dir).status().context("cannot run analyze")?;
        // 1 says that the answer is there and events were lost, as it tells below the answer.
        failed += u32::from(!matches!(status.code(), Some(0 | 1)));
    }
    heading("Is it the truth?");
    let listens: workload::listens::Truth = workload::truth(&dir.join("services.json"))?;
    let memory: workload::kmem::Truth = workload::truth(&dir.join("memory.json"))?;
    let traffic: workload::packets::Truth = workload::truth(&dir.join("traffic.json"))?;
    println!(
        "The load listened with {} sockets in 3 namespaces, leaked {} files (cache filp; {} more are its program and libraries, mapped), and sent {} bursts of {} packets.",
        listens.listens.len(),
        memory.held,
        memory.mapped,
        traffic.bursts.len(),
        traffic.bursts.first().map_or(0, |burst| burst.count)
    );
    println!("The traces are in {}; ask them more: {} sql TRACE QUERY", dir.display(), analyze.display());
    if failed > 0 {
        bail!("{failed} questions were not answered");
    }
    Ok(())
}

fn heading(text: &str) {
    println!("\n== {text}");
}
