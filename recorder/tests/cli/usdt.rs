//! Probes that a program has built in give exactly the arguments that it has there: `programs/marks.c` knows them.

use std::collections::hash_map::RandomState;
use std::fs;
use std::hash::{BuildHasher, Hasher};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use crate::sandbox::{Sandbox, Table, counts, record};
use crate::uprobes::{cc, source};

const TIMES: i64 = 20;

fn build(sandbox: &Sandbox, extra: &[&str]) {
    let source = source("marks.c");
    let mut args = vec!["-o", "marks", source.as_str()];
    args.extend(extra);
    cc(sandbox, &args);
}

/// Record `probes` while `marks` runs, and see that nothing is missing.
fn trace(sandbox: &Sandbox, probes: &[(&str, usize)]) {
    let args: Vec<&str> = probes.iter().map(|(probe, _)| *probe).collect();
    let _ = fs::remove_dir_all(sandbox.path("t"));
    record(sandbox, 0, &args, &format!("exec ./marks {TIMES} > said"));
    for (probe, rows) in probes {
        let event = probe.split(['=', '{']).next().unwrap().rsplit(':').next().unwrap();
        assert_eq!(counts(&sandbox.path("t"), event), (*rows as i128, *rows as i128, 0), "{probe}");
    }
}

fn all(of: impl Fn(i64) -> i128) -> Vec<Option<i128>> {
    (0..TIMES).map(|i| Some(of(i))).collect()
}

/// A program that goes on when it gets a line, and then says what its semaphores are.
struct Stepped {
    child: Child,
    steps: ChildStdin,
    said: BufReader<ChildStdout>,
}

impl Stepped {
    fn start(command: &mut Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (steps, said) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Self { child, steps, said: BufReader::new(said) }
    }

    fn step(&mut self) -> String {
        writeln!(self.steps, "go").unwrap();
        let mut line = String::new();
        self.said.read_line(&mut line).unwrap();
        line.trim().to_owned()
    }

    fn end(mut self) {
        drop(self.steps);
        assert!(self.child.wait().unwrap().success());
    }
}

#[test]
fn arguments_of_each_form_are_what_the_program_has_there() {
    let n = TIMES as usize;
    for extra in [&["-O1", "-pie"][..], &["-O2", "-no-pie"], &["-O0"], &["-O1", "-static"]] {
        let sandbox = Sandbox::for_recording();
        build(&sandbox, extra);
        let probes = [
            ("usdt:./marks:marks:constants", n),
            (
                "usdt:./marks:marks:registers{arg0,arg1,arg2,arg3,arg4,arg5,arg6,arg7,arg8,text=arg9:ustring}",
                n,
            ),
            (
                "usdt:./marks:marks:memory{arg0,arg1,arg2,arg3,name=arg4:ustring,at=*(u32 *)arg5,same=arg6:ustring}",
                n,
            ),
            ("odds=usdt:./marks:marks:memory{arg0} if arg4:ustring == \"odd\" && arg0 < -2", n / 2 - 1),
        ];
        trace(&sandbox, &probes);
        let t = sandbox.path("t");
        let constants = Table::read(&t, "constants");
        // As C converts them to the sizes and signs that the program says.
        let truth: [i128; 8] =
            [-7, (-7_i32).cast_unsigned().into(), 5, u64::MAX.into(), -56, 200, 70000 - 65536, -3];
        for (i, value) in truth.into_iter().enumerate() {
            assert_eq!(constants.integers(&format!("arg{i}")), all(|_| value), "{extra:?} arg{i}");
        }
        let registers = Table::read(&t, "registers");
        let value =
            |i: i64| (0x1122_3344_5566_7788_i64 * if i % 2 == 1 { -1 } else { 1 } + i).cast_unsigned();
        let is = |column: &str, of: &dyn Fn(i64) -> i128| {
            assert_eq!(registers.integers(column), all(of), "{extra:?} {column}");
        };
        is("arg0", &|i| value(i).into());
        is("arg1", &|i| (value(i) as i64).into());
        is("arg2", &|i| (value(i) as u32).into());
        is("arg3", &|i| (value(i) as i32).into());
        is("arg4", &|i| (value(i) as u16).into());
        is("arg5", &|i| (value(i) as i16).into());
        is("arg6", &|i| (value(i) as u8).into());
        is("arg7", &|i| (value(i) as i8).into());
        is("arg8", &|i| (i + 1).into());
        assert_eq!(registers.text("text"), vec!["text in a register"; n]);
        let memory = Table::read(&t, "memory");
        assert_eq!(memory.integers("arg0"), all(|i| -i128::from(i)), "{extra:?}");
        assert_eq!(memory.integers("arg1"), all(|i| i128::from(i) * 1000), "{extra:?}");
        assert_eq!(memory.integers("arg2"), all(|i| i128::from(i) * 1000), "{extra:?}");
        assert_eq!(memory.integers("arg3"), all(|i| i128::from(i) + 1), "{extra:?}");
        assert_eq!(memory.integers("at"), all(|i| i128::from(i) + 1), "{extra:?}");
        let names: Vec<String> = (0..n).map(|i| if i % 2 == 1 { "odd" } else { "even" }.to_owned()).collect();
        assert_eq!((memory.text("name"), memory.text("same")), (names.clone(), names), "{extra:?}");
        let odds = Table::read(&t, "odds").integers("arg0");
        assert_eq!(
            odds,
            (0..TIMES).filter(|i| i % 2 == 1 && *i > 2).map(|i| Some(-i128::from(i))).collect::<Vec<_>>()
        );
    }
}

