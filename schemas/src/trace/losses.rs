//! Every reason for which something is missing or incomplete in a trace, and the text of `docs/losses.md`.

/// A reason of table `losses`, column `reason`.
pub struct LossReason {
    /// As in the table.
    pub name: &'static str,
    /// True if the event itself is missing; false if the event is there and a value is incomplete.
    pub loses_event: bool,
    /// True if it was asked for, or there is no event that could be missing, so that it is no reason for `--fail-on-loss` to
    /// fail.
    pub is_asked_for: bool,
    /// What happened.
    pub meaning: &'static str,
    /// What to do about it.
    pub remedy: &'static str,
}

impl LossReason {
    /// How bad it is, in words.
    pub const fn severity(&self) -> &'static str {
        match (self.loses_event, self.is_asked_for) {
            (true, false) => "event missing",
            (true, true) => "event missing, as asked for",
            (false, false) => "event there, incomplete",
            (false, true) => "no event",
        }
    }
}

/// The reason of rows that came late: readers put them in their place.
pub const LATE: &str = "late";

/// Every reason there is.
pub const LOSS_REASONS: &[LossReason] = &[
    LossReason {
        name: "ring_full",
        loses_event: true,
        is_asked_for: false,
        meaning: "the ring buffer had no room: the recorder was slower than the kernel",
        remedy: "raise --buffer-size, narrow the filter, or record fewer columns",
    },
    LossReason {
        name: "sampled",
        loses_event: true,
        is_asked_for: true,
        meaning: "--sample left it out; column weight says how many events a row stands for",
        remedy: "none needed; record without --sample",
    },
    LossReason {
        name: "no_entry",
        loses_event: true,
        is_asked_for: false,
        meaning: "a function returned whose entry was not kept: it was running already when the probe was attached, or the kernel skipped the program at entry, as for recursion and kprobe_missed, or the function ended by jumping into another call of itself (a tail call); at most so many",
        remedy: "none needed for calls that ran already; of a function that is called where programs are skipped: probe the entry (fentry, kprobe) instead of the return",
    },
    LossReason {
        name: "map_full",
        loses_event: true,
        is_asked_for: false,
        meaning: "a function returned whose entry had found no room in the store for calls in progress (8192 for a probe, and 64 of a thread within each other); at most so many",
        remedy: "filter by process, or probe the entry (fentry, kprobe) instead of the return",
    },
    LossReason {
        name: "pids_full",
        loses_event: true,
        is_asked_for: false,
        meaning: "the set of followed processes was full: so many child processes were not followed, and what they did is missing, nobody knows how much (not part of seen and lost)",
        remedy: "follow fewer processes, or record without a filter by process",
    },
    LossReason {
        name: "each_cut",
        loses_event: true,
        is_asked_for: false,
        meaning: "a call handled an array of more than 2176 items, which is what a probe can visit; the items after those were not recorded, and no filter has looked at them",
        remedy: "observe the single items where the kernel has a probe for them; no array that the kernel frees in bulk is that long with pages of 4 KiB",
    },
    LossReason {
        name: "keys_full",
        loses_event: true,
        is_asked_for: false,
        meaning: "an event that is counted in the kernel had a key that was new in its interval, and the table in the kernel had no room for it (8192 keys, or as --max-keys says); rarely: the kernel could not add the key at that instant, or too many runs of a uprobe's program waited for each other on the cpu",
        remedy: "raise --max-keys, shorten --interval, or count by fewer or coarser keys",
    },
    LossReason {
        name: "recursion",
        loses_event: true,
        is_asked_for: false,
        meaning: "the kernel skipped the probe, because its program was running on that CPU already (for kprobes and classic tracepoints: because any such program was); no filter has looked at these events, so some of them may not have been wanted",
        remedy: "observe a tracepoint (tp:) or a function (fn:) instead of a kprobe; for those, write `nests = true` into the event's definition, and what happens in interrupts of the program is recorded too",
    },
    LossReason {
        name: "kprobe_missed",
        loses_event: true,
        is_asked_for: false,
        meaning: "the kernel could not run the kprobe, because it came inside another one, or the kretprobe, because too many calls were in progress, or the uretprobe, because more than 64 calls of a thread were (no kernel counts these); at most so many, but several at the same instant on different cpus may be counted as one, as the kernel counts them without a lock",
        remedy: "prefer fexit or a tracepoint; for calls of a program that go deep: a uprobe at the entry",
    },
    LossReason {
        name: "sample_missed",
        loses_event: true,
        is_asked_for: false,
        meaning: "a sample was due and did not come, because the kernel held its timer or counter back (kernel.perf_event_max_sample_rate, kernel.perf_cpu_time_max_percent), interrupts were off for too long, the processor of a virtual machine was not run, or the program of another sample, kprobe or classic tracepoint ran on that cpu; at least so many (up to two more on each cpu), of whichever process: no filter has looked at them",
        remedy: "sample less often; observe tracepoints (tp:) and functions (fn:) beside it instead of kprobes",
    },
    LossReason {
        name: "unread",
        loses_event: true,
        is_asked_for: false,
        meaning: "the recording ended while they were in the ring, behind a record that the kernel had begun and not finished",
        remedy: "none needed",
    },
    LossReason {
        name: "disk",
        loses_event: true,
        is_asked_for: false,
        meaning: "rows could not be written",
        remedy: "free space, or write to another disk with -o",
    },
    LossReason {
        name: "fetch_fault",
        loses_event: false,
        is_asked_for: false,
        meaning: "a value could not be read; it is NULL and its bit in column faults is set",
        remedy: "none; user memory may not be resident",
    },
    LossReason {
        name: "string_cut",
        loses_event: false,
        is_asked_for: false,
        meaning: "a string was longer than its column; its bit in column cuts is set",
        remedy: "give the column a longer type, such as string[255]",
    },
    LossReason {
        name: "stack_fault",
        loses_event: false,
        is_asked_for: false,
        meaning: "a stack could not be taken; the stack id is NULL",
        remedy: "none",
    },
    LossReason {
        name: "no_return",
        loses_event: false,
        is_asked_for: true,
        meaning: "of calls whose duration is recorded: the thread ended, or executed another program, within the call, which therefore never returned and has no row (or it did, and the kernel skipped the probe there, which recursion and kprobe_missed count); no filter but that by process has looked at it",
        remedy: "none needed",
    },
    LossReason {
        name: LATE,
        loses_event: false,
        is_asked_for: false,
        meaning: "a row arrived after later rows had been written; it is kept in a segment of its own until the trace is closed or compacted, which puts it in its place",
        remedy: "none needed; `recorder compact` on a trace that was not closed",
    },
];

