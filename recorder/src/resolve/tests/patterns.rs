//! Patterns of functions and tracepoints, and bytes of a length that an expression says.

use super::*;

#[test]
fn a_pattern_is_a_source_for_each_that_matches() {
    let sources =
        |text: &str| -> Vec<String> { inline(text).sources.into_iter().map(|source| source.name).collect() };
    assert_eq!(sources("fn:vfs_[mr]*dir"), ["vfs_mkdir", "vfs_rmdir"]);
    assert_eq!(sources("x=tp:sched:sched_process_ex?[tc]"), ["sched_process_exec", "sched_process_exit"]);
    let event = inline("dirs=fentry:vfs_*dir");
    assert_eq!((event.layout.event.as_str(), columns(&event).as_str()), ("dirs", ""));
    // Each has the column with what is its own.
    assert_eq!(columns(&inline("fn:vfs_[mr]*dir{ name=dentry->d_name.name:string[20] }")), "name:string[20]");
}

#[test]
fn a_pattern_without_a_match_or_with_too_many_is_refused() {
    for (text, message) in [
        ("fn:no_such_*", "nothing matches fn:no_such_*: 'recorder list' shows what there is"),
        ("x=tp:nowhere:*", "nothing matches tp:nowhere:*"),
        ("f=fentry:*", "of which each takes a program; at most 500 are possible: use a narrower pattern"),
    ] {
        let error = inline_error(text);
        assert!(error.contains(message), "{error}");
    }
    for text in ["x=syscall:mk*", "raw_tp:sched_*"] {
        assert!(parse_inline(text).unwrap_err().to_string().contains("expected a name"), "{text}");
    }
}

#[test]
fn bytes_are_as_many_as_an_expression_says_and_none_if_that_is_negative() {
    let event = inline("r=fn:vfs_read{ data=buf:ubytes[16; retval] }");
    let plan = &candidate(&event, "vfs_read", Mechanism::Fexit).plan;
    let [slot] = of_column(&event, plan, "data")[..] else { panic!("{plan:?}") };
    assert_eq!((slot.op, slot.size, slot.flags & flag::USER), (op::BYTES, 16, flag::USER));
    let length = slots(plan).find(|other| other.save == slot.clause_from).unwrap();
    assert_eq!(length.src, src::RET);
    // The guard says that the length is not negative.
    let guard = slots(plan).find(|other| other.save == slot.guard).unwrap();
    let clause = plan.clauses[usize::from(guard.clause_from)];
    let term = plan.terms[clause.trailing_zeros() as usize];
    assert_eq!((guard.op, term.op, term.left, term.imm), (op::PRED, cmp::SGE, slot.clause_from, 0));

    // A number of 64 bits in memory is the address of the words, not they.
    let event = inline(
        "e=tp:sched:sched_process_exec{ a=p->mm->arg_start:argv[99; p->mm->arg_end - p->mm->arg_start] }",
    );
    assert_eq!(columns(&event), "a:argv[99]");
    assert!(
        inline_error("r=fn:vfs_read{ data=buf:ubytes }")
            .contains("it is not known how many bytes this has: say so, as in :ubytes[64; LENGTH]")
    );
    assert!(
        inline_error("r=fn:vfs_read{ data=count:ubytes[9; pos] }")
            .contains("a length is a number, and this is a pointer")
    );
}