#[test]
fn a_probe_in_several_places_has_the_arguments_of_each() {
    let sandbox = Sandbox::for_recording();
    build(&sandbox, &[]);
    let n = TIMES as usize;
    let probes = [
        ("usdt:./marks:marks:places", 5 * n),
        ("first=usdt:./marks:marks:places{arg0}", 5 * n),
        // An argument that is not there meets no condition, negated or not.
        ("others=usdt:./marks:marks:places{arg0} if !(arg1 == 77)", 2 * n),
        ("either=usdt:./marks:marks:places{arg0} if arg1 == 77 || arg0 == 4", 3 * n),
    ];
    trace(&sandbox, &probes);
    let places = Table::read(&sandbox.path("t"), "places");
    let mut rows: Vec<_> = places.integers("arg0").into_iter().zip(places.integers("arg1")).collect();
    rows.sort();
    let mut truth: Vec<_> = (0..i128::from(TIMES))
        .flat_map(|i| [(1, Some(i)), (2, Some(i + 100)), (3, Some(77)), (4, None), (4, None)])
        .map(|(first, second)| (Some(first), second))
        .collect();
    truth.sort();
    assert_eq!(rows, truth);
    // The trace says where the second one is NULL; places that differ only in what nobody wants are one.
    let probes = Table::read(&sandbox.path("t"), "probes");
    let of = |event: &str| -> Vec<usize> {
        let events = probes.text("event");
        (0..events.len()).filter(|row| events[*row] == event).collect()
    };
    assert_eq!((of("places").len(), of("first").len()), (4, 4));
    let reasons = probes.text("reason");
    let nulls: Vec<_> =
        of("places").into_iter().filter(|row| reasons[*row].contains("arg1 is NULL")).collect();
    assert_eq!(nulls.len(), 1, "{reasons:?}");
    assert!(of("first").iter().all(|row| !reasons[*row].contains("arg1")), "{reasons:?}");
    let explained = sandbox.expect(0, &["record", "--explain", "usdt:./marks:marks:places{}"]).out;
    assert_eq!(explained.matches("first choice").count(), 1, "{explained}");
    assert!(explained.contains("file offsets"), "{explained}");
}

#[test]
fn a_semaphore_is_raised_while_somebody_listens_in_processes_that_run_already_too() {
    let sandbox = Sandbox::for_recording();
    build(&sandbox, &[]);
    let mut marks = Stepped::start(Command::new(sandbox.path("marks")).arg("steps"));
    assert_eq!(marks.step(), "0 0");
    let pid = marks.child.id().to_string();
    let mut running = sandbox.start(&["record", "--pid", &pid, "usdt:./marks:marks:heard", "-o", "t"]);
    assert_eq!((marks.step(), marks.step()), ("1 1".to_owned(), "1 1".to_owned()));
    // One that begins now has it from the start.
    let other = Command::new(sandbox.path("marks")).arg("3").output().unwrap();
    assert!(String::from_utf8_lossy(&other.stdout).contains("3,3,1"), "{other:?}");
    running.signal(libc::SIGINT);
    assert_eq!(running.wait_soon(), Some(0), "{}", running.stderr());
    assert_eq!(marks.step(), "0 0");
    marks.end();
    assert_eq!(Table::read(&sandbox.path("t"), "heard").integers("arg0"), [Some(1), Some(2)]);
}

