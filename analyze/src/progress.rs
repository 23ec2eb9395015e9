//! A plan that runs goes in; a line on stderr says how much of what it reads is read.

use std::io::{self, IsTerminal};
use std::sync::Arc;

use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::statistics::{StatisticsArgs, StatisticsContext};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A metric of scans of Parquet: rows that a condition left out while they were read.
const LEFT_OUT: &str = "pushdown_rows_pruned";

/// The progress of a plan; shown only on a terminal.
pub struct Progress {
    leaves: Vec<Arc<dyn ExecutionPlan>>,
    /// Rows of all leaves, if it is known of each.
    total: Option<u64>,
    bar: Option<ProgressBar>,
    /// Not to be shown, or not any more.
    is_over: bool,
}

impl Progress {
    /// Of a plan that is about to run.
    pub fn of(plan: Arc<dyn ExecutionPlan>) -> Self {
        let mut leaves = Vec::new();
        collect(&plan, &mut leaves);
        let rows = |leaf: &Arc<dyn ExecutionPlan>| {
            let all = StatisticsArgs::default();
            let statistics = StatisticsContext::new().compute(leaf.as_ref(), &all).ok()?;
            statistics.num_rows.get_value().map(|rows| *rows as u64)
        };
        let total = leaves.iter().map(rows).sum();
        Self { leaves, total, bar: None, is_over: !io::stderr().is_terminal() }
    }

    /// Show how far it is.
    pub fn show(&mut self) {
        if self.is_over {
            return;
        }
        let read = self.leaves.iter().map(|leaf| read(leaf.as_ref())).sum();
        let bar = self.bar.get_or_insert_with(|| bar(self.total));
        bar.set_position(read);
    }

    /// Take it away for good.
    pub fn end(&mut self) {
        self.is_over = true;
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.end();
    }
}

fn bar(total: Option<u64>) -> ProgressBar {
    let (bar, template) = match total.filter(|rows| *rows > 0) {
        // Of what the statistics of the files let it leave out, nothing is read: it may end before the end.
        Some(rows) => (
            ProgressBar::new(rows),
            "{elapsed} {wide_bar} read {human_pos} of at most {human_len} rows, Ctrl-C ends it",
        ),
        None => (ProgressBar::no_length(), "{elapsed} {spinner} read {human_pos} rows, Ctrl-C ends it"),
    };
    bar.set_draw_target(ProgressDrawTarget::stderr());
    // The template is a constant, and a test shows it.
    bar.with_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()))
}

fn collect(plan: &Arc<dyn ExecutionPlan>, leaves: &mut Vec<Arc<dyn ExecutionPlan>>) {
    let children = plan.children();
    if children.is_empty() {
        leaves.push(plan.clone());
    }
    for child in children {
        collect(child, leaves);
    }
}

fn read(leaf: &dyn ExecutionPlan) -> u64 {
    let Some(metrics) = leaf.metrics() else { return 0 };
    let left_out = metrics.sum_by_name(LEFT_OUT).map_or(0, |value| value.as_usize());
    (metrics.output_rows().unwrap_or(0) + left_out) as u64
}
