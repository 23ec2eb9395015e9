//! A plan that needs no memory, run here as the kernel side runs it.

use super::*;

/// What a plan makes of arguments: whether its filter lets them pass, and the record.
pub(super) struct Run {
    temps: [Option<u64>; 16],
    args: Vec<Option<u64>>,
    record: Vec<u8>,
    pub passes: bool,
}

impl Run {
    /// Run `plan`; an argument that is `None` is NULL.
    pub fn new(plan: &Plan, args: &[Option<u64>]) -> Self {
        let record = vec![0; plan.record_size as usize];
        let mut run = Self { temps: [None; 16], args: args.to_vec(), record, passes: false };
        for (i, slot) in slots(plan).enumerate() {
            if i == usize::from(plan.n_pre) {
                run.passes = run.filter(plan);
            }
            run.slot(plan, slot);
        }
        if slots(plan).count() == usize::from(plan.n_pre) {
            run.passes = run.filter(plan);
        }
        run
    }

    /// The bits of a column.
    pub fn column(&self, event: &ResolvedEvent, name: &str) -> u64 {
        let column = event.layout.column(name).unwrap();
        let (at, size) = (usize::from(column.offset), usize::from(column.ty.wire_size()));
        let mut word = [0; 8];
        word[..size].copy_from_slice(&self.record[at..at + size]);
        u64::from_le_bytes(word)
    }

    fn filter(&self, plan: &Plan) -> bool {
        plan.where_from >= plan.where_to || self.holds(plan, plan.where_from, plan.where_to)
    }

    fn holds(&self, plan: &Plan, from: u8, to: u8) -> bool {
        plan.clauses[usize::from(from)..usize::from(to)].iter().any(|clause| {
            (0..16).filter(|term| clause & (1 << term) != 0).all(|term| self.term(&plan.terms[term]))
        })
    }

    fn term(&self, term: &schemas::wire::Term) -> bool {
        let Some(left) = self.temps[usize::from(term.left)] else { return false };
        let right = match term.right {
            NONE => Some(term.imm),
            temp => self.temps[usize::from(temp)],
        };
        let Some(b) = right else { return false };
        let a = left & term.mask;
        let (sa, sb) = (a as i64, b as i64);
        match term.op {
            cmp::EQ => a == b,
            cmp::NE => a != b,
            cmp::LT => a < b,
            cmp::LE => a <= b,
            cmp::GT => a > b,
            cmp::GE => a >= b,
            cmp::SLT => sa < sb,
            cmp::SLE => sa <= sb,
            cmp::SGT => sa > sb,
            cmp::SGE => sa >= sb,
            op => panic!("comparison {op}"),
        }
    }

    fn slot(&mut self, plan: &Plan, slot: &Slot) {
        if slot.guard != NONE && self.temps[usize::from(slot.guard)].unwrap_or(0) == 0 {
            return;
        }
        let mut value = match (slot.src, slot.op) {
            (_, op::PRED) => Some(u64::from(self.holds(plan, slot.clause_from, slot.clause_to))),
            (src::ARG, op::VALUE) => self.args[usize::from(slot.index)],
            (src::TEMP, op::VALUE) => self.temps[usize::from(slot.index)],
            (src::CONST, op::VALUE) => Some(slot.imm),
            // The name and the cgroup of the current thread.
            _ => return,
        };
        if slot.add != NONE {
            let add = self.temps[usize::from(slot.add)];
            value = value.and_then(|value| Some(value.wrapping_add(add?)));
        }
        assert_eq!(slot.derefs, 0);
        let value = value.map(|value| {
            let mut v = value.wrapping_add(i64::from(slot.off[0]) as u64) >> slot.rshift;
            if (1..64).contains(&slot.bits) {
                let unused = 64 - slot.bits;
                v <<= unused;
                v = if slot.flags & flag::SIGNED != 0 { ((v as i64) >> unused) as u64 } else { v >> unused };
            }
            v <<= slot.lshift;
            if slot.flags & flag::NEGATE != 0 { v.wrapping_neg() } else { v }
        });
        if slot.save != NONE {
            self.temps[usize::from(slot.save)] = value;
        }
        if slot.dst != NO_DST {
            let at = usize::from(slot.dst);
            let bytes = value.unwrap_or(0).to_le_bytes();
            self.record[at..at + usize::from(slot.width)].copy_from_slice(&bytes[..slot.width.into()]);
        }
    }
}
