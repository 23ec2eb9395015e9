//! Options of a flight recorder in, checked: how much is kept, and what makes a snapshot.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::units;
use crate::pipeline::Limits;
use crate::record::trigger;

/// Smallest `--max-size`: what a second of a few events and the tables beside them take is far less.
const MIN_SIZE: u64 = 4 << 20;

/// `recorder record`: what stays, and what is frozen.
#[derive(Clone, Debug, clap::Args)]
#[command(
    next_help_heading = "Flight recorder (SIGUSR1 or 'recorder snapshot' keeps what is there as a trace)"
)]
pub struct Flight {
    /// While recording, remove what is older: 90s, 10m, 2h
    #[arg(long, value_name = "TIME", value_parser = units::duration)]
    pub max_age: Option<Duration>,

    /// While recording, remove the oldest rows when the trace takes more on disk, such as 2GiB
    #[arg(long, value_name = "SIZE", value_parser = units::size)]
    pub max_size: Option<u64>,

    #[arg(long = "trigger", value_name = "TRIGGER", help = trigger::help())]
    pub triggers: Vec<String>,

    /// After a snapshot by a trigger, ignore this trigger for this time
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = units::duration)]
    pub trigger_gap: Duration,

    /// Make at most so many snapshots an hour by each trigger; nobody removes them
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    pub max_snapshots: u32,
}

impl Flight {
    /// Fails if a value makes no sense with `segment_age`, or without a trace (`is_kept`).
    pub fn check(&self, segment_age: Duration, is_kept: bool) -> Result<()> {
        let Self { max_age, max_size, triggers, .. } = self;
        ensure!(
            is_kept || (max_age.is_none() && max_size.is_none() && triggers.is_empty()),
            "-o none keeps no trace: --max-age, --max-size and --trigger need one"
        );
        ensure!(
            max_age.is_none_or(|age| age >= segment_age * 2),
            "--max-age must be at least twice --segment-age ({segment_age:?}): segments are removed as a whole"
        );
        ensure!(max_size.is_none_or(|size| size >= MIN_SIZE), "--max-size must be at least 4M");
        Ok(())
    }

    /// For the writer of the trace.
    pub fn limits(&self) -> Limits {
        let ns = |age: Duration| i64::try_from(age.as_nanos()).unwrap_or(i64::MAX);
        Limits { max_age_ns: self.max_age.map(ns), max_bytes: self.max_size }
    }
}
