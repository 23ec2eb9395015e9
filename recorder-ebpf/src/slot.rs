//! One slot of a plan: source -> pointer loads -> operation -> temporary and record.

use aya_ebpf::helpers::generated::{
    bpf_get_current_ancestor_cgroup_id, bpf_get_current_cgroup_id, bpf_get_current_comm,
    bpf_get_current_task, bpf_get_current_uid_gid, bpf_get_stack, bpf_probe_read_kernel_str,
    bpf_probe_read_user_str,
};
use schemas::wire::{MAX_ERRNO, NO_DST, NONE, RETURN_VALUE, flag, op, src};

use crate::context::{read, register};
use crate::headers;
use crate::plan::{get, plan};
use crate::predicate::holds;
use crate::state::{State, less, negative};

const BPF_F_USER_STACK: u64 = 1 << 8;

/// A value with what is known of it: `null` and `fault` are 0 or 1.
struct Value {
    bits: u64,
    null: u32,
    fault: u32,
}

impl Value {
    #[inline(always)]
    fn good(bits: u64) -> Self {
        Self { bits, null: 0, fault: 0 }
    }

    /// What tells of the current task, which in an interrupt has nothing to do with the event.
    #[inline(always)]
    fn of_task(state: &State, bits: u64) -> Self {
        let null = state.in_interrupt();
        Self { bits: bits & u64::from(null).wrapping_sub(1), null, fault: 0 }
    }

    #[inline(always)]
    fn read((bits, bad): (u64, u32)) -> Self {
        Self { bits, null: bad, fault: bad }
    }

    /// A read went wrong (1). Not a fault if there was nothing to read from in the first place.
    #[inline(always)]
    fn spoil(&mut self, bad: u32) {
        self.fault |= bad & (self.null ^ 1);
        self.null |= bad;
    }

    /// A NULL pointer leads to NULL, and so does one that is an error number (the last 4095 addresses): no fault.
    #[inline(always)]
    fn nothing_at_zero(&mut self) {
        self.null |= less(self.bits.wrapping_add(MAX_ERRNO), MAX_ERRNO + 1) as u32;
    }
}

/// Whether the plan has ended before slot `I`. What follows is then dead code in one piece, which is much faster to
/// load than pieces.
#[inline(always)]
pub fn is_end<const ENTRY: bool, const I: usize>() -> bool {
    get!(ENTRY, slots[I].src) == src::END
}