#[test]
fn what_is_listed_is_accepted_and_what_is_not_there_is_said() {
    let sandbox = Sandbox::new();
    build(&sandbox, &[]);
    let listed = sandbox.expect(0, &["list", "usdt:./marks:*s"]).out;
    let path = sandbox.path("marks").canonicalize().unwrap().display().to_string();
    let words: Vec<&str> = listed.lines().filter_map(|line| line.split_whitespace().next()).collect();
    let names = ["constants", "places", "places", "places", "places", "places", "registers"];
    assert_eq!(words, names.map(|name| format!("usdt:{path}:marks:{name}")), "{listed}");
    assert!(listed.contains("-4@$-7 4@$-7"), "{listed}");
    assert!(sandbox.expect(0, &["list", "usdt:./marks"]).out.contains("with a semaphore"));
    sandbox.expect(0, &["record", "--explain", words[0]]);
    let described = sandbox.expect(0, &["describe", "usdt:./marks:marks:heard"]).out;
    assert!(described.contains("semaphore at 0x") && described.contains("arg0"), "{described}");
    fs::write(sandbox.path("plain.c"), "int main(void) { return 0; }\n").unwrap();
    cc(&sandbox, &["-o", "plain", "plain.c"]);
    let cases: &[(&str, &[&str])] = &[
        ("usdt:./marks:marks:place{}", &["no probe marks:place", "near: marks:places"]),
        ("usdt:./marks:other:heard{}", &["no probe other:heard", "near: marks:heard"]),
        ("usdt:./marks:nothing:zzzzzz{}", &["no probe nothing:zzzzzz", "marks:constants, marks:heard"]),
        ("usdt:./plain:a:b{}", &["no probes built in", "libc.so.6"]),
        ("usdt:./marks:heard{}", &["usdt:PATH:PROVIDER:NAME"]),
        ("usdt:./marks:marks:odd{ arg0 }", &["8@DWORD PTR [rbp-8]", "form is not known"]),
        ("usdt:./marks:marks:odd{ arg1 }", &["8f@%xmm1", "floating-point"]),
        ("usdt:./marks:marks:odd{ arg7 }", &["no argument arg7", "arg0, arg1, arg2"]),
        ("usdt:./marks:marks:odd{ retval }", &["has no result"]),
    ];
    for (probe, parts) in cases {
        let text = sandbox.expect(2, &["record", "--explain", probe, "-o", "t"]).err;
        for part in *parts {
            assert!(text.contains(part), "{probe}: '{part}' is not in: {text}");
        }
    }
    for (glob, part) in
        [("usdt:./marks:zzz*", "it has marks:constants"), ("usdt:./plain", "no probes built in")]
    {
        let text = sandbox.expect(2, &["list", glob]).err;
        assert!(text.contains(part), "{glob}: {text}");
    }
    // A variable has no place without its name, and the argument no value.
    let strip = Command::new("strip").arg(sandbox.path("marks")).status().unwrap();
    assert!(strip.success());
    let text = sandbox.expect(2, &["record", "--explain", "usdt:./marks:marks:memory{ arg3 }"]).err;
    assert!(text.contains("counter(%rip)") && text.contains("stripped"), "{text}");
    sandbox.expect(0, &["record", "--explain", "usdt:./marks:marks:memory{ arg0, arg1 }"]);
}

#[test]
fn a_file_of_an_event_may_name_one() {
    let sandbox = Sandbox::for_recording();
    build(&sandbox, &[]);
    let text = "summary = \"what marks has\"\n[[source]]\n[[source.probe]]\non = \"usdt:./marks:marks:places\"\n\
                where = \"arg1 >= 100\"\n[[column]]\nname = \"which\"\ntype = \"u8\"\ndoc = \"d\"\nexpr = \"arg0\"\n\
                [[column]]\nname = \"what\"\ndoc = \"d\"\nexpr = \"arg1 + 1\"\n";
    fs::write(sandbox.path("mine.toml"), text).unwrap();
    record(&sandbox, 0, &["./mine.toml"], "exec ./marks 3 > said");
    let mine = Table::read(&sandbox.path("t"), "mine");
    assert_eq!(mine.integers("which"), [Some(2); 3]);
    assert_eq!(mine.integers("what"), [Some(101), Some(102), Some(103)]);
}

