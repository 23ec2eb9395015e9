//! `recorder record`: options in, a trace and an exit code out.
//!
//! ```text
//! select -> plan (resolve) -> hold command -> create trace -> attach -> snapshot -> release command -> drain ... close
//! ```
//! Whatever can fail because of what was asked for fails before the trace is created; what fails later removes it,
//! until the recording has begun. What attaching and the snapshot took of rights is given up before the command runs.
//! `replay` makes the trace of frames that a recording has kept.

mod amounts;
mod ask;
mod attach;
mod budget;
mod compact;
mod freeze;
mod patience;
mod plan;
mod printing;
mod progress;
mod recording;
mod replay;
mod seed;
mod session;
mod setup;
mod signals;
mod sink;
mod summary;
pub mod trigger;
mod unfinished;

use std::io::Write;
use std::path::Path;

use anyhow::Result;

use crate::cli::options::Options;
use crate::cli::{EXIT_OK, output};
use crate::command::{Command, Inherited};
use crate::kernel::Kernel;
use crate::pipeline::allow_raising;
use crate::privileges::{Identity, Privileges, renounce};
use crate::select::Selection;
use crate::snapshot::{clock, processes};

pub use attach::{brief, parts};
pub use compact::compact;
pub use replay::replay;
pub use seed::LISTENS;

use ask::Usr1;
use plan::Plan;
use recording::Recording;
use signals::Signals;

/// Record. The exit code is the command's, if there was one.
pub fn run(options: &Options) -> Result<u8> {
    let selection = Selection::new(&options.events)?;
    let start_ns = clock::boottime_ns() + clock::utc_minus_boottime_ns();
    let dir = options.directory(&selection.asked_names(), start_ns)?;
    let command = (!options.command.is_empty()).then(|| Command::find(&options.command)).transpose()?;
    if !options.explain {
        Privileges::own().check()?;
        if options.follows_processes() {
            processes::check_pid_namespace()?;
        }
    }
    let kernel = Kernel::running()?;
    let plan = Plan::new(&kernel, options, selection)?;
    if options.explain {
        write!(output(), "{}", plan.explain())?;
        return Ok(EXIT_OK);
    }
    let inherited = Inherited::take()?;
    // Both before the first thread: the one so that all threads leave signals to us, the other because a child of
    // several threads is a delicate thing.
    let (signals, usr1) = (Signals::block()?, Usr1::block()?);
    let command = command.map(|command| command.hold(inherited)).transpose()?;
    // Counting signals takes no rights.
    let owner = Identity::of_caller();
    signals.watch(move || renounce(owner.as_ref(), &[], Path::new("/")))?;
    // Not before: the command keeps the limit that it would have had.
    setup::raise_file_limit();
    allow_raising();
    Recording::begin(options, plan, command, dir, usr1, &signals)?.run(&signals)
}

/// `recorder snapshot`.
pub fn snapshot(trace: &Path, to: Option<&Path>) -> Result<u8> {
    let path = ask::ask(trace, to)?;
    writeln!(output(), "{}", path.display())?;
    Ok(EXIT_OK)
}
