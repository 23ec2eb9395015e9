//! Probes that do not resolve: the whole text of errors, and no panic.

use super::*;

/// What a typing error makes of a probe: a character is left out, doubled or replaced.
fn variants(text: &str) -> Vec<String> {
    let mut all = Vec::new();
    for (i, c) in text.char_indices() {
        let (before, after) = (&text[..i], &text[i + c.len_utf8()..]);
        all.push(format!("{before}{after}"));
        all.push(format!("{before}{c}{c}{after}"));
        all.extend(["*", "0", "->", "(", "&", "ü"].map(|other| format!("{before}{other}{after}")));
    }
    all
}

#[test]
fn no_typing_error_makes_it_panic() {
    let kernel = kernel(true);
    let mut resolved = 0;
    for text in [
        "a=fn:tcp_close{ x=sk->__sk_common.skc_net.net->ns.inum:u32, y=(*(u8 *)(sk + 3) & 0xf0) >> 2 } if sk->sk_uid.val != 5",
        "b=tp:net:net_dev_queue{ ip_proto(skb), p=((struct udphdr *)ip_upper(skb, skb->data))->dest } if ip_state(skb) == 0",
        "fn:vfs_read{ c=$comm, k=$kstack, p=entry(pos), n=file->f_path.dentry->d_name.name:string[20] } if !(count & 7)",
    ] {
        let (head, tail) = text.split_once('{').unwrap();
        for tail in variants(tail) {
            if let Ok(def) = parse_inline(&format!("{head}{{{tail}")) {
                resolved += usize::from(try_resolve(&kernel, &def, &Filter::default()).is_ok());
            }
        }
    }
    assert!(resolved > 100, "{resolved}");
}

