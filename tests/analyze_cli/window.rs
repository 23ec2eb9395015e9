//! `--from` and `--to`: rows and losses of a part of a recording. And queries, which tell the losses of what they read.

use super::Bench;

/// Losses of fixture kmem_lossy are at 1.0 s (5), 1.5 s (2), 1.6 s (an unknown number), 1.7 s (9 incomplete).
fn lines(words: &[&str]) -> (i32, Vec<String>) {
    lines_of("kmem_lossy", words)
}

fn lines_of(fixture: &str, words: &[&str]) -> (i32, Vec<String>) {
    let bench = Bench::with(&[fixture]);
    let run = bench.analyze(words);
    assert_eq!(run.err, "");
    (run.code, run.out.lines().map(str::to_owned).collect())
}

const COUNT: &str = "SELECT count(*) AS n FROM kmem";

#[test]
fn a_query_tells_the_losses_of_the_tables_that_it_reads() {
    let (code, all) = lines(&["sql", "kmem_lossy.trace", COUNT]);
    assert_eq!((code, all[1].trim()), (1, "5"));
    assert!(
        all[2].starts_with("-- loss: kmem: an unknown number lost from +0.600s to +1.600s (recursion:"),
        "{all:?}"
    );
    assert!(all[3].starts_with("-- loss: kmem: 7 lost from +0.000s to +1.500s (ring_full:"), "{all:?}");
    assert!(all.last().unwrap().starts_with("-- so: rows are missing"), "{all:?}");
    // Also through an analysis and a table made of it, but not for tables without events.
    let (code, all) = lines(&["sql", "kmem_lossy.trace", "SELECT count(*) FROM kmem_pairs"]);
    assert!(code == 1 && all[2].starts_with("-- loss: kmem:"), "{all:?}");
    let (code, all) = lines(&["sql", "kmem_lossy.trace", "SELECT count(*) AS n FROM probes"]);
    assert_eq!((code, all.len(), all[1].trim()), (0, 2, "4"));
}

#[test]
fn a_window_has_its_own_rows_and_its_own_losses() {
    // Before the first loss, whose interval began at the start.
    let (code, all) = lines(&["sql", "kmem_lossy.trace", COUNT, "--from", "+100ns", "--to", "+301ns"]);
    assert_eq!((code, all[1].trim()), (1, "3"));
    // What a kernel cannot tell it cannot tell of any part.
    assert!(all[2].starts_with("-- loss: kmem: an unknown number lost"), "{all:?}");
    assert!(all[3].starts_with("-- loss: kmem: 5 lost from +0.000s to +1.000s (ring_full:"), "{all:?}");
    assert_eq!(all.len(), 5, "{all:?}");
    // Between: of the intervals, the one that ends at 1.5 s is the first.
    let (_, all) = lines(&["sql", "kmem_lossy.trace", COUNT, "--from", "+1.1s", "--to", "+1.2s"]);
    assert_eq!(all[1].trim(), "1");
    assert!(all[3].starts_with("-- loss: kmem: 2 lost from +0.500s to +1.500s (ring_full:"), "{all:?}");
    // After the last one there is only that.
    let (code, all) = lines(&["sql", "kmem_lossy.trace", COUNT, "--from", "+1.7s"]);
    assert_eq!((code, all.len(), all[1].trim()), (1, 4, "0"));
    assert!(all[2].starts_with("-- loss: kmem: an unknown number lost"), "{all:?}");
}

#[test]
fn a_loss_is_in_every_window_that_its_interval_touches() {
    // Held up from 2 s to 6 s, of which nothing is known but the sum; and a fork that was lost before.
    let all = |from: &str, to: &str| {
        lines_of("long", &["sql", "long.trace", "SELECT count(*) FROM mkdirs", "--from", from, "--to", to])
    };
    for (from, to) in [("+1s", "+2.001s"), ("+3s", "+4s"), ("+5.9s", "+7s")] {
        let (code, lines) = all(from, to);
        assert!(
            code == 1 && lines[2].starts_with("-- loss: mkdirs: 1000 lost from +2.000s to +6.000s"),
            "{lines:?}"
        );
    }
    for (from, to) in [("+1s", "+2s"), ("+6s", "+7s")] {
        assert_eq!(all(from, to).1.len(), 2, "{from} {to}");
    }
    // Who is who is told by rows from before: what was lost of them counts for later too.
    let of_processes = |from: &str| {
        lines_of(
            "long",
            &["sql", "long.trace", "SELECT count(*) FROM processes", "--from", from, "--to", "+9s"],
        )
    };
    assert!(of_processes("+8s").1[2].starts_with("-- loss: processes: 3 lost from +1.000s to +2.000s"));
}

