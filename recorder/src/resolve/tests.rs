//! Built-in events and inline probes on the running kernel: mechanisms, types, plans, and the whole text of errors.

use schemas::def::{builtin, parse_inline};
use schemas::wire::{MAX_SLOTS, NO_DST, NONE, Slot, cmp, flag, op, src};

use super::*;
use crate::kernel::facts::Facts;
use crate::kernel::{Btf, Kernel};

/// The running kernel as if it had everything compiled in, or no kprobes.
fn kernel(kprobes: bool) -> Kernel {
    let facts = Facts { kprobes, uprobes: true, no_trampolines: None, ..Facts::of_running_kernel() };
    Kernel::with_facts(Btf::of_running_kernel().unwrap(), facts)
}

fn try_resolve(kernel: &Kernel, def: &EventDef, filter: &Filter) -> Result<ResolvedEvent> {
    resolve(kernel, &Request { def, filter, stacks: Stacks::None, all_sources: false })
}

fn event(name: &str) -> ResolvedEvent {
    let def = builtin().iter().find(|def| def.name == name).unwrap();
    try_resolve(&kernel(true), def, &Filter::default()).unwrap_or_else(|e| panic!("{e:#}"))
}

fn inline(text: &str) -> ResolvedEvent {
    let def = parse_inline(text).unwrap();
    try_resolve(&kernel(true), &def, &Filter::default()).unwrap_or_else(|e| panic!("{e:#}"))
}

fn inline_error(text: &str) -> String {
    let def = parse_inline(text).unwrap();
    error_of(try_resolve(&kernel(true), &def, &Filter::default()))
}

/// The error; a resolved event has thousands of lines, so it is not shown.
fn error_of(result: Result<ResolvedEvent>) -> String {
    match result {
        Ok(event) => panic!("event {} resolves", event.layout.event),
        Err(error) => format!("{error:#}"),
    }
}

/// `name:type` of the event's own columns.
fn columns(event: &ResolvedEvent) -> String {
    let own = event.layout.columns.iter().filter(|c| c.name != "comm" && c.name != "cgroup_id");
    own.map(|c| format!("{}:{}", c.name, c.ty)).collect::<Vec<_>>().join(" ")
}

fn mechanisms(source: &ResolvedSource) -> String {
    source.candidates.iter().map(|c| c.mechanism.to_string()).collect::<Vec<_>>().join(", ")
}

fn slots(plan: &Plan) -> impl Iterator<Item = &Slot> {
    plan.slots.iter().take_while(|slot| slot.src != src::END)
}

fn candidate<'a>(event: &'a ResolvedEvent, source: &str, mechanism: Mechanism) -> &'a Candidate {
    let source = event.sources.iter().find(|s| s.name == source).unwrap();
    source.candidates.iter().find(|c| c.mechanism == mechanism).unwrap()
}

/// The slots that fill a column.
fn of_column<'a>(event: &ResolvedEvent, plan: &'a Plan, name: &str) -> Vec<&'a Slot> {
    let bit = event.layout.column(name).unwrap().bit;
    slots(plan).filter(|slot| slot.bit == bit).collect()
}

