//! What the kernel side and the user side both know, byte for byte: the fetch plan, the record header, the counters.
//! (One file, though a long one: the object is made of it, and its digest is in the object's stamp.)
//!
//! A **plan** is one event source compiled to slots. The recorder writes it into the frozen `.rodata` of a generic
//! eBPF program, so the verifier sees constants and prunes what the plan does not use. A **record** is what the
//! program puts into the ring: a [`RecordHeader`], then the columns at the offsets that the plan names.

/// Most slots a plan can have.
pub const MAX_SLOTS: usize = 40;
/// Most temporaries a plan can have; temporaries are 64-bit values that slots save and later slots use.
pub const MAX_TEMPS: usize = 16;
/// Most pointer loads in one slot; longer paths go on from a temporary.
pub const MAX_DEREFS: usize = 4;
/// Most comparisons in all predicates of a plan.
pub const MAX_TERMS: usize = 16;
/// Most conjunctions in all predicates of a plan.
pub const MAX_CLAUSES: usize = 16;
/// Most bytes of a record, header included.
pub const MAX_RECORD: usize = 2048;
/// Most bytes of columns that an entry probe can keep for its return probe.
pub const MAX_STASH: usize = 400;
/// Most characters of a recorded string.
pub const MAX_STRING: usize = 510;
/// Most bytes of the keys of an aggregated event, with their bitmaps (and, of a stack, its frames).
pub const MAX_KEY: usize = 576;
/// Most sums of an aggregated event.
pub const MAX_SUMS: usize = 4;
/// Most frames of a recorded stack.
pub const MAX_FRAMES: usize = 64;
/// Most array items that one run of an `each` program can turn into records.
/// The verifier walks each of them, which takes time for each copy of the program, and with 512 it gives up (a million
/// instructions). For what is left the program starts itself again, [`EACH_RUNS`] times in all.
pub const MAX_EACH: usize = 64;
/// Runs of an `each` program for one call: the kernel allows 33 tail calls (`MAX_TAIL_CALL_CNT`).
pub const EACH_RUNS: usize = 34;
/// Programs that record the same probe, if it nests. The kernel skips a program while it runs on that CPU, so one takes
/// what happens in a task, the next what happens in a softirq meanwhile, the third what a hardirq adds.
pub const MAX_COPIES: usize = 3;

/// The kernel's largest error number: the last so many addresses are no pointers but negative error numbers.
pub const MAX_ERRNO: u64 = 4095;

/// Most arguments of a probed function that a plan can use.
pub const MAX_ARGS: usize = 12;
/// Where the return value comes in the inputs of a program: behind the arguments.
pub const RETURN_VALUE: usize = MAX_ARGS;
/// The bit of the duration among those that say which inputs a program uses.
pub const DURATION: usize = MAX_ARGS + 1;

/// Most calls of one thread that are kept from entry to return at once: those of a function within itself. (As many as the
/// kernel has return probes of a thread wait for.)
pub const MAX_NESTED: usize = 64;

/// Words of the context of a probe whose context has registers: a sample has those of aarch64 and then its period.
pub const MAX_REGISTERS: u8 = 35;

/// "No temporary", "no bit": the value of an unused `u8` index.
pub const NONE: u8 = 0xff;
/// "Not stored in the record": the value of an unused `dst`.
pub const NO_DST: u16 = 0xffff;

