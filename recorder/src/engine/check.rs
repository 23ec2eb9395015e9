//! Plan -> is it within what the kernel side can do, and which inputs does it use.

use std::mem::offset_of;

use anyhow::{Result, ensure};
use schemas::wire::{
    DURATION, MAX_ARGS, MAX_CLAUSES, MAX_COPIES, MAX_DEREFS, MAX_KEY, MAX_RECORD, MAX_REGISTERS, MAX_STASH,
    MAX_SUMS, MAX_TEMPS, MAX_TERMS, NO_DST, NONE, Plan, RETURN_VALUE, RecordHeader, Slot, headers, op, src,
    stash,
};

/// Arguments that an entry program can keep.
const MAX_KEPT_ARGS: u8 = 6;
const MAX_BITS: u8 = 32;

/// Fails if the plan is not one that the resolver can have made. The verifier would refuse most of such plans too,
/// but not in words that help.
pub fn check(plan: &Plan) -> Result<()> {
    let temp = |index: u8| index == NONE || usize::from(index) < MAX_TEMPS;
    let clauses = |from: u8, to: u8| from <= to && usize::from(to) <= MAX_CLAUSES;
    let size = plan.record_size as usize;
    check_table(plan)?;
    ensure!(
        size >= size_of::<RecordHeader>() && size <= MAX_RECORD && size.is_multiple_of(8),
        "a record of {size} bytes: {} to {MAX_RECORD} are possible, in steps of 8",
        size_of::<RecordHeader>()
    );
    ensure!(clauses(plan.where_from, plan.where_to), "clauses of the filter out of range");
    ensure!(usize::from(plan.stash_size) <= MAX_STASH, "more than {MAX_STASH} bytes of entry columns");
    let [subject, other] = plan.subjects;
    let [pid, tid, once] = [plan.pid, plan.tid, plan.once];
    let special = [subject, other, pid, tid, once, plan.each_count, plan.each_base, plan.begins, plan.ends];
    ensure!(special.into_iter().all(temp), "temporary out of range");
    ensure!((plan.each_count == NONE) == (plan.each_base == NONE), "each needs a count and an array");
    ensure!(plan.nests == 0 || plan.use_stash == stash::NONE, "a probe with an entry program cannot nest");
    ensure!(usize::from(plan.nests) < MAX_COPIES, "more than {MAX_COPIES} copies of a program");
    ensure!(usize::from(plan.n_pre) <= plan.slots.len(), "more steps before the filter than there are");
    for term in &plan.terms {
        ensure!(
            temp(term.right) && usize::from(term.left) < MAX_TEMPS,
            "temporary of a comparison out of range"
        );
    }
    ensure!(plan.clauses.iter().all(|c| c >> MAX_TERMS == 0), "comparison of a clause out of range");
    for (i, slot) in plan.slots.iter().enumerate().filter(|(_, slot)| slot.src != src::END) {
        check_slot(plan, slot).map_err(|error| error.context(format!("step {i} of the plan")))?;
    }
    Ok(())
}

/// What an aggregating plan has beside that of others.
fn check_table(plan: &Plan) -> Result<()> {
    if plan.aggregates == 0 {
        return Ok(());
    }
    let (from, end, sums) = (usize::from(plan.key_from), usize::from(plan.key_end), usize::from(plan.sums));
    ensure!(
        [offset_of!(RecordHeader, pid_tgid), offset_of!(RecordHeader, seq)].contains(&from),
        "a key that begins at {from}"
    );
    ensure!(
        (size_of::<RecordHeader>()..=size_of::<RecordHeader>() + MAX_KEY).contains(&end)
            && end.is_multiple_of(8),
        "a key that ends at {end}"
    );
    ensure!(sums <= MAX_SUMS, "{sums} sums: {MAX_SUMS} are possible");
    ensure!(plan.record_size as usize == end + 8 * sums, "sums that are not behind the key");
    let last_bit = plan.key_bits.count_ones() as usize + sums;
    ensure!(last_bit <= usize::from(MAX_BITS), "more than {MAX_BITS} keys and sums");
    Ok(())
}

