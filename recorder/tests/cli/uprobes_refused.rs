//! Uprobes that cannot be what was meant are refused, with the cause and the remedy.

use std::fs;

use crate::sandbox::Sandbox;
use crate::uprobes::{build, cc, source};

/// What the recorder says of a probe; nothing is recorded.
fn refusal(sandbox: &Sandbox, probe: &str) -> String {
    sandbox.expect(2, &["record", "--explain", probe, "-o", "t"]).err
}

fn assert_refused(sandbox: &Sandbox, probe: &str, parts: &[&str]) {
    let text = refusal(sandbox, probe);
    for part in parts {
        assert!(text.contains(part), "{probe}: '{part}' is not in: {text}");
    }
}

#[test]
fn a_symbol_that_is_no_function_of_the_file_is_named_with_what_is_near() {
    let sandbox = Sandbox::new();
    build(&sandbox, &[]);
    let cases: &[(&str, &[&str])] = &[
        ("uprobe:./calls:exporte", &["no function exporte", "near: exported"]),
        ("uprobe:./libturn.so:shared_number", &["shared_number is data"]),
        ("uprobe:./calls:pthread_kill", &["in a library", "libc.so.6:pthread_kill"]),
        ("uprobe:./calls:plain", &["in a library", "libturn.so:plain"]),
        ("uprobe:./libturn.so:turn@V3", &["no version V3", "turn@@V2", "turn@V1"]),
        ("uprobe:./calls:f+0x100", &["bytes long", "+0x100 is not in it"]),
        ("uprobe:./calls:f+0xffffffffffffffff", &["is not in it"]),
        ("uprobe:./calls:0xffffffffffffffff", &["is not in its code"]),
        ("uretprobe:./calls:f+1", &["start of a function"]),
        ("uprobe:./calls:0x1", &["0x1 is not in its code"]),
        ("uprobe:./calls:0xzz", &["not a number"]),
        ("uprobe:./calls:f+x", &["not a number"]),
        ("uprobe:./calls:", &["PATH:SYMBOL"]),
    ];
    for (probe, parts) in cases {
        assert_refused(&sandbox, probe, parts);
    }
}

#[test]
fn names_of_cpp_are_encoded_and_the_encoded_one_is_told() {
    let sandbox = Sandbox::new();
    let text = "namespace shop { __attribute__((noinline)) int price(int i) { return i + 1; } }\n\
                int main(int n, char **) { return shop::price(n); }\n";
    fs::write(sandbox.path("shop.cc"), text).unwrap();
    cc(&sandbox, &["-x", "c++", "-o", "shop", "shop.cc"]);
    for probe in ["uprobe:./shop:price", "uprobe:./shop:shop::price", "uprobe:./shop:shop::price(int)"] {
        assert_refused(&sandbox, probe, &["near: _ZN4shop5priceEi"]);
    }
    sandbox.expect(0, &["record", "--explain", "uprobe:./shop:_ZN4shop5priceEi{}"]);
}

#[test]
fn a_file_that_is_no_program_of_this_machine_is_called_what_it_is() {
    let sandbox = Sandbox::new();
    fs::write(sandbox.path("my-script"), "#!/usr/bin/env python3\n").unwrap();
    fs::write(sandbox.path("empty"), "").unwrap();
    fs::write(sandbox.path("text"), "hello\n").unwrap();
    fs::write(sandbox.path("short"), b"\x7fELF\x02\x01\x01").unwrap();
    let header = |class: u8, kind: u8, machine: u8| {
        let mut bytes = vec![0_u8; 64];
        bytes[..7].copy_from_slice(&[0x7f, b'E', b'L', b'F', class, 1, 1]);
        (bytes[16], bytes[18], bytes[20]) = (kind, machine, 1);
        bytes
    };
    fs::write(sandbox.path("i386"), header(1, 2, 3)).unwrap();
    fs::write(sandbox.path("riscv"), header(2, 2, 243)).unwrap();
    cc(&sandbox, &["-c", "-o", "object.o", &source("twice_here.c")]);
    assert!(std::process::Command::new("mkfifo").arg(sandbox.path("pipe")).status().unwrap().success());
    let cases: &[(&str, &[&str])] = &[
        ("my-script", &["it is a script", "python3 runs"]),
        ("empty", &["empty"]),
        ("text", &["not an ELF file"]),
        ("short", &["cut off"]),
        ("i386", &["32-bit"]),
        ("riscv", &["another machine"]),
        ("object.o", &["object file"]),
        ("pipe", &["device or a pipe"]),
        (".", &["directory"]),
        ("nowhere", &["No such file"]),
    ];
    for (file, parts) in cases {
        assert_refused(&sandbox, &format!("uprobe:./{file}:f"), parts);
    }
    assert_refused(&sandbox, "uprobe:my-script:f", &["no program 'my-script' in the PATH", "./my-script"]);
    assert_refused(&sandbox, "uprobe:no-such-thing:f", &["no program 'no-such-thing' in the PATH"]);
}

#[test]
fn damaged_programs_are_refused_or_read_and_nothing_else() {
    let sandbox = Sandbox::new();
    build(&sandbox, &[]);
    let whole = fs::read(sandbox.path("libturn.so")).unwrap();
    let mut seed = 7_u64;
    for i in 0..60 {
        let mut bytes = whole.clone();
        if i % 4 == 0 {
            bytes.truncate(whole.len() * i / 60);
        }
        for _ in 0..40 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let at = (seed >> 20) as usize % 4096.min(bytes.len().max(1));
            if let Some(byte) = bytes.get_mut(at.max(20)) {
                *byte = (seed >> 40) as u8;
            }
        }
        fs::write(sandbox.path("bad.so"), bytes).unwrap();
        let output = sandbox.run(&["list", "uprobe:./bad.so:*"]);
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(matches!(output.status.code(), Some(0 | 2)) && !text.contains("panic"), "{i}: {text}");
    }
}

#[test]
fn an_instruction_that_the_kernel_cannot_probe_is_told_though_nothing_runs_it() {
    let sandbox = Sandbox::for_recording();
    cc(
        &sandbox,
        &[
            "-static",
            "-nostdlib",
            "-ffreestanding",
            "-fno-stack-protector",
            "-o",
            "alone",
            &source("alone.c"),
        ],
    );
    let text = sandbox.expect(2, &["record", "uprobe:./alone:trap{}", "-o", "t", "--", "true"]).err;
    assert!(text.contains("cannot probe the instruction at file offset 0x"), "{text}");
    assert!(!sandbox.path("t").exists());
}
