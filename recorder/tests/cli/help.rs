//! What can be asked without recording: help, lists, descriptions, completions.

use clap::Parser;
use recorder::cli::args::{Args, Command};
use recorder::record::trigger::Trigger;
use recorder::select::find;

use crate::sandbox::Sandbox;

#[test]
fn help_shows_every_command_and_examples_that_are_understood() {
    let sandbox = Sandbox::new();
    let top = sandbox.expect(0, &["--help"]).out;
    for command in ["record", "list", "describe", "doctor", "snapshot", "compact", "completions"] {
        assert!(top.contains(&format!("\n  {command} ")), "{command} in {top}");
    }
    let help = sandbox.expect(0, &["record", "--help"]).out;
    for option in [
        "--output",
        "--duration",
        "--pid",
        "--comm",
        "--netns",
        "--cgroup",
        "--stacks",
        "--print",
        "--buffer-size",
        "--segment-age",
        "--require",
        "--explain",
        "--fail-on-loss",
        "--events",
        "--max-age",
        "--max-size",
        "--trigger-gap",
        "--max-snapshots",
        "'oom'",
        "'exit!=0'",
        "COMMAND",
    ] {
        assert!(help.contains(option), "{option} in {help}");
    }
    assert!(help.contains("Examples:\n  recorder record listens -d 60"), "{help}");
}

/// Words of an example as a shell has them; what is for the reader comes behind two blanks.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut rest = line.trim();
    while !rest.is_empty() {
        let (word, after) = match rest.strip_prefix('\'') {
            Some(quoted) => quoted.split_once('\'').expect("two quotes"),
            None => rest.split_at(rest.find(' ').unwrap_or(rest.len())),
        };
        words.push(word.to_owned());
        if after.starts_with("  ") {
            break;
        }
        rest = after.trim_start();
    }
    words
}

#[test]
fn every_help_has_examples_and_every_example_is_understood() {
    let sandbox = Sandbox::new();
    let top: &[&str] = &[];
    let commands = ["record", "list", "describe", "doctor", "snapshot", "compact", "completions"];
    let pages = commands.iter().map(std::slice::from_ref).chain([top]);
    for page in pages {
        let help = sandbox.expect(0, &[page, &["--help"]].concat()).out;
        let (_, examples) = help.split_once("Examples:\n").unwrap_or_else(|| panic!("{page:?}: {help}"));
        let lines: Vec<&str> = examples.lines().filter(|line| line.starts_with("  recorder ")).collect();
        assert!(!lines.is_empty(), "{page:?}: {help}");
        for line in lines {
            let words = words(line);
            let args = Args::try_parse_from(&words).unwrap_or_else(|error| panic!("{line}: {error}"));
            if let [name] = page {
                assert_eq!(words[1], *name, "{line}");
            }
            let events = match args.command {
                Command::Record(record) => {
                    record.flight.triggers.iter().for_each(|text| drop(Trigger::parse(text).unwrap()));
                    record.events
                }
                Command::Describe { event } => vec![event],
                _ => Vec::new(),
            };
            for event in events.iter().filter(|event| !event.ends_with(".toml")) {
                find(event).unwrap_or_else(|error| panic!("{line}: {error:#}"));
            }
        }
    }
}

#[test]
fn the_list_has_every_built_in_event() {
    let list = Sandbox::new().expect(0, &["list"]).out;
    let names: Vec<&str> = list.lines().filter_map(|line| line.split_whitespace().next()).collect();
    let built_in: Vec<&str> = schemas::def::builtin().iter().map(|event| event.name.as_str()).collect();
    assert_eq!(names, built_in);
}

#[test]
fn a_pattern_lists_tracepoints_and_functions_too() {
    let list = Sandbox::for_recording().expect(0, &["list", "*mkdir*"]).out;
    for line in ["tp:syscalls:sys_enter_mkdirat", "fn:do_mkdirat"] {
        assert!(list.lines().any(|l| l == line), "{line} in {list}");
    }
    assert!(list.starts_with("mkdirs "), "{list}");
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let sandbox = Sandbox::for_recording();
    let mut command = sandbox.command(&["list", "*"]);
    let mut child =
        command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

#[test]
fn a_description_has_columns_with_types_and_where_they_come_from() {
    let text = Sandbox::for_recording().expect(0, &["describe", "mkdirs"]).out;
    assert!(
        text.starts_with("mkdirs: a program asks for a directory: it is made, or that fails\n"),
        "{text}"
    );
    assert!(text.contains("path") && text.contains("ustring[255]"), "{text}");
    assert!(text.contains("syscall:mkdirat"), "{text}");
}

#[test]
fn the_explanation_of_an_inline_probe_has_mechanism_and_records_nothing() {
    let sandbox = Sandbox::for_recording();
    let text =
        sandbox.expect(0, &["record", "e=tp:sched:sched_process_exec{ child=p->tgid }", "--explain"]).out;
    assert!(text.contains("tp_btf") && text.contains("child"), "{text}");
    assert_eq!(sandbox.files(), Vec::<String>::new());
}

#[test]
fn completions_are_made_for_the_usual_shells() {
    let sandbox = Sandbox::new();
    for shell in ["bash", "zsh", "fish"] {
        assert!(sandbox.expect(0, &["completions", shell]).out.contains("segment-age"), "{shell}");
    }
}

#[test]
fn the_doctor_tells_what_works_here() {
    let text = Sandbox::for_recording().expect(0, &["doctor"]).out;
    for part in ["kernel ", "CAP_BPF", "mechanisms\n", "tp_btf", "events\n", "  switches\n", "  listens\n"] {
        assert!(text.contains(part), "'{part}' in {text}");
    }
    let works = text.lines().any(|line| line.trim_start().starts_with("tp_btf") && line.ends_with("works"));
    assert!(works, "{text}");
}
