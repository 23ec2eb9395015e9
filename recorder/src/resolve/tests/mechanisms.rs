//! Which ways to observe an event there are, in which order, and why not the others.

use super::*;

#[test]
fn every_built_in_source_has_the_mechanisms_that_were_meant() {
    let tracepoint = "tp_btf, raw_tp";
    let classic_too = "tp_btf, raw_tp, tracepoint";
    let syscall = "fexit, kretprobe, syscall tracepoints";
    let expected = [
        ("cgroup_changes", "mkdir", tracepoint),
        ("cgroup_changes", "rmdir", tracepoint),
        ("kmem", "kmalloc", classic_too),
        ("kmem", "kmem_cache_alloc", tracepoint),
        ("kmem", "kfree", classic_too),
        ("kmem", "kmem_cache_free", tracepoint),
        ("kmem", "kmem_cache_free_bulk", "fentry, kprobe"),
        ("listens", "inet_listen", "fexit, kretprobe, tp_btf, raw_tp"),
        ("listens", "mptcp_listen", "fexit, kretprobe"),
        ("listens", "stop", tracepoint),
        ("mkdirs", "mkdir", syscall),
        ("mkdirs", "mkdirat", syscall),
        ("netns_joins", "setns", syscall),
        ("packets", "v4", "fentry, kprobe, tp_btf, raw_tp"),
        ("packets", "v6", tracepoint),
        ("processes", "fork", tracepoint),
        ("processes", "exec", tracepoint),
        ("processes", "exit", classic_too),
        ("processes", "rename", tracepoint),
        ("switches", "sched_switch", tracepoint),
    ];
    let mut found = Vec::new();
    let events: Vec<ResolvedEvent> = builtin().iter().map(|def| event(&def.name)).collect();
    for event in &events {
        for source in &event.sources {
            found.push((event.layout.event.as_str(), source.name.as_str(), mechanisms(source)));
        }
    }
    let found: Vec<(&str, &str, &str)> = found.iter().map(|(e, s, m)| (*e, *s, m.as_str())).collect();
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
fn a_second_program_is_only_where_the_first_alone_is_skipped() {
    let event = event("kmem");
    let copies = |source, mechanism| candidate(&event, source, mechanism).copies();
    assert_eq!(copies("kmalloc", Mechanism::TpBtf), 2);
    assert_eq!(copies("kmalloc", Mechanism::RawTp), 2);
    // Programs on classic tracepoints and kprobes are skipped while any other of them runs.
    assert_eq!(copies("kmalloc", Mechanism::Tracepoint), 1);
    assert_eq!(copies("kmem_cache_free_bulk", Mechanism::Fentry), 2);
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
