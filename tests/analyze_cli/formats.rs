//! Formats and files.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;
use std::time::{Duration, Instant};

use arrow_array::{Array, RecordBatch, cast::AsArray, types::UInt64Type};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::Bench;

const QUERY: &str =
    "SELECT ptr, 4 + ptr AS \"Next\", bytes_req, comm, ts FROM kmem WHERE kind = 'alloc' ORDER BY ts LIMIT 2";

#[test]
fn null_and_empty_text_differ_in_csv() {
    let bench = Bench::with(&["kmem"]);
    let query = "SELECT '' AS a, NULL AS b, CAST(NULL AS VARCHAR) AS c, 'x,\"y\"' AS \"d,e\", cache FROM kmem ORDER BY ts LIMIT 1";
    let run = bench.analyze(&["sql", "kmem.trace", query, "-F", "csv"]);
    assert_eq!(run.out, "a,b,c,\"d,e\",cache\n\"\",,,\"x,\"\"y\"\"\",\n");
}

#[test]
fn markdown_is_a_table_of_values_and_nothing_in_them_is_markup() {
    let bench = Bench::with(&["kmem"]);
    let query = "SELECT ptr, bytes_req, '_a|b_' AS text FROM kmem ORDER BY ts LIMIT 1";
    let run = bench.analyze(&["sql", "kmem.trace", query, "-F", "markdown"]);
    assert_eq!(run.out, "| ptr | bytes_req | text |\n| ---: | ---: | --- |\n| 0x10 | 60 | \\_a\\|b\\_ |\n");
}

fn columns(batch: &RecordBatch) -> Vec<(String, String)> {
    let schema = batch.schema();
    let doc = |key: &str, field: &arrow_schema::Field| field.metadata().get(key).cloned().unwrap_or_default();
    schema
        .fields()
        .iter()
        .map(|f| (f.name().clone(), format!("{} [{}]", doc("doc", f), doc("unit", f))))
        .collect()
}

#[test]
fn parquet_and_arrow_keep_types_docs_and_units() {
    let bench = Bench::with(&["kmem"]);
    for name in ["rows.parquet", "rows.arrow"] {
        let run = bench.analyze(&["sql", "kmem.trace", QUERY, "-o", name]);
        assert_eq!((run.code, run.out.as_str(), run.err.as_str()), (0, "", ""), "{name}");
        let file = File::open(bench.path(name)).unwrap();
        let batches: Vec<RecordBatch> = if name.ends_with("parquet") {
            let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap();
            reader.map(Result::unwrap).collect()
        } else {
            arrow_ipc::reader::StreamReader::try_new(file, None).unwrap().map(Result::unwrap).collect()
        };
        assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), 2);
        let ptrs = batches[0].column(0).as_primitive::<UInt64Type>();
        assert_eq!((ptrs.value(0), ptrs.null_count()), (0x10, 0));
        let columns = columns(&batches[0]);
        assert_eq!(columns[0], ("ptr".to_owned(), "address of the object []".to_owned()));
        assert_eq!(columns[1].0, "Next");
        assert_eq!(columns[2], ("bytes_req".to_owned(), "size asked for; NULL for free [bytes]".to_owned()));
    }
    // The columns of an analysis are documented in its header.
    bench.analyze(&["leak_classes", "kmem.trace", "-o", "classes.parquet"]);
    let file = File::open(bench.path("classes.parquet")).unwrap();
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
    let schema = reader.schema().clone();
    let bytes = schema.field_with_name("bytes").unwrap().metadata();
    assert!(bytes["unit"] == "bytes" && !bytes["doc"].is_empty(), "{bytes:?}");
    // Without rows it is still a file of that format.
    let none =
        bench.analyze(&["sql", "kmem.trace", "SELECT ptr FROM kmem WHERE false", "-o", "none.parquet"]);
    assert_eq!(none.code, 1);
    let file = File::open(bench.path("none.parquet")).unwrap();
    assert_eq!(
        ParquetRecordBatchReaderBuilder::try_new(file).unwrap().metadata().file_metadata().num_rows(),
        0
    );
}

