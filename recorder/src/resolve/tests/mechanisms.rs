//! Which ways to observe an event there are, in which order, and why not the others.

use super::*;

#[test]
fn every_built_in_source_has_the_mechanisms_that_were_meant() {
    let tracepoint = "tp_btf, raw_tp";
    let classic_too = "tp_btf, raw_tp, tracepoint";
    let syscall = "fexit, kretprobe, syscall tracepoints";
    // By which 32-bit programs enter.
    let entry = "fexit, kretprobe";
    let expected = [
        ("block_io", "queue", "tp_btf, raw_tp, tp_btf, raw_tp"),
        ("block_io", "issue", tracepoint),
        ("block_io", "requeue", tracepoint),
        ("block_io", "done", tracepoint),
        ("cache", "read", "fexit, kretprobe"),
        ("cache", "fault", "tp_btf, raw_tp, fentry, kprobe"),
        ("cache", "add", tracepoint),
        ("cache", "remove", tracepoint),
        ("cache", "dirty", tracepoint),
        ("cache", "access", "fentry, kprobe"),
        ("cache", "buffer_dirty", "fentry, kprobe"),
        ("cgroup_changes", "mkdir", tracepoint),
        ("cgroup_changes", "rmdir", tracepoint),
        ("drops", "v4", "tp_btf, raw_tp, tp_btf, raw_tp"),
        ("drops", "v6", "tp_btf, raw_tp, tp_btf, raw_tp"),
        ("drops", "other", tracepoint),
        ("drops", "v4_to_socket", tracepoint),
        ("drops", "v6_to_socket", tracepoint),
        ("dir_entries", "open", entry),
        ("dir_entries", "create", entry),
        ("dir_entries", "mknod", entry),
        ("dir_entries", "symlink", entry),
        ("dir_entries", "mkdir", entry),
        ("dir_entries", "link", entry),
        ("dir_entries", "unlink", entry),
        ("dir_entries", "rmdir", entry),
        ("dir_entries", "rename", entry),
        ("dir_entries", "exchange", entry),
        ("file_io", "read", entry),
        ("file_io", "write", entry),
        ("file_io", "readv", entry),
        ("file_io", "writev", entry),
        ("file_io", "fsync", entry),
        ("file_io", "open", entry),
        ("file_io", "getattr", entry),
        ("file_io", "io_uring read", entry),
        ("file_io", "io_uring write", entry),
        ("capabilities", "cap_capable", "fexit, kretprobe, tp_btf, raw_tp, tracepoint"),
        ("irqs", "irq_handler_entry", tracepoint),
        ("irqs", "irq_handler_exit", tracepoint),
        ("irqs", "softirq_raise", tracepoint),
        ("irqs", "softirq_entry", tracepoint),
        ("irqs", "softirq_exit", tracepoint),
        ("kmem", "kmalloc", "tp_btf, raw_tp, tracepoint, tp_btf, raw_tp, tracepoint"),
        ("kmem", "kmalloc_node", ""),
        ("kmem", "kmem_cache_alloc", classic_too),
        ("kmem", "kmem_cache_alloc_node", ""),
        ("kmem", "kfree", classic_too),
        ("kmem", "kmem_cache_free", "tp_btf, raw_tp, tracepoint, tp_btf, raw_tp, tracepoint"),
        ("kmem", "kmem_cache_free_bulk", "fentry, kprobe"),
        ("listens", "inet_listen", "fexit, kretprobe, tp_btf, raw_tp"),
        ("listens", "mptcp_listen", "fexit, kretprobe"),
        ("listens", "stop", tracepoint),
        ("lock_waits", "begin", "tp_btf, raw_tp"),
        ("lock_waits", "end", "tp_btf, raw_tp"),
        ("mkdirs", "mkdir", syscall),
        ("mkdirs", "mkdir ia32", entry),
        ("mkdirs", "mkdirat", syscall),
        ("mkdirs", "mkdirat ia32", entry),
        ("mkdirs", "io_uring", "fexit, kretprobe, tp_btf, raw_tp"),
        ("mounts", "mount", syscall),
        ("mounts", "mount ia32", entry),
        ("mounts", "umount", syscall),
        ("mounts", "umount ia32", entry),
        ("mounts", "pivot_root", syscall),
        ("mounts", "pivot_root ia32", entry),
        ("mounts", "fsopen", syscall),
        ("mounts", "fsopen ia32", entry),
        ("mounts", "fspick", syscall),
        ("mounts", "fspick ia32", entry),
        ("mounts", "fsconfig", syscall),
        ("mounts", "fsconfig ia32", entry),
        ("mounts", "fsmount", syscall),
        ("mounts", "fsmount ia32", entry),
        ("mounts", "open_tree", syscall),
        ("mounts", "open_tree ia32", entry),
        ("mounts", "move_mount", syscall),
        ("mounts", "move_mount ia32", entry),
        ("mounts", "mount_setattr", syscall),
        ("mounts", "mount_setattr ia32", entry),
        ("netns_joins", "setns", syscall),
        ("netns_joins", "setns ia32", entry),
        ("execs", "exec", "tp_btf, raw_tp"),
        ("execs", "failed execve", syscall),
        ("execs", "failed execve ia32", entry),
        ("execs", "failed execveat", syscall),
        ("execs", "failed execveat ia32", entry),
        ("opens", "open", syscall),
        ("opens", "open ia32", entry),
        ("opens", "openat", syscall),
        ("opens", "openat ia32", entry),
        ("opens", "openat2", syscall),
        ("opens", "openat2 ia32", entry),
        ("opens", "creat", syscall),
        ("opens", "creat ia32", entry),
        ("opens", "io_uring openat", "fexit, kretprobe, tp_btf, raw_tp"),
        ("opens", "io_uring openat2", "fexit, kretprobe, tp_btf, raw_tp"),
        ("ooms", "mark_victim", "tracepoint, tracepoint"),
        ("ooms", "oom_kill_process", "fentry, kprobe"),
        ("packets", "v4", "fentry, kprobe, tp_btf, raw_tp"),
        ("packets", "v6", "fentry, kprobe, tp_btf, raw_tp"),
        ("processes", "fork", tracepoint),
        ("processes", "exec", tracepoint),
        (
            "processes",
            "exit",
            "tp_btf, raw_tp, tracepoint, tp_btf, raw_tp, tracepoint, tp_btf, raw_tp, tracepoint",
        ),
        ("processes", "rename", tracepoint),
        ("reclaims", "direct begin", classic_too),
        ("reclaims", "direct end", classic_too),
        ("reclaims", "memcg begin", classic_too),
        ("reclaims", "memcg end", classic_too),
        ("reclaims", "compaction begin", "tp_btf, raw_tp"),
        ("reclaims", "compaction end", "tp_btf, raw_tp"),
        ("sock_io", "send4", "tp_btf, raw_tp, fexit, kretprobe"),
        ("sock_io", "send6", "tp_btf, raw_tp, fexit, kretprobe"),
        ("sock_io", "sendpage4", ""),
        ("sock_io", "sendpage6", ""),
        ("sock_io", "receive4", "tp_btf, raw_tp, fexit, kretprobe"),
        ("sock_io", "receive6", "tp_btf, raw_tp, fexit, kretprobe"),
        ("switches", "sched_switch", "tp_btf, raw_tp, tp_btf, raw_tp"),
        ("syscalls", "enter", tracepoint),
        ("syscalls", "exit", tracepoint),
        ("tcp_conns", "connect4", "fexit, kretprobe, tp_btf, raw_tp"),
        ("tcp_conns", "connect4_fails", "fexit, kretprobe"),
        ("tcp_conns", "connect6", "fexit, kretprobe, tp_btf, raw_tp"),
        ("tcp_conns", "connect6_fails", "fexit, kretprobe"),
        ("tcp_conns", "accept4", "fexit, kretprobe"),
        ("tcp_conns", "accept6", "fexit, kretprobe"),
        ("tcp_conns", "state4", tracepoint),
        ("tcp_conns", "state6", tracepoint),
        ("tcp_events", "retransmit4", "tp_btf, raw_tp, tp_btf, raw_tp"),
        ("tcp_events", "synack4", tracepoint),
        ("tcp_events", "cong_state4", tracepoint),
        ("tcp_events", "receive_reset4", tracepoint),
        ("tcp_events", "send_reset4", "tp_btf, raw_tp, tp_btf, raw_tp"),
        ("tcp_events", "send_reset4_nobody", "tp_btf, raw_tp"),
        ("tcp_events", "tlp4", "fentry, kprobe"),
        ("tcp_events", "syn_recv4", "fexit, kretprobe"),
        ("tcp_events", "retransmit6", "tp_btf, raw_tp, tp_btf, raw_tp"),
        ("tcp_events", "synack6", tracepoint),
        ("tcp_events", "cong_state6", tracepoint),
        ("tcp_events", "receive_reset6", tracepoint),
        ("tcp_events", "send_reset6", "tp_btf, raw_tp, tp_btf, raw_tp"),
        ("tcp_events", "send_reset6_nobody", "tp_btf, raw_tp"),
        ("tcp_events", "tlp6", "fentry, kprobe"),
        ("tcp_events", "syn_recv6", "fexit, kretprobe"),
        ("tcp_segments", "segment4", "tp_btf, raw_tp"),
        ("tcp_segments", "read4", "tp_btf, raw_tp"),
        ("tcp_segments", "segment6", "tp_btf, raw_tp"),
        ("tcp_segments", "read6", "tp_btf, raw_tp"),
        ("samples", "timer", "perf_event"),
        ("signals", "generate", tracepoint),
        ("signals", "generate as a user", tracepoint),
        ("signals", "generate by the kernel", tracepoint),
        ("signals", "deliver", tracepoint),
        ("wakeups", "waking", tracepoint),
        ("wakeups", "wakeup", tracepoint),
        ("wakeups", "wakeup_new", tracepoint),
        ("wakeups", "migrate", tracepoint),
        ("works", "queue", tracepoint),
        ("works", "start", tracepoint),
        ("works", "end", classic_too),
    ];
    let mut found = Vec::new();
    let events: Vec<ResolvedEvent> = builtin().iter().map(|def| event(&def.name)).collect();
    for event in &events {
        for source in &event.sources {
            found.push((event.layout.event.as_str(), source.name.as_str(), mechanisms(source)));
        }
    }
    let mut found: Vec<(&str, &str, &str)> = found.iter().map(|(e, s, m)| (*e, *s, m.as_str())).collect();
    found.sort();
    let mut expected = expected.to_vec();
    expected.sort();
    assert_eq!(found, expected);
}