/// Where a slot's value comes from ([`Slot::src`]).
pub mod src {
    /// An unused slot; the first one ends the plan.
    pub const END: u8 = 0;
    /// Argument `index` of the probed function, raw tracepoint, or syscall (user's view).
    pub const ARG: u8 = 1;
    /// The return value.
    pub const RET: u8 = 2;
    /// The address of the context itself (fields of classic tracepoints are read from it).
    pub const CTX: u8 = 3;
    /// `struct task_struct *` of the current task.
    pub const TASK: u8 = 4;
    /// Temporary `index`.
    pub const TEMP: u8 = 5;
    /// The constant `imm`.
    pub const CONST: u8 = 6;
    /// `bpf_get_current_pid_tgid()`: tgid in the high half. (What tells of the current task is NULL in an interrupt.)
    pub const PID_TGID: u8 = 7;
    /// `bpf_get_current_cgroup_id()`.
    pub const CGROUP_ID: u8 = 8;
    /// `bpf_get_current_uid_gid()`: gid in the high half.
    pub const UID_GID: u8 = 9;
    /// The current array item of an `each` source.
    pub const ITEM: u8 = 10;
    /// `bpf_get_current_ancestor_cgroup_id(index)`: the cgroup that many levels below the root in which the current
    /// task is, however deep; 0 if it is not that deep.
    pub const ANCESTOR_ID: u8 = 11;
    /// Nanoseconds since the entry of the call that returns.
    pub const DURATION: u8 = 12;
    /// Word `index` of the context, less than [`super::MAX_REGISTERS`]: a register in the order of `struct pt_regs`;
    /// of a sample its period is behind them.
    pub const REG: u8 = 13;
}

/// What a slot does with the address or value it has computed ([`Slot::op`]).
pub mod op {
    /// The value itself, no read.
    pub const VALUE: u8 = 0;
    /// Read an integer of `size` (1, 2, 4, 8) bytes.
    pub const LOAD: u8 = 1;
    /// Copy `size` bytes into the record.
    pub const MEM: u8 = 2;
    /// Copy a NUL-terminated string of at most `size` bytes, NUL included, into the record.
    pub const STR: u8 = 3;
    /// The name of the current task, 16 bytes.
    pub const COMM: u8 = 4;
    /// The kernel stack: an i64 (bytes or -errno), then up to `size` bytes of addresses.
    pub const KSTACK: u8 = 5;
    /// The user stack, same shape.
    pub const USTACK: u8 = 6;
    /// 1 if any clause of `clause_from..clause_to` holds, else 0.
    pub const PRED: u8 = 7;
    /// Find the upper-layer header of the IP packet at the address: see [`crate::wire::headers`]. Temporary
    /// `clause_from` holds where the memory ends in which its headers are, `clause_to` the packet's length. There are
    /// three results, in the temporaries from `save` on.
    pub const HEADERS: u8 = 8;
    /// Copy as many bytes as temporary `clause_from` says, at most `size`, into the record: a u16 with that number, which is
    /// `size` + 1 if there are more, then the bytes.
    pub const BYTES: u8 = 9;
}

/// What [`op::HEADERS`] finds behind the IP header of a packet, version 4 or 6, and behind its extension headers.
pub mod headers {
    /// Most extension headers that are passed over.
    pub const MAX: u64 = 8;

    /// First result: number of the upper-layer protocol; NULL where the state does not let it be known.
    pub const PROTO: u8 = 0;
    /// Second result: address of the upper-layer header; NULL unless the state is [`FOUND`].
    pub const UPPER: u8 = 1;
    /// Third result: the state, one of those below.
    pub const STATE: u8 = 2;
    /// How many results there are.
    pub const RESULTS: u8 = 3;

    /// The upper-layer header is there.
    pub const FOUND: u64 = 0;
    /// The packet, or that part of it which lies in one piece, ends before or within that header.
    pub const CUT: u64 = 1;
    /// A fragment other than the first: the header was in the first.
    pub const FRAGMENT: u64 = 2;
    /// Encrypted (ESP): what is inside is not known.
    pub const ENCRYPTED: u64 = 3;
    /// There is none ("no next header").
    pub const NONE: u64 = 4;
    /// More than [`MAX`] extension headers.
    pub const TOO_MANY: u64 = 5;
    /// There is no IP header, or it does not lie in one piece.
    pub const NO_IP: u64 = 6;
}