#[test]
fn an_analysis_ends_where_its_window_ends() {
    // The allocation at 300 ns is 500 ms old at 500_000_300 ns, and no free of it was lost until the window ends.
    let old = ["leaks", "kmem_lossy.trace", "--to", "+500000301ns", "-F", "csv"];
    let bench = Bench::with(&["kmem_lossy"]);
    let run = bench.analyze(&old);
    assert_eq!(run.out.lines().count(), 2, "{}", run.out);
    assert!(run.out.lines().nth(1).unwrap().ends_with(",500000001"), "{}", run.out);
    let run = bench.analyze(&["leaks", "kmem_lossy.trace", "--to", "+500000299ns", "-F", "csv"]);
    assert_eq!((run.code, run.out.lines().count()), (1, 1), "{}", run.out);
}

#[test]
fn a_window_that_makes_no_sense_is_refused() {
    let bench = Bench::with(&["mkdirs"]);
    let from_to = |from: &str, to: &str, line: &str| {
        bench.refused(&["mkdirs", "mkdirs.trace", "--from", from, "--to", to], line);
    };
    from_to("+2s", "+1s", "analyze: --to is not after --from: there is nothing in between");
    from_to(
        "soon",
        "+1s",
        "analyze: --from: 'soon' is no time: write +1.5s (after the start), 2027-01-15T08:00:00Z, or end",
    );
}

#[test]
fn a_date_is_what_the_wall_clock_showed() {
    // A directory each second, at half past; at 08:00:05 the clock is set back to 08:00:01.
    let bench = Bench::with(&["clock_set"]);
    let rows = |flag: &str, text: &str| {
        let run =
            bench.analyze(&["sql", "clock_set.trace", "SELECT path FROM mkdirs", flag, text, "-F", "csv"]);
        let paths: Vec<String> = run.out.lines().skip(1).map(str::to_owned).collect();
        let span = (paths.len(), paths.first().cloned().unwrap(), paths.last().cloned().unwrap());
        (span, run.err)
    };
    let between = |first: usize, last: usize| (last - first + 1, format!("at-{first}"), format!("at-{last}"));
    // 08:00:03 was shown twice, at +3 s and at +7 s: a window begins at the first and ends at the second.
    let (found, told) = rows("--from", "2027-01-15T08:00:03Z");
    assert_eq!(found, between(3, 9));
    assert!(told.contains("which was set while recording: it is +3.000s after the start"), "{told}");
    assert_eq!(rows("--to", "2027-01-15T08:00:03Z").0, between(0, 6));
    // 08:00:05 was not shown before the clock was set, but 4 s later than without that.
    assert_eq!(rows("--from", "2027-01-15T08:00:05Z").0, between(9, 9));
    assert_eq!(rows("--to", "2027-01-15T08:00:00.7Z").0, between(0, 0));
    // What counts from the start does not depend on the clock.
    assert_eq!(rows("--from", "+5s"), (between(5, 9), String::new()));
    assert_eq!(rows("--from", "1800000005000000000"), (between(5, 9), String::new()));
}

#[test]
fn a_date_that_is_not_the_same_time_in_all_traces_is_refused() {
    let bench = Bench::with(&["clock_set", "mkdirs"]);
    let words = |from: &'static str| ["sql", "clock_set.trace", "mkdirs.trace", COUNT_ALL, "--from", from];
    let run = bench.analyze(&words("2027-01-15T08:00:05Z"));
    assert!(run.code == 2 && run.err.contains("is not the same time in these traces"), "{}", run.err);
    assert_eq!(bench.analyze(&words("+1s")).err, "");
    // Before anybody set a clock it is.
    assert_eq!(bench.analyze(&words("2027-01-15T08:00:00.7Z")).code, 0);
}

const COUNT_ALL: &str = "SELECT count(*) FROM mkdirs";

#[test]
fn the_page_of_a_trace_tells_when_the_clock_was_set_and_what_has_no_name() {
    let bench = Bench::with(&["clock_set"]);
    let run = bench.analyze(&["clock_set.trace"]);
    assert!(run.out.contains("was set back by 4.000000 s +5.000s after the start"), "{}", run.out);
    assert!(run.out.contains("1 cgroups have no path"), "{}", run.out);
}