#[test]
fn the_file_of_a_running_process_is_found_though_it_is_nowhere_to_be_seen() {
    let sandbox = Sandbox::for_recording();
    // Other tests run the same program at the same time, so this one gets an id of its own.
    let own_id = RandomState::new().build_hasher().finish();
    build(&sandbox, &[&format!("-Wl,--build-id=0x{own_id:016x}")]);
    let id = Command::new("readelf").args(["-n", "marks"]).current_dir(sandbox.path("")).output().unwrap();
    let id = String::from_utf8_lossy(&id.stdout).into_owned();
    let id = id.split("Build ID: ").nth(1).unwrap().split_whitespace().next().unwrap().to_owned();
    // It lies in a file system that only its own namespace has, and has lost its name there.
    let script = "mkdir own && mount -t tmpfs none own && cp marks own && rm marks && exec own/marks steps";
    let mut unshare = Command::new("unshare");
    unshare.args(["--mount", "sh", "-c", script]).current_dir(sandbox.path(""));
    let mut marks = Stepped::start(&mut unshare);
    assert_eq!(marks.step(), "0 0");
    let pid = marks.child.id();
    let probes = [
        format!("a=usdt:pid={pid}:marks:heard"),
        format!("b=usdt:build-id={id}:marks:heard"),
        format!("c=uprobe:pid={pid}/libc:fgets{{ size=$arg2:s32 }} if $pid == {pid}"),
        format!("d=uprobe:build-id={}:main{{}}", &id[..12]),
    ];
    let mut args = vec!["record"];
    args.extend(probes.iter().map(String::as_str));
    args.extend(["-o", "t"]);
    let mut running = sandbox.start(&args);
    // Who listens at one place counts once, for the kernel knows places.
    assert_eq!((marks.step(), marks.step()), ("1 1".to_owned(), "1 1".to_owned()));
    running.signal(libc::SIGINT);
    assert_eq!(running.wait_soon(), Some(0), "{}", running.stderr());
    let cases = [
        (format!("uprobe:pid={pid}/libk:main{{}}"), "runs no code of a file of that name; it runs"),
        ("uprobe:pid=abc:main{}".to_owned(), "'abc' is no process number"),
        ("uprobe:pid=4194304:main{}".to_owned(), "there is no process 4194304"),
        ("uprobe:build-id=12:main{}".to_owned(), "at least its first 8 digits"),
        ("uprobe:build-id=0123456789abcdef0123:main{}".to_owned(), "no process runs"),
    ];
    for (probe, part) in cases {
        let text = sandbox.expect(2, &["record", "--explain", &probe, "-o", "u"]).err;
        assert!(text.contains(part), "{probe}: {text}");
    }
    marks.end();
    let t = sandbox.path("t");
    for event in ["a", "b"] {
        assert_eq!(Table::read(&t, event).integers("arg0"), [Some(1), Some(2)], "{event}");
    }
    // What waits in it when the recording begins has been entered before.
    let sizes = Table::read(&t, "c").integers("size");
    assert!(sizes.len() >= 2 && sizes.iter().all(|size| *size == Some(100)), "{sizes:?}");
}

#[test]
fn a_process_that_begins_later_in_a_container_of_the_same_image_is_seen() {
    let sandbox = Sandbox::for_recording();
    build(&sandbox, &[]);
    fs::create_dir_all(sandbox.path("image")).unwrap();
    fs::rename(sandbox.path("marks"), sandbox.path("image/marks")).unwrap();
    // Files of an overlay are those of the layer below until they are written to.
    let script = "mkdir -p layer root && mount -t tmpfs none layer && mkdir layer/up layer/work && \
                  mount -t overlay none -o lowerdir=image,upperdir=layer/up,workdir=layer/work root && exec root/marks 7 > said";
    let probes = ["usdt:./image/marks:marks:heard", "uprobe:./image/marks:main{}"];
    record(&sandbox, 0, &probes, &format!("exec unshare --mount sh -c '{script}'"));
    assert!(fs::read_to_string(sandbox.path("said")).unwrap().contains("7,7,1"));
    let t = sandbox.path("t");
    let lengths = ["heard", "main"].map(|event| Table::read(&t, event).len());
    assert_eq!(lengths, [7, 1]);
}

#[test]
fn a_library_of_the_system_has_probes_of_its_own() {
    let sandbox = Sandbox::for_recording();
    let text = "#include <stdexcept>\nint main() {\n    int n = 0;\n    for (int i = 0; i < 37; i++)\n        try { throw \
                std::runtime_error(\"x\"); } catch (const std::exception &) { n++; }\n    return n != 37;\n}\n";
    fs::write(sandbox.path("thrower.cc"), text).unwrap();
    cc(&sandbox, &["-x", "c++", "-o", "thrower", "thrower.cc", "-lstdc++"]);
    let probes = ["throw", "catch"].map(|name| {
        format!("{name}=usdt:libstdc++:libstdcxx:{name}{{ object=arg0, type=arg1 }} if $comm == \"thrower\"")
    });
    record(&sandbox, 0, &[&probes[0], &probes[1]], "exec ./thrower");
    let t = sandbox.path("t");
    let (thrown, caught) = (Table::read(&t, "throw"), Table::read(&t, "catch"));
    assert_eq!((thrown.len(), caught.len()), (37, 37));
    // What is thrown is caught, and is of one type.
    assert_eq!(thrown.integers("object"), caught.integers("object"));
    let types = thrown.integers("type");
    assert!(types.iter().all(|ty| ty.is_some() && *ty == types[0]), "{types:?}");
}