/// Run slot `I`. With `STORE` the record is there.
#[inline(always)]
pub fn run<const ENTRY: bool, const STORE: bool, const I: usize>(state: &mut State) {
    let flags = get!(ENTRY, slots[I].flags);
    let bit = get!(ENTRY, slots[I].bit);
    let guard = get!(ENTRY, slots[I].guard);
    if guard != NONE && state.temp(guard) == 0 {
        if flags & flag::SOFT == 0 && bit != NONE {
            state.nulls |= 1 << bit;
        }
        return;
    }
    let mut value = source::<ENTRY, I>(state);
    let add = get!(ENTRY, slots[I].add);
    if add != NONE {
        let null = (state.temp_nulls >> add) & 1;
        value.bits = value.bits.wrapping_add(state.temp(add));
        value.null |= null;
        value.fault |= (state.temp_faults >> add) & 1;
    }
    let derefs = get!(ENTRY, slots[I].derefs);
    let operation = get!(ENTRY, slots[I].op);
    if derefs != 0 || matches!(operation, op::LOAD | op::MEM | op::STR | op::BYTES) {
        value.nothing_at_zero();
    }
    // One place for all that is read, because the stack of all functions together is 512 bytes.
    let mut loaded = 0u64;
    for step in 0..derefs {
        let from = offset(value.bits, offset_at::<ENTRY, I>(step));
        let bad = read((&raw mut loaded).cast(), 8, from, false);
        // SAFETY: a local variable that the helper wrote to.
        value.bits = unsafe { core::ptr::read_volatile(&raw const loaded) };
        value.spoil(bad);
        value.nothing_at_zero();
    }
    value.bits = offset(value.bits, offset_at::<ENTRY, I>(derefs));

    let size = u32::from(get!(ENTRY, slots[I].size));
    let dst = get!(ENTRY, slots[I].dst);
    let user = flags & flag::USER != 0;
    if operation == op::HEADERS {
        value.nothing_at_zero();
        let (end, length) = (get!(ENTRY, slots[I].clause_from), get!(ENTRY, slots[I].clause_to));
        headers::find(state, value.bits, value.null, get!(ENTRY, slots[I].save), end, length);
        return;
    }
    if operation == op::VALUE || operation == op::LOAD || operation == op::PRED {
        if operation == op::LOAD {
            loaded = 0;
            value.spoil(read((&raw mut loaded).cast(), size, value.bits, user));
            // SAFETY: a local variable that the helper wrote to.
            value.bits = unsafe { core::ptr::read_volatile(&raw const loaded) };
        }
        if operation == op::PRED {
            let (from, to) = (get!(ENTRY, slots[I].clause_from), get!(ENTRY, slots[I].clause_to));
            value = Value::good(holds::<ENTRY>(state.temps(), state.temp_nulls, from, to));
        }
        let bits = transform::<ENTRY, I>(value.bits, flags, size) & u64::from(value.null).wrapping_sub(1);
        let save = get!(ENTRY, slots[I].save);
        if save != NONE {
            state.set_temp(save, bits);
            state.temp_nulls = (state.temp_nulls & !(1 << save)) | (value.null << save);
            state.temp_faults = (state.temp_faults & !(1 << save)) | (value.fault << save);
        }
        if STORE && dst != NO_DST {
            store(state.out, dst, get!(ENTRY, slots[I].width), bits);
        }
    } else if STORE && dst != NO_DST {
        // SAFETY: the verifier checks that dst is inside the record.
        let to = unsafe { state.out.add(usize::from(dst)) };
        match operation {
            op::MEM => value.spoil(read(to, size, value.bits, user)),
            op::BYTES => {
                let length = get!(ENTRY, slots[I].clause_from);
                value.null |= (state.temp_nulls >> length) & 1;
                let mut n = state.temp(length);
                let is_cut = less(u64::from(size), n) as u32;
                if n > u64::from(size) {
                    n = u64::from(size) + 1;
                }
                // SAFETY: as above; the bytes go behind their number.
                let bytes = unsafe {
                    core::ptr::write_volatile(to.cast::<u16>(), n as u16);
                    to.add(2)
                };
                if n > u64::from(size) {
                    n = u64::from(size);
                }
                value.spoil(read(bytes, n as u32, value.bits, user));
                if bit != NONE {
                    state.cuts |= (is_cut & (value.null ^ 1)) << bit;
                }
            }
            op::STR => {
                let address = value.bits as *const _;
                // SAFETY: the verifier checks `to` and `size`; the helpers take any address.
                let n = unsafe {
                    if user {
                        bpf_probe_read_user_str(to.cast(), size, address)
                    } else {
                        bpf_probe_read_kernel_str(to.cast(), size, address)
                    }
                };
                value.spoil(negative(n) as u32);
                if bit != NONE {
                    state.cuts |= (negative(i64::from(size) - 1 - n) as u32) << bit;
                }
            }
            op::COMM => {
                value.null |= state.in_interrupt();
                if value.null == 0 {
                    // SAFETY: as above.
                    unsafe { bpf_get_current_comm(to.cast(), 16) };
                }
            }
            op::USTACK if state.in_interrupt() != 0 => value.null = 1,
            _ => {
                let which = if operation == op::USTACK { BPF_F_USER_STACK } else { 0 };
                // SAFETY: as above; the frames go behind the length.
                let n = unsafe { bpf_get_stack(state.context, to.add(8).cast(), size, which) };
                // SAFETY: as above; 8 bytes at an 8-aligned dst.
                unsafe { core::ptr::write_volatile(to.cast::<i64>(), n) };
                let failed = negative(n) as u32;
                value.null |= failed;
                state.stack_faults += failed;
            }
        }
    }
    if bit != NONE {
        state.nulls |= value.null << bit;
        state.faults |= value.fault << bit;
    }
}

#[inline(always)]
fn offset(address: u64, by: i32) -> u64 {
    address.wrapping_add(i64::from(by) as u64)
}

