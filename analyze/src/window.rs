//! `--from` and `--to` go in; tables that show only what happened in between come out.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use datafusion::catalog::TableProvider;
use datafusion::catalog::view::ViewTable;
use datafusion::common::{ScalarValue, TableReference};
use datafusion::datasource::provider_as_source;
use datafusion::logical_expr::LogicalPlanBuilder;
use datafusion::prelude::{col, lit};
use schemas::trace::PROCESSES;

use crate::times::{is_date, time_ns};
use crate::trace::clock::{Clock, Meaning};

/// Column of the tables whose rows tell of an interval: its begin.
const SINCE: &str = "since_ts";
/// Column of those where NULL means that a kernel cannot tell.
const COUNT: &str = "count";
/// Rows that do not say when their interval began tell of this long before their time.
const INTERVAL_NS: i64 = 1_000_000_000;

/// A part of a recording: UTC nanoseconds, the end not included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Window {
    /// Nothing before.
    pub from_ns: Option<i64>,
    /// Nothing from then on.
    pub to_ns: Option<i64>,
}

impl Window {
    /// From what a user wrote; `+1.5s` counts from `start_ns`, a date is what the wall clocks of the traces showed. Of a
    /// time that a clock showed twice, the first is the begin and the second the end.
    ///
    /// Fails if it is no time, ends before it begins, or is not the same time in all traces.
    pub fn new(from: Option<&str>, to: Option<&str>, start_ns: i64, clocks: &[Clock]) -> Result<Self> {
        let time = |flag: &str, text: Option<&str>| {
            text.map(|text| meaning(text, start_ns, clocks).with_context(|| flag.to_owned())).transpose()
        };
        let to = to.filter(|text| *text != "end");
        let from_ns = time("--from", from)?.map(|meaning| meaning.first_ns);
        let window = Self { from_ns, to_ns: time("--to", to)?.map(|meaning| meaning.last_ns) };
        if let Self { from_ns: Some(from), to_ns: Some(to) } = window {
            ensure!(from < to, "--to is not after --from: there is nothing in between");
        }
        Ok(window)
    }

    /// The part of `span` that lies in this window.
    pub fn clip(self, (start_ns, end_ns): (i64, i64)) -> (i64, i64) {
        let start = self.from_ns.map_or(start_ns, |from| from.max(start_ns));
        (start, self.to_ns.map_or(end_ns, |to| to.min(end_ns)).max(start))
    }

    /// `table` limited to this window, if it tells of what happened when. Who is who (`processes`), and what rows refer
    /// to, stays whole.
    pub fn limit(
        self,
        name: &str,
        table: Arc<dyn TableProvider>,
        is_event: bool,
    ) -> Result<Arc<dyn TableProvider>> {
        let schema = table.schema();
        let of_intervals = !is_event && schema.column_with_name(SINCE).is_some();
        if self == Self::default() || !(of_intervals || is_event && name != PROCESSES) {
            return Ok(table);
        }
        let time = |ns: i64| lit(ScalarValue::TimestampNanosecond(Some(ns), Some("UTC".into())));
        let from = self.from_ns.map(|from| match of_intervals {
            // An interval that ends just then was before. Who is who is told by rows from before.
            true => col("ts").gt(time(from)).or(col("event").eq(lit(PROCESSES))),
            false => col("ts").gt_eq(time(from)),
        });
        let to = self.to_ns.map(|to| match of_intervals {
            true => {
                let is_old = col(SINCE).is_null();
                let old = is_old.and(col("ts").lt(time(to.saturating_add(INTERVAL_NS))));
                col(SINCE).lt(time(to)).or(old)
            }
            false => col("ts").lt(time(to)),
        });
        let mut plan = LogicalPlanBuilder::scan(TableReference::bare(name), provider_as_source(table), None)?;
        for mut inside in from.into_iter().chain(to) {
            if of_intervals && schema.column_with_name(COUNT).is_some() {
                // What a kernel cannot tell, it cannot tell of any part.
                inside = inside.or(col(COUNT).is_null());
            }
            plan = plan.filter(inside)?;
        }
        Ok(Arc::new(ViewTable::new(plan.build()?, None)))
    }
}

/// What a time that a user wrote means on the time scale of the traces.
///
/// Fails if it is no time, or their clocks were set differently, so that it means a time for each.
pub fn meaning(text: &str, start_ns: i64, clocks: &[Clock]) -> Result<Meaning> {
    let ns = time_ns(text, start_ns)?;
    let plain = Meaning { first_ns: ns, last_ns: ns };
    if !is_date(text) {
        return Ok(plain);
    }
    let mut meanings = clocks.iter().map(|clock| clock.meaning(ns));
    let first = meanings.next().unwrap_or(plain);
    ensure!(
        meanings.all(|other| other == first),
        "'{text}' is not the same time in these traces, because a wall clock was set while recording: open them one by \
         one, or count from the start (+1.5s)"
    );
    Ok(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_read_and_clips() {
        let window = Window::new(Some("+1us"), Some("+3us"), 5_000, &[]).unwrap();
        assert_eq!(window, Window { from_ns: Some(6_000), to_ns: Some(8_000) });
        assert_eq!(window.clip((5_000, 20_000)), (6_000, 8_000));
        assert_eq!(window.clip((7_000, 7_500)), (7_000, 7_500));
        assert_eq!(Window::new(None, Some("end"), 0, &[]).unwrap(), Window::default());
        assert!(Window::new(Some("+3us"), Some("+3us"), 0, &[]).is_err());
        assert!(Window::new(Some("noon"), None, 0, &[]).unwrap_err().to_string().contains("--from"));
    }
}
