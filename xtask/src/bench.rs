//! `cargo xtask bench`: what ktape costs, beside other tools on the same loads.
//!
//! ```text
//! load (a workload of this program) + tracer (its command line) -> run -> sample
//! rounds of samples -> figures;  search -> highest rate without loss;  guest -> trace-cmd
//! figures -> goals, report (markdown, target/bench/record.json)
//! frames of a modelled load -> traces -> analyze, memory
//! ```

mod analyze;
mod figures;
mod frames;
mod goals;
mod guest;
mod load;
mod memory;
mod process;
mod record;
mod report;
mod run;
mod search;
mod service;
mod tracer;
mod traces;

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
    /// A service that is recorded: redis under ktape, under perf record, and alone; and a saturated machine
    ///
    /// The tracers take turns beside redis-benchmark in several rounds. As root, on this kernel, in minutes. Ratios count:
    /// the machine may be busy. Writes target/bench/service.json too.
    Service(service::Options),
    /// Answers: analyze against DuckDB on large traces, and perf script with awk
    ///
    /// Makes the traces from frames of a modelled load, once, so that they are the same everywhere and need no rights. Both
    /// answer each question in turn, and the answers must be the same. As root it also compares with perf. Writes
    /// target/bench/analyze.json too.
    Analyze(analyze::Options),
    /// Frames of a modelled load, on standard output: recorder record --from-frames - makes a trace of them
    Frames {
        /// The load
        load: frames::Load,
        /// Rows, in millions
        #[arg(long, value_name = "MILLIONS", default_value_t = 1.0)]
        rows: f64,
    },
    /// The memory that analyses take, against their --memory
    ///
    /// Asks each analysis and ten queries of large traces (those of `bench analyze`) with the default and with a small
    /// limit, and shows the peak of the whole process. Needs no rights. Writes target/bench/memory.json too.
    Memory(memory::Options),
}

impl Bench {
    /// Measure and report.
    pub fn run(&self) -> Result<()> {
        match self {
            Self::Record(options) => record::run(options),
            Self::Service(options) => service::run(options),
            Self::Analyze(options) => analyze::run(options),
            Self::Frames { load, rows } => load.write((rows * 1e6) as u64, std::io::stdout().lock()),
            Self::Memory(options) => memory::run(options),
        }
    }
}