/// Bits of [`Slot::flags`].
pub mod flag {
    /// The final read is of user memory (pointer loads before it are of kernel memory).
    pub const USER: u8 = 1;
    /// Sign-extend the value from `bits`.
    pub const SIGNED: u8 = 2;
    /// Swap the bytes of the value (`size` says how many).
    pub const SWAP: u8 = 4;
    /// When the guard is false, leave the column as it is instead of marking it NULL.
    pub const SOFT: u8 = 8;
    /// Every pointer load of this slot follows a typed kernel pointer, so a program whose arguments are typed by BTF
    /// may load directly. A hint that no program uses yet.
    pub const TYPED: u8 = 16;
    /// The value's opposite, after `lshift`.
    pub const NEGATE: u8 = 32;
    /// Last of all, the largest power of two that is not more than the value; 0 of 0. Of a negative number
    /// ([`SIGNED`]) the opposite of that of its opposite.
    pub const POWER: u8 = 64;
}

/// One step of a plan.
///
/// value = source (+ temporary `add`); then `derefs` times value = `*(u64 *)(value + off[i])`, NULL or a fault ends
/// the slot; then `op` on `value + off[derefs]`; an integer result goes through `rshift`, `bits`, sign or swap,
/// `lshift`, its opposite, into temporary `save` and, `width` bytes of it, to record offset `dst`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "std", derive(zerocopy::IntoBytes, zerocopy::Immutable))]
pub struct Slot {
    /// Added before each load, and before `op` at the last.
    pub off: [i32; MAX_DEREFS + 1],
    /// Bytes that `op` reads.
    pub size: u16,
    /// Offset in the record (header included) where the result goes, or [`NO_DST`].
    pub dst: u16,
    /// The value of [`src::CONST`].
    pub imm: u64,
    /// See [`src`].
    pub src: u8,
    /// Argument or temporary number.
    pub index: u8,
    /// See [`op`].
    pub op: u8,
    /// Pointer loads, at most [`MAX_DEREFS`].
    pub derefs: u8,
    /// See [`flag`].
    pub flags: u8,
    /// Temporary that must be non-zero and not NULL for this slot to run, or [`NONE`].
    pub guard: u8,
    /// Temporary added to the source value, or [`NONE`].
    pub add: u8,
    /// Temporary that keeps the result, or [`NONE`].
    pub save: u8,
    /// Bit of this column in the header's bitmaps, or [`NONE`].
    pub bit: u8,
    /// Bytes of an integer result stored at `dst`.
    pub width: u8,
    /// Shift right before masking.
    pub rshift: u8,
    /// Bits kept, 0 for all.
    pub bits: u8,
    /// Shift left at the end.
    pub lshift: u8,
    /// First clause of [`op::PRED`].
    pub clause_from: u8,
    /// One past the last clause of [`op::PRED`].
    pub clause_to: u8,
    /// Zero.
    pub pad: u8,
}

/// Comparisons of [`Term::op`]. A term whose value is NULL is false.
pub mod cmp {
    /// Equal.
    pub const EQ: u8 = 0;
    /// Not equal.
    pub const NE: u8 = 1;
    /// Unsigned less.
    pub const LT: u8 = 2;
    /// Unsigned less or equal.
    pub const LE: u8 = 3;
    /// Unsigned greater.
    pub const GT: u8 = 4;
    /// Unsigned greater or equal.
    pub const GE: u8 = 5;
    /// Signed less.
    pub const SLT: u8 = 6;
    /// Signed less or equal.
    pub const SLE: u8 = 7;
    /// Signed greater.
    pub const SGT: u8 = 8;
    /// Signed greater or equal.
    pub const SGE: u8 = 9;
    /// left & right is not zero.
    pub const ANY: u8 = 10;
    /// left & right is zero.
    pub const NONE_OF: u8 = 11;
}

