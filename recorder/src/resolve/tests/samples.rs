//! Samples: what they offer, and what they do not.

use super::*;

#[test]
fn a_sample_says_what_ran_and_for_how_much_it_stands() {
    let event = inline("profile:hz:99");
    assert_eq!(
        (event.layout.event.as_str(), columns(&event).as_str()),
        ("profile", "in_user:bool ip:x64 period:u64")
    );
    let plan = &candidate(&event, "profile", Mechanism::PerfEvent).plan;
    let registers = |name| of_column(&event, plan, name).iter().map(|s| (s.src, s.index)).collect::<Vec<_>>();
    let (ip, period) = if cfg!(target_arch = "aarch64") { (32, 34) } else { (16, 21) };
    assert_eq!(registers("ip"), [(src::REG, ip)]);
    assert_eq!(registers("period"), [(src::REG, period)]);
    let event = inline("m=hardware:cache-misses:1000{ kernel_ip=ip:sym, in_user } if !in_user && period > 5");
    assert_eq!(columns(&event), "kernel_ip:sym in_user:bool");
    assert_eq!(candidate(&event, "cache_misses", Mechanism::PerfEvent).target, "hardware:cache-misses:1000");
}

#[test]
fn the_address_is_the_kernels_only_where_the_kernel_ran() {
    let event = event("samples");
    let plan = &candidate(&event, "timer", Mechanism::PerfEvent).plan;
    assert!(of_column(&event, plan, "kernel_ip").iter().all(|slot| slot.guard != NONE));
    assert!(of_column(&event, plan, "ip").iter().all(|slot| slot.guard == NONE));
}

#[test]
fn a_sample_has_neither_result_nor_duration() {
    for (text, says) in [
        ("profile:hz:99{ retval }", "a sample has no result"),
        ("profile:hz:99{ dur }", "dur is known at return only"),
        ("profile:hz:99{ in_usr }", "there is no argument in_usr: did you mean in_user?"),
        ("profile:hz:99{ x=$arg4 }", "profile:hz:99 has 3 arguments"),
    ] {
        let error = inline_error(text);
        assert!(error.contains(says), "{text}: {error}");
    }
}
