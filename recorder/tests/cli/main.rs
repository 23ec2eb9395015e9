//! The recorder as its users meet it: the whole program, run in a directory of its own.

mod cgroups;
mod children;
mod compact;
mod disk;
mod elsewhere;
mod endings;
mod ends;
mod errors;
mod fail_on_loss;
mod filters;
mod flight;
mod flight_triggers;
mod followed;
#[path = "../../../tests/support/held.rs"]
mod held;
mod help;
mod interrupts;
mod limits;
mod listens;
mod losses;
mod names;
mod netns;
mod print_places;
mod priorities;
mod process;
mod record;
mod rights;
mod sandbox;
mod started;
mod stuck;
mod symlinks;
mod terminal;
mod types;
mod unit;
mod uprobes;
mod uprobes_refused;