#[test]
fn a_probe_that_does_not_resolve_says_what_is_near() {
    // The probe, the message, and the place that the carets mark.
    for (text, message, place) in [
        (
            "fn:vfs_read{ file->f_inode->i_inoo }",
            "event vfs_read: column i_inoo: struct inode has no member i_inoo; near: i_ino",
            "i_inoo",
        ),
        (
            "fn:vfs_read{ n=file->f_inode->i_inoo:u64 }",
            "event vfs_read: column n: struct inode has no member i_inoo; near: i_ino",
            "i_inoo",
        ),
        (
            "fn:inet_listen{ sok }",
            "event inet_listen: column sok: there is no argument sok: did you mean sock? inet_listen has sock, backlog",
            "sok",
        ),
        (
            "kprobe:inet_listen{ retval }",
            "event inet_listen: column retval: retval is known at return only: use fn:, fexit: or kretprobe:",
            "retval",
        ),
        (
            "fn:vfs_read{ ip_proto(count) }",
            "event vfs_read: column ip_proto: size_t is no pointer: it cannot be followed; cast it, as in ((struct X *)expression)->member",
            "count",
        ),
        (
            "fn:ip_rcv_core{ ip_proto(skb, 1, 2) }",
            "event ip_rcv_core: column ip_proto: ip_proto takes a struct sk_buff * and, if it is elsewhere, the IP header",
            "ip_proto(skb, 1, 2)",
        ),
        ("fn:tcp_close{ retval }", "event tcp_close: column retval: tcp_close returns nothing", "retval"),
        (
            "fn:tcp_close{ timeout->x }",
            "event tcp_close: column x: long int is no pointer: it cannot be followed; cast it, as in \
             ((struct X *)expression)->member",
            "timeout",
        ),
        (
            "tp:task:task_rename{ comm_ }",
            "event task_rename: column comm_: this is a char *: say :string (kernel memory) or :ustring (user memory)",
            "comm_",
        ),
        (
            "fn:tcp_close{ sk->sk_lock }",
            "event tcp_close: column sk_lock: this is a socket_lock_t: name one of its members (slock, owned, wq)",
            "sk->sk_lock",
        ),
        (
            "fn:tcp_close{ a=((struct tcp_sok *)sk)->x }",
            "event tcp_close: column a: this kernel has no struct tcp_sok; near: tcp_sock",
            "(struct tcp_sok *)",
        ),
        (
            "fn:tcp_close{ a=timeout * 3 }",
            "event tcp_close: column a: only a power of two can be multiplied with",
            "timeout * 3",
        ),
        (
            "fn:tcp_close if timeout:u8 == 300",
            "event tcp_close: predicate: this never holds: the value on the other side is u8, here from 0 to 255",
            "timeout:u8 == 300",
        ),
        (
            "fn:tcp_close if sk->__sk_common.skc_family == -1",
            "event tcp_close: predicate: this never holds: the value on the other side is short unsigned int, here from \
             0 to 65535; for its sign bit write a cast, as in (int)x",
            "sk->__sk_common.skc_family == -1",
        ),
        (
            "fn:tcp_close if timeout:u32 < 0",
            "event tcp_close: predicate: this never holds: the value on the other side is u32, here from 0 to \
             4294967295; for its sign bit write a cast, as in (int)x",
            "timeout:u32 < 0",
        ),
        (
            "fn:tcp_close if timeout & 4 == 2",
            "event tcp_close: predicate: this never holds: the value on the other side is s64, here from 0 to 4",
            "timeout & 4 == 2",
        ),
        (
            "fn:tcp_close{ a=timeout >> 64 }",
            "event tcp_close: column a: a value of 64 bits is shifted by a constant from 0 to 63",
            "timeout >> 64",
        ),
        (
            "fn:tcp_close{ a=sk:u32 }",
            "event tcp_close: column a: this is a pointer, which u32 does not hold: the error number that it may carry is \
             err(..)",
            "sk",
        ),
        (
            "tp:signal:signal_generate if seq == 3",
            "event signal_generate: predicate: there is no field seq: signal:signal_generate has sig, errno, code, comm_, pid_, \
             group, result",
            "seq",
        ),
        ("fn:tcp_close{ a=$arg3 }", "event tcp_close: column a: tcp_close has 2 arguments", "$arg3"),
    ] {
        let at = " ".repeat(text.rfind(place).unwrap());
        let expected = format!("{message}\n  {text}\n  {at}{}", "^".repeat(place.len()));
        assert_eq!(inline_error(text), expected);
    }
    let nowhere = |text: &str| {
        let error = inline_error(text);
        error
            .split_once("it cannot be observed on this kernel:\n  ")
            .map_or(error.clone(), |(_, reason)| reason.to_owned())
    };
    assert_eq!(
        nowhere("fn:inet_lisen{ sock }"),
        "fn:inet_lisen (fexit), fn:inet_lisen (kretprobe): this kernel has no function inet_lisen (it may be inlined); \
         near: inet_listen"
    );
    assert_eq!(
        nowhere("kprobe:sys_mkdir{ x=1 }"),
        "kprobe:sys_mkdir (kprobe): this kernel has no function sys_mkdir (it may be inlined); for a system call write \
         syscall:mkdir"
    );
    assert_eq!(
        nowhere("raw_tp:sched_swich{ x=1 }"),
        "raw_tp:sched_swich (raw_tp): this kernel has no tracepoint sched_swich, or it is in a module; near: sched_switch"
    );
    assert!(nowhere("tp:net:sched_switch").contains("did you mean tp:sched:sched_switch?"));
}

#[test]
fn a_limit_is_named_when_it_is_passed() {
    let def = builtin().iter().find(|def| def.name == "listens").unwrap();
    let many = Filter { netns: (1..30).collect(), ..Filter::default() };
    let error = error_of(try_resolve(&kernel(true), def, &many));
    assert!(error.contains("more than 16 alternatives"), "{error}");
    let fields: Vec<String> = (0..30).map(|i| format!("f{i}=sk->sk_family:u32")).collect();
    let error = inline_error(&format!(
        "fn:tcp_close{{ {}, x=1:string[500], y=1:string[500], z=1:string[510], w=1:string[510] }}",
        fields[..4].join(", ")
    ));
    assert!(error.contains("the limit is 2048"), "{error}");
    let error = inline_error(&format!("fn:tcp_close{{ {}, a=1:u8 }}", fields.join(", ")));
    assert!(error.contains("the limit is 32"), "{error}");
}
