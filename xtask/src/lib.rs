//! Chores of the repository that need code, each a subcommand of `cargo xtask`.
//!
//! ```text
//! setup -> tools, guest kernels, python    (under target/, nothing built twice)
//! vm    -> a guest of one of those kernels (initramfs, command in, output directory back)
//! ```
//! `tests/kernel`, `demo` and `fixtures` boot guests through [`vm::Guest`].

pub mod host;
pub mod initramfs;
pub mod setup;
pub mod vm;
pub mod workload;
