//! Options may stand anywhere.

use super::Bench;

/// Every order of `words` in which those of `fixed` stay in their order.
fn orders(fixed: &[&str], option: &[&str]) -> Vec<Vec<String>> {
    let place = |at: usize| {
        let mut words: Vec<String> = fixed.iter().map(|w| (*w).to_owned()).collect();
        words.splice(at..at, option.iter().map(|w| (*w).to_owned()));
        words
    };
    (0..=fixed.len()).map(place).collect()
}

#[test]
fn an_option_may_stand_before_between_and_behind_all_words() {
    let bench = Bench::with(&["mkdirs"]);
    let comment = "-- which ones?\nSELECT 1 AS one";
    let hyphens = "--one, --two\nSELECT 1 AS one";
    let mut tried = 0;
    for (fixed, wanted) in [
        (vec!["sql", "mkdirs.trace", "SELECT 1 AS one"], "one\n1\n"),
        (vec!["sql", "mkdirs.trace", comment], "one\n1\n"),
        (vec!["sql", "mkdirs.trace", hyphens], "one\n1\n"),
        (vec!["mkdirs", "mkdirs.trace"], ""),
        (vec!["mkdirs.trace"], ""),
    ] {
        let plain: Vec<&str> = fixed.iter().copied().chain(["-F", "csv", "--from", "+0s"]).collect();
        let plain = bench.analyze(&plain);
        assert!(plain.code < 2 && plain.out.starts_with(wanted), "{fixed:?}: {} {}", plain.out, plain.err);
        for option in [
            &["-F", "csv", "--from=+0s"][..],
            &["--format=csv", "--from", "+0s"],
            &["-Fcsv", "--from", "+0s"],
        ] {
            for words in orders(&fixed, option) {
                let run = bench.analyze(&words.iter().map(String::as_str).collect::<Vec<_>>());
                assert_eq!((run.code, &run.out, &run.err), (plain.code, &plain.out, &plain.err), "{words:?}");
                tried += 1;
            }
        }
    }
    assert!(tried > 40);
    for words in orders(&["listens", "mkdirs.trace"], &["--at", "noon"]) {
        let run = bench.analyze(&words.iter().map(String::as_str).collect::<Vec<_>>());
        assert!(
            run.code == 2 && run.err.contains("'listens' is not in this trace") || run.err.contains("noon"),
            "{}",
            run.err
        );
    }
    let run = bench.analyze(&["sql", "mkdirs.trace"]);
    assert!(run.code == 2 && run.err.contains("the query is empty"), "{}", run.err);
    let run = bench.analyze(&["sql", "-F", "csv", "mkdirs.trace", "--", comment]);
    assert_eq!(run.out, "one\n1\n");
}