#[test]
fn without_kprobes_they_are_left_out_and_the_reason_is_told() {
    let def = builtin().iter().find(|def| def.name == "listens").unwrap();
    let event = try_resolve(&kernel(false), def, &Filter::default()).unwrap();
    assert_eq!(mechanisms(&event.sources[0]), "fexit, tp_btf, raw_tp");
    assert_eq!(
        event.sources[0].refused[0],
        (
            "fn:inet_listen (kretprobe)".to_owned(),
            "this kernel is built without kprobes (CONFIG_KPROBE_EVENTS)".to_owned()
        )
    );
}

#[test]
fn further_programs_are_only_where_the_first_alone_is_skipped() {
    let event = event("kmem");
    let copies = |source, mechanism| candidate(&event, source, mechanism).copies();
    assert_eq!(copies("kmalloc", Mechanism::TpBtf), 3);
    assert_eq!(copies("kmalloc", Mechanism::RawTp), 3);
    // Programs on classic tracepoints and kprobes are skipped while any other of them runs.
    assert_eq!(copies("kmalloc", Mechanism::Tracepoint), 1);
    assert_eq!(copies("kmem_cache_free_bulk", Mechanism::Fentry), 3);
    assert_eq!(copies("kmem_cache_free_bulk", Mechanism::Kprobe), 1);
    assert_eq!(candidate(&self::event("switches"), "sched_switch", Mechanism::TpBtf).copies(), 1);
}