/// One comparison of a temporary with a constant or another temporary, after `& mask`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "std", derive(zerocopy::IntoBytes, zerocopy::Immutable))]
pub struct Term {
    /// Right side, if `right` is [`NONE`].
    pub imm: u64,
    /// Applied to the left side first; `u64::MAX` for none.
    pub mask: u64,
    /// Temporary on the left side.
    pub left: u8,
    /// Temporary on the right side, or [`NONE`].
    pub right: u8,
    /// See [`cmp`].
    pub op: u8,
    /// Zero.
    pub pad: [u8; 5],
}

/// A source compiled for the kernel. Slots `0..n_pre` run before the filter and store nothing in the record.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "std", derive(zerocopy::IntoBytes, zerocopy::Immutable))]
pub struct Plan {
    /// The steps.
    pub slots: [Slot; MAX_SLOTS],
    /// The comparisons.
    pub terms: [Term; MAX_TERMS],
    /// Each clause is a bitmap of terms that must all hold; a predicate holds if any of its clauses does.
    pub clauses: [u32; MAX_CLAUSES],
    /// Bytes of a record, header included, a multiple of 8.
    pub record_size: u32,
    /// Bytes after the header that the entry probe filled (kept in the stash by thread), 0 for none.
    pub stash_size: u16,
    /// Slots that run before the filter.
    pub n_pre: u8,
    /// First clause of the filter.
    pub where_from: u8,
    /// One past the last clause of the filter; equal to `where_from` when there is no filter.
    pub where_to: u8,
    /// 1 if only processes of the pid set pass.
    pub filter_pids: u8,
    /// Temporaries that hold process ids to look up in the pid set, or [`NONE`]; both `NONE` means the current one.
    pub subjects: [u8; 2],
    /// Temporaries that replace pid (tgid) and tid in the header, or [`NONE`].
    pub pid: u8,
    /// See `pid`.
    pub tid: u8,
    /// What comes from the stash that the entry probe filled: one of [`stash`].
    pub use_stash: u8,
    /// 1 if the only argument is a `struct pt_regs *` with the syscall's arguments in it.
    pub syscall_regs: u8,
    /// Temporary with the number of items of an `each` source, or [`NONE`].
    pub each_count: u8,
    /// Temporary with the address of the first item; items are pointers.
    pub each_base: u8,
    /// Number of arguments of the probed function (an fexit program finds the return value behind them).
    pub n_args: u8,
    /// Temporary that names the object which a recorded event begins: it goes into the set of objects. [`NONE`] for
    /// none.
    pub begins: u8,
    /// Temporary that names the object which the event ends: only objects of the set pass, and they leave it.
    /// [`NONE`] for none.
    pub ends: u8,
    /// Further copies of the program, which record the events that the kernel skips because those before are running;
    /// less than [`MAX_COPIES`].
    pub nests: u8,
    /// 1 if the child that the system call makes leaves it too, with 0, without having entered: that is no event.
    pub child_leaves: u8,
    /// Temporary of which each value counts once: later events with the same one do not pass. [`NONE`] for none.
    pub once: u8,
    /// Process whose events are never recorded: the recorder itself. 0 for none.
    pub exclude_pid: u32,
    /// Record every event of this number that passes the filter, per probe and CPU; 0 and 1 record all.
    pub sample: u32,
    /// Of an aggregated event: bits of [`RecordHeader::pid_tgid`] that are part of the key.
    pub key_subject: u64,
    /// Columns that are part of the key: bits of the header's bitmaps. The sums have the bits after those.
    pub key_bits: u32,
    /// Where the key begins in the record: at `pid_tgid` if that is part of it, else at `seq`, which is 0.
    pub key_from: u16,
    /// Where it ends. The values of the sums are behind it, 8 bytes each.
    pub key_end: u16,
    /// 1 if events are not recorded but counted, by key ([`KEY_TEMPLATE`]).
    pub aggregates: u8,
    /// How many values are added up, at most [`MAX_SUMS`].
    pub sums: u8,
    /// Bit of the first of them.
    pub sum_bit: u8,
    /// Zero.
    pub pad: [u8; 5],
}

