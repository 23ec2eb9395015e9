//! What a trace says that it does not have, in every answer.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::Bench;

#[test]
fn the_summary_of_a_lossy_trace_says_why_and_what_to_do_and_exits_with_1() {
    let bench = Bench::with(&["kmem_lossy"]);
    let run = bench.analyze(&["kmem_lossy.trace"]);
    assert_eq!(run.code, 1);
    assert!(
        run.out.contains("kmem: 7 lost from +0.000s to +1.500s (ring_full: the ring buffer had no room"),
        "{}",
        run.out
    );
    assert!(
        run.out.contains("kmem: an unknown number lost from +0.600s to +1.600s (recursion:"),
        "{}",
        run.out
    );
    assert!(run.out.contains("kmem: 9 incomplete from +0.700s to +1.700s (stack_fault:"), "{}", run.out);
    assert!(
        run.out
            .contains("not used  kmem.kmem_cache_free_bulk  fentry:kmem_cache_free_bulk: no such function"),
        "{}",
        run.out
    );
}

#[test]
fn an_analysis_on_lossy_data_says_what_it_cannot_know() {
    let bench = Bench::with(&["kmem_lossy"]);
    let run = bench.analyze(&["leaks", "kmem_lossy.trace"]);
    assert_eq!((run.code, run.err.as_str()), (1, ""));
    let last = "-- so: a lost free makes an allocation look outstanding (column unknown: at most so many of a site); a lost allocation \
                is not seen at all\n-- so: nobody knows how many frees escaped (recursion is not counted by this kernel): all \
                that is outstanding may have been freed\n";
    assert!(run.out.contains("-- loss: kmem: 7 lost from") && run.out.ends_with(last), "{}", run.out);
    // For machines the rows stay alone on stdout.
    let run = bench.analyze(&["leaks", "kmem_lossy.trace", "--format", "csv"]);
    assert_eq!(run.code, 1);
    assert_eq!(run.out.lines().count(), 3, "{}", run.out);
    assert!(
        run.err.contains("analyze: loss: kmem: 7 lost") && run.err.contains("analyze: so: a lost free"),
        "{}",
        run.err
    );
}

/// Fixture kmem_bound: three frees were lost; the reader is told before the rows are read what they bound.
#[test]
fn k_lost_frees_hide_at_most_k_allocations() {
    let bench = Bench::with(&["kmem_bound"]);
    let run = bench.analyze(&["leaks", "kmem_bound.trace"]);
    let last = "-- so: of all sites together, at most 3 outstanding allocations may have been freed: that many frees were lost\n";
    assert!(run.code == 1 && run.out.ends_with(last), "{}", run.out);
    // Four allocations and three frees were lost, and who was not followed is in neither.
    let run = bench.analyze(&["lifetimes", "kmem_bound.trace"]);
    assert!(
        run.out.ends_with("-- so: at most 7 lives are missing, and at most 3 look too long\n"),
        "{}",
        run.out
    );
}

#[test]
fn a_loss_of_several_traces_says_of_which() {
    let bench = Bench::with(&["kmem_lossy"]);
    fixtures::build("kmem_lossy", &bench.path("again.trace")).unwrap();
    let run = bench.analyze(&["sql", "kmem_lossy.trace", "again.trace", "SELECT count(*) AS n FROM kmem"]);
    assert_eq!(run.code, 1);
    for trace in ["kmem_lossy.trace", "again.trace"] {
        assert!(run.out.contains(&format!("-- loss: {trace}: kmem: 7 lost from")), "{}", run.out);
        assert!(run.out.contains(&format!("-- loss: {trace}: kmem: 9 incomplete from")), "{}", run.out);
    }
}

/// A trace that a kernel gave, and its copy without a file of it, or with one more.
#[test]
fn files_that_a_copy_left_out_or_has_twice_are_missed() {
    let bench = Bench::with(&[]);
    let copy = |to: &str| {
        let from = fixtures::root().join("captured/joins.trace");
        let status = Command::new("cp").arg("-r").arg(from).arg(bench.path(to)).status();
        assert!(status.unwrap().success());
        segments(&bench.path(to).join("netns_joins"))
    };
    let ask = |trace: &str| {
        bench.analyze(&["sql", trace, "SELECT count(*) > 0 AS n FROM netns_joins", "-F", "csv"])
    };
    copy("whole.trace");
    let run = ask("whole.trace");
    assert_eq!((run.out.as_str(), run.err.contains("copy it again")), ("n\ntrue\n", false), "{}", run.err);

    for file in copy("less.trace") {
        fs::remove_file(file).unwrap();
    }
    let run = ask("less.trace");
    assert_eq!(run.code, 1);
    let told = "less.trace: table netns_joins has 0 rows, and ";
    assert!(run.err.contains(told) && run.err.contains("files are missing"), "{}", run.err);
    let page = bench.analyze(&["less.trace"]);
    assert_eq!(page.code, 1);
    assert!(!page.out.contains("every event that the probes saw is there"), "{}", page.out);

    let file = copy("more.trace").remove(0);
    fs::copy(&file, file.with_file_name("999999.parquet")).unwrap();
    let run = ask("more.trace");
    assert_eq!(run.code, 1);
    assert!(run.err.contains("are not of this trace"), "{}", run.err);
}

fn segments(table: &Path) -> Vec<PathBuf> {
    fs::read_dir(table).unwrap().map(|entry| entry.unwrap().path()).collect()
}

const UNSEEN: &str = "not observed: mkdirs: mkdir of 32-bit programs, mkdirat by io_uring";

#[test]
fn ways_into_an_event_that_nobody_watched_are_named_in_every_answer_about_it() {
    let bench = Bench::with(&["unseen"]);
    for words in [
        &["sql", "unseen.trace", "SELECT count(*) FROM mkdirs"][..],
        &["mkdirs", "unseen.trace"],
        &["sql", "unseen.trace", "SELECT * FROM mkdirs()"],
    ] {
        let run = bench.analyze(words);
        // What was observed is not in doubt.
        assert_eq!((run.code, run.err.as_str()), (0, ""), "{words:?}");
        assert_eq!(run.out.lines().last(), Some(format!("-- {UNSEEN}").as_str()), "{words:?}");
        let run = bench.analyze(&[words, &["--format", "csv"]].concat());
        assert_eq!(run.err, format!("analyze: {UNSEEN}\n"), "{words:?}");
    }
    let run = bench.analyze(&["sql", "unseen.trace", "SELECT count(*) FROM probes"]);
    assert!(!run.out.contains("not observed"), "{}", run.out);
    // Those of all events, where the losses of all are.
    let run = bench.analyze(&["losses", "unseen.trace"]);
    assert!(
        run.out.contains(UNSEEN) && run.out.contains("not observed: other: what is of no"),
        "{}",
        run.out
    );
}

#[test]
fn no_losses_is_followed_by_what_nobody_watched() {
    let bench = Bench::with(&["unseen"]);
    let run = bench.analyze(&["unseen.trace"]);
    assert_eq!(run.code, 0, "{}", run.err);
    let expected = "\
No losses: every event that the probes saw is there.
Not observed, so neither recorded nor counted as lost:
  mkdirs: mkdir of 32-bit programs, mkdirat by io_uring
";
    assert!(run.out.contains(expected), "{}", run.out);
    let probe = "not observed  mkdirs.mkdir ia32  mkdir of 32-bit programs: the tracepoints are silent";
    assert!(run.out.contains(probe), "{}", run.out);
}
