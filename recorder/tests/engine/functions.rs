//! Kernel functions. Where the kernel has no kprobes or trampolines, the engine must say so; where it has them, exact
//! counts.

use std::path::Path;

use aya::util::KernelVersion;

use crate::support::{HEADER, PROBE, Record, candidate, drain, engine, mark, only, plan, slot, total};
use recorder::engine::{Candidate, Mechanism};
use recorder::source::EventSource;
use schemas::wire::{Counters, MAX_EACH, NONE, Plan, Slot, cmp, flag, lost, op, src};

const CALLS: usize = 50;

/// Whether this kernel has what the mechanism needs.
fn available(mechanism: Mechanism) -> bool {
    match mechanism {
        Mechanism::Kprobe | Mechanism::Kretprobe => {
            Path::new("/sys/bus/event_source/devices/kprobe").exists()
        }
        // Trampolines on functions need ftrace with arguments, which the kernel lists nowhere but here.
        Mechanism::Fentry | Mechanism::Fexit => {
            std::fs::read_to_string("/sys/kernel/tracing/available_filter_functions")
                .is_ok_and(|list| list.lines().any(|line| line == "inet_listen"))
        }
        _ => true,
    }
}

/// Attach, run `work`, detach; `None` if this kernel cannot and said so.
fn record(candidate: &Candidate, work: impl FnOnce()) -> Option<(Vec<Record>, Counters)> {
    let mut engine = engine(16 << 20);
    let attached = engine.attach(PROBE, candidate);
    if !available(candidate.mechanism) {
        let error = format!("{:#}", attached.unwrap_err());
        assert!(error.contains(&candidate.target), "{error}");
        return None;
    }
    attached.unwrap();
    work();
    engine.detach_all();
    let (records, _) = drain(&mut engine);
    let counters = engine.counters().unwrap();
    println!(
        "{:?} {}: {} records, recursion misses {:?}, kprobe misses {:?}",
        candidate.mechanism,
        candidate.target,
        records.len(),
        counters[0].recursion_misses,
        counters[0].kprobe_misses
    );
    Some((records, total(&counters)))
}

fn user_argument() -> Slot {
    Slot { dst: HEADER, width: 8, bit: 0, ..slot(src::ARG, 0) }
}

fn returned() -> Slot {
    Slot { dst: HEADER + 8, width: 8, bit: 1, bits: 32, flags: flag::SIGNED, ..slot(src::RET, 0) }
}

#[test]
fn a_system_call_function_has_the_users_arguments_at_entry() {
    for mechanism in [Mechanism::Kprobe, Mechanism::Fentry] {
        let mut plan = plan(&[], &[user_argument()], 8);
        plan.syscall_regs = 1;
        let candidate = candidate(mechanism, "__x64_sys_getpgid", plan, None);
        let Some((records, _)) = record(&candidate, || mark(CALLS)) else { continue };
        assert_eq!(records.len(), CALLS);
        assert!(records.iter().all(|r| r.u64(HEADER) == 0x5eed && r.header.nulls == 0));
    }
}

#[test]
fn at_return_there_are_arguments_result_and_what_was_kept_at_entry() {
    for mechanism in [Mechanism::Kretprobe, Mechanism::Fexit] {
        let mut plan = plan(&[], &[user_argument(), returned()], 24);
        let mut entry =
            self::plan(&[], &[Slot { dst: HEADER + 16, width: 8, bit: 2, ..slot(src::PID_TGID, 0) }], 24);
        plan.use_stash = 1;
        plan.stash_size = 24;
        (plan.syscall_regs, entry.syscall_regs) = (1, 1);
        let candidate = candidate(mechanism, "__x64_sys_getpgid", plan, Some(entry));
        let Some((records, counters)) = record(&candidate, || mark(CALLS)) else { continue };
        assert_eq!((records.len(), counters.lost), (CALLS, [0; lost::COUNT]));
        for record in &records {
            assert_eq!(record.u64(HEADER), 0x5eed);
            assert_eq!(record.u64(HEADER + 8) as i64, -i64::from(libc::ESRCH));
            assert_eq!(record.u64(HEADER + 16), record.header.pid_tgid);
        }
    }
}

