//! The recorder as its users meet it: the whole program, run in a directory of its own.

mod children;
mod compact;
mod disk;
mod elsewhere;
mod endings;
mod errors;
mod fail_on_loss;
mod filters;
mod flight;
mod flight_triggers;
#[path = "../../../tests/support/held.rs"]
mod held;
mod help;
mod limits;
mod listens;
mod losses;
mod priorities;
mod process;
mod record;
mod rights;
mod sandbox;
mod started;
mod stuck;
mod symlinks;
mod terminal;
mod unit;
