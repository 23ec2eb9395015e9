//! Kernel tests: the recorder, real kernels, and workloads that know what they did.
//!
//! `scenario.sh` records everything once per place (a guest per kernel series, and this machine if we are root); each
//! test then judges one recording against the workload's truth, `ss` and `/proc`. A test is named PLACE::CASE.

mod judge;
mod place;
mod power;
mod trace;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};
use place::Place;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let mut trials = Vec::new();
    // Places take turns, so that two guests record at a time.
    for (name, test) in judge::TESTS {
        for place in Place::all() {
            if place.is_guest() || !judge::GUEST_ONLY.contains(name) {
                let judge = move || {
                    let recorded = place.recorded().map_err(|error| error.to_owned())?;
                    test(recorded).map_err(|error| format!("{error:#}").into())
                };
                trials.push(Trial::test(format!("{}::{name}", place.name()), judge));
            }
        }
    }
    for place in Place::all().iter().filter(|place| place.is_guest()) {
        let judge = || power::judge(place.name()).map_err(|error| format!("{error:#}").into());
        trials.push(Trial::test(format!("{}::{}", place.name(), power::NAME), judge));
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}
