//! What is read, and the whole text of what is refused.

use super::*;

/// An expression as fully parenthesised text.
fn shape(expr: &Expr) -> String {
    match &expr.kind {
        Kind::Name(name) => name.clone(),
        Kind::Builtin(builtin) => format!("{builtin:?}"),
        Kind::Retval => "retval".into(),
        Kind::Duration => "dur".into(),
        Kind::Int(n) => n.to_string(),
        Kind::Text(text) => format!("'{text}'"),
        Kind::Null => "NULL".into(),
        Kind::Member { of, name, optional, .. } => {
            format!("{}.{name}{}", shape(of), if *optional { "?" } else { "" })
        }
        Kind::Index { of, index } => format!("{}[{index}]", shape(of)),
        Kind::Cast { to, of } => {
            format!("({} {}{}){}", to.tag.unwrap_or("-"), to.name, "*".repeat(to.stars.into()), shape(of))
        }
        Kind::Sized { of, length } => format!("({}; {})", shape(of), shape(length)),
        Kind::Typed { of, ty } => format!("({}:{ty})", shape(of)),
        Kind::Deref(of) => format!("*({})", shape(of)),
        Kind::AddressOf(of) => format!("&({})", shape(of)),
        Kind::Not(of) => format!("!({})", shape(of)),
        Kind::Negate(of) => format!("-({})", shape(of)),
        Kind::Binary { op, left, right } => format!("({} {op:?} {})", shape(left), shape(right)),
        Kind::Entry(of) => format!("entry({})", shape(of)),
        Kind::Error(of) => format!("err({})", shape(of)),
        Kind::Call { function, arguments } => {
            format!("{}({})", function.name(), arguments.iter().map(shape).collect::<Vec<_>>().join(", "))
        }
    }
}

fn read(text: &str) -> String {
    match Field::parse(text) {
        Ok(field) => match field.ty {
            Some(ty) => format!("{} : {ty}", shape(&field.expr)),
            None => shape(&field.expr),
        },
        Err(error) => error.to_string(),
    }
}

#[test]
fn expressions_bind_as_the_grammar_says() {
    for (text, expected) in [
        ("sock->sk->__sk_common.skc_net.net->ns.inum:u32", "sock.sk.__sk_common.skc_net.net.ns.inum : u32"),
        ("t->comm:string", "t.comm : string[127]"),
        ("x : enum( a, b = 7 )", "x : enum(a=0,b=7)"),
        ("x : enum( kernel  sk_rst_reason )", "x : enum(kernel sk_rst_reason)"),
        (
            "(struct iphdr *)(skb->head + skb->network_header)",
            "(struct iphdr*)(skb.head Add skb.network_header)",
        ),
        ("((struct tcp_sock *)sk)->is_mptcp?", "(struct tcp_sock*)sk.is_mptcp?"),
        ("*(u8 *)(l4 + 13)", "*((- u8*)(l4 Add 13))"),
        ("skb->head + ip->ihl * 4", "(skb.head Add (ip.ihl Multiply 4))"),
        (
            "(ip->protocol == 6 || a == 17) && !(b & 0x1fff)",
            "(((ip.protocol Equal 6) Or (a Equal 17)) And !((b BitAnd 8191)))",
        ),
        ("flags & 4 == 4", "((flags BitAnd 4) Equal 4)"),
        ("a - 1 - 2 >> 3", "(((a Subtract 1) Subtract 2) ShiftRight 3)"),
        ("entry($task->nsproxy)", "entry(Task.nsproxy)"),
        ("$arg1->fd[3]", "Arg(0).fd[3]"),
        ("$comm == \"nginx\" && retval < -1", "((Comm Equal 'nginx') And (retval Less -(1)))"),
        ("(a * b)", "(a Multiply b)"),
        ("(int)x < 0", "((- int)x Less 0)"),
        ("(unsigned int)-1", "(- unsigned int)-(1)"),
        ("(gfp_t)(a | b)".replace(" | b", "").as_str(), "(- gfp_t)a"),
        ("(enum zone_type)z == 'ZONE_DMA'", "((enum zone_type)z Equal 'ZONE_DMA')"),
        // These are names in parentheses, as they always were.
        ("(a) - 1", "(a Subtract 1)"),
        ("(a) * b", "(a Multiply b)"),
        ("(a) & 3", "(a BitAnd 3)"),
        ("retval:s32 < 0", "((retval:s32) Less 0)"),
        ("(retval:s32) + 1:u8", "((retval:s32) Add 1) : u8"),
        ("-x:s32", "-(x) : s32"),
        ("buf : ubytes[ 16 ; retval ]", "(buf; retval) : ubytes[16]"),
        ("entry(buf):bytes[64; a[1] + 2]", "entry((buf; (a[1] Add 2))) : bytes[64]"),
        ("err(retval)", "err(retval)"),
        ("NULL", "NULL"),
        ("dur >= 10ms && $dur < 2s", "((dur GreaterEqual 10000000) And (dur Less 2000000000))"),
        ("a == 7us || a == 1ns || a == 0x1f", "(((a Equal 7000) Or (a Equal 1)) Or (a Equal 31))"),
    ] {
        assert_eq!(read(text), expected, "{text}");
    }
}

