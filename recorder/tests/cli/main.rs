//! The recorder as its users meet it: the whole program, run in a directory of its own.

mod errors;
mod help;
mod losses;
mod record;
mod sandbox;
