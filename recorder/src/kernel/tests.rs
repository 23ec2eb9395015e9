//! The running kernel's own BTF, against facts that are the same on every kernel.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

use super::btf::{Kind, Member};
use super::*;

fn btf() -> Btf {
    Btf::of_running_kernel().unwrap()
}

/// Bit offset and type of a path of members in a struct, pointers followed.
fn path(btf: &Btf, root: &str, members: &[&str]) -> String {
    let mut ty = btf.find(root, Kind::Struct).unwrap();
    let mut text = String::new();
    for name in members {
        let stripped = btf.strip(ty);
        if btf.kind(stripped) == Kind::Pointer {
            ty = btf.target(stripped);
            text.push('>');
        }
        let Member { ty: next, bit_offset, bits, .. } = btf.member(ty, name).unwrap();
        text.push_str(&format!("{}", bit_offset / 8));
        if bits != 0 {
            text.push_str(&format!(":{bits}bit+{}", bit_offset % 8));
        }
        text.push(' ');
        ty = next;
    }
    format!("{text}{}", btf.c_name(ty))
}

#[test]
fn paths_lead_through_pointers_anonymous_unions_and_bitfields() {
    let btf = btf();
    // struct sock_common is the same on every kernel since 4.14.
    assert_eq!(path(&btf, "sock", &["__sk_common", "skc_num"]), "0 14 __u16");
    assert_eq!(path(&btf, "sock", &["__sk_common", "skc_rcv_saddr"]), "0 4 __be32");
    assert_eq!(path(&btf, "sock_common", &["skc_ipv6only"]), "19:1bit+5 unsigned char");
    assert_eq!(path(&btf, "sock_common", &["skc_v6_rcv_saddr", "in6_u", "u6_addr8"]), "72 0 0 __u8[16]");
    assert!(path(&btf, "net", &["ns", "inum"]).ends_with("unsigned int"));
    assert!(path(&btf, "task_struct", &["nsproxy", "net_ns"]).contains('>'));
    assert!(path(&btf, "task_struct", &["comm"]).ends_with("char[16]"));
    assert!(path(&btf, "kmem_cache", &["name"]).ends_with("const char *"));
}

#[test]
fn functions_enums_and_integers_are_found() {
    let btf = btf();
    let listen = btf.find("inet_listen", Kind::Func).unwrap();
    let (params, returns) = btf.prototype(listen).unwrap();
    let params: Vec<String> = params.iter().map(|(n, t)| format!("{n}: {}", btf.c_name(*t))).collect();
    assert_eq!(params, ["sock: struct socket *", "backlog: int"]);
    assert_eq!(btf.c_name(returns), "int");
    let int = btf.int(returns).unwrap();
    assert!(int.signed && int.size == 4 && !int.boolean);
    let pid_type = btf.find("pid_type", Kind::Enum).unwrap();
    assert_eq!(btf.enumerators(pid_type)[..2], [("PIDTYPE_PID", 0), ("PIDTYPE_TGID", 1)]);
    assert!(btf.find("btf_trace_sched_switch", Kind::Typedef).is_some());
    assert!(btf.find("no_such_function", Kind::Func).is_none());
}

#[test]
fn opening_is_a_matter_of_milliseconds() {
    let data = std::fs::read(btf::VMLINUX).unwrap();
    // Of this thread: others may have the processor meanwhile.
    let cpu_time = || Duration::from(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap());
    let start = cpu_time();
    let btf = Btf::parse(data).unwrap();
    btf.find("sock", Kind::Struct).unwrap();
    let took = cpu_time() - start;
    // Ten times what it takes on a slow machine; a type-by-type copy would take hundreds.
    assert!(took.as_millis() < 250, "{took:?}");
    assert!(btf.len() > 10_000);
}

#[test]
fn broken_bytes_are_refused_or_read_as_void() {
    let data = std::fs::read(btf::VMLINUX).unwrap();
    let error = |data: &[u8]| format!("{:#}", Btf::parse(data.to_vec()).unwrap_err());
    assert_eq!(error(b"abc"), "it has 3 bytes, a header alone has 24");
    assert_eq!(error(&[0; 24]), "it does not start with eb9f (little-endian)");
    assert_eq!(error(&data[..1000]), "its type section is cut");
    // Flip bytes all over the type section: whatever is accepted must be walked without a panic.
    for seed in 1..40_usize {
        let mut broken = data.clone();
        for i in 0..2000 {
            let at = 24 + (i * 7919 * seed + seed) % 200_000;
            broken[at] ^= (seed * 37 + i) as u8;
        }
        if let Ok(btf) = Btf::parse(broken) {
            for id in 0..btf.len().min(5000) as u32 {
                let _ = (btf.c_name(id), btf.size(id), btf.member(id, "x"), btf.prototype(id));
            }
        }
    }
}

#[test]
fn a_variable_of_each_cpu_is_found_where_types_lack_it() {
    let text = "0000000000000000 A __per_cpu_start\n000000000001fb80 A __preempt_count\n\
                ffffffff82000000 D runqueues\n0000000000000000 A hidden\n";
    assert_eq!(symbols::per_cpu(text, "__preempt_count"), Some(0x1fb80));
    for name in ["runqueues", "hidden", "absent"] {
        assert_eq!(symbols::per_cpu(text, name), None, "{name}");
    }
}

#[test]
fn the_running_kernel_has_the_functions_that_events_need() {
    let kernel = Kernel::running().unwrap();
    assert_eq!(kernel.function("inet_listen"), FunctionSymbol::Unique);
    assert_eq!(kernel.function("no_such_function"), FunctionSymbol::Missing);
    assert!(kernel.probeable_functions().binary_search(&"vfs_read").is_ok());
}