/// Bytes of a key and words of a value of the tables of aggregated events, as the object has them: the recorder writes
/// those of the event in their place before it loads a copy. (No other bytes of the object look like these.)
pub const KEY_TEMPLATE: usize = 0x6b_5365;
/// See [`KEY_TEMPLATE`].
pub const VALUE_TEMPLATE: usize = 0x76_5761;

/// Words of the value of a key: how many events there were and, for each sum, how many of them had a value, and the sum.
pub const fn value_words(sums: usize) -> usize {
    1 + 2 * sums
}

/// Runs of an aggregating program that can interleave on one CPU (uprobes): those beyond count as lost.
pub const SCRATCHES: u32 = 8;

/// Where an aggregating program puts the columns of an event.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scratch {
    /// 1 while a run uses it, where runs can interleave.
    pub busy: u64,
    /// As a record in a ring.
    pub record: [u8; size_of::<RecordHeader>() + MAX_KEY + 8 * MAX_SUMS],
    /// The value of a new key.
    pub zeros: [u64; value_words(MAX_SUMS)],
}

/// The head of every record.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(
    feature = "std",
    derive(zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::Immutable, zerocopy::KnownLayout)
)]
pub struct RecordHeader {
    /// CLOCK_BOOTTIME, nanoseconds.
    pub ts_ns: u64,
    /// Process, thread and context: see [`subject`].
    pub pid_tgid: u64,
    /// Number of this event among those of its probe and CPU that passed the filter, modulo 2^32; a gap is a loss.
    pub seq: u32,
    /// Columns that are NULL.
    pub nulls: u32,
    /// Columns that are NULL because reading them faulted.
    pub faults: u32,
    /// String columns that were cut.
    pub cuts: u32,
}

/// On what a probe ran, and for whom ([`RecordHeader::pid_tgid`]). In an interrupt the current task is a bystander, so
/// there is neither process nor thread.
///
/// ```text
/// bits 63..61 context | 60..32 process (tgid) | 31..0 thread (tid)
/// ```
/// A process number has at most 22 bits.
pub mod subject {
    /// The task that was running.
    pub const TASK: u64 = 0;
    /// A soft interrupt.
    pub const SOFTIRQ: u64 = 1;
    /// A hard interrupt.
    pub const HARDIRQ: u64 = 2;
    /// A non-maskable interrupt.
    pub const NMI: u64 = 3;
    /// Nothing ran (the recorder made the row), or it is not known what; then the task may be a bystander.
    pub const UNKNOWN: u64 = 7;
    /// Names of the contexts, by number.
    pub const NAMES: [&str; 4] = ["task", "softirq", "hardirq", "nmi"];

    /// Where the context is.
    pub const SHIFT: u32 = 61;
    /// The process number of nobody.
    pub const NO_PID: u64 = (1 << 29) - 1;
    /// The thread number of nobody.
    pub const NO_TID: u64 = 0xffff_ffff;
    /// Neither process nor thread.
    pub const NOBODY: u64 = NO_PID << 32 | NO_TID;

    /// The name of the context; none for [`UNKNOWN`].
    pub const fn context(subject: u64) -> Option<&'static str> {
        let context = (subject >> SHIFT) as usize;
        if context < NAMES.len() { Some(NAMES[context]) } else { None }
    }

    /// The process, if there is one.
    pub const fn pid(subject: u64) -> Option<u32> {
        let pid = subject >> 32 & NO_PID;
        if pid == NO_PID { None } else { Some(pid as u32) }
    }

    /// The thread, if there is one.
    pub const fn tid(subject: u64) -> Option<u32> {
        let tid = subject & NO_TID;
        if tid == NO_TID { None } else { Some(tid as u32) }
    }
}

