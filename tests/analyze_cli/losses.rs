//! What a trace says that it does not have, in every answer.

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
    let last = "-- so: a lost free makes an allocation look outstanding (column unknown counts these); a lost allocation is not seen at all\n";
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

#[test]
fn losses_of_several_traces_are_added_up() {
    let bench = Bench::with(&["kmem_lossy"]);
    fixtures::build("kmem_lossy", &bench.path("again.trace")).unwrap();
    let run = bench.analyze(&["sql", "kmem_lossy.trace", "again.trace", "SELECT count(*) AS n FROM kmem"]);
    assert!(run.code == 1 && run.out.contains("kmem: 14 lost from"), "{}", run.out);
    assert!(run.out.contains("kmem: 18 incomplete from"), "{}", run.out);
}