#[test]
fn every_built_in_source_has_the_mechanisms_that_were_meant() {
    let tracepoint = "tp_btf, raw_tp";
    let classic_too = "tp_btf, raw_tp, tracepoint";
    let syscall = "fexit, kretprobe, syscall tracepoints";
    let expected = [
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
fn every_plan_is_sound() {
    let filter = Filter {
        pids: true,
        comm: vec!["nginx".into(), "redis-server".into()],
        netns: vec![1, 2],
        cgroup_ids: vec![7],
        exclude_pid: Some(1),
        extra: None,
        sample: 10,
    };
    let kernel = kernel(true);
    for def in builtin() {
        for filter in [&Filter::default(), &filter] {
            let request = Request { def, filter, stacks: Stacks::Both, all_sources: true };
            let event = resolve(&kernel, &request).unwrap_or_else(|e| panic!("{e:#}"));
            for candidate in event.sources.iter().flat_map(|source| &source.candidates) {
                let name = format!("{} {} {}", def.name, candidate.source, candidate.mechanism);
                check_plan(&event.layout, &candidate.plan, &name);
                let filled = |plan: &Plan, bit: u8| slots(plan).any(|slot| slot.bit == bit);
                for column in &event.layout.columns {
                    let at_entry = candidate.entry.as_deref().is_some_and(|plan| filled(plan, column.bit));
                    // The name in a rename has no bit: it is cut where the kernel cuts it.
                    let unmarked = candidate.source == "rename" && column.name == "comm";
                    let filled = filled(&candidate.plan, column.bit);
                    assert!(filled != (at_entry || unmarked), "{name}: {}", column.name);
                }
                if let Some(entry) = &candidate.entry {
                    check_plan(&event.layout, entry, &name);
                    assert_eq!((entry.n_pre, entry.stash_size), (0, candidate.plan.stash_size), "{name}");
                }
            }
        }
    }
}

/// What the kernel side relies on.
fn check_plan(layout: &Layout, plan: &Plan, name: &str) {
    let mut saved = 0_u32;
    let n = slots(plan).count();
    assert!(n <= MAX_SLOTS && plan.slots[n..].iter().all(|slot| slot.src == src::END), "{name}");
    for (i, slot) in slots(plan).enumerate() {
        let mut reads = vec![slot.guard, slot.add];
        if slot.src == src::TEMP {
            reads.push(slot.index);
        }
        if slot.op == op::PRED {
            reads.extend(temps_of(plan, slot.clause_from, slot.clause_to));
        }
        for temp in reads.into_iter().filter(|temp| *temp != NONE) {
            assert!(saved & (1 << temp) != 0, "{name}: slot {i} reads temporary {temp} before it is there");
        }
        if slot.save != NONE {
            assert_eq!(saved & (1 << slot.save), 0, "{name}: temporary {} is saved twice", slot.save);
            saved |= 1 << slot.save;
        }
        if i < usize::from(plan.n_pre) {
            assert_eq!((slot.dst, slot.bit), (NO_DST, NONE), "{name}: slot {i} stores before the filter");
        }
        if slot.dst != NO_DST {
            let size = match slot.op {
                op::MEM | op::STR | op::COMM => slot.size,
                op::KSTACK | op::USTACK => slot.size + 8,
                _ => slot.width.into(),
            };
            assert!(size > 0 && u32::from(slot.dst + size) <= layout.record_size, "{name}: slot {i}");
        }
    }
    for temp in [plan.subjects[0], plan.subjects[1], plan.pid, plan.tid, plan.each_base, plan.each_count] {
        assert!(temp == NONE || slots(plan).take(plan.n_pre.into()).any(|slot| slot.save == temp), "{name}");
    }
    for temp in temps_of(plan, plan.where_from, plan.where_to) {
        assert!(slots(plan).take(plan.n_pre.into()).any(|slot| slot.save == temp), "{name}");
    }
}

/// The temporaries that clauses compare.
fn temps_of(plan: &Plan, from: u8, to: u8) -> Vec<u8> {
    let terms = plan.clauses[usize::from(from)..usize::from(to)].iter().fold(0, |all, clause| all | clause);
    let used = plan.terms.iter().enumerate().filter(|(i, _)| terms & (1 << i) != 0);
    used.flat_map(|(_, term)| [term.left, term.right]).filter(|temp| *temp != NONE).collect()
}

#[test]
fn a_shared_pointer_is_loaded_once() {
    let event = event("listens");
    let plan = &candidate(&event, "inet_listen", Mechanism::Fexit).plan;
    let loads_of_sock =
        slots(plan).filter(|slot| slot.src == src::ARG && slot.index == 0 && slot.off[0] == 24).count();
    assert_eq!(loads_of_sock, 1, "sock->sk");
    let [netns] = of_column(&event, plan, "netns")[..] else { panic!("one slot") };
    assert_eq!((netns.src, netns.derefs, netns.op, netns.size), (src::TEMP, 1, op::LOAD, 4));
}

#[test]
fn an_ip_of_a_socket_depends_on_its_family() {
    let event = event("listens");
    let plan = &candidate(&event, "stop", Mechanism::TpBtf).plan;
    let column = event.layout.column("addr").unwrap();
    let [v4, v6, family] = of_column(&event, plan, "addr")[..] else { panic!("three slots") };
    assert_eq!((v4.op, v4.width, v4.flags & (flag::SOFT | flag::SWAP)), (op::LOAD, 4, flag::SOFT));
    assert_eq!((v6.op, v6.size, v6.flags & flag::SOFT), (op::MEM, 16, flag::SOFT));
    assert!(v4.guard != NONE && v6.guard != NONE && v4.guard != v6.guard && family.guard == NONE);
    assert_eq!((family.dst, family.width), (column.offset + 16, 2));
}

#[test]
fn loads_of_declared_pointers_are_typed_and_casts_are_not() {
    let switches = event("switches");
    let plan = &candidate(&switches, "sched_switch", Mechanism::TpBtf).plan;
    assert!(of_column(&switches, plan, "next_tid")[0].flags & flag::TYPED != 0);
    let listens = event("listens");
    let plan = &candidate(&listens, "stop", Mechanism::TpBtf).plan;
    assert!(of_column(&listens, plan, "protocol")[0].src == src::TEMP, "the filter has read it");
    assert!(of_column(&listens, plan, "inode")[0].flags & flag::TYPED == 0, "through a cast");
    assert!(of_column(&listens, plan, "netns")[0].flags & flag::TYPED != 0);
}

#[test]
fn an_entry_plan_keeps_what_is_read_at_entry() {
    let event = event("netns_joins");
    for mechanism in [Mechanism::Fexit, Mechanism::Kretprobe, Mechanism::SyscallTracepoints] {
        let candidate = candidate(&event, "setns", mechanism);
        let entry = candidate.entry.as_deref().unwrap();
        assert_eq!((candidate.plan.use_stash, candidate.plan.stash_size), (1, 16), "{mechanism}");
        for (name, at_entry) in [("net_before", true), ("net_after", false), ("ret", false)] {
            let column = event.layout.column(name).unwrap();
            assert_eq!(of_column(&event, entry, name).len(), usize::from(at_entry), "{name}");
            assert_eq!(column.offset < 32 + 16, at_entry, "{name}");
        }
        let regs = candidate.plan.syscall_regs != 0;
        assert_eq!(regs, mechanism != Mechanism::SyscallTracepoints);
    }
    let mkdirs = self::event("mkdirs");
    assert!(candidate(&mkdirs, "mkdir", Mechanism::Fexit).entry.is_none(), "fexit has arguments itself");
    assert!(candidate(&mkdirs, "mkdir", Mechanism::Kretprobe).entry.is_some());
    let plan = &candidate(&mkdirs, "mkdir", Mechanism::Fexit).plan;
    let path = of_column(&mkdirs, plan, "path")[0];
    assert_eq!((path.op, path.size, path.flags & flag::USER), (op::STR, 257, flag::USER));
}

#[test]
fn items_of_an_array_become_records() {
    let event = event("kmem");
    let plan = &candidate(&event, "kmem_cache_free_bulk", Mechanism::Fentry).plan;
    let before: Vec<(u8, u8)> =
        slots(plan).take(plan.n_pre.into()).map(|slot| (slot.src, slot.index)).collect();
    assert_eq!(
        before,
        [(src::ARG, 1), (src::ARG, 2), (src::ITEM, 0)],
        "count, array, the item for the filter"
    );
    assert_eq!((plan.each_count, plan.each_base), (0, 1));
    let [call_site] = of_column(&event, plan, "call_site")[..] else { panic!("one slot") };
    let zero = slots(plan).find(|slot| slot.save == call_site.guard).unwrap();
    assert_eq!((zero.src, zero.imm, call_site.dst), (src::CONST, 0, NO_DST), "NULL");
}

#[test]
fn ends_are_not_filtered_by_process_but_by_what_began() {
    let def = builtin().iter().find(|def| def.name == "kmem").unwrap();
    let plan = |source: &str, mechanism: Mechanism, filter: &Filter| {
        let event = try_resolve(&kernel(true), def, filter).unwrap();
        *candidate(&event, source, mechanism).plan
    };
    let all = Filter { exclude_pid: Some(9), ..Filter::default() };
    let by = [
        Filter { pids: true, ..all.clone() },
        Filter { comm: vec!["nginx".into()], ..all.clone() },
        Filter { cgroup_ids: vec![7], ..all.clone() },
        Filter { netns: vec![5], ..all.clone() },
    ];
    let unfiltered = |source, mechanism| plan(source, mechanism, &all).where_to;
    for filter in &by {
        let begin = plan("kmalloc", Mechanism::TpBtf, filter);
        assert!(begin.begins != NONE && begin.ends == NONE && begin.exclude_pid == 9, "{filter:?}");
        assert!(begin.filter_pids != 0 || begin.terms[1].op == cmp::EQ, "{filter:?}");
        for (source, mechanism) in [("kfree", Mechanism::TpBtf), ("kmem_cache_free_bulk", Mechanism::Fentry)]
        {
            let end = plan(source, mechanism, filter);
            assert!(end.ends != NONE && end.begins == NONE, "{filter:?}");
            assert_eq!((end.filter_pids, end.exclude_pid), (0, 0), "{filter:?}");
            assert_eq!(end.where_to, unfiltered(source, mechanism), "{filter:?}");
        }
    }
    // Without a filter there is nothing to know: all ends are recorded.
    assert_eq!(plan("kmalloc", Mechanism::TpBtf, &all).begins, NONE);
    assert_eq!(plan("kfree", Mechanism::TpBtf, &all).ends, NONE);
    // A sample is one of objects.
    let sample = Filter { sample: 10, ..all };
    let (begin, end) = (plan("kmalloc", Mechanism::TpBtf, &sample), plan("kfree", Mechanism::TpBtf, &sample));
    assert!(begin.begins != NONE && end.ends != NONE);
    assert_eq!((begin.sample, end.sample), (10, 0));
    let event = try_resolve(&kernel(true), def, &sample).unwrap();
    assert_eq!(event.layout.columns.last().unwrap().name, "weight");
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

#[test]
fn filters_become_clauses() {
    let filter = Filter {
        comm: vec!["nginx".into()],
        netns: vec![5, 6],
        exclude_pid: Some(9),
        extra: Some("port == 80".into()),
        ..Filter::default()
    };
    let def = builtin().iter().find(|def| def.name == "listens").unwrap();
    let event = try_resolve(&kernel(true), def, &filter).unwrap();
    let plan = &candidate(&event, "mptcp_listen", Mechanism::Fexit).plan;
    assert_eq!((plan.where_from, plan.where_to, plan.exclude_pid), (0, 2, 9), "one clause for each netns");
    let terms: Vec<(u8, u64, u64)> = plan.terms[..4].iter().map(|t| (t.op, t.mask, t.imm)).collect();
    let nginx = u64::from_le_bytes(*b"nginx\0\0\0");
    let all = u64::MAX;
    assert_eq!(
        terms,
        [(cmp::EQ, all, 80), (cmp::EQ, (1 << 48) - 1, nginx), (cmp::EQ, all, 5), (cmp::EQ, all, 6)]
    );
    assert_eq!(plan.clauses[..2], [0b0111, 0b1011]);

    // In an interrupt the current process is a bystander.
    let def = builtin().iter().find(|def| def.name == "packets").unwrap();
    let filter = Filter { pids: true, extra: None, ..filter };
    let event = try_resolve(&kernel(true), def, &filter).unwrap();
    let plan = &candidate(&event, "v4", Mechanism::Fentry).plan;
    assert_eq!((plan.filter_pids, plan.exclude_pid, plan.where_to), (0, 0, 2));
    assert_eq!(plan.terms[0].imm, 5, "the packet's namespace only");
}

#[test]
fn the_probes_of_the_manual_resolve() {
    for (text, expected, ways) in [
        (
            "kprobe:inet_listen{ netns=sock->sk->__sk_common.skc_net.net->ns.inum:u32, backlog }",
            "netns:u32 backlog:s32",
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
    let text = include_str!("../../../docs/adding-an-event.md");
    let toml = text.split("```toml").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let def = schemas::def::parse_toml("dirty", toml).unwrap();
    let event = try_resolve(&kernel(true), &def, &Filter::default()).unwrap_or_else(|e| panic!("{e:#}"));
    assert_eq!(columns(&event), "kind:enum(folio=0,buffer=1) ino:u64 file_bytes:s64");
    assert_eq!(mechanisms(&event.sources[0]), "tp_btf, raw_tp, kprobe");
    let inline =
        text.split("recorder record --explain '").nth(1).and_then(|rest| rest.split('\'').next()).unwrap();
    assert_eq!(columns(&self::inline(inline)), "i_ino:u64 count:u64 retval:s64");
}

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
fn user_functions_have_arguments_by_number() {
    let path = std::env::current_exe().unwrap();
    let path = path.to_str().unwrap();
    let event =
        inline(&format!("uprobe:{path}:malloc{{ size=$arg1:u64, name=$arg2:ustring, first=*(u32 *)$arg3 }}"));
    assert_eq!(columns(&event), "size:u64 name:ustring[127] first:u32");
    let plan = &candidate(&event, "malloc", Mechanism::Uprobe).plan;
    assert!(of_column(&event, plan, "first")[0].flags & flag::USER != 0);
    let event = inline(&format!("uretprobe:{path}:malloc{{ size=$arg1, retval:x64 }}"));
    assert_eq!(columns(&event), "size:u64 retval:x64");
    assert!(candidate(&event, "malloc", Mechanism::Uretprobe).entry.is_some());
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
        ("fn:tcp_close{ retval }", "event tcp_close: column retval: tcp_close returns nothing", "retval"),
        (
            "fn:tcp_close{ timeout->x }",
            "event tcp_close: column x: long int is no pointer: it cannot be followed; cast it, as in \
             ((struct X *)expression)->member",
            "timeout",
        ),
        (
            "tp:task:task_rename{ comm }",
            "event task_rename: column comm: this is a char *: say :string (kernel memory) or :ustring (user memory)",
            "comm",
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

#[test]
fn a_missing_member_with_a_question_mark_is_null_and_never_true() {
    let event = inline("fn:tcp_close{ a=sk->no_such?:u32 } if !(sk->no_such?)");
    let plan = &candidate(&event, "tcp_close", Mechanism::Fexit).plan;
    assert_eq!(plan.where_to, 0, "always true");
    assert_eq!(of_column(&event, plan, "a")[0].dst, NO_DST);
    let event = inline("fn:tcp_close{ a=1:u32 } if sk->no_such? == 0");
    let plan = &candidate(&event, "tcp_close", Mechanism::Fexit).plan;
    assert_eq!((plan.where_from, plan.where_to, plan.terms[0].op), (0, 1, cmp::NE), "never true");
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
    assert!(text.contains("\n  path       ustring[255]          path as given\n"), "{text}");
    assert!(text.contains("\n    tries here: fexit __x64_sys_mkdir, then kretprobe"), "{text}");
    assert!(describe(def, None).contains("\n  mkdir: syscall:mkdir\n"));
}
