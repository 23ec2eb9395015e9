//! No field, member or argument takes the place of a context column.

use schemas::context::{CONTEXT, own_name};

use super::*;

/// The column of that name and the sources of the values that fill it.
fn sources_of(event: &ResolvedEvent, plan: &Plan, name: &str) -> Vec<(u8, u8)> {
    of_column(event, plan, name).into_iter().map(|slot| (slot.src, slot.op)).collect()
}

#[test]
fn fields_of_every_tracepoint_leave_the_context_alone() {
    let kernel = kernel(true);
    let tracefs = kernel.tracefs().unwrap();
    let mut seen = std::collections::BTreeMap::<&str, usize>::new();
    for (category, name) in tracefs.tracepoints().unwrap() {
        let fields = tracefs.fields(&category, &name).unwrap_or_default();
        let taken: Vec<&str> =
            fields.iter().filter_map(|f| CONTEXT.into_iter().find(|context| *context == f.name)).collect();
        if category == "ftrace" || taken.is_empty() {
            continue;
        }
        let probe = format!("tp:{category}:{name}");
        let def = parse_inline(&probe).unwrap();
        let event = match try_resolve(&kernel, &def, &Filter::default()) {
            Ok(event) => event,
            Err(error) => {
                let error = format!("{error:#}");
                assert!(error.contains("the limit is"), "{probe}: {error}");
                continue;
            }
        };
        let place =
            |name: &str| event.layout.columns.iter().filter(|c| c.name.eq_ignore_ascii_case(name)).count();
        for context in &taken {
            *seen.entry(context).or_default() += 1;
            let own = own_name(context);
            assert_eq!(place(&own), 1, "{probe}: {own}");
            let plan = &candidate(&event, &name, Mechanism::Tracepoint).plan;
            assert!(sources_of(&event, plan, &own).iter().all(|(src, _)| *src == src::CTX), "{probe}: {own}");
        }
        assert_eq!((place("comm"), place("cgroup_id")), (1, 1), "{probe}");
        let plan = &candidate(&event, &name, Mechanism::Tracepoint).plan;
        assert_eq!(sources_of(&event, plan, "comm"), [(src::CONST, op::COMM)], "{probe}");
        assert_eq!(sources_of(&event, plan, "cgroup_id"), [(src::CGROUP_ID, op::VALUE)], "{probe}");
        // In braces and conditions they have the same names. (A tracepoint's typed arguments may be others.)
        let own = own_name(taken[0]);
        let def = parse_inline(&format!("{probe}{{ {own} }}")).unwrap();
        if let Ok(event) = try_resolve(&kernel, &def, &Filter::default()) {
            let columns: Vec<&str> = event.layout.columns.iter().map(|column| column.name.as_str()).collect();
            assert_eq!(columns, [own.as_str(), "comm", "cgroup_id"], "{probe}");
        }
    }
    println!("{seen:?}");
    // 6.18 has 33 with a field comm, 60 with pid.
    assert!(seen["comm"] >= 20 && seen["pid"] >= 40 && seen["cpu"] >= 20, "{seen:?}");
}

#[test]
fn conditions_name_the_context_without_and_the_field_with_the_suffix() {
    let kernel = kernel(true);
    let first = |text: &str, mechanism: Mechanism| {
        let def = parse_inline(text).unwrap();
        let event =
            try_resolve(&kernel, &def, &Filter::default()).unwrap_or_else(|e| panic!("{text}: {e:#}"));
        candidate(&event, &event.sources[0].name, mechanism).plan.slots[0]
    };
    let signal =
        |condition: &str| first(&format!("tp:signal:signal_generate if {condition}"), Mechanism::Tracepoint);
    assert_eq!(signal("pid == 5").src, src::PID_TGID);
    assert_eq!(signal("pid_ == 5").src, src::CTX);
    assert_eq!(signal("comm == 'x'").src, src::TASK);
    assert_eq!(signal("comm_ == 'x'").src, src::CTX);
    let kill = |condition: &str| {
        first(&format!("syscall:kill{{ pid_, sig }} if {condition}"), Mechanism::SyscallTracepoints)
    };
    assert_eq!(kill("pid == 5").src, src::PID_TGID);
    assert_eq!((kill("pid_ == 5").src, kill("pid_ == 5").index), (src::ARG, 0));
    let error = inline_error("tp:signal:signal_generate{ sig } if cpu == 3");
    assert!(error.contains("there is no argument cpu"), "{error}");
}

#[test]
fn what_a_row_is_about_is_the_process_that_its_definition_names() {
    // The name, the cgroup and the user stack of the parent would be those of another process.
    let text = r#"
        summary = "s"
        [[source]]
        pid = "child->tgid"
        tid = "child->pid"
        [[source.probe]]
        on = "tp:sched:sched_process_fork"
        [[column]]
        name = "ppid"
        doc = ""
        expr = "parent->tgid"
    "#;
    let def = schemas::def::parse_toml("forks", text).unwrap();
    let kernel = kernel(true);
    let filter = Filter { extra: Some("pid == 7".into()), ..Filter::default() };
    let request = Request { def: &def, filter: &filter, stacks: Stacks::Both, all_sources: true };
    let event = resolve(&kernel, &request).unwrap_or_else(|e| panic!("{e:#}"));
    let plan = &candidate(&event, "sched_process_fork", Mechanism::TpBtf).plan;
    for column in ["comm", "cgroup_id", "ustack"] {
        assert!(of_column(&event, plan, column).iter().all(|slot| slot.dst == NO_DST), "{column}");
    }
    assert_ne!(of_column(&event, plan, "kstack")[0].dst, NO_DST);
    let compared = plan.terms[0].left;
    assert_eq!(compared, plan.pid, "pid in a condition is that of the row");
}