#[test]
fn a_call_that_the_programs_at_entry_and_at_return_miss_is_missed_once() {
    const OUTER: u16 = PROBE + 1;
    // The program of a classic tracepoint asks for the name of the thread; while it runs, those of kprobes are skipped.
    let comm = Slot { op: op::COMM, dst: HEADER, bit: 0, ..slot(src::CONST, 0) };
    let outer = plan(&[], &[comm], 16);
    let outer = candidate(Mechanism::Tracepoint, "syscalls:sys_enter_getpgid", outer, None);
    let mut inner = plan(&[], &[], 0);
    inner.use_stash = 1;
    let inner = candidate(Mechanism::Kretprobe, "bpf_get_current_comm", inner, Some(plan(&[], &[], 0)));
    let mut engine = engine(16 << 20);
    let attached = engine.attach(PROBE, &inner);
    if !available(Mechanism::Kretprobe) {
        assert!(format!("{:#}", attached.unwrap_err()).contains("bpf_get_current_comm"));
        return;
    }
    attached.unwrap();
    engine.attach(OUTER, &outer).unwrap();
    mark(CALLS);
    engine.detach_all();
    let counters = engine.counters().unwrap();
    let of_outer = total(&counters[1..]);
    assert_eq!(of_outer.recorded, CALLS as u64);
    assert_eq!(total(&counters[..1]), Counters::default());
    let can_tell = KernelVersion::current().unwrap() >= KernelVersion::new(6, 7, 0);
    assert_eq!(counters[0].recursion_misses, can_tell.then_some(CALLS as u64));
}

/// Listen `CALLS` times with backlog 7; the ports.
fn listen() -> Vec<u16> {
    let listen = |_| {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        use std::os::fd::AsRawFd as _;
        // SAFETY: no memory is involved.
        unsafe { libc::listen(socket.as_raw_fd(), 7) };
        socket.local_addr().unwrap().port()
    };
    (0..CALLS).map(listen).collect()
}

#[test]
fn pointers_are_followed_from_arguments_and_the_filter_sees_them() {
    // struct socket: sk at 24; struct sock: skc_num at 14.
    let port =
        |src| Slot { op: op::LOAD, size: 2, derefs: 1, off: [24, 14, 0, 0, 0], dst: HEADER, width: 2, ..src };
    let backlog = Slot { save: 0, bits: 32, ..slot(src::ARG, 1) };
    for mechanism in [Mechanism::Kprobe, Mechanism::Kretprobe, Mechanism::Fentry, Mechanism::Fexit] {
        let returns = matches!(mechanism, Mechanism::Kretprobe | Mechanism::Fexit);
        let mut columns = vec![
            port(slot(src::ARG, 0)),
            Slot { op: op::KSTACK, size: 64, dst: HEADER + 16, ..slot(src::CONST, 0) },
        ];
        if returns {
            columns.push(returned());
        }
        let mut plan = plan(&[backlog], &columns, 88);
        only(&mut plan, 0, cmp::EQ, 7);
        let kretprobe = mechanism == Mechanism::Kretprobe;
        plan.use_stash = u8::from(kretprobe);
        plan.n_args = 2;
        let candidate = candidate(mechanism, "inet_listen", plan, kretprobe.then_some(Plan::EMPTY));
        let mut ports = Vec::new();
        let Some((records, counters)) = record(&candidate, || ports = listen()) else { continue };
        let seen: Vec<u16> = records.iter().map(|r| r.u64(HEADER) as u16).collect();
        assert_eq!(seen, ports, "{mechanism:?}");
        assert_eq!(counters.filtered, CALLS as u64, "bind of std listens too, with another backlog");
        assert_eq!(counters.stack_faults, 0);
        assert!(records.iter().all(|r| r.u64(HEADER + 16) as i64 > 0 && r.u64(HEADER + 24) > 1 << 63));
        assert!(!returns || records.iter().all(|r| r.u64(HEADER + 8) == 0));
    }
}