/// How a program finds out whether it runs in an interrupt (rodata `INTERRUPTS`): the bits of the kernel's preempt
/// count, wherever this kernel keeps it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "std", derive(zerocopy::IntoBytes, zerocopy::Immutable))]
pub struct Interrupts {
    /// See [`interrupts`].
    pub how: u32,
    /// [`interrupts::IN_TASK`]: offset of the count in `task_struct`. [`interrupts::PER_CPU`]: from this processor's
    /// `struct rq` to its count.
    pub count: i32,
    /// Offset of `task_struct.se.cfs_rq`.
    pub queue: i32,
    /// Offset of `cfs_rq.rq`.
    pub run_queue: i32,
    /// From this processor's `struct rq` to the pointer to its current task, which shows that the count is found.
    pub current: i32,
    /// Offset of `task_struct.softirq_disable_cnt`, which real-time kernels have; 0 on others.
    pub softirq: i32,
    /// 1 for a program that runs in an interrupt of its own, that of a timer or of a counter: it is about what that
    /// interrupted.
    pub own: u32,
}

/// Values of [`Interrupts::how`].
pub mod interrupts {
    /// What is probed does not happen in interrupts (system calls, functions in user space).
    pub const NEVER: u32 = 0;
    /// The count is in `task_struct`.
    pub const IN_TASK: u32 = 1;
    /// The count is among the variables that each processor has its own of. The types of the kernel tell how far it is from
    /// the processor's run queue, to which the current task leads.
    pub const PER_CPU: u32 = 2;
    /// The count cannot be found. (The stack does not tell: an interrupt that comes from user space runs on the task's.)
    pub const UNKNOWN: u32 = 3;
    /// Bits of the count.
    pub const SOFTIRQ: u32 = 1 << 8;
    /// See [`SOFTIRQ`].
    pub const HARDIRQ: u32 = 0xf << 16;
    /// See [`SOFTIRQ`].
    pub const NMI: u32 = 0xf << 20;
}

/// What the iterator over tasks tells of each process.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(
    feature = "std",
    derive(zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::Immutable, zerocopy::KnownLayout)
)]
pub struct Start {
    /// Process (tgid).
    pub pid: u64,
    /// When it was started, CLOCK_BOOTTIME.
    pub boottime_ns: u64,
}

/// Why the kernel side did not record an event ([`Counters::lost`]).
pub mod lost {
    /// The ring was full.
    pub const RING_FULL: usize = 0;
    /// A return probe found nothing kept of its call's entry (attached in mid-call, or the stash was full).
    pub const NO_ENTRY: usize = 1;
    /// An `each` call had more items than all its runs can visit ([`super::MAX_EACH`] times [`super::EACH_RUNS`]); the
    /// rest are counted here.
    pub const EACH_CUT: usize = 2;
    /// Only every [`super::Plan::sample`]th event was asked for.
    pub const SAMPLED: usize = 3;
    /// An aggregated event had a key for which the table had no room.
    pub const KEYS_FULL: usize = 4;
    /// How many reasons there are.
    pub const COUNT: usize = 5;
}

/// What one probe counted on one CPU since it was attached.
/// fired = filtered + recorded + the sum of lost. (An `each` call fires once per item.)
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(
    feature = "std",
    derive(zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::Immutable, zerocopy::KnownLayout)
)]
pub struct Counters {
    /// The probe ran.
    pub fired: u64,
    /// The filter said no.
    pub filtered: u64,
    /// A record was put into the ring, or the event was counted in the table of an aggregated event.
    pub recorded: u64,
    /// Events that passed the filter and were not recorded, by reason.
    pub lost: [u64; lost::COUNT],
    /// Column values that faulted (the event was recorded).
    pub faults: u64,
    /// Strings that were cut (the event was recorded).
    pub cuts: u64,
    /// Stacks that could not be taken (the event was recorded).
    pub stack_faults: u64,
    /// Entries that did not fit into the stash, whose return becomes a `NO_ENTRY`; of the program that follows forks:
    /// children that did not fit into the pid set.
    pub map_full: u64,
    /// Calls of which the duration is measured and that never return, because their thread ended within them. They are no
    /// events.
    pub no_return: u64,
}

