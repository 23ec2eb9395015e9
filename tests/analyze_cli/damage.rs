//! Copies of traces with damage at random places: the answer is the right one, or it is none, or in doubt. (Issue line 6.)

use std::fs;
use std::path::{Path, PathBuf};

use super::{Bench, Run};

/// A cheap source of numbers that is the same each time.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) as usize % limit
    }
}

/// Every file of the trace.
fn files(trace: &Path) -> Vec<PathBuf> {
    let list = |dir: &Path| -> Vec<PathBuf> {
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect()
    };
    let (dirs, mut files): (Vec<PathBuf>, Vec<PathBuf>) = list(trace).into_iter().partition(|it| it.is_dir());
    files.extend(dirs.iter().flat_map(|dir| list(dir)));
    files.sort();
    files
}

/// What a test asks of a trace, so that every column of every table is read.
fn questions(trace: &str) -> Vec<Vec<String>> {
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let mut questions = vec![words(&[trace]), words(&["leaks", trace, "-F", "csv"])];
    for table in ["kmem", "losses", "stacks", "symbols", "probes"] {
        let query = format!("SELECT * FROM {table}");
        questions.push(words(&["sql", trace, &query, "-F", "ndjson"]));
    }
    let query =
        "SELECT min(ts), max(seq), stack_text(kstack) AS s FROM kmem WHERE cpu = 1 GROUP BY s ORDER BY s";
    questions.push(words(&["sql", trace, query, "-F", "csv"]));
    questions.push(words(&["sql", trace, "SELECT count(*) AS n FROM stacks", "-F", "csv"]));
    questions
}

fn ask(bench: &Bench, question: &[String]) -> Run {
    bench.analyze(&question.iter().map(String::as_str).collect::<Vec<_>>())
}

/// Rows in any order.
fn sorted(text: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    lines
}

/// Damage `bytes` as disks, copies and cosmic rays do.
fn damage(bytes: &mut Vec<u8>, numbers: &mut Numbers) {
    match numbers.below(6) {
        0 => bytes.truncate(numbers.below(bytes.len())),
        1 => {
            let (at, length) = (numbers.below(bytes.len()), 1 + numbers.below(64));
            let end = (at + length).min(bytes.len());
            bytes[at..end].fill(0);
        }
        _ => {
            for _ in 0..=numbers.below(3) {
                let at = numbers.below(bytes.len());
                bytes[at] ^= 1 + numbers.below(255) as u8;
            }
        }
    }
}

/// Damage a file of `trace`, chosen by its size or not, and ask; `is_told` says of each run whether damage was told.
fn rounds(bench: &Bench, trace: &str, seed: u64, rounds: usize, mut told: impl FnMut(&Run, &Run, &str)) {
    let sound: Vec<(PathBuf, Vec<u8>)> = files(&bench.path(trace))
        .into_iter()
        .map(|path| {
            let bytes = fs::read(&path).unwrap();
            (path, bytes)
        })
        .collect();
    let questions = questions(trace);
    let right: Vec<Run> = questions.iter().map(|question| ask(bench, question)).collect();
    let mut numbers = Numbers(seed);
    for round in 0..rounds {
        let (path, bytes) = &sound[numbers.below(sound.len())];
        let mut damaged = bytes.clone();
        while damaged == *bytes {
            damage(&mut damaged, &mut numbers);
        }
        fs::write(path, &damaged).unwrap();
        let number = numbers.below(questions.len());
        let run = ask(bench, &questions[number]);
        let what =
            format!("round {round}: {} {:?}: {}{}", path.display(), questions[number], run.out, run.err);
        // Whatever it finds, it says so in whole lines of its own and ends in an orderly way.
        assert!((0..=2).contains(&run.code), "{what}");
        assert!(run.err.lines().all(|line| line.starts_with("analyze: ")), "{what}");
        told(&run, &right[number], &what);
        if numbers.below(4) == 0 {
            let verified = bench.analyze(&["verify", trace]);
            assert!((1..=2).contains(&verified.code), "{what}\nverify: {}{}", verified.out, verified.err);
        }
        fs::write(path, bytes).unwrap();
    }
    assert_eq!(bench.analyze(&["verify", trace]).code, 0, "all is as it was");
}

#[test]
fn no_damage_gives_a_wrong_answer_with_exit_code_0() {
    let bench = Bench::with(&["kmem"]);
    let (mut same, mut refused) = (0, 0);
    rounds(&bench, "kmem.trace", 7, 150, |run, right, what| {
        match run.code {
            0 => assert_eq!(sorted(&run.out), sorted(&right.out), "{what}"),
            _ => refused += 1,
        }
        same += usize::from(run.code == 0);
    });
    assert!(same > 10 && refused > 50, "both happen: {same} and {refused}");
}

/// One of several commits, whose recorder died: what is missing is told by the state anyway.
#[test]
fn no_damage_to_a_trace_with_losses_hides_them() {
    let bench = Bench::with(&["kmem_lossy"]);
    let trace = bench.path("kmem_lossy.trace");
    let (meta, status) = fixtures::format2::describe(&trace).unwrap();
    let segments = fixtures::format2::segments(&trace, &meta).unwrap();
    let mut commits: Vec<schemas::trace::log::Commit> = segments
        .into_iter()
        .map(|segment| schemas::trace::log::Commit { add: vec![segment], ..Default::default() })
        .collect();
    commits[0].status = Some(status);
    fixtures::format2::write_log(&trace, &commits).unwrap();
    rounds(&bench, "kmem_lossy.trace", 8, 50, |run, right, what| {
        if run.code == right.code && !run.err.contains("warning") {
            assert_eq!(sorted(&run.out), sorted(&right.out), "{what}");
        }
    });
}

/// Format 1 has no CRCs: only that each run ends in an orderly way is promised.
#[test]
fn damage_to_format_1_ends_in_one_line_or_an_answer() {
    let bench = Bench::old(&["kmem_lossy"]);
    let trace = bench.path("kmem_lossy.trace");
    let mut numbers = Numbers(7);
    let questions = questions("kmem_lossy.trace");
    for path in files(&trace) {
        let sound = fs::read(&path).unwrap();
        for _ in 0..6 {
            let mut damaged = sound.clone();
            damage(&mut damaged, &mut numbers);
            fs::write(&path, damaged).unwrap();
            let run = ask(&bench, &questions[numbers.below(questions.len())]);
            let what = format!("{}: {}{}", path.display(), run.out, run.err);
            assert!((0..=2).contains(&run.code), "{what}");
            assert!(run.err.lines().all(|line| line.starts_with("analyze: ")), "{what}");
        }
        fs::write(&path, sound).unwrap();
    }
}
