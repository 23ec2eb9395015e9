//! Shows on stderr how much of its input a running plan has read.

use std::cell::RefCell;
use std::io::{self, IsTerminal};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use datafusion::datasource::physical_plan::{FileGroup, FileScanConfig};
use datafusion::datasource::source::DataSourceExec;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::statistics::{StatisticsArgs, StatisticsContext};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A metric of scans of Parquet: rows that a condition left out while they were read.
const LEFT_OUT: &str = "pushdown_rows_pruned";

/// A query is called long, and its progress shown, after this.
const LONG: Duration = Duration::from_secs(1);
const TICK: Duration = Duration::from_millis(200);

/// The progress of a plan; shown only on a terminal, by a thread of its own, because those of the query may be busy.
pub struct Progress {
    thread: RefCell<Option<JoinHandle<()>>>,
    is_over: Arc<(Mutex<bool>, Condvar)>,
}

impl Progress {
    /// Of a plan that begins to run.
    pub fn of(plan: Arc<dyn ExecutionPlan>) -> Self {
        let is_over = Arc::new((Mutex::new(false), Condvar::new()));
        let watched = is_over.clone();
        let thread = io::stderr().is_terminal().then(|| std::thread::spawn(move || show(&plan, &watched)));
        Self { thread: RefCell::new(thread), is_over }
    }

    /// Take it away for good.
    pub fn end(&self) {
        if let Some(thread) = self.thread.take() {
            let (is_over, changed) = &*self.is_over;
            *is_over.lock().unwrap_or_else(PoisonError::into_inner) = true;
            changed.notify_all();
            // It only draws: without it there is no line.
            let _ = thread.join();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.end();
    }
}

/// Show how far `plan` is until it is over.
fn show(plan: &Arc<dyn ExecutionPlan>, (is_over, changed): &(Mutex<bool>, Condvar)) {
    let mut leaves = Vec::new();
    collect(plan, &mut leaves);
    let total = leaves.iter().map(rows).sum();
    let mut shown: Option<ProgressBar> = None;
    let mut wait = LONG;
    let mut is_over = is_over.lock().unwrap_or_else(PoisonError::into_inner);
    while !*is_over {
        let (locked, waited) = changed.wait_timeout(is_over, wait).unwrap_or_else(PoisonError::into_inner);
        is_over = locked;
        if waited.timed_out() {
            wait = TICK;
            let bar = shown.get_or_insert_with(|| bar(total));
            bar.set_position(leaves.iter().map(|leaf| read(leaf.as_ref())).sum());
        }
    }
    if let Some(bar) = shown {
        bar.finish_and_clear();
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
    let bar = bar.with_elapsed(LONG);
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

/// Rows that a leaf can read at most, if that is known.
fn rows(leaf: &Arc<dyn ExecutionPlan>) -> Option<u64> {
    let all = StatisticsArgs::default();
    let known = StatisticsContext::new().compute(leaf.as_ref(), &all).ok();
    if let Some(rows) = known.and_then(|known| known.num_rows.get_value().copied()) {
        return Some(rows as u64);
    }
    let scan = leaf.downcast_ref::<DataSourceExec>()?.data_source().downcast_ref::<FileScanConfig>()?;
    let files = scan.file_groups.iter().flat_map(FileGroup::iter);
    files.map(|file| file.statistics.as_ref()?.num_rows.get_value().map(|rows| *rows as u64)).sum()
}

fn read(leaf: &dyn ExecutionPlan) -> u64 {
    let Some(metrics) = leaf.metrics() else { return 0 };
    let left_out = metrics.sum_by_name(LEFT_OUT).map_or(0, |value| value.as_usize());
    (metrics.output_rows().unwrap_or(0) + left_out) as u64
}
