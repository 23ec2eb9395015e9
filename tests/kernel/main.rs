//! Kernel tests: the recorder, real kernels, and workloads that know what they did.
//!
//! `scenario.sh` records everything once per place (a guest per kernel series, and this machine if we are root),
//! `endings.sh` ends recordings in one more guest per series, and `tools/*.sh` record what classic tools are asked in
//! one more; each test then judges one recording against the workload's truth, `ss`, `/proc` and the clock. A test is
//! named PLACE::CASE.

mod judge;
mod place;
mod power;
mod support;
mod systemd;
mod tools;
mod trace;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};
use place::{Place, Scene};
use xtask::setup;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let mut trials = Vec::new();
    for (scene, tests) in [(Scene::Workloads, judge::TESTS), (Scene::Endings, judge::ENDINGS)] {
        // Places take turns, so that two guests record at a time.
        for (name, test) in tests {
            for place in Place::all(scene) {
                if place.is_guest() || !judge::GUEST_ONLY.contains(name) {
                    let judge = move || {
                        let recorded = place.recorded().map_err(|error| error.to_owned())?;
                        test(recorded).map_err(|error| format!("{error:#}").into())
                    };
                    trials.push(Trial::test(format!("{}::{name}", place.name()), judge));
                }
            }
        }
    }
    let mut asked: Vec<_> = Place::all(Scene::Tools)
        .flat_map(|place| place.cases().into_iter().enumerate().map(move |(nth, case)| (nth, place, case)))
        .collect();
    // Places take turns here, too.
    asked.sort_by_key(|(nth, ..)| *nth);
    for (_, place, case) in asked {
        let name = format!("{}::tools::{}", place.name(), case.name);
        let judge = move || {
            let recorded = place.recorded().map_err(|error| error.to_owned())?;
            case.judge(&recorded.dir.join(&case.name), place.is_guest())
                .map_err(|error| format!("{error:#}").into())
        };
        trials.push(Trial::test(name, judge));
    }
    for place in Place::all(Scene::Tools).filter(|place| place.is_guest()) {
        let judge = move || {
            let recorded = place.recorded().map_err(|error| error.to_owned())?;
            tools::judge_commands(&recorded.dir).map_err(|error| format!("{error:#}").into())
        };
        trials.push(Trial::test(format!("{}::tools_are_recorded_as_the_page_says", place.name()), judge));
    }
    for series in setup::SERIES {
        let judge = || power::judge(series).map_err(|error| format!("{error:#}").into());
        trials.push(Trial::test(format!("{series}::{}", power::NAME), judge));
    }
    if place::is_all() {
        let judge = || support::judge().map_err(|error| format!("{error:#}").into());
        trials.push(Trial::test(support::NAME, judge));
    }
    let judge = || systemd::judge().map_err(|error| format!("{error:#}").into());
    trials.push(Trial::test(format!("{}::{}", systemd::SERIES, systemd::NAME), judge));
    libtest_mimic::run(&arguments, trials).exit_code()
}
