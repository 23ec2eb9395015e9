//! Arithmetic against what a C compiler makes of the same text, comparisons against mathematics.

use std::io::Write as _;
use std::process::{Command, Stdio};

use super::run::Run;
use super::*;

const TYPES: [&str; 8] = ["s8", "u8", "s16", "u16", "s32", "u32", "s64", "u64"];
/// What may be in a register: edges of all widths, and garbage above them.
const VALUES: [u64; 14] = [
    0,
    1,
    5,
    0x7f,
    0x80,
    0xff,
    0x8000,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_fffb,
    0x1_0000_0005,
    0x8000_0000_0000_0000,
    0xffff_ffff_ffff_fffb,
    u64::MAX,
];

/// A user function of which nobody tells the types.
fn target() -> String {
    format!("uprobe:{}:main", std::env::current_exe().unwrap().display())
}

fn event(kernel: &Kernel, text: &str) -> ResolvedEvent {
    let def = parse_inline(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    try_resolve(kernel, &def, &Filter::default()).unwrap_or_else(|error| panic!("{text}: {error:#}"))
}

fn plan(event: &ResolvedEvent) -> &Plan {
    &event.sources[0].candidates[0].plan
}

/// What the register holds as a C type.
fn value_of(raw: u64, ty: &str) -> i128 {
    match ty {
        "s8" => (raw as i8).into(),
        "u8" => (raw as u8).into(),
        "s16" => (raw as i16).into(),
        "u16" => (raw as u16).into(),
        "s32" => (raw as i32).into(),
        "u32" => (raw as u32).into(),
        "s64" => (raw as i64).into(),
        _ => raw.into(),
    }
}

#[test]
fn comparisons_are_those_of_mathematics_whatever_the_types() {
    let kernel = kernel(true);
    for a in TYPES {
        for b in TYPES {
            for (sign, op) in ["==", "!=", "<", "<=", ">", ">="].into_iter().enumerate() {
                // Once as casts, once as types after a colon, once by columns that have the types.
                let texts = [
                    format!("{}{{ $arg1 }} if ({a})$arg1 {op} ({b})$arg2", target()),
                    format!("{}{{ $arg1 }} if $arg1:{a} {op} $arg2:{b}", target()),
                    format!("{}{{ x=$arg1:{a}, $arg2:{b} }} if x {op} $arg2", target()),
                ];
                let event = event(&kernel, &texts[sign % 3]);
                for x in VALUES {
                    for y in VALUES {
                        let (m, n) = (value_of(x, a), value_of(y, b));
                        let truth = [m == n, m != n, m < n, m <= n, m > n, m >= n][sign];
                        let run = Run::new(plan(&event), &[Some(x), Some(y)]);
                        assert_eq!(run.passes, truth, "{}: {m} and {n}", texts[sign % 3]);
                    }
                    for args in [[None, Some(x)], [Some(x), None]] {
                        assert!(!Run::new(plan(&event), &args).passes, "NULL compares with nothing");
                    }
                }
            }
        }
    }
}

/// Expressions over `a` and `b`, which are cast registers.
const EXPRESSIONS: [&str; 17] = [
    "a + b",
    "a - b",
    "b - a + 1",
    "-a",
    "a + 1",
    "a - 5",
    "a + 0x80000000",
    "1 + a",
    "a * 8",
    "a << 3",
    "a >> 3",
    "a & 0xf0",
    "a & -4",
    "a & 0xffffffff",
    "(u16)a + (s8)b",
    "(int)a >> 31",
    "(u64)a >> 60",
];

#[test]
fn arithmetic_has_the_types_and_the_values_that_a_c_compiler_gives() {
    let kernel = kernel(true);
    let mut source = String::from(
        "#include <stdio.h>\ntypedef signed char s8; typedef unsigned char u8; typedef short s16; typedef unsigned short \
         u16; typedef int s32; typedef unsigned u32; typedef long s64; typedef unsigned long u64;\n\
         #define SHOW(e) printf(\"%zu %d %llx\\n\", sizeof(e), (__typeof__(e))-1 < 0, (unsigned long long)(e))\n\
         int main(void) {\nstatic const u64 v[] = {",
    );
    source.extend(VALUES.map(|value| format!("{value:#x}ul,")));
    source.push_str(
        "};\nfor (unsigned i = 0; i < sizeof v / 8; i++) for (unsigned j = 0; j < sizeof v / 8; j++) {\n",
    );
    let pairs = || TYPES.into_iter().enumerate().map(|(i, a)| (a, TYPES[(i * 3 + 1) % TYPES.len()]));
    for (a, b) in pairs() {
        for expression in EXPRESSIONS {
            source.push_str(&format!("{{ {a} a = v[i]; {b} b = v[j]; (void)b; SHOW({expression}); }}\n"));
        }
    }
    source.push_str("}\nreturn 0; }\n");
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("c");
    let mut cc = Command::new("cc")
        .args(["-fwrapv", "-w", "-x", "c", "-", "-o"])
        .arg(&program)
        .stdin(Stdio::piped())
        .spawn()
        .expect("cc, which links this test too");
    cc.stdin.take().unwrap().write_all(source.as_bytes()).unwrap();
    assert!(cc.wait().unwrap().success());
    let output = Command::new(&program).output().unwrap();
    let truth = String::from_utf8(output.stdout).unwrap();
    let mut truth = truth.lines();

    let replaced = |text: &str, a: &str, b: &str| {
        let of = |c: char| match c {
            'a' => format!("({a})$arg1"),
            'b' => format!("({b})$arg2"),
            other => other.to_string(),
        };
        // `a` and `b` are the only names of one letter.
        text.split(' ')
            .map(|word| match word.trim_end_matches(['a', 'b']) {
                head if head.len() + 1 == word.len() && !head.starts_with("0x") => {
                    format!("{head}{}", of(word.chars().last().unwrap()))
                }
                _ => word.to_owned(),
            })
            .collect::<Vec<_>>()
            .join(" ")
    };
    let mut events = Vec::new();
    for (a, b) in pairs() {
        for expression in EXPRESSIONS {
            let text = format!("{}{{ e={} }}", target(), replaced(expression, a, b));
            events.push((event(&kernel, &text), text));
        }
    }
    for x in VALUES {
        for y in VALUES {
            for (event, text) in &events {
                let line: Vec<&str> = truth.next().unwrap().split(' ').collect();
                let ty = format!(
                    "{}{}",
                    if line[1] == "1" { "s" } else { "u" },
                    line[0].parse::<u8>().unwrap() * 8
                );
                assert_eq!(event.layout.column("e").unwrap().ty.to_string(), ty, "{text}");
                let value =
                    value_of(Run::new(plan(event), &[Some(x), Some(y)]).column(event, "e"), &ty) as u64;
                assert_eq!(format!("{value:x}"), line[2], "{text} of {x:#x} and {y:#x}");
            }
        }
    }
    assert_eq!(truth.next(), None);
}

#[test]
fn what_a_user_function_has_in_its_registers_is_asked_for() {
    let refused = |text: &str| inline_error(&text.replace("TARGET", &target()));
    for condition in
        ["$arg1 < 0", "$arg1 == 5", "$arg1", "!$arg1", "$arg1 & 4", "$arg1 + 1 > 2", "-$arg1 > 1"]
    {
        let error = refused(&format!("TARGET{{ a=1:u8 }} if {condition}"));
        let message = "nobody tells how wide $arg1 is and whether it is signed: say it, as in (int)$arg1 or \
                       (u64)$arg1, in a condition also $arg1:s32";
        assert!(error.contains(message), "{error}");
    }
    let error = refused("ret=TARGET{ retval } if retval < 0").replace("uprobe", "uretprobe");
    assert!(error.contains("retval"), "{error}");
    let kernel = kernel(true);
    for condition in
        ["$arg1 == NULL", "$arg1:ustring == \"x\"", "(bool)$arg1", "*(int *)$arg1 < 0", "$arg1:s32 < 0"]
    {
        event(&kernel, &format!("{}{{ a=1:u8 }} if {condition}", target()));
    }
    // The lowest byte is all that is defined of a bool.
    let event = event(&kernel, &format!("{}{{ b=$arg1:bool }} if (bool)$arg1", target()));
    for (raw, truth) in [(0x100, false), (0x101, true), (0, false), (1, true)] {
        let run = Run::new(plan(&event), &[Some(raw)]);
        assert_eq!((run.passes, run.column(&event, "b")), (truth, u64::from(truth)), "{raw:#x}");
    }
}

#[test]
fn a_pointer_that_carries_an_error_number_is_negative() {
    let kernel = kernel(true);
    const ADDRESS: u64 = 0xffff_8881_00dc_7000;
    let enoent = (-2_i64) as u64;
    for (condition, of_null, of_address, of_error, of_last) in [
        ("sk < 0", false, false, true, true),
        ("sk >= 0", true, true, false, false),
        ("!(sk < 0)", true, true, false, false),
        ("sk == -2", false, false, true, false),
        ("sk != -2", true, true, false, true),
        ("sk <= -2", false, false, true, true),
        ("sk > -3", true, true, true, false),
        ("sk == NULL", true, false, false, false),
        ("sk", false, true, true, true),
        ("sk == 0xffff888100dc7000", false, true, false, false),
        ("(long)sk == -2", false, false, true, false),
        ("sk:s64 == -4095", false, false, false, true),
        ("err(sk) == 0", true, true, false, false),
        ("err(sk) < -2", false, false, false, true),
    ] {
        let event = event(&kernel, &format!("kprobe:tcp_close{{ sk }} if {condition}"));
        for (raw, truth) in
            [(0, of_null), (ADDRESS, of_address), (enoent, of_error), (-4095_i64 as u64, of_last)]
        {
            assert_eq!(Run::new(plan(&event), &[Some(raw)]).passes, truth, "{condition} of {raw:#x}");
        }
    }
    let event = event(&kernel, "kprobe:tcp_close{ e=err(sk), s=err(timeout) }");
    for (raw, error) in [(0, 0), (ADDRESS, 0), (enoent, -2), (-4095_i64 as u64, -4095), (-4096_i64 as u64, 0)]
    {
        let run = Run::new(plan(&event), &[Some(raw), Some(raw)]);
        for column in ["e", "s"] {
            assert_eq!(run.column(&event, column) as u32 as i32, error, "{column} of {raw:#x}");
        }
    }
    assert_eq!(columns(&event), "e:s32 s:s32");
}

#[test]
fn a_column_that_is_null_meets_no_condition() {
    let text = r#"
        summary = "s"
        [[source]]
        when = { n = "timeout > 10" }
        [[source.probe]]
        on = "kprobe:tcp_close"
        [[column]]
        name = "n"
        type = "s8"
        doc = ""
        expr = "timeout"
    "#;
    let def = schemas::def::parse_toml("e", text).unwrap();
    let kernel = kernel(true);
    for (condition, passing) in [
        ("n == 11", &[11_i64, 267][..]),
        ("n != 11", &[12, 255, 256, 268]),
        ("!(n == 11)", &[12, 255, 256, 268]),
        ("!(n != 11)", &[11, 267]),
        ("n < 0", &[255]),
        ("n < 0 || timeout == 3", &[3, 255]),
        ("!n || !(timeout == 5)", &[3, 11, 12, 255, 256, 267, 268]),
    ] {
        let filter = Filter { extra: Some(condition.into()), ..Filter::default() };
        let event = try_resolve(&kernel, &def, &filter).unwrap_or_else(|error| panic!("{error:#}"));
        for timeout in [3, 5, 11, 12, 255, 256, 267, 268] {
            let run = Run::new(plan(&event), &[Some(0), Some(timeout as u64)]);
            assert_eq!(run.passes, passing.contains(&timeout), "{condition} of {timeout}");
        }
    }
}