/// What all probes of a recording share, so that it changes for all at one instant.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(
    feature = "std",
    derive(zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::Immutable, zerocopy::KnownLayout)
)]
pub struct Shared {
    /// Whether anything is seen: one of [`gate`].
    pub gate: u32,
    /// A bucket of the set of objects was full once: from then on an object may be in the hash map.
    pub more_objects: u16,
    /// The hash map was full once: from then on all ends pass.
    pub all_ends: u16,
}

/// Values of [`Shared::gate`].
pub mod gate {
    /// Probes are being attached. Nothing is seen, but entry programs work, so that calls which are running at the start have
    /// their entry.
    pub const HELD: u32 = 0;
    /// The recording.
    pub const OPEN: u32 = 1;
    /// It has ended, and probes are being detached. What is kept of calls whose duration is measured stays as it was at the
    /// end.
    pub const OVER: u32 = 2;
}

/// Buckets of the set of objects, each a cache line.
pub const OBJECT_BUCKETS: u32 = 1 << 16;
/// Objects that a bucket has room for.
pub const OBJECT_WAYS: usize = 8;
/// `BPF_F_INNER_MAP`: the recorder may make it larger than the object file says.
pub const OBJECT_MAP_FLAGS: usize = 0x1000;

/// What the context of a program is, so where arguments and the return value are found (rodata `KIND`, `ENTRY_KIND`).
pub mod context {
    /// Raw tracepoint: an array of integers.
    pub const ARGS: u8 = 0;
    /// tp_btf: an array whose pointers the verifier knows the types of.
    pub const TYPED_ARGS: u8 = 1;
    /// fentry and fexit: helpers give arguments and return value, whatever their types.
    pub const FUNCTION: u8 = 2;
    /// `struct pt_regs` of x86_64.
    pub const REGS_X86_64: u8 = 3;
    /// `struct user_pt_regs` of aarch64.
    pub const REGS_AARCH64: u8 = 4;
    /// The record of a classic tracepoint.
    pub const TRACEPOINT: u8 = 5;
}

/// Values of [`Plan::use_stash`].
pub mod stash {
    /// There is no entry program.
    pub const NONE: u8 = 0;
    /// Arguments and `stash_size` bytes, and the time if the plan uses the duration.
    pub const ALL: u8 = 1;
    /// Only the time: the return program has the arguments itself.
    pub const TIME: u8 = 2;
}

/// What an entry program keeps of a call for its return program.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(
    feature = "std",
    derive(zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::Immutable, zerocopy::KnownLayout)
)]
pub struct Stash {
    /// Arguments of the call.
    pub args: [u64; 6],
    /// Where the thread's stack was at the entry, which tells calls of a thread apart; 0 for system calls, which are never
    /// within each other.
    pub frame: u64,
    /// Of the first of a thread's calls: how many of them are kept, one within the other.
    pub depth: u32,
    /// Which of them this is, from 0.
    pub index: u32,
    /// If the duration is measured: when the call began, CLOCK_BOOTTIME.
    pub began_ns: u64,
    /// Then, at the return, how long it took.
    pub dur_ns: u64,
    /// Then, whose call it is: as in [`RecordHeader`].
    pub pid_tgid: u64,
    /// As in [`RecordHeader`].
    pub nulls: u32,
    /// As in [`RecordHeader`].
    pub faults: u32,
    /// As in [`RecordHeader`].
    pub cuts: u32,
    /// Stacks that could not be taken.
    pub stack_faults: u32,
    /// The first `stash_size` bytes after the header of the record.
    pub bytes: [u8; MAX_STASH],
}

