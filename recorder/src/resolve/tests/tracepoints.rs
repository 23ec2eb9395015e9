//! Types of the fields of tracepoints: text, bytes, numbers, code.

use schemas::context::own_name;

use schemas::column::Type;

use super::*;

fn type_of(event: &ResolvedEvent, column: &str) -> String {
    event.layout.column(column).unwrap_or_else(|| panic!("no column {column}")).ty.to_string()
}

#[test]
fn only_char_is_text() {
    let kernel = kernel(true);
    let tracefs = kernel.tracefs().unwrap();
    let mut seen = std::collections::BTreeMap::<String, usize>::new();
    for (category, name) in tracefs.tracepoints().unwrap() {
        let fields = tracefs.fields(&category, &name).unwrap_or_default();
        let is_several =
            |f: &&crate::kernel::TraceField| f.array.is_some_and(|n| n > 0) || f.location.is_some();
        for field in fields.iter().filter(is_several).filter(|_| category != "ftrace") {
            let own = own_name(&field.name);
            let def = parse_inline(&format!("tp:{category}:{name}{{ own=$arg1, {own} }}")).unwrap();
            // Where the typed arguments have that name too, they are what the column is of.
            let only_classic =
                kernel.btf.find(&format!("btf_trace_{name}"), crate::kernel::btf::Kind::Typedef).is_none();
            let Ok(event) = try_resolve(&kernel, &def, &Filter::default()) else { continue };
            if !only_classic
                && event.sources[0].candidates.iter().any(|c| c.mechanism != Mechanism::Tracepoint)
            {
                continue;
            }
            let ty = type_of(&event, &own);
            let is_text = ty.starts_with("char[") || ty.starts_with("string[");
            assert_eq!(is_text, field.ty == "char", "{category}:{name}: {} {} is {ty}", field.ty, field.name);
            let kind = match field.location {
                Some(_) => format!("{} elsewhere", field.ty),
                None => field.ty.clone(),
            };
            *seen.entry(format!("{kind} {}", ty.split('[').next().unwrap())).or_default() += 1;
        }
    }
    println!("{seen:?}");
    for kind in ["char elsewhere string", "char char", "__u8 hex"] {
        assert!(seen.contains_key(kind), "{kind}: {seen:?}");
    }
}

#[test]
fn arrays_have_the_types_of_their_items() {
    for (text, expected) in [
        ("d=tp:net:net_dev_queue{ b=skb->dev->broadcast, n=skb->dev->name }", "b:hex[32] n:char[16]"),
        ("d=tp:net:net_dev_queue{ cb=skb->cb, m=skb->dev->broadcast:mac }", "cb:char[48] m:mac"),
        ("raw_tp:sched_switch{ m=next->cpus_mask.bits[0], c=next->comm }", "m:u64 c:char[16]"),
        ("fn:tcp_close{ a=sk->__sk_common.skc_v6_rcv_saddr.in6_u.u6_addr32 }", "a:hex[16]"),
        ("fn:tcp_close{ t=((struct tcp_sock *)sk)->rcv_rtt_est, x=1:u8 }", ""),
        ("fn:vfs_read{ n=file->f_path.dentry->d_name.name:string[20] }", "n:string[20]"),
    ] {
        if expected.is_empty() {
            assert!(inline_error(text).contains("name one of its members"));
            continue;
        }
        assert_eq!(columns(&inline(text)), expected, "{text}");
    }
}

#[test]
fn what_is_printed_as_code_is_code() {
    let kernel = kernel(true);
    let tracefs = kernel.tracefs().unwrap();
    let mut found = 0;
    for (category, name) in tracefs.tracepoints().unwrap() {
        let fields = tracefs.fields(&category, &name).unwrap_or_default();
        let code: Vec<_> = fields.iter().filter(|f| f.code && f.size == 8 && f.array.is_none()).collect();
        if code.is_empty() || category == "ftrace" {
            continue;
        }
        let def = parse_inline(&format!("tp:{category}:{name}")).unwrap();
        let event = match try_resolve(&kernel, &def, &Filter::default()) {
            Ok(event) => event,
            Err(error) => {
                let error = format!("{error:#}");
                assert!(error.contains("the limit is"), "{category}:{name}: {error}");
                continue;
            }
        };
        for field in code {
            assert_eq!(type_of(&event, &own_name(&field.name)), "sym", "{category}:{name}: {}", field.name);
            found += 1;
        }
    }
    println!("{found} fields");
    assert!(found >= 30, "{found}");
    // The same argument by the prototype, and pointers that BTF declares to lead to code.
    for (text, expected) in [
        ("tp:kmem:kfree{ call_site, ptr }", "call_site:sym ptr:x64"),
        ("raw_tp:kfree{ call_site }", "call_site:sym"),
        ("tp:skb:kfree_skb{ location }", "location:sym"),
        ("tp:workqueue:workqueue_execute_start{ work->func }", "func:sym"),
        ("tp:timer:hrtimer_expire_entry{ hrtimer->function }", "function:sym"),
    ] {
        assert_eq!(columns(&inline(text)), expected, "{text}");
    }
}

#[test]
fn names_of_an_enum_are_those_of_the_running_kernel() {
    let named = inline("lost=tp:skb:kfree_skb{ reason:enum(kernel skb_drop_reason) }");
    let column = named.layout.column("reason").unwrap();
    let Type::Enum(names) = &column.ty else { panic!("{} is no enum", column.ty) };
    assert!(names.iter().any(|(number, name)| *number == 0 && name == "SKB_NOT_DROPPED_YET"), "{names:?}");
    assert!(names.iter().any(|(_, name)| name == "SKB_DROP_REASON_NO_SOCKET"), "{names:?}");
    // The kernel says itself that this is such an enum.
    assert_eq!(column.ty, inline("lost=tp:skb:kfree_skb{ reason }").layout.column("reason").unwrap().ty);
    // Of what is no enum the names can be asked for, too, and an enum that this kernel has not leaves numbers.
    let lent = inline(
        "lost=tp:skb:kfree_skb{ n=skb->len:enum(kernel skb_drop_reason), none=skb->len:enum(kernel no_such_enum) }",
    );
    assert_eq!(lent.layout.column("n").unwrap().ty, column.ty);
    assert_eq!(lent.layout.column("none").unwrap().ty, Type::Enum(Vec::new()));
}