fn check_slot(plan: &Plan, slot: &Slot) -> Result<()> {
    let temp = |index: u8| index == NONE || usize::from(index) < MAX_TEMPS;
    ensure!(temp(slot.guard) && temp(slot.add) && temp(slot.save), "temporary out of range");
    ensure!(slot.bit == NONE || slot.bit < MAX_BITS, "column bit {} out of range", slot.bit);
    ensure!(usize::from(slot.derefs) <= MAX_DEREFS, "more than {MAX_DEREFS} pointer loads");
    ensure!(slot.src <= src::REG && slot.op <= op::BYTES, "unknown source or operation");
    match slot.src {
        src::TEMP => ensure!(usize::from(slot.index) < MAX_TEMPS, "temporary out of range"),
        src::ARG if plan.use_stash == stash::ALL || plan.syscall_regs != 0 => {
            ensure!(
                slot.index < MAX_KEPT_ARGS,
                "argument {} cannot be had at return: only the first 6",
                slot.index
            );
        }
        src::REG => ensure!(slot.index < MAX_REGISTERS, "register {} out of range", slot.index),
        src::ARG => ensure!(usize::from(slot.index) < MAX_ARGS, "argument {} out of range", slot.index),
        _ => {}
    }
    if slot.op == op::LOAD {
        ensure!(matches!(slot.size, 1 | 2 | 4 | 8), "an integer of {} bytes", slot.size);
    }
    if slot.op == op::PRED {
        ensure!(
            slot.clause_from <= slot.clause_to && usize::from(slot.clause_to) <= MAX_CLAUSES,
            "clauses out of range"
        );
    }
    if slot.op == op::HEADERS {
        let last = usize::from(slot.save) + usize::from(headers::RESULTS) - 1;
        let ends = [slot.clause_from, slot.clause_to];
        ensure!(
            last < MAX_TEMPS && ends.into_iter().all(|temp| usize::from(temp) < MAX_TEMPS),
            "temporary of the search for a header out of range"
        );
        ensure!(slot.dst == NO_DST, "the search for a header has no column");
    }
    if slot.op == op::BYTES {
        ensure!(usize::from(slot.clause_from) < MAX_TEMPS, "temporary of a length out of range");
    }
    if slot.dst != NO_DST {
        let bytes = match slot.op {
            op::VALUE | op::LOAD | op::PRED => {
                ensure!(matches!(slot.width, 1 | 2 | 4 | 8), "a column of {} bytes", slot.width);
                u32::from(slot.width)
            }
            op::COMM => 16,
            op::BYTES => 2 + u32::from(slot.size),
            op::KSTACK | op::USTACK => 8 + u32::from(slot.size),
            _ => {
                ensure!(slot.size > 0, "a copy of no bytes");
                u32::from(slot.size)
            }
        };
        let dst = u32::from(slot.dst);
        ensure!(
            dst as usize >= size_of::<RecordHeader>() && dst + bytes <= plan.record_size,
            "column at {dst}, {bytes} bytes, does not fit into a record of {} bytes",
            plan.record_size
        );
    }
    Ok(())
}

/// Bit i: argument i; bit [`RETURN_VALUE`]: the return value; bit [`DURATION`]: the time since the entry.
pub fn inputs(plan: &Plan) -> u32 {
    plan.slots.iter().fold(0, |bits, slot| match slot.src {
        src::ARG => bits | 1 << slot.index,
        src::RET => bits | 1 << RETURN_VALUE,
        src::DURATION => bits | 1 << DURATION,
        _ => bits,
    })
}

/// What the entry program must get for itself and keep for the return program.
pub fn entry_inputs(entry: &Plan, plan: &Plan) -> u32 {
    let kept = if plan.use_stash == stash::ALL { inputs(plan) & !(1 << RETURN_VALUE) } else { 0 };
    inputs(entry) | kept | u32::from(plan.is_timed()) << DURATION
}
