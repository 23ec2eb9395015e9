//! The plan for very many traces is that for two, with more files in its scans.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use analyze::library::Library;
use analyze::session::{Options, Session};
use datafusion::physical_plan::ExecutionPlan;

const MANY: usize = 1000;

/// Traces that are one and the same on disk.
fn copies(of: &Path, dir: &Path, number: usize) -> Vec<PathBuf> {
    let copy = |number| {
        let to = dir.join(format!("{number}.trace"));
        fs::create_dir(&to).unwrap();
        for entry in of.read_dir().unwrap().map(Result::unwrap) {
            let path = to.join(entry.file_name());
            if entry.file_type().unwrap().is_file() {
                fs::hard_link(entry.path(), path).unwrap();
                continue;
            }
            fs::create_dir(&path).unwrap();
            for file in entry.path().read_dir().unwrap().map(Result::unwrap) {
                fs::hard_link(file.path(), path.join(file.file_name())).unwrap();
            }
        }
        to
    };
    (0..number).map(copy).collect()
}

/// Nodes of the plan by name, and the most partitions of one.
fn shape(plan: &Arc<dyn ExecutionPlan>, nodes: &mut BTreeMap<String, usize>, partitions: &mut usize) {
    *nodes.entry(plan.name().to_owned()).or_default() += 1;
    *partitions = (*partitions).max(plan.properties().partitioning.partition_count());
    plan.children().into_iter().for_each(|child| shape(child, nodes, partitions));
}

fn open(dirs: &[PathBuf]) -> Session {
    Session::open(dirs, &Options { threads: 2, ..Options::default() }).unwrap()
}

#[test]
fn a_plan_for_a_thousand_traces_has_no_more_nodes_than_one_for_two() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let dirs = copies(&fixtures::trace("open_empty", dir.path()).unwrap(), dir.path(), MANY);
    let plan = |session: &Session, sql: &str| {
        let plan = runtime.block_on(async {
            session.ask_each(sql).await.unwrap().frame.create_physical_plan().await.unwrap()
        });
        let (mut nodes, mut partitions) = (BTreeMap::new(), 0);
        shape(&plan, &mut nodes, &mut partitions);
        (nodes, partitions)
    };
    let begin = Instant::now();
    let (two, many) = (open(&dirs[..2]), open(&dirs));
    println!("opened {MANY} traces in {:?}", begin.elapsed());
    let mut longest = Duration::ZERO;
    for analysis in Library::shipped().all() {
        let sql = super::query(analysis, &[]);
        let (wanted, of_two) = plan(&two, &sql);
        let begin = Instant::now();
        let (found, partitions) = plan(&many, &sql);
        longest = longest.max(begin.elapsed());
        assert_eq!(found, wanted, "{}", analysis.name);
        assert!(partitions <= of_two.max(4), "{}: {partitions} partitions, of two {of_two}", analysis.name);
    }
    println!("planned an analysis of {MANY} traces in at most {longest:?}");
}

#[test]
fn a_scan_of_many_traces_reads_one_after_the_other_in_order_of_time() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let dirs = copies(&fixtures::trace("packets", dir.path()).unwrap(), dir.path(), 20);
    let session = open(&dirs);
    let text = runtime.block_on(async {
        let question = session.ask_each("SELECT gap_ns FROM gaps(packets, key => saddr)").await.unwrap();
        let plan = question.frame.create_physical_plan().await.unwrap();
        datafusion::physical_plan::displayable(plan.as_ref()).indent(false).to_string()
    });
    let mut nodes = text.lines().skip_while(|line| !line.contains("OrderedExec: gaps"));
    let scan = nodes.nth(1).unwrap_or_default();
    assert!(scan.trim().starts_with("DataSourceExec: file_groups={2 groups"), "it is not sorted: {text}");
}
