//! The recorder as its users meet it: the whole program, run in a directory of its own.

mod compact;
mod disk;
mod errors;
mod help;
mod record;
mod sandbox;