const NO_NUMBER: &str =
    "expected a decimal or 0x number of at most 64 bits, or a time in ns, us, ms or s, such as 10ms";

#[test]
fn a_refused_expression_shows_the_place_and_what_was_expected() {
    for (text, expected) in [
        ("sock->->sk", "expected the name of a member, found '->'\n  sock->->sk\n        ^^"),
        ("a +", "expected a name, a number, $task, retval or '(', found the end\n  a +\n     ^"),
        ("(a + b", "expected an operator or ')', found the end\n  (a + b\n        ^"),
        ("a b", "expected an operator, '->', ':' or the end, found 'b'\n  a b\n    ^"),
        ("a[b]", "expected a number, found 'b'\n  a[b]\n    ^"),
        (
            "(struct sock)x",
            "a cast to a struct must be one to a pointer: write (struct X *)\n  (struct sock)x\n  ^^^^^^^^^^^^^",
        ),
        ("'abc", "this text has no closing '\n  'abc\n  ^^^^"),
        ("a ~ b", "'~' has no meaning here\n  a ~ b\n    ^"),
        ("0xzz", &format!("{NO_NUMBER}\n  0xzz\n  ^^^^")),
        ("dur > 10min", &format!("{NO_NUMBER}\n  dur > 10min\n        ^^^^^")),
        // 293 years.
        ("9300000000s", &format!("{NO_NUMBER}\n  9300000000s\n  ^^^^^^^^^^^")),
        (
            "$pad",
            "there is no $pad: use $arg1 .. $arg12, $retval, $dur, $task, $item, $comm, $pid, $tid, $uid, $gid, \
             $cgroup_id, $netns, $kstack, $ustack, $abi\n  $pad\n  ^^^^",
        ),
        (
            "a:u33",
            "unknown type 'u33': use u8..u64, s8..s64, x8..x64, bool, char[N], string[N], ustring[N], ip, ip4, ip6, \
             mac, sym, hex[N], bytes[N], ubytes[N], argv[N], u16[N]..s64[N], enum(a,b=7), enum(kernel NAME), kstack[N] or ustack[N]\n  a:u33\n    ^^^",
        ),
        (
            "a:ustring[9; n]",
            "ustring[9] has no length of its own: bytes[N; LENGTH], ubytes[N; LENGTH] and argv[N; LENGTH] have\n  a:ustring[9; n]\n    ^^^^^^^^^^^^^",
        ),
        (
            "a:bytes[9; ]",
            "expected a name, a number, $task, retval or '(', found ']'\n  a:bytes[9; ]\n             ^",
        ),
        (
            "a:string[999]",
            "type 'string[999]': the number in brackets must be from 1 to 510\n  a:string[999]\n    ^^^^^^^^^^^",
        ),
    ] {
        assert_eq!(read(text), expected, "{text}");
    }
    assert!(read(&"(".repeat(5000)).starts_with("more than 64 operators are nested here"));
}