#[test]
fn of_probes_that_cannot_be_tried_those_that_would_be_better_come_first() {
    let def = builtin().iter().find(|def| def.name == "listens").unwrap();
    let event = try_resolve(&kernel(false), def, &Filter::default()).unwrap();
    let source = &event.sources[0];
    let better: Vec<(Mechanism, usize)> =
        source.candidates.iter().map(|candidate| (candidate.mechanism, candidate.better)).collect();
    // The kretprobe is worse than fexit, the classic tracepoint is worse than all.
    assert_eq!(better, [(Mechanism::Fexit, 0), (Mechanism::TpBtf, 1), (Mechanism::RawTp, 1)]);
    let refused: Vec<&str> = source.refused.iter().map(|(probe, _)| probe.as_str()).collect();
    assert_eq!(refused, ["fn:inet_listen (kretprobe)", "tp:sock:inet_sock_set_state (tracepoint)"]);
}

/// Names of the sources, and the ways that none observes, of the system call `call` on this kernel.
fn ways(call: &str) -> (Vec<String>, String) {
    let event = inline(&format!("e=syscall:{call}{{ retval }}"));
    let sources = event.sources.iter().map(|source| {
        let targets: Vec<&str> = source.candidates.iter().map(|c| c.target.as_str()).collect();
        targets.first().copied().unwrap_or_default().to_owned()
    });
    let unobserved: Vec<&str> =
        event.sources.iter().flat_map(|source| &source.unobserved).map(|way| way.what.as_str()).collect();
    (sources.collect(), unobserved.join("; "))
}

