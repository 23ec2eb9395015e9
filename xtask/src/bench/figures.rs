//! Samples of several rounds in, one row of figures for each tracer out: medians, and costs net of what merely starting
//! and ending costs.

use serde::Serialize;

use super::run::Sample;
use super::search::Highest;

/// What is known about one tracer and one load.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    pub tracer: String,
    /// Calls or files a second while traced, as fast as can be.
    pub per_second: f64,
    /// Events a second that were recorded.
    pub recorded_per_second: f64,
    /// Part of the events that the output lacks, by the workload's count (getppid), or else by the tracer's.
    pub missing: f64,
    /// Part of the events that the tracer says it lost.
    pub lost: f64,
    /// Processor time that tracing adds to the workload, for each call or file: tracers differ in what they record of it.
    pub overhead_ns: f64,
    /// Processor time of the tracer for each recorded event, in user mode; NaN if unknown.
    pub tracer_user_ns_per_event: f64,
    /// The same in the kernel.
    pub tracer_system_ns_per_event: f64,
    /// Processor time of the tracer for starting and ending, not in the figures above.
    pub tracer_fixed_ms: f64,
    pub peak_rss_bytes: u64,
    pub bytes_per_event: f64,
    /// Largest minus smallest processor time of the workload in these rounds, by the median.
    pub spread: f64,
    /// In a storm only.
    pub loss_free: Option<Highest>,
}

/// All samples of one tracer and one load.
pub struct Measured<'a> {
    pub tracer: &'a str,
    pub samples: &'a [Sample],
    /// With a workload that does next to nothing.
    pub idle: &'a [Sample],
}

impl Measured<'_> {
    /// Sum them up. `untraced` are samples of the same load with no tracer.
    pub fn row(&self, untraced: &[Sample], has_known_count: bool) -> Row {
        let of = |figure: &dyn Fn(&Sample) -> f64| median(self.samples.iter().map(figure));
        let idle = |figure: &dyn Fn(&Sample) -> u64| median(self.idle.iter().map(|s| figure(s) as f64));
        let (user_ns, system_ns) = (idle(&|s| s.tracer.user_ns), idle(&|s| s.tracer.system_ns));
        let alone_ns = median(untraced.iter().map(Sample::workload_ns));
        let happened = |s: &Sample| if has_known_count { s.done.count } else { s.events + s.lost } as f64;
        let seconds = |s: &Sample| s.done.cost.wall_ns as f64 / 1e9;
        let workload = |s: &Sample| s.workload_ns();
        let extremes = self
            .samples
            .iter()
            .map(workload)
            .fold((f64::MAX, 0.0f64), |(least, most), ns| (least.min(ns), most.max(ns)));
        Row {
            tracer: self.tracer.to_owned(),
            per_second: of(&Sample::per_second),
            recorded_per_second: of(&|s| s.events as f64 / seconds(s)),
            missing: of(&|s| 1.0 - s.events as f64 / happened(s)),
            lost: of(&|s| s.lost as f64 / happened(s)),
            overhead_ns: of(&|s| s.workload_ns() - alone_ns),
            tracer_user_ns_per_event: of(&|s| (s.tracer.user_ns as f64 - user_ns) / s.events as f64),
            tracer_system_ns_per_event: of(&|s| (s.tracer.system_ns as f64 - system_ns) / s.events as f64),
            tracer_fixed_ms: (user_ns + system_ns) / 1e6,
            peak_rss_bytes: self.samples.iter().map(|s| s.tracer.peak_rss_bytes).max().unwrap_or(0),
            bytes_per_event: of(&|s| s.bytes as f64 / s.events as f64),
            spread: (extremes.1 - extremes.0) / of(&workload),
            loss_free: None,
        }
    }
}

/// The one in the middle; of none, NaN.
pub fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = values.collect();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => sorted[n / 2],
        n => f64::midpoint(sorted[n / 2 - 1], sorted[n / 2]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_is_in_the_middle() {
        assert_eq!(median([3.0, 1.0, 2.0].into_iter()), 2.0);
        assert_eq!(median([4.0, 1.0, 2.0, 3.0].into_iter()), 2.5);
        assert!(median(std::iter::empty()).is_nan());
    }
}
