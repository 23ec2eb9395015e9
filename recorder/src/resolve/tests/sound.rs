//! What the kernel side relies on, of every plan.

use super::*;

#[test]
fn every_plan_is_sound() {
    let filter = Filter {
        pids: true,
        comm: vec!["nginx".into(), "redis-server".into()],
        netns: vec![1, 2],
        cgroups: vec![Cgroup { id: 7, level: Some(2) }],
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
                    let unmarked =
                        def.name == "processes" && candidate.source == "rename" && column.name == "comm";
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
        if slot.op == op::HEADERS {
            reads.extend([slot.clause_from, slot.clause_to]);
        }
        if slot.op == op::BYTES {
            reads.push(slot.clause_from);
        }
        for temp in reads.into_iter().filter(|temp| *temp != NONE) {
            assert!(saved & (1 << temp) != 0, "{name}: slot {i} reads temporary {temp} before it is there");
        }
        for temp in results(slot) {
            // A conditional value is 0 first, and then what it is where its guard holds.
            let is_conditional = slot.guard != NONE && i > 0 && plan.slots[i - 1].src == src::CONST;
            assert!(saved & (1 << temp) == 0 || is_conditional, "{name}: temporary {temp} is saved twice");
            saved |= 1 << temp;
        }
        if i < usize::from(plan.n_pre) {
            assert_eq!((slot.dst, slot.bit), (NO_DST, NONE), "{name}: slot {i} stores before the filter");
        }
        if slot.dst != NO_DST {
            let size = match slot.op {
                op::MEM | op::STR | op::COMM => slot.size,
                op::BYTES => slot.size + 2,
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
        assert!(slots(plan).take(plan.n_pre.into()).any(|slot| results(slot).contains(&temp)), "{name}");
    }
}

/// The temporaries that a slot saves.
fn results(slot: &Slot) -> std::ops::Range<u8> {
    match (slot.save, slot.op) {
        (NONE, _) => 0..0,
        (first, op::HEADERS) => first..first + headers::RESULTS,
        (first, _) => first..first + 1,
    }
}

/// The temporaries that clauses compare.
fn temps_of(plan: &Plan, from: u8, to: u8) -> Vec<u8> {
    let terms = plan.clauses[usize::from(from)..usize::from(to)].iter().fold(0, |all, clause| all | clause);
    let used = plan.terms.iter().enumerate().filter(|(i, _)| terms & (1 << i) != 0);
    used.flat_map(|(_, term)| [term.left, term.right]).filter(|temp| *temp != NONE).collect()
}
