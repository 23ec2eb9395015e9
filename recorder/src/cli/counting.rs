//! Options that count events in the kernel in, checked: what becomes rows at the end of each interval.

use std::time::Duration;

use anyhow::{Result, bail, ensure};

use super::units;
use crate::engine::MAX_KEYS;

/// Shortest interval: at its end the kernel is asked for each key.
const MIN_INTERVAL: Duration = Duration::from_millis(100);

/// `recorder record`: events that are counted instead of being recorded one by one.
#[derive(Clone, Debug, clap::Args)]
#[command(
    next_help_heading = "Counting in the kernel (for rates that cannot be recorded row by row; table EVENT_counts)"
)]
pub struct Counting {
    /// Do not record each event, but count them by these columns, pid, tid and ctx: at the end of each interval there is
    /// a row for each combination of values and processor. With several events write it with its event:
    /// 'switches --count prev_comm', or 'NAME=EVENT --count KEY' to name the table
    #[arg(long, value_name = "KEY[,KEY]", num_args = 0..=1, default_missing_value = "")]
    pub count: Option<String>,

    /// Also add up a column, or an expression as NAME=EXPR (repeatable): columns sum_NAME and count_NAME
    #[arg(long, value_name = "EXPR")]
    pub sum: Vec<String>,

    /// Also count by powers of two of a column or an expression: columns from_NAME and to_NAME
    #[arg(long, value_name = "EXPR")]
    pub hist: Option<String>,

    /// How long events are counted before that becomes rows: 1s, 100ms, 1m
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = units::duration)]
    pub interval: Duration,

    /// Most combinations of keys in an interval, for each probe: what is more is lost, and counted as 'keys_full'
    #[arg(long, value_name = "N", default_value_t = MAX_KEYS, value_parser = clap::value_parser!(u32).range(1..=1 << 24))]
    pub max_keys: u32,
}

impl Counting {
    /// Write what belongs to one event behind it. Fails if there is not exactly one.
    pub fn apply(&self, events: &mut [String]) -> Result<()> {
        let Self { count, sum, hist, interval, max_keys: _ } = self;
        ensure!(*interval >= MIN_INTERVAL, "--interval must be at least {MIN_INTERVAL:?}");
        let mut options = String::new();
        if let Some(keys) = count {
            options += &format!(" --count {keys}");
        }
        sum.iter().for_each(|sum| options += &format!(" --sum {sum}"));
        hist.iter().for_each(|hist| options += &format!(" --hist {hist}"));
        match events {
            _ if options.is_empty() => Ok(()),
            [event] => {
                event.push_str(options.trim_end());
                Ok(())
            }
            _ => bail!(
                "--count, --sum and --hist are of one event, and there are {}: write them with it, as in '{}{}'",
                events.len(),
                events[0],
                options.trim_end()
            ),
        }
    }
}
