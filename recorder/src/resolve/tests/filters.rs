//! Filters by process, namespace and expression, as clauses of plans.

use super::*;

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
        Filter { cgroups: vec![Cgroup { id: 7, level: None }], ..all.clone() },
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
fn a_condition_decides_about_begins_and_ends_follow() {
    let def = builtin().iter().find(|def| def.name == "kmem").unwrap().clone();
    let def = def.only_if("bytes_alloc >= 4096 && via == 'kmalloc'").unwrap();
    let event = try_resolve(&kernel(true), &def, &Filter::default()).unwrap();
    let alloc = &candidate(&event, "kmalloc", Mechanism::TpBtf).plan;
    assert!(alloc.begins != NONE && alloc.terms.iter().any(|term| term.imm == 4096));
    let free = &candidate(&event, "kfree", Mechanism::TpBtf).plan;
    assert!(free.ends != NONE && free.terms.iter().all(|term| term.imm != 4096));
}

#[test]
fn a_column_that_a_source_does_not_set_meets_no_condition() {
    let def = builtin().iter().find(|def| def.name == "mkdirs").unwrap().clone();
    let event = try_resolve(&kernel(true), &def.only_if("dfd == -100").unwrap(), &Filter::default()).unwrap();
    assert!(candidate(&event, "mkdir", Mechanism::Fexit).is_never);
    assert!(!candidate(&event, "mkdirat", Mechanism::Fexit).is_never);
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
