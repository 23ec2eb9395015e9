//! The systemd unit in contrib/: its command line is understood, and its rights are those that the recorder names.

use std::fs;
use std::path::Path;

use clap::Parser;
use recorder::cli::args::{Args, Command};
use recorder::privileges::{CAPABILITIES, KILL, NICE};

fn setting(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../contrib/ktape-recorder.service");
    let unit = fs::read_to_string(path).unwrap();
    let lines: Vec<&str> =
        unit.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix('=')).collect();
    assert_eq!(lines.len(), 1, "{name} in the unit");
    lines[0].to_owned()
}

/// Words of a line in which single quotes keep blanks together.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (i, part) in line.split('\'').enumerate() {
        if i % 2 == 1 {
            words.push(part.to_owned());
        } else {
            words.extend(part.split_whitespace().map(str::to_owned));
        }
    }
    words
}

#[test]
fn the_unit_runs_a_flight_recorder() {
    let Command::Record(record) = Args::try_parse_from(words(&setting("ExecStart"))).unwrap().command else {
        panic!("it does not record")
    };
    assert_eq!(record.events, ["listens", "switches"]);
    assert!(record.flight.max_age.is_some() && record.flight.max_size.is_some());
    assert_eq!(record.flight.triggers, ["oom", "listens: port == 4444"]);
    assert!(record.command.is_empty() && record.output.is_none());
}

#[test]
fn the_unit_has_the_capabilities_that_recording_can_need_and_no_others() {
    // Without a COMMAND there is nobody to be told to end, and a limit does what the other one is for.
    assert_eq!(setting("LimitNICE"), "+0");
    let needed = CAPABILITIES.iter().filter(|c| ![KILL, NICE].contains(c));
    let mut needed: Vec<&str> = needed.map(|c| c.name).collect();
    needed.sort_unstable();
    for name in ["CapabilityBoundingSet", "AmbientCapabilities"] {
        let value = setting(name);
        let mut given: Vec<&str> = value.split_whitespace().collect();
        given.sort_unstable();
        assert_eq!(given, needed, "{name}");
    }
}

#[test]
fn the_unit_is_ended_by_a_signal_that_closes_the_trace() {
    assert_eq!(setting("KillSignal"), "SIGTERM");
    // With `mixed` the signal goes to the recorder alone, once: a second one would cut the ending short.
    assert_eq!(setting("KillMode"), "mixed");
    assert!(setting("TimeoutStopSec").parse::<u32>().unwrap() >= 60);
}

#[test]
fn the_unit_does_not_try_for_ever_and_tidies_up() {
    assert!(setting("StartLimitBurst").parse::<u32>().unwrap() <= 10);
    assert_eq!(setting("StartLimitIntervalSec"), "10min", "longer than all tries take");
    assert!(setting("ExecStopPost").contains("recorder compact"));
}
