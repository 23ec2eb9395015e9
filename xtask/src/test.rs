//! `cargo xtask test`: the workspace in, every test run, section by section, and one line with the sums out.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::{host, setup};

/// Set for the test programs if what takes long is wanted too.
pub const ALL: &str = "KTAPE_TEST_ALL";

/// A test program as cargo built it.
struct TestProgram {
    package: String,
    target: String,
    manifest_dir: PathBuf,
    executable: PathBuf,
}

/// How many.
#[derive(Default)]
struct Sums {
    passed: u64,
    failed: u64,
}

/// Set up, build everything once, run the tests; `filter` keeps those sections whose name has it, `is_all` adds what takes
/// long.
pub fn run(filter: Option<&str>, is_all: bool) -> Result<bool> {
    setup::run(false)?;
    heading("building");
    // One selection of packages, and features that do not differ: each dependency is compiled once.
    host::status(Command::new("cargo").args(["build", "--bins"]).current_dir(host::repo()))?;
    let mut programs = programs()?;
    // Guests last: what fails fast comes first.
    programs.sort_by_key(|program| (program.target == "kernel", program.package.clone()));
    let mut sums = Sums::default();
    for program in &programs {
        let name = format!("{} {}", program.package, program.target);
        if filter.is_none_or(|filter| name.contains(filter)) {
            heading(&name);
            run_one(program, is_all, &mut sums)?;
        }
    }
    println!("\n{} passed, {} failed", sums.passed, sums.failed);
    Ok(sums.failed == 0)
}

/// Build all test programs and say where they are.
fn programs() -> Result<Vec<TestProgram>> {
    let mut cargo = Command::new("cargo");
    cargo.args(["test", "--no-run", "--message-format", "json-render-diagnostics"]).current_dir(host::repo());
    let output = cargo.stderr(Stdio::inherit()).output().context("cannot run cargo")?;
    if !output.status.success() {
        bail!("the tests do not build");
    }
    let messages = String::from_utf8_lossy(&output.stdout).into_owned();
    let messages = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    Ok(messages.filter_map(|message| test_program(&message)).collect())
}

fn test_program(message: &Value) -> Option<TestProgram> {
    if message["profile"]["test"] != true {
        return None;
    }
    let manifest_dir = PathBuf::from(message["manifest_path"].as_str()?).parent()?.to_owned();
    Some(TestProgram {
        package: manifest_dir.file_name()?.to_string_lossy().into_owned(),
        target: message["target"]["name"].as_str()?.to_owned(),
        executable: message["executable"].as_str()?.into(),
        manifest_dir,
    })
}

/// Run it as cargo would, passing on its output.
fn run_one(program: &TestProgram, is_all: bool, sums: &mut Sums) -> Result<()> {
    let mut command = Command::new(&program.executable);
    command.current_dir(&program.manifest_dir).env("CARGO_MANIFEST_DIR", &program.manifest_dir);
    if is_all {
        command.env(ALL, "1");
    }
    let mut child = command.stdout(Stdio::piped()).spawn().context("cannot run a test program")?;
    let mut counted = None;
    for line in BufReader::new(child.stdout.take().context("no output")?).lines() {
        let line = line?;
        println!("{line}");
        if let Some(result) = line.strip_prefix("test result: ") {
            let number = |word: &str| {
                let part = result.split(';').find(|part| part.trim().ends_with(word))?;
                part.split_whitespace().rev().nth(1)?.parse::<u64>().ok()
            };
            counted = number(" passed").zip(number(" failed"));
        }
    }
    let ended_well = child.wait()?.success();
    let (passed, failed) = counted.unwrap_or_default();
    sums.passed += passed;
    // One that died without a verdict has failed too.
    sums.failed += if ended_well { failed } else { failed.max(1) };
    Ok(())
}

fn heading(text: &str) {
    println!("\n== {text}");
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Crates with versions and features, where dependencies of these kinds are followed.
    fn crates(edges: &str) -> BTreeSet<String> {
        let mut cargo = Command::new("cargo");
        cargo.args(["tree", "--edges", edges, "--prefix", "none", "--format", "{p} {f}"]);
        let output = cargo.current_dir(host::repo()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().map(|line| line.trim_end_matches(" (*)").to_owned()).collect()
    }

    #[test]
    fn what_tests_depend_on_does_not_make_libraries_be_built_twice() {
        let (programs, tests) = (crates("normal,build"), crates("normal,build,dev"));
        assert!(programs.len() < tests.len() && programs.iter().any(|line| line.starts_with("datafusion ")));
        let twice: Vec<_> = programs.difference(&tests).collect();
        assert!(twice.is_empty(), "tests build these with other features: {twice:#?}");
    }
}
