//! Chores of the repository that need code, each a subcommand of `cargo xtask`.
//!
//! ```text
//! setup    -> tools, guest kernels, python    (under target/, nothing is done twice)
//! vm       -> a guest of one of those kernels: files and a command in, exit code and an output directory back
//! workload -> known kernel events, and the truth about them
//! demo     -> recording of workloads, natively or in a guest -> answers
//! fixtures -> recordings of workloads in a guest -> fixtures/captured
//! test     -> every test of the workspace; tests/kernel boots guests and judges recordings of workloads
//! bench    -> figures of ktape and of other tracers on the same loads
//! docs, licences -> generated pages, dependencies
//! ```

pub mod bench;
pub mod demo;
pub mod docs;
pub mod ebpf;
pub mod fixtures;
pub mod host;
pub mod initramfs;
pub mod licences;
pub mod setup;
pub mod test;
pub mod vm;
pub mod workload;