/// The text of docs/losses.md.
pub fn losses_markdown() -> String {
    let mut text = String::from(LOSSES_INTRODUCTION);
    text.push_str("\n| reason | severity | meaning | remedy |\n|---|---|---|---|\n");
    for reason in LOSS_REASONS {
        let LossReason { name, loses_event: _, is_asked_for: _, meaning, remedy } = reason;
        let severity = reason.severity();
        text.push_str(&format!("| `{name}` | {severity} | {meaning} | {remedy} |\n"));
    }
    text
}

const LOSSES_INTRODUCTION: &str = "\
<!-- Made from LOSS_REASONS in schemas/src/trace/losses.rs: do not edit. -->
# Losses

What the kernel saw and the trace does not have, or has incompletely. Counters are kept where it happens, per probe and
CPU, and read each second: table `counts` has `fired = filtered + seen` and `seen = recorded + lost`, table `losses`
says why. An event that is under way while the counters are read is told by the row that says what became of it. Runs
that the kernel skipped (`recursion`, `kprobe_missed`, `sample_missed`) are counted as fired, seen and lost in rows whose `cpu` is NULL,
because the kernel counts them for all together. No filter has looked at them, nor at what `no_entry`, `map_full` and
`each_cut` count: with a filter they are upper bounds. A reason that a kernel cannot report has one row with `count`
NULL in the first interval of the recording, which holds for all of it: unknown, not zero. `--max-age` and `--max-size`
keep that row.

A row is about the time from `since_ts` to `ts`: about a second, but as long as the recorder was held up (by a disk, a
debugger, a machine without time for it), which is when most is lost. An event within the time that it takes to read
the counters of an end can be in either interval.

Nothing is dropped between the rings and the disk: when writing is behind, the drain waits, the rings fill, and it
becomes `ring_full`. So it does while a record that the kernel has begun and not finished holds all later ones back:
what waits in the recorder is bounded, and then the rings fill. Nothing is seen before all probes are attached, nor
after the recording began to end: all probes of a recording begin and end at the same instant.

`--fail-on-loss` fails for events that are missing, unless that was asked for; not for a reason whose count is unknown.
It also fails if a trigger may have been missed, which the recorder says: triggers are in no table.

What no probe sees is not counted and no loss: a way into an event that this kernel does not show, such as a system call
of a 32-bit program where functions cannot be probed. Such ways are rows of table `probes` with kind `not observed`, and
are named at the end of the recording and below every answer about the event. `--fail-on-loss` does not fail for them;
`--require` refuses to record an event that has any.
";
