//! Probes as the documentation writes them, and what is explained about them.

use super::*;

#[test]
fn the_probes_of_the_manual_resolve() {
    for (text, expected, ways) in [
        (
            "kprobe:inet_listen{ netns_=sock->sk->__sk_common.skc_net.net->ns.inum:u32, backlog }",
            "netns_:u32 backlog:s32",
            "kprobe",
        ),
        (
            "fn:vfs_read{ file->f_inode->i_ino, count, retval } if retval > 4096",
            "i_ino:u64 count:u64 retval:s64",
            "fexit, kretprobe",
        ),
        (
            "dirs=syscall:mkdir{ pathname:ustring, mode }",
            "pathname:ustring[127] mode:u16",
            "fexit, kretprobe, syscall tracepoints",
        ),
        ("tp:writeback:writeback_dirty_folio", "name:char[32] ino:u64 index:u64", "tracepoint"),
        (
            "tp:kmem:kmem_cache_alloc{ ptr, s->name:string, bytes=s->size }",
            "ptr:x64 name:string[127] bytes:u32",
            "tp_btf, raw_tp",
        ),
        (
            "fn:inet_listen{ port=sock->sk->__sk_common.skc_num, addr=sock->sk:ip, backlog, retval } if retval == 0",
            "port:u16 addr:ip backlog:s32 retval:s32",
            "fexit, kretprobe",
        ),
        ("tp:syscalls:sys_enter_mkdir", "__syscall_nr:s32 pathname:ustring[127] mode:u16", "tracepoint"),
        (
            "syscall:setns{ fd, flags, retval }",
            "fd:s32 flags:s32 retval:s64",
            "fexit, kretprobe, syscall tracepoints",
        ),
        (
            "syscall:mkdir",
            "pathname:ustring[127] mode:u16 retval:s64",
            "fexit, kretprobe, syscall tracepoints",
        ),
        ("raw_tp:sched_switch{ to=next->comm, next->__state }", "to:char[16] __state:u32", "raw_tp"),
        ("fn:do_exit{ code }", "code:s64", "fentry, kprobe"),
        (
            "fn:tcp_v4_connect{ sk->__sk_common.skc_dport, sk->__sk_common.skc_state }",
            "skc_dport:u16 skc_state:u8",
            "fexit, kretprobe",
        ),
        (
            "fn:tcp_v4_connect if comm == \"curl\" && sk->sk_protocol != 6",
            "sk:x64 uaddr:x64 addr_len:s32 retval:s32",
            "fexit, kretprobe",
        ),
    ] {
        let event = inline(text);
        assert_eq!(
            (columns(&event).as_str(), mechanisms(&event.sources[0]).as_str()),
            (expected, ways),
            "{text}"
        );
    }
}

#[test]
fn the_example_of_the_documentation_resolves() {
    let text = include_str!("../../../../docs/adding-an-event.md");
    let toml = text.split("```toml").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let def = schemas::def::parse_toml("dirty", toml).unwrap();
    let event = try_resolve(&kernel(true), &def, &Filter::default()).unwrap_or_else(|e| panic!("{e:#}"));
    assert_eq!(columns(&event), "kind:enum(folio=0,buffer=1) ino:u64 file_bytes:s64");
    assert_eq!(mechanisms(&event.sources[0]), "tp_btf, raw_tp, kprobe");
    let inline =
        text.split("recorder record --explain '").nth(1).and_then(|rest| rest.split('\'').next()).unwrap();
    assert_eq!(columns(&self::inline(inline)), "i_ino:u64 count:u64 retval:s64");
}

#[test]
fn types_offsets_and_reasons_are_explained() {
    let text = explain(&event("listens"));
    assert!(
        text.contains("\n  first choice: fexit int inet_listen(struct socket *sock, int backlog)\n"),
        "{text}"
    );
    assert!(text.contains("\n    port u16 = sk->__sk_common.skc_num: (arg1 24 u64) 14 u16\n"), "{text}");
    assert!(text.contains("\n  not tp:sock:inet_sock_set_state (tracepoint): "), "{text}");
    let def = builtin().iter().find(|def| def.name == "mkdirs").unwrap();
    let text = describe(def, Some(&kernel(true)));
    let path = text.lines().find(|line| line.starts_with("  path ")).unwrap_or_default();
    assert_eq!(path.split_whitespace().collect::<Vec<_>>(), ["path", "ustring[255]", "path", "as", "given"]);
    assert!(text.contains("\n  mkdir ia32: mkdir of 32-bit programs (and int 0x80)\n"), "{text}");
    assert!(text.contains("\n    tries here: fexit __x64_sys_mkdir, then kretprobe"), "{text}");
    assert!(describe(def, None).contains("\n  mkdir: syscall:mkdir\n"));
}