#[test]
fn a_system_call_is_observed_where_32_bit_programs_enter() {
    // What the kernel's own table (syscall_32.tbl) says of these calls.
    for (call, entries, unobserved) in [
        ("setns", &["__x64_sys_setns", "__ia32_sys_setns"][..], ""),
        ("mkdirat", &["__x64_sys_mkdirat", "__ia32_sys_mkdirat"], "mkdirat by io_uring (IORING_OP_MKDIRAT)"),
        (
            "openat",
            &["__x64_sys_openat", "__ia32_compat_sys_openat"],
            "openat by io_uring (IORING_OP_OPENAT)",
        ),
        (
            "clock_nanosleep",
            &["__x64_sys_clock_nanosleep", "__ia32_sys_clock_nanosleep", "__ia32_sys_clock_nanosleep_time32"],
            "",
        ),
        (
            "pread64",
            &["__x64_sys_pread64"],
            "pread64 of 32-bit programs (and int 0x80); pread64 by io_uring (IORING_OP_READ)",
        ),
        (
            "chown",
            &["__x64_sys_chown", "__ia32_sys_chown"],
            "chown of 32-bit programs (and int 0x80) by chown16",
        ),
        (
            "connect",
            &["__x64_sys_connect", "__ia32_sys_connect"],
            "connect of 32-bit programs (and int 0x80) by socketcall; connect by io_uring (IORING_OP_CONNECT)",
        ),
        (
            "mmap",
            &["__x64_sys_mmap"],
            "mmap of 32-bit programs (and int 0x80); mmap of 32-bit programs (and int 0x80) by mmap2",
        ),
    ] {
        let (found, ways) = ways(call);
        assert_eq!(found, entries, "{call}");
        assert_eq!(ways, unobserved, "{call}");
    }
}

#[test]
fn a_source_of_its_own_covers_a_request_of_io_uring() {
    let event = event("mkdirs");
    assert!(event.sources.iter().all(|source| source.unobserved.is_empty()), "all is observed");
    let submitted = candidate(&event, "io_uring", Mechanism::TpBtf);
    assert_eq!(submitted.misses[0].what, "results of io_uring requests (ret is NULL)");
    assert!(candidate(&event, "io_uring", Mechanism::Fexit).misses.is_empty());
}

#[test]
fn what_32_bit_programs_lay_out_otherwise_is_not_read() {
    // iovec is two pointers: as 64-bit programs have it, it would be read wrongly.
    let event = inline("e=syscall:writev{ fd, base=vec->iov_base:x64 }");
    let entry = event.sources.iter().find(|source| source.name == "writev ia32").unwrap();
    assert!(entry.candidates.is_empty() && !entry.refused.is_empty());
    let event = inline("e=syscall:bind{ fd, family=umyaddr->sa_family }");
    let entry = event.sources.iter().find(|source| source.name == "bind ia32").unwrap();
    assert!(!entry.candidates.is_empty(), "a sockaddr is the same for all: {:?}", entry.refused);
}

#[test]
fn the_tracepoint_of_a_system_call_is_silent_for_32_bit_programs() {
    let event = inline("tp:syscalls:sys_enter_setns");
    let misses = &candidate(&event, "sys_enter_setns", Mechanism::Tracepoint).misses;
    assert_eq!(misses[0].what, "setns of 32-bit programs (and int 0x80)");
}