#[test]
fn the_ending_of_a_file_says_its_format_and_remarks_stay_out_of_it() {
    let bench = Bench::with(&["mkdirs"]);
    let query = "SELECT ret FROM mkdirs ORDER BY ts LIMIT 1";
    for (name, text) in [
        ("a.csv", "ret\n0\n"),
        ("a.json", "[{\"ret\":0}]\n"),
        ("a.NDJSON", "{\"ret\":0}\n"),
        ("a.jsonl", "{\"ret\":0}\n"),
        ("a.md", "| ret |\n| ---: |\n| 0 |\n"),
        ("a.txt", "ret\n  0\n"),
    ] {
        let run = bench.analyze(&["sql", "mkdirs.trace", query, "-o", name]);
        assert_eq!((run.code, run.out.as_str()), (0, ""), "{name}: {}", run.err);
        assert_eq!(fs::read_to_string(bench.path(name)).unwrap(), text, "{name}");
    }
    let run = bench.analyze(&["sql", "mkdirs.trace", "SELECT ret FROM mkdirs WHERE false", "-o", "a.txt"]);
    assert_eq!((run.code, run.out.as_str(), run.err.as_str()), (1, "", "analyze: no rows\n"));
    assert_eq!(fs::read_to_string(bench.path("a.txt")).unwrap(), "ret\n");
    let run = bench.analyze(&["sql", "mkdirs.trace", query, "-o", "b.dat", "-F", "csv"]);
    assert_eq!((run.code, fs::read_to_string(bench.path("b.dat")).unwrap().as_str()), (0, "ret\n0\n"));
    let run = bench.analyze(&["sql", "mkdirs.trace", query, "-o", "b.dat"]);
    assert!(run.code == 2 && run.err.contains("b.dat: the name does not say in which format"), "{}", run.err);
    let run = bench.analyze(&["sql", "mkdirs.trace", query, "-o", "/dev/null", "-F", "csv"]);
    assert_eq!((run.code, run.err.as_str()), (0, ""));
}

#[test]
fn a_file_is_replaced_as_a_whole_or_not_at_all() {
    let bench = Bench::with(&["gaps"]);
    let path = bench.path("rows.csv");
    fs::write(&path, "as it was").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    let link = bench.path("link.csv");
    std::os::unix::fs::symlink("rows.csv", &link).unwrap();
    let failing =
        "SELECT 1 / (1202 - row_number() OVER ()) AS n FROM packets a CROSS JOIN (VALUES (1), (2)) b";
    let run = bench.analyze(&["sql", "gaps.trace", failing, "-o", "rows.csv"]);
    assert_eq!(run.code, 2, "{}", run.err);
    assert_eq!(fs::read_to_string(&path).unwrap(), "as it was");
    bench.refused(
        &["sql", "gaps.trace", "SELECT 1", "-o", "no/rows.csv"],
        "analyze: cannot write no/rows.csv: no: No such file or directory (os error 2)",
    );
    bench.refused(
        &["sql", "gaps.trace", "SELECT 1", "-o", "gaps.trace", "-F", "csv"],
        "analyze: cannot write gaps.trace: it is a directory: name a file in it",
    );
    let run = bench.analyze(&["sql", "gaps.trace", "SELECT 1 AS n", "-o", "link.csv"]);
    assert_eq!(run.code, 0, "{}", run.err);
    assert!(link.is_symlink(), "what the link names is replaced");
    assert_eq!(fs::read_to_string(&path).unwrap(), "n\n1\n");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
    assert_eq!(left_over(&bench), Vec::<String>::new());
}

fn left_over(bench: &Bench) -> Vec<String> {
    let names = bench.dir.path().read_dir().unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.ends_with(".tmp")).collect()
}

#[test]
fn an_interrupt_ends_with_130_and_leaves_no_part_of_a_file() {
    let bench = Bench::with(&["gaps"]);
    // Rows without end, for all that matters here.
    let query = "SELECT a.ts FROM packets a CROSS JOIN packets b CROSS JOIN packets c";
    let mut command = bench.command(&["sql", "gaps.trace", query, "-o", "rows.csv"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let start = Instant::now();
    let is_begun =
        || left_over(&bench).iter().any(|name| bench.path(name).metadata().is_ok_and(|m| m.len() > 0));
    while !is_begun() {
        assert!(child.try_wait().unwrap().is_none() && start.elapsed() < Duration::from_secs(60));
        std::thread::sleep(Duration::from_millis(20));
    }
    kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGINT).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()), (Some(130), ""));
    assert_eq!(left_over(&bench), Vec::<String>::new());
    assert!(!bench.path("rows.csv").exists());
}

#[test]
fn two_columns_of_one_name_are_refused_where_one_would_hide_the_other() {
    let bench = Bench::with(&["mkdirs"]);
    let query = "SELECT a.ret, b.ret FROM mkdirs a JOIN mkdirs b ON a.ts = b.ts";
    for format in ["json", "ndjson", "parquet", "arrow"] {
        bench.refused(
            &["sql", "mkdirs.trace", query, "-F", format],
            "analyze: two columns are called 'ret': give one of them another name with AS",
        );
    }
    assert_eq!(bench.analyze(&["sql", "mkdirs.trace", query, "-F", "csv"]).code, 0);
}
