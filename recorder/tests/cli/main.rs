//! The recorder as its users meet it: the whole program, run in a directory of its own.

mod compact;
mod disk;
mod endings;
mod errors;
mod fail_on_loss;
mod filters;
mod flight;
mod help;
mod listens;
mod losses;
mod record;
mod rights;
mod sandbox;
mod symlinks;
mod terminal;
mod unit;