impl Stash {
    /// Nothing kept.
    pub const EMPTY: Self = Self {
        args: [0; 6],
        frame: 0,
        depth: 0,
        index: 0,
        began_ns: 0,
        dur_ns: 0,
        pid_tgid: 0,
        nulls: 0,
        faults: 0,
        cuts: 0,
        stack_faults: 0,
        bytes: [0; MAX_STASH],
    };
}

/// What the programs of one probe keep per CPU.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(
    feature = "std",
    derive(zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::Immutable, zerocopy::KnownLayout)
)]
pub struct CpuState {
    /// What the user side reads.
    pub counters: Counters,
    /// Number of the next event that passes the filter.
    pub seq: u64,
    /// A pointer that is stored here and loaded again is a plain number to the verifier. Also the key of a map, for
    /// which the stack has no room.
    pub scratch: u64,
    /// Of a further copy of a program that nests: events that it took, because all copies before were skipped.
    pub taken: u64,
    /// Where this processor's preempt count is, once it has been found ([`interrupts::PER_CPU`]).
    pub preempt_count: u64,
    /// Of a further copy: where the kernel counts on this CPU whether a copy before it runs; 0 if it has not looked yet.
    pub running: [u64; MAX_COPIES - 1],
    /// First item of the next run of an `each` program for the same call; 0 if there is none.
    pub each_from: u64,
    /// Items from there on.
    pub each_left: u64,
    /// What the search for a header has come to, for which the stack has no room.
    pub search: [u64; 9],
    /// 1 while the program at the return of calls runs on this CPU and looks for what the one at their entry kept.
    pub returning: u64,
}

impl Slot {
    /// A slot that does nothing.
    pub const END: Self = Self {
        off: [0; MAX_DEREFS + 1],
        size: 0,
        dst: NO_DST,
        imm: 0,
        src: src::END,
        index: 0,
        op: op::VALUE,
        derefs: 0,
        flags: 0,
        guard: NONE,
        add: NONE,
        save: NONE,
        bit: NONE,
        width: 0,
        rshift: 0,
        bits: 0,
        lshift: 0,
        clause_from: 0,
        clause_to: 0,
        pad: 0,
    };
}

impl Plan {
    /// Whether it uses the duration of calls, which takes a program at entry.
    pub fn is_timed(&self) -> bool {
        self.slots.iter().any(|slot| slot.src == src::DURATION)
    }

    /// A plan that records bare headers.
    pub const EMPTY: Self = Self {
        slots: [Slot::END; MAX_SLOTS],
        terms: [Term { imm: 0, mask: u64::MAX, left: 0, right: NONE, op: cmp::EQ, pad: [0; 5] }; MAX_TERMS],
        clauses: [0; MAX_CLAUSES],
        record_size: size_of::<RecordHeader>() as u32,
        stash_size: 0,
        n_pre: 0,
        where_from: 0,
        where_to: 0,
        filter_pids: 0,
        subjects: [NONE; 2],
        pid: NONE,
        tid: NONE,
        use_stash: stash::NONE,
        syscall_regs: 0,
        each_count: NONE,
        each_base: NONE,
        n_args: 0,
        begins: NONE,
        ends: NONE,
        nests: 0,
        child_leaves: 0,
        once: NONE,
        exclude_pid: 0,
        sample: 0,
        key_subject: 0,
        key_bits: 0,
        key_from: 0,
        key_end: 0,
        aggregates: 0,
        sums: 0,
        sum_bit: 0,
        pad: [0; 5],
    };
}

const _: () = assert!(size_of::<Slot>() == 48 && size_of::<Term>() == 24 && size_of::<RecordHeader>() == 32);
const _: () = assert!(size_of::<Plan>() == MAX_SLOTS * 48 + MAX_TERMS * 24 + MAX_CLAUSES * 4 + 56);
const _: () = assert!(size_of::<Interrupts>() == 28);
