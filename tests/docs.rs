//! The commands that README, CONTRIBUTING and docs/ show: each ```sh block is run, or for `cargo xtask` known.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use xtask::host;

/// An answer on a trace with losses, or without rows, ends with 1: that is no failure here.
const PRELUDE: &str = "analyze() { command analyze \"$@\" || [ $? = 1 ]; }\n";

/// A ```sh block: where it stands and its lines.
struct Block {
    place: String,
    text: String,
}

fn blocks(path: &str) -> Vec<Block> {
    let text = fs::read_to_string(host::repo().join(path)).expect(path);
    let mut blocks = Vec::new();
    let mut open: Option<Block> = None;
    for (number, line) in text.lines().enumerate() {
        match &mut open {
            Some(_) if line.starts_with("```") => blocks.extend(open.take()),
            Some(block) => block.text += &format!("{line}\n"),
            None if line == "```sh" => {
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
    let chore = words.first().copied().unwrap_or_default();
    let help = Command::new(host::built("xtask").expect("xtask is built")).args([chore, "--help"]).output();
    let help = help.expect("xtask runs");
    let text = String::from_utf8_lossy(&help.stdout).into_owned();
    let own = words.iter().take_while(|word| **word != "--");
    help.status.success() && own.filter(|word| word.starts_with("--")).all(|option| text.contains(*option))
}

fn run(path: &str) {
    let dir = tempfile::tempdir().expect("a directory");
    let programs: PathBuf = host::built("recorder").expect("built").parent().expect("a directory").to_owned();
    let search = std::env::var_os("PATH").unwrap_or_default();
    let search =
        std::env::join_paths([programs].into_iter().chain(std::env::split_paths(&search))).expect("PATH");
    let all = blocks(path);
    assert!(!all.is_empty(), "{path} shows no commands");
    for block in all {
        let (chores, commands): (Vec<&str>, Vec<&str>) = block
            .text
            .lines()
            .partition(|line| line.starts_with("cargo xtask") || line.starts_with(".ci/run"));
        for chore in chores.iter().filter_map(|line| line.strip_prefix("cargo xtask ")) {
            assert!(known_chore(chore), "{}: there is no such chore: {chore}", block.place);
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
