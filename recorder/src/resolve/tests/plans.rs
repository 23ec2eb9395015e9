//! What plans of some events look like.

use super::*;

#[test]
fn a_shared_pointer_is_loaded_once() {
    let event = event("listens");
    let plan = &candidate(&event, "inet_listen", Mechanism::Fexit).plan;
    let loads_of_sock =
        slots(plan).filter(|slot| slot.src == src::ARG && slot.index == 0 && slot.off[0] == 24).count();
    assert_eq!(loads_of_sock, 1, "sock->sk");
    let [netns] = of_column(&event, plan, "netns")[..] else { panic!("one slot") };
    // Its cookie is behind the same pointer.
    assert_eq!((netns.src, netns.derefs, netns.op, netns.size), (src::TEMP, 0, op::LOAD, 4));
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
        assert_eq!((candidate.plan.use_stash, candidate.plan.stash_size), (1, 24), "{mechanism}");
        for (name, at_entry) in [("net_before", true), ("net_after", false), ("ret", false)] {
            let column = event.layout.column(name).unwrap();
            assert_eq!(of_column(&event, entry, name).len(), usize::from(at_entry), "{name}");
            assert_eq!(column.offset < 32 + 24, at_entry, "{name}");
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
fn a_duration_takes_an_entry_program_and_arguments_stay_where_they_are() {
    let text = "slow=syscall:setns{ fd, dur, retval } if dur > 10ms && dur_ns < 1s";
    let event = inline(text);
    assert_eq!(columns(&event), "fd:s32 dur_ns:s64 retval:s64");
    assert_eq!(event.layout.column("dur_ns").unwrap().unit.as_deref(), Some("ns"));
    for (mechanism, use_stash) in [
        (Mechanism::Fexit, stash::TIME),
        (Mechanism::Kretprobe, stash::ALL),
        (Mechanism::SyscallTracepoints, stash::ALL),
    ] {
        let candidate = candidate(&event, "setns", mechanism);
        let plan = &candidate.plan;
        assert!(plan.is_timed() && candidate.entry.is_some(), "{mechanism}");
        // An fexit program has the arguments itself.
        assert_eq!((plan.use_stash, plan.stash_size), (use_stash, 0), "{mechanism}");
        let limits: Vec<u64> = plan.terms.iter().map(|term| term.imm).filter(|imm| *imm != 0).collect();
        assert_eq!(limits, [10_000_000, 1_000_000_000], "{mechanism}");
    }
    let without = inline("every=syscall:setns{ fd }");
    assert!(candidate(&without, "setns", Mechanism::Fexit).entry.is_none());
    for (text, error) in [
        (
            "kprobe:vfs_read{ dur }",
            "dur is known at return only: use fn:, fexit:, kretprobe:, syscall: or uretprobe:",
        ),
        ("fexit:vfs_read{ entry(dur) }", "dur is known at return only"),
    ] {
        assert!(inline_error(text).contains(error), "{}", inline_error(text));
    }
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
fn user_functions_have_arguments_by_number() {
    let path = std::env::current_exe().unwrap();
    let path = path.to_str().unwrap();
    let event =
        inline(&format!("uprobe:{path}:main{{ size=$arg1:u64, name=$arg2:ustring, first=*(u32 *)$arg3 }}"));
    assert_eq!(columns(&event), "size:u64 name:ustring[127] first:u32");
    let plan = &candidate(&event, "main", Mechanism::Uprobe).plan;
    assert!(of_column(&event, plan, "first")[0].flags & flag::USER != 0);
    let event = inline(&format!("uretprobe:{path}:main{{ size=$arg1, retval:x64 }}"));
    assert_eq!(columns(&event), "size:x64 retval:x64", "of a register nobody knows the type");
    assert!(candidate(&event, "main", Mechanism::Uretprobe).entry.is_some());
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
fn the_headers_of_a_packet_are_searched_once() {
    let event = event("packets");
    for (source, mechanism) in [
        ("v4", Mechanism::Fentry),
        ("v4", Mechanism::TpBtf),
        ("v6", Mechanism::Kprobe),
        ("v6", Mechanism::RawTp),
    ] {
        let plan = &candidate(&event, source, mechanism).plan;
        let searches: Vec<&Slot> = slots(plan).filter(|slot| slot.op == op::HEADERS).collect();
        let [search] = searches[..] else { panic!("{source} {mechanism}: {} searches", searches.len()) };
        for (column, result) in
            [("proto", headers::PROTO), ("upper", headers::STATE), ("dport", headers::UPPER)]
        {
            let slot = of_column(&event, plan, column)[0];
            assert_eq!(
                (slot.src, slot.index),
                (src::TEMP, search.save + result),
                "{source} {mechanism} {column}"
            );
        }
        assert!(of_column(&event, plan, "saddr")[0].guard != NONE, "not read where there is no IP header");
    }
}