#[test]
fn a_probe_has_a_name_a_target_fields_and_a_predicate() {
    let probe =
        Probe::parse("slow=fn:vfs_read{ file->f_inode->i_ino, n=count:u32, retval } if retval > 4096")
            .unwrap();
    assert_eq!((probe.name.as_str(), probe.target.to_string().as_str()), ("slow", "fn:vfs_read"));
    let fields: Vec<_> =
        probe.fields.unwrap().into_iter().map(|(n, f)| format!("{n}={}", shape(&f.expr))).collect();
    assert_eq!(fields, ["i_ino=file.f_inode.i_ino", "n=count", "retval=retval"]);
    assert_eq!(shape(&probe.predicate.unwrap().expr), "(retval Greater 4096)");

    let probe = Probe::parse("tp:writeback:writeback_dirty_folio").unwrap();
    assert_eq!((probe.name.as_str(), probe.fields, probe.predicate), ("writeback_dirty_folio", None, None));
    let probe = Probe::parse("uprobe:/lib/x86_64-linux-gnu/libc.so.6:malloc{ size=$arg1:u64 }").unwrap();
    assert_eq!(probe.name, "malloc");
    assert_eq!(probe.target.name, "/lib/x86_64-linux-gnu/libc.so.6:malloc");
    assert_eq!(Probe::parse("fn:do_exit{}").unwrap().fields, Some(vec![]));
    assert_eq!(Probe::parse("fn:do_exit if $pid == 3").unwrap().fields, None);
}

#[test]
fn a_refused_probe_shows_the_place_and_what_was_expected() {
    for (text, expected) in [
        (
            "kprob:inet_listen",
            "there is no probe kind 'kprob': did you mean kprobe?\n  kprob:inet_listen\n  ^^^^^",
        ),
        (
            "inet_listen",
            "expected KIND:TARGET, with KIND one of fn, kprobe, kretprobe, fentry, fexit, tp, raw_tp, syscall, uprobe, \
             uretprobe, usdt, profile, software, hardware\n  inet_listen\n  ^^^^^^^^^^^",
        ),
        (
            "tp:sched_switch",
            "expected a tracepoint: tp:CATEGORY:NAME, for instance tp:sched:sched_switch\n  tp:sched_switch\n     ^^^^^^^^^^^^",
        ),
        ("a=fn:", "expected a name after 'fn:'\n  a=fn:\n       ^"),
        ("fn:f{ a b }", "expected ',' or '}', found 'b'\n  fn:f{ a b }\n          ^"),
        ("fn:f{ 3 }", "this field needs a name: write NAME=expression\n  fn:f{ 3 }\n        ^"),
        ("fn:f{ a } when b", "expected 'if' or the end, found 'when'\n  fn:f{ a } when b\n            ^^^^"),
    ] {
        assert_eq!(Probe::parse(text).unwrap_err().to_string(), expected, "{text}");
    }
}

#[test]
fn near_names_come_nearest_first() {
    let names = ["inum", "ino", "i_ino", "count", "skc_num", "stashed"];
    assert_eq!(near("inim", names), ["inum"]);
    assert_eq!(near("num", names), ["inum", "skc_num"]);
    assert!(near("zzzzzz", names).is_empty());
}

#[test]
fn functions_of_packets_have_one_or_more_arguments() {
    assert_eq!(read("ip_proto(skb) == 17"), "(ip_proto(skb) Equal 17)");
    assert_eq!(read("ip_upper(skb, skb->data)[3]:u8"), "ip_upper(skb, skb.data)[3] : u8");
    assert_eq!(read("ip_state"), "ip_state");
    let field = Field::parse("ip_proto(skb)").unwrap();
    assert_eq!(field.expr.default_name().as_deref(), Some("ip_proto"));
    assert_eq!(
        read("1 + ip_port(skb)"),
        "there is no function ip_port: there are entry, ip_proto, ip_upper, ip_state\n  1 + ip_port(skb)\n      ^^^^^^^"
    );
    assert!(read("ip_proto()").starts_with("expected a name"));
    assert!(read("ip_proto(skb").starts_with("expected ',' or ')'"));
}
