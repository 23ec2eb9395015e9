//! Figures in; what we want of them, as ratios within one run, and whether it is so, out.

use serde::Serialize;

use super::figures::Row;
use super::guest::Sizes;

/// Most processor time of the consumer for an event of twelve columns, ns.
const CONSUMER_NS: f64 = 200.0;

/// One of them.
#[derive(Debug, Serialize)]
pub struct Goal {
    pub what: &'static str,
    pub value: f64,
    pub limit: f64,
    /// More is better.
    pub at_least: bool,
    pub is_met: bool,
    /// What the value cannot say.
    pub note: Option<&'static str>,
}

/// What they are computed from.
pub struct Figures<'a> {
    pub storm: &'a [Row],
    pub churn: &'a [Row],
    pub kmem12: &'a Row,
    pub guest: &'a [Sizes],
}

impl Figures<'_> {
    /// All goals.
    pub fn goals(&self) -> Vec<Goal> {
        let Self { storm, churn, kmem12, guest } = self;
        let rate = |name| find(storm, name).loss_free.map_or(f64::NAN, |highest| highest.per_second);
        let is_limited = |name| find(storm, name).loss_free.is_some_and(|highest| highest.is_workload_limit);
        let limited = is_limited("ktape")
            .then_some("ktape lost nothing at the highest rate of the workload: it might take more");
        let size = |name| find(churn, name).bytes_per_event;
        let overhead = |rows, name| find(rows, name).overhead_ns;
        let consumer_ns = kmem12.tracer_user_ns_per_event + kmem12.tracer_system_ns_per_event;
        let in_guest = guest.iter().find(|sizes| sizes.load == "kmem");
        let in_guest = in_guest.map_or(f64::NAN, |sizes| sizes.ktape.net / sizes.trace_cmd.net);
        vec![
            at_least(
                "rate without loss, ktape / perf record",
                rate("ktape") / rate("perf record"),
                2.0,
                limited,
            ),
            at_least("rate without loss, ktape / bpftrace", rate("ktape") / rate("bpftrace"), 20.0, limited),
            at_most("kmem: bytes per event, ktape / perf record", size("ktape") / size("perf record"), 0.2),
            at_most(
                "kmem: bytes per event, ktape / perf record -z",
                size("ktape") / size("perf record -z"),
                1.0,
            ),
            at_most("kmem: bytes per event, ktape / trace-cmd, in a guest", in_guest, 1.0 / 3.0),
            at_most(
                "consumer: ns of processor time for a kmem event of 12 columns",
                consumer_ns,
                CONSUMER_NS,
            ),
            at_most(
                "getppid: overhead on the workload, ktape / perf record",
                overhead(storm, "ktape") / overhead(storm, "perf record"),
                1.0,
            ),
            at_most(
                "kmem: overhead on the workload, ktape / perf record",
                overhead(churn, "ktape") / overhead(churn, "perf record"),
                1.0,
            ),
        ]
    }
}

fn at_least(what: &'static str, value: f64, limit: f64, note: Option<&'static str>) -> Goal {
    Goal { what, value, limit, at_least: true, is_met: value >= limit, note }
}

fn at_most(what: &'static str, value: f64, limit: f64) -> Goal {
    Goal { what, value, limit, at_least: false, is_met: value <= limit, note: None }
}

/// The row of a tracer, which is there.
fn find<'a>(rows: &'a [Row], tracer: &str) -> &'a Row {
    rows.iter().find(|row| row.tracer == tracer).expect("every tracer has a row")
}
