//! The commands that README, CONTRIBUTING and docs/ show: each ```sh block is run, or for `cargo xtask` known.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use xtask::host;

/// An answer on a trace with losses, or without rows, ends with 1: that is no failure here. Who reads on while a recorder
/// starts waits for as long as that takes on this machine.
const PRELUDE: &str = "\
analyze() { command analyze \"$@\" || [ $? = 1 ]; }
sleep() { until [ -S flight.trace/.control.tmp ]; do command sleep 0.1; done; }
";

/// A ```sh block: where it stands and its lines.
struct Block {
    place: String,
    text: String,
}

/// The blocks of the page at `path` that begin with the line `opening`.
fn blocks(path: &str, opening: &str) -> Vec<Block> {
    let text = fs::read_to_string(host::repo().join(path)).expect(path);
    let mut blocks = Vec::new();
    let mut open: Option<Block> = None;
    for (number, line) in text.lines().enumerate() {
        // A block in a list is indented.
        let line = line.trim_start();
        match &mut open {
            Some(_) if line.starts_with("```") => blocks.extend(open.take()),
            Some(block) => block.text += &format!("{line}\n"),
            None if line == opening => {
                open = Some(Block { place: format!("{path}:{}", number + 2), text: String::new() });
            }
            None => {}
        }
    }
    assert!(open.is_none(), "{path}: a block is not closed");
    blocks
}

/// Chores are run by `.ci/run` or take guests: here only their names and options are checked.
fn known_chore(words: &str) -> bool {
    let words: Vec<&str> = words.split('#').next().unwrap_or_default().split_whitespace().collect();
    // A chore may have chores of its own: bench record.
    let names = words.iter().take_while(|word| !word.starts_with('-'));
    let mut xtask = Command::new(host::built("xtask").expect("xtask is built"));
    let help = xtask.args(names).arg("--help").output();
    let help = help.expect("xtask runs");
    let text = String::from_utf8_lossy(&help.stdout).into_owned();
    let own = words.iter().take_while(|word| **word != "--");
    help.status.success() && own.filter(|word| word.starts_with("--")).all(|option| text.contains(*option))
}

/// A benchmark takes minutes: here only its name is checked.
fn known_benchmark(words: &str) -> bool {
    let words: Vec<&str> = words.split_whitespace().collect();
    let after = |option: &str| words.iter().skip_while(|word| **word != option).nth(1).copied();
    let Some((package, name)) = after("-p").zip(after("--bench")) else { return false };
    let manifest = fs::read_to_string(host::repo().join(package).join("Cargo.toml")).unwrap_or_default();
    let benchmarks = manifest.split("[[bench]]").skip(1);
    benchmarks
        .filter_map(|text| text.split("[[").next())
        .any(|text| text.contains(&format!("name = \"{name}\"")))
}

fn run(path: &str) {
    let dir = tempfile::tempdir().expect("a directory");
    let programs: PathBuf = host::built("recorder").expect("built").parent().expect("a directory").to_owned();
    let search = std::env::var_os("PATH").unwrap_or_default();
    let search =
        std::env::join_paths([programs].into_iter().chain(std::env::split_paths(&search))).expect("PATH");
    for block in blocks(path, "```sh") {
        let (chores, commands): (Vec<&str>, Vec<&str>) =
            block.text.lines().partition(|line| line.starts_with("cargo ") || line.starts_with(".ci/run"));
        for chore in chores.iter().filter_map(|line| line.strip_prefix("cargo xtask ")) {
            assert!(known_chore(chore), "{}: there is no such chore: {chore}", block.place);
        }
        for words in chores.iter().filter_map(|line| line.strip_prefix("cargo bench ")) {
            assert!(known_benchmark(words), "{}: there is no such benchmark: {words}", block.place);
        }
        let mut shell = Command::new("sh");
        shell
            .args(["-e", "-c", &format!("{PRELUDE}{}", commands.join("\n"))])
            .current_dir(dir.path())
            .env("PATH", &search);
        let output = shell.output().expect("sh runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {}\n{}{said}", block.place, output.status, block.text);
    }
}

#[test]
fn the_commands_of_the_readme_work() {
    run("README.md");
}

#[test]
fn the_commands_of_contributing_work() {
    run("CONTRIBUTING.md");
}

#[test]
fn the_commands_of_the_pages_in_docs_work() {
    let pages = fs::read_dir(host::repo().join("docs")).expect("docs");
    let names = pages.map(|page| page.expect("a page").file_name().into_string().expect("UTF-8"));
    let mut names: Vec<String> = names.filter(|name| name.ends_with(".md")).collect();
    names.sort();
    assert!(names.contains(&"adding-an-event.md".to_owned()));
    names.iter().for_each(|name| run(&format!("docs/{name}")));
}

#[test]
fn the_example_of_an_event_file_is_one() {
    let examples = blocks("docs/adding-an-event.md", "```toml");
    assert_eq!(examples.len(), 1);
    for Block { place, text } in examples {
        let event = schemas::def::parse_toml("example", &text).unwrap_or_else(|e| panic!("{place}: {e}"));
        assert_eq!(event.sources.len(), 1);
    }
}

#[test]
fn the_limits_that_the_page_names_are_those_of_the_program() {
    use schemas::wire::{
        EACH_RUNS, MAX_CLAUSES, MAX_EACH, MAX_FRAMES, MAX_RECORD, MAX_SLOTS, MAX_STASH, MAX_STRING,
    };
    use schemas::wire::{MAX_TEMPS, MAX_TERMS};
    let page = fs::read_to_string(host::repo().join("docs/adding-an-event.md")).expect("the page");
    let limits = page.split("## Limits").nth(1).expect("a section").replace('\n', " ");
    for part in [
        format!("{} columns", schemas::def::MAX_COLUMNS),
        format!("{MAX_SLOTS} steps"),
        format!("{MAX_TEMPS} kept values"),
        format!("{MAX_TERMS} comparisons"),
        format!("{MAX_CLAUSES} alternatives"),
        format!("{MAX_RECORD} bytes per row"),
        format!("{MAX_STRING} characters per string"),
        format!("{MAX_FRAMES} frames per stack"),
        format!("{} items per array", MAX_EACH * EACH_RUNS),
        format!("{MAX_STASH} bytes of columns read at entry"),
    ] {
        assert!(limits.contains(&part), "the page does not say: {part}");
    }
}