#[inline(always)]
fn offset_at<const ENTRY: bool, const I: usize>(step: u8) -> i32 {
    // SAFETY: a field of a static that lives in frozen .rodata; the recorder checks that step <= MAX_DEREFS.
    unsafe {
        let offsets = (&raw const (*plan::<ENTRY>()).slots[I].off).cast::<i32>();
        core::ptr::read_volatile(offsets.add(usize::from(step)))
    }
}

#[inline(always)]
fn source<const ENTRY: bool, const I: usize>(state: &State) -> Value {
    let index = get!(ENTRY, slots[I].index);
    match get!(ENTRY, slots[I].src) {
        src::ARG => Value::read((state.input(index), (state.input_faults >> index) & 1)),
        src::RET => Value::read((state.input(RETURN_VALUE as u8), (state.input_faults >> RETURN_VALUE) & 1)),
        src::CTX => Value::good(state.launder(state.context as u64)),
        // SAFETY: `stash` is a map value if the duration is measured.
        src::DURATION => Value::good(unsafe { core::ptr::read_volatile(&raw const (*state.stash).dur_ns) }),
        // SAFETY: helpers without arguments, here and below.
        src::TASK => Value::of_task(state, unsafe { bpf_get_current_task() }),
        src::REG => Value::good(register(state.context, u64::from(index))),
        src::TEMP => Value {
            bits: state.temp(index),
            null: (state.temp_nulls >> index) & 1,
            fault: (state.temp_faults >> index) & 1,
        },
        src::CONST => Value::good(get!(ENTRY, slots[I].imm)),
        src::PID_TGID => Value::of_task(state, state.subject),
        // SAFETY: see above.
        src::CGROUP_ID => Value::of_task(state, unsafe { bpf_get_current_cgroup_id() }),
        // SAFETY: see above.
        src::ANCESTOR_ID => {
            Value::of_task(state, unsafe { bpf_get_current_ancestor_cgroup_id(i32::from(index)) })
        }
        // SAFETY: see above.
        src::UID_GID => Value::of_task(state, unsafe { bpf_get_current_uid_gid() }),
        _ => Value { bits: state.item, null: state.item_bad, fault: state.item_bad },
    }
}

#[inline(always)]
fn transform<const ENTRY: bool, const I: usize>(bits: u64, flags: u8, size: u32) -> u64 {
    let mut v = bits >> (get!(ENTRY, slots[I].rshift) & 63);
    let mut keep = u32::from(get!(ENTRY, slots[I].bits));
    let signed = flags & flag::SIGNED != 0;
    if keep == 0 && signed {
        keep = size * 8;
    }
    if keep != 0 && keep < 64 {
        let unused = 64 - keep;
        v <<= unused;
        v = if signed { ((v as i64) >> unused) as u64 } else { v >> unused };
    }
    if flags & flag::SWAP != 0 {
        v = match size {
            2 => u64::from((v as u16).swap_bytes()),
            4 => u64::from((v as u32).swap_bytes()),
            _ => v.swap_bytes(),
        };
    }
    v <<= get!(ENTRY, slots[I].lshift) & 63;
    if flags & flag::NEGATE != 0 {
        v = v.wrapping_neg();
    }
    if flags & flag::POWER != 0 { power(v, signed) } else { v }
}

/// The highest bit of a number, alone; of a negative one that of its opposite, with its sign.
#[inline(always)]
fn power(v: u64, signed: bool) -> u64 {
    let sign = if signed { negative(v as i64).wrapping_neg() } else { 0 };
    let mut bits = (v ^ sign).wrapping_sub(sign);
    bits |= bits >> 1;
    bits |= bits >> 2;
    bits |= bits >> 4;
    bits |= bits >> 8;
    bits |= bits >> 16;
    bits |= bits >> 32;
    ((bits ^ bits >> 1) ^ sign).wrapping_sub(sign)
}

#[inline(always)]
fn store(out: *mut u8, dst: u16, width: u8, bits: u64) {
    // SAFETY: the verifier checks that dst + width is inside the record.
    unsafe {
        let to = out.add(usize::from(dst));
        match width {
            1 => core::ptr::write_volatile(to, bits as u8),
            2 => core::ptr::write_volatile(to.cast(), bits as u16),
            4 => core::ptr::write_volatile(to.cast(), bits as u32),
            _ => core::ptr::write_volatile(to.cast(), bits),
        }
    }
}