#[test]
fn arrays_of_kmem_cache_free_bulk_are_taken_apart() {
    // kmem_cache_free_bulk(s, size, p)
    let count = Slot { save: 0, ..slot(src::ARG, 1) };
    let base = Slot { save: 1, ..slot(src::ARG, 2) };
    let pointer = Slot { save: 2, ..slot(src::ITEM, 0) };
    let column = Slot { dst: HEADER, width: 8, ..slot(src::TEMP, 2) };
    for mechanism in [Mechanism::Kprobe, Mechanism::Fentry] {
        let mut plan = plan(&[count, base, pointer], &[column], 8);
        only(&mut plan, 2, cmp::NE, 0);
        plan.filter_pids = 0;
        (plan.each_count, plan.each_base, plan.n_args) = (0, 1, 3);
        let candidate = candidate(mechanism, "kmem_cache_free_bulk", plan, None);
        let work = || {
            // Closing epoll descriptors and directories frees by RCU, in bulk.
            for _ in 0..2000 {
                // SAFETY: descriptors that are not used elsewhere.
                unsafe { libc::close(libc::epoll_create1(0)) };
            }
            std::thread::sleep(std::time::Duration::from_secs(3));
        };
        let Some((records, counters)) = record(&candidate, work) else { continue };
        assert!(records.iter().all(|r| r.u64(HEADER) > 1 << 63 && r.header.nulls == 0));
        assert!(counters.fired as usize >= records.len() && MAX_EACH > 0);
        println!("each: {counters:?}");
    }
}

#[test]
fn a_function_of_user_space_gives_arguments_and_result() {
    let exe = std::env::current_exe().unwrap();
    let target = format!("{}:ktape_test_function", exe.display());
    for mechanism in [Mechanism::Uprobe, Mechanism::Uretprobe] {
        let returns = mechanism == Mechanism::Uretprobe;
        let mut columns = vec![user_argument()];
        columns.extend(returns.then(returned));
        let mut plan = plan(&[], &columns, 16);
        plan.use_stash = u8::from(returns);
        let candidate = candidate(mechanism, &target, plan, returns.then_some(Plan::EMPTY));
        let work = || {
            for i in 0..CALLS as u64 {
                ktape_test_function(i);
            }
        };
        let (records, counters) = record(&candidate, work).unwrap();
        assert_eq!((records.len(), counters.lost), (CALLS, [0; lost::COUNT]));
        for (i, record) in records.iter().enumerate() {
            assert_eq!(record.u64(HEADER), i as u64);
            assert!(!returns || record.u64(HEADER + 8) == 2 * i as u64);
        }
    }
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn ktape_test_function(i: u64) -> u64 {
    std::hint::black_box(i * 2)
}

#[test]
fn many_kprobes_are_detached_at_once() {
    let mut engine = engine(1 << 20);
    let candidate = candidate(Mechanism::Kprobe, "__x64_sys_getpgid", plan(&[], &[], 0), None);
    let mut n = 0;
    for probe in 0..20 {
        match engine.attach(probe, &candidate) {
            Ok(()) => n += 1,
            Err(_) => assert!(!available(Mechanism::Kprobe)),
        }
    }
    assert!(n == 20 || !available(Mechanism::Kprobe));
    let start = std::time::Instant::now();
    engine.detach_all();
    println!("{n} kprobes detached in {:?}", start.elapsed());
    assert!(start.elapsed().as_secs() < 5);
    assert_eq!(candidate.plan.each_count, NONE);
}
