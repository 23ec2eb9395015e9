//! `cargo xtask bench`: ktape and other tracers on the same loads in, figures and their ratios out.
//!
//! ```text
//! load (a workload of this program) + tracer (its command line) -> run -> sample
//! rounds of samples -> figures;  search -> highest rate without loss;  guest -> trace-cmd
//! figures -> goals, report (markdown, target/bench/record.json)
//! ```

mod figures;
mod goals;
mod guest;
mod load;
mod process;
mod record;
mod report;
mod run;
mod search;
mod tracer;

use anyhow::Result;
use clap::Subcommand;

pub use record::Options;

/// What to measure.
#[derive(Subcommand)]
pub enum Bench {
    /// Recording: ktape against perf record, bpftrace, its own rings without a reader, and trace-cmd
    ///
    /// The tracers take turns on the same workload in several rounds. As root, on this kernel, in minutes; trace-cmd
    /// in a guest, for its size only. Ratios count: the machine may be busy. Writes target/bench/record.json too.
    Record(Options),
}

impl Bench {
    /// Measure and report.
    pub fn run(&self) -> Result<()> {
        match self {
            Self::Record(options) => record::run(options),
        }
    }
}
