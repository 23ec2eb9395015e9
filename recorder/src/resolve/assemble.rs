//! The graph of nodes and what is wanted of it -> the slots, terms and clauses of a plan.

use std::collections::HashMap;

use anyhow::{Result, anyhow, bail, ensure};
use schemas::wire::{
    MAX_CLAUSES, MAX_DEREFS, MAX_SLOTS, MAX_TEMPS, MAX_TERMS, NO_DST, NONE, Plan, Slot, Term, flag, headers,
    op, src,
};

use super::columns::{Output, What};
use super::draft::{Draft, merged};
use super::nodes::{Compare, Formula, Node, NodeId, Nodes, Place, Right};

/// What a plan is to do.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    pub filter: Option<Formula>,
    /// Number of items and address of the first.
    pub each: Option<(NodeId, NodeId)>,
    pub subjects: Vec<NodeId>,
    pub pid: Option<NodeId>,
    pub tid: Option<NodeId>,
    /// The object that the event begins.
    pub begins: Option<NodeId>,
    /// The object that it ends.
    pub ends: Option<NodeId>,
    /// What is different in each event that counts.
    pub once: Option<NodeId>,
    pub outputs: Vec<Output>,
}

/// How often a value must be used to be kept in a temporary; the next one is tried when temporaries run out.
const SHARE: [u32; 4] = [2, 3, 5, u32::MAX];

/// Fill `plan`, which has everything but slots, terms, clauses and numbers of temporaries. Fails if a limit is passed.
pub(super) fn assemble(nodes: &Nodes, wanted: &Wanted, plan: &Plan) -> Result<Plan> {
    let uses = count_uses(nodes, wanted);
    let mut result = Ok(*plan);
    for share in SHARE {
        let mut assembler = Assembler {
            nodes,
            uses: &uses,
            share,
            temps: HashMap::new(),
            n_temps: 0,
            slots: Vec::new(),
            terms: Vec::new(),
            clauses: Vec::new(),
            never: None,
        };
        result = assembler.run(wanted, *plan);
        if result.is_ok() {
            break;
        }
    }
    result
}

/// By how many other nodes and wishes each node is used.
fn count_uses(nodes: &Nodes, wanted: &Wanted) -> Vec<u32> {
    let mut roots: Vec<NodeId> = Vec::new();
    roots.extend(wanted.filter.iter().flat_map(Formula::inputs));
    roots.extend(wanted.each.iter().flat_map(|(count, base)| [*count, *base]));
    roots.extend(wanted.subjects.iter().chain(&wanted.pid).chain(&wanted.tid));
    roots.extend(wanted.begins.iter().chain(&wanted.ends).chain(&wanted.once));
    for output in &wanted.outputs {
        roots.extend(output.guard.inputs());
        match output.what {
            What::Integer { node, .. } => roots.push(node),
            What::Memory { base, .. } | What::Text { base, .. } => roots.push(base),
            What::Bytes { base, length, .. } => roots.extend([base, length]),
            What::Comm | What::Stack { .. } => {}
        }
    }
    let mut uses = vec![0; nodes.len()];
    while let Some(node) = roots.pop() {
        uses[node] += 1;
        if uses[node] == 1 {
            roots.extend(nodes.inputs(node));
        }
    }
    uses
}

struct Assembler<'a> {
    nodes: &'a Nodes,
    uses: &'a [u32],
    share: u32,
    temps: HashMap<NodeId, u8>,
    n_temps: u8,
    slots: Vec<Slot>,
    terms: Vec<Term>,
    clauses: Vec<u32>,
    /// A temporary that is 0.
    never: Option<u8>,
}

impl Assembler<'_> {
    fn run(&mut self, wanted: &Wanted, mut plan: Plan) -> Result<Plan> {
        if let Some((count, base)) = wanted.each {
            plan.each_count = self.temp(count)?;
            plan.each_base = self.temp(base)?;
        }
        for (subject, node) in plan.subjects.iter_mut().zip(&wanted.subjects) {
            *subject = self.temp(*node)?;
        }
        plan.pid = wanted.pid.map_or(Ok(NONE), |node| self.temp(node))?;
        plan.tid = wanted.tid.map_or(Ok(NONE), |node| self.temp(node))?;
        plan.begins = wanted.begins.map_or(Ok(NONE), |node| self.temp(node))?;
        plan.once = wanted.once.map_or(Ok(NONE), |node| self.temp(node))?;
        plan.ends = wanted.ends.map_or(Ok(NONE), |node| self.temp(node))?;
        if let Some(filter) = &wanted.filter {
            match filter {
                Formula::Always => {}
                // One clause that needs a term which never holds: 0 != 0.
                Formula::Never => {
                    let left = self.zero()?;
                    self.terms.push(Term { left, op: schemas::wire::cmp::NE, ..Plan::EMPTY.terms[0] });
                    self.clauses.push(1 << (self.terms.len() - 1));
                    plan.where_from = self.clauses.len() as u8 - 1;
                    plan.where_to = self.clauses.len() as u8;
                }
                formula => (plan.where_from, plan.where_to) = self.formula(formula)?,
            }
        }
        plan.n_pre = self.slots.len() as u8;
        for output in &wanted.outputs {
            self.output(output)?;
        }
        let n = self.slots.len();
        ensure!(
            n <= MAX_SLOTS,
            "this takes {n} steps in the kernel, the limit is {MAX_SLOTS}: record fewer columns or shorter paths"
        );
        plan.slots[..n].copy_from_slice(&self.slots);
        plan.terms[..self.terms.len()].copy_from_slice(&self.terms);
        plan.clauses[..self.clauses.len()].copy_from_slice(&self.clauses);
        Ok(plan)
    }

    fn output(&mut self, output: &Output) -> Result<()> {
        let guard = match &output.guard {
            Formula::Always => NONE,
            Formula::Never => self.zero()?,
            formula => self.holds(formula)?,
        };
        let mut draft = match output.what {
            What::Integer { node, width } => {
                let mut draft = self.draft(node, false)?;
                draft.slot.width = width;
                draft
            }
            What::Memory { base, off, size, place } => self.memory(base, off, size, place, op::MEM)?,
            What::Text { base, off, size, place } => self.memory(base, off, size, place, op::STR)?,
            What::Bytes { base, off, size, place, length } => {
                let length = self.temp(length)?;
                let mut draft = self.memory(base, off, size, place, op::BYTES)?;
                draft.slot.clause_from = length;
                draft
            }
            What::Comm => {
                let mut draft = Draft::new(Slot { src: src::CONST, op: op::COMM, ..Slot::END });
                draft.slot.size = 16;
                draft
            }
            What::Stack { kernel, size } => {
                let op = if kernel { op::KSTACK } else { op::USTACK };
                Draft::new(Slot { src: src::CONST, op, size, ..Slot::END })
            }
        };
        draft.slot.dst =
            if draft.slot.width == 0 && draft.slot.op == op::VALUE { NO_DST } else { output.dst };
        draft.slot.bit = output.bit;
        draft.slot.guard = guard;
        if output.soft {
            draft.slot.flags |= flag::SOFT;
        }
        // A value that others use too is kept by the slot that stores it, unless that slot may not run.
        if let What::Integer { node, .. } = output.what
            && guard == NONE
            && draft.slot.save == NONE
            && self.is_shared(node)
            && !self.temps.contains_key(&node)
            && !matches!(draft.slot.src, src::TEMP | src::CONST)
        {
            draft.slot.save = self.new_temp(node)?;
        }
        self.push(draft);
        Ok(())
    }

    fn memory(&mut self, base: NodeId, off: i32, size: u16, place: Place, op: u8) -> Result<Draft> {
        let mut draft = self.address(base, off)?;
        draft.slot.op = op;
        draft.slot.size = size;
        if place.user {
            draft.slot.flags |= flag::USER;
        }
        Ok(draft)
    }

    fn push(&mut self, draft: Draft) {
        let mut slot = draft.slot;
        if draft.loads > 0 && draft.all_typed {
            slot.flags |= flag::TYPED;
        }
        self.slots.push(slot);
    }

    fn is_shared(&self, node: NodeId) -> bool {
        self.uses[node] >= self.share
            && match self.nodes.get(node) {
                Node::Source { .. } => false,
                Node::Sum { add, .. } => add.is_some(),
                Node::Bits { of, .. } => !matches!(self.nodes.get(*of), Node::Source { .. }),
                Node::Load { .. } | Node::Holds(_) | Node::If { .. } => true,
                // These have temporaries of their own.
                Node::Headers { .. } | Node::Found { .. } => false,
            }
    }

    fn new_temp(&mut self, node: NodeId) -> Result<u8> {
        let temp = self.n_temps;
        ensure!(
            usize::from(temp) < MAX_TEMPS,
            "this needs more than {MAX_TEMPS} values to be kept in the kernel, which is the limit: use fewer \
             predicates or shorter paths"
        );
        self.n_temps += 1;
        self.temps.insert(node, temp);
        Ok(temp)
    }

    /// The temporary that holds a node, which is computed first if need be.
    fn temp(&mut self, node: NodeId) -> Result<u8> {
        if let Some(temp) = self.temps.get(&node) {
            return Ok(*temp);
        }
        if let Node::Found { of, which } = *self.nodes.get(node) {
            return Ok(self.headers(of)? + which);
        }
        let mut draft = self.draft(node, true)?;
        // A conditional value has its temporary by now.
        if let Some(temp) = self.temps.get(&node) {
            return Ok(*temp);
        }
        draft.slot.save = self.new_temp(node)?;
        self.push(draft);
        Ok(draft.slot.save)
    }

    /// The first of the temporaries that hold what is found of a packet's headers, which are searched if need be.
    fn headers(&mut self, node: NodeId) -> Result<u8> {
        if let Some(temp) = self.temps.get(&node) {
            return Ok(*temp);
        }
        let Node::Headers { ip, end, length } = *self.nodes.get(node) else {
            bail!("no headers are searched here")
        };
        let (end, length) = (self.temp(end)?, self.temp(length)?);
        let mut draft = self.address(ip, 0)?;
        let first = self.new_temp(node)?;
        let results = first + headers::RESULTS;
        ensure!(
            usize::from(results) <= MAX_TEMPS,
            "this needs more than {MAX_TEMPS} values to be kept in the kernel"
        );
        self.n_temps = results;
        let slot = &mut draft.slot;
        (slot.op, slot.save, slot.clause_from, slot.clause_to) = (op::HEADERS, first, end, length);
        self.push(draft);
        Ok(first)
    }

    /// A temporary that is 0.
    fn zero(&mut self) -> Result<u8> {
        if let Some(temp) = self.never {
            return Ok(temp);
        }
        let temp = self.n_temps;
        ensure!(usize::from(temp) < MAX_TEMPS, "all {MAX_TEMPS} temporaries are in use");
        self.n_temps += 1;
        self.slots.push(Slot { src: src::CONST, save: temp, ..Slot::END });
        self.never = Some(temp);
        Ok(temp)
    }

    /// The temporary that holds whether a formula holds.
    fn holds(&mut self, formula: &Formula) -> Result<u8> {
        let known =
            (0..self.nodes.len()).find(|id| matches!(self.nodes.get(*id), Node::Holds(f) if f == formula));
        match known {
            Some(node) => self.temp(node),
            None => bail!("a guard is no node of the plan"),
        }
    }

    /// A slot that computes a node. `fresh`: do not look whether the node itself should go into a temporary.
    fn draft(&mut self, node: NodeId, fresh: bool) -> Result<Draft> {
        if let Some(temp) = self.temps.get(&node) {
            return Ok(Draft::temp(*temp));
        }
        // What is shared is kept by its own slot; a column that is the first to want it does so itself (see output).
        if !fresh && self.is_shared(node) && matches!(self.nodes.get(node), Node::Holds(_)) {
            return Ok(Draft::temp(self.temp(node)?));
        }
        match self.nodes.get(node).clone() {
            Node::Source { src, index, imm } => Ok(Draft::new(Slot { src, index, imm, ..Slot::END })),
            Node::Load { base, off, size, place } => {
                let mut draft = self.address(base, off)?;
                draft.slot.op = op::LOAD;
                draft.slot.size = size.into();
                draft.loads += 1;
                draft.all_typed &= place.typed;
                draft.loaded = Some(place);
                if place.user {
                    draft.slot.flags |= flag::USER;
                }
                Ok(draft)
            }
            Node::Sum { base, add, off } => {
                let mut draft = self.address(base, off)?;
                if let Some(add) = add {
                    if draft.slot.derefs > 0 || draft.slot.add != NONE {
                        let temp = self.temp(base)?;
                        draft = Draft::temp(temp);
                        draft.slot.off[0] = off;
                    }
                    draft.slot.add = self.temp(add)?;
                }
                Ok(draft)
            }
            Node::Bits { of, bits } => {
                let mut draft =
                    if self.is_shared(of) { Draft::temp(self.temp(of)?) } else { self.draft(of, false)? };
                if draft.finished {
                    match merged(&draft.slot, bits) {
                        Some(slot) => draft.slot = slot,
                        None => {
                            draft = Draft::temp(self.temp(of)?);
                            draft.set_bits(bits);
                        }
                    }
                } else {
                    draft.set_bits(bits);
                }
                draft.finished = true;
                Ok(draft)
            }
            Node::If { of, guard } => {
                // A slot whose guard does not hold leaves its temporary as it was before: 0.
                let value = self.temp(of)?;
                let guard = self.temp(guard)?;
                let temp = self.new_temp(node)?;
                self.slots.push(Slot { src: src::CONST, save: temp, ..Slot::END });
                let mut draft = Draft::temp(value);
                (draft.slot.guard, draft.slot.save) = (guard, temp);
                self.push(draft);
                Ok(Draft::temp(temp))
            }
            Node::Holds(formula) => {
                let (clause_from, clause_to) = self.formula(&formula)?;
                Ok(Draft::new(Slot { src: src::CONST, op: op::PRED, clause_from, clause_to, ..Slot::END }))
            }
            Node::Headers { .. } => Ok(Draft::temp(self.headers(node)?)),
            Node::Found { of, which } => Ok(Draft::temp(self.headers(of)? + which)),
        }
    }

    /// A slot whose address is `base + off`, ready for an operation.
    fn address(&mut self, base: NodeId, off: i32) -> Result<Draft> {
        let mut draft =
            if self.is_shared(base) { Draft::temp(self.temp(base)?) } else { self.draft(base, false)? };
        if let Some(place) = draft.loaded {
            let full = usize::from(draft.slot.derefs) == MAX_DEREFS;
            if draft.finished || draft.slot.size != 8 || place.user || full {
                draft = Draft::temp(self.temp(base)?);
            } else {
                // The load becomes a pointer that is followed.
                draft.slot.derefs += 1;
                draft.slot.op = op::VALUE;
                draft.slot.size = 0;
                draft.loaded = None;
            }
        } else if draft.finished || draft.slot.op != op::VALUE {
            draft = Draft::temp(self.temp(base)?);
        }
        let last = &mut draft.slot.off[usize::from(draft.slot.derefs)];
        match last.checked_add(off) {
            Some(sum) => *last = sum,
            None => bail!("an offset does not fit into 32 bits"),
        }
        Ok(draft)
    }

    /// Terms and clauses of a formula; the numbers of its clauses.
    fn formula(&mut self, formula: &Formula) -> Result<(u8, u8)> {
        let too_many = || {
            anyhow!(
                "the predicates have more than {MAX_CLAUSES} alternatives when written as alternatives of comparisons, \
                 which is the limit: use fewer || and fewer values in filters"
            )
        };
        // What is compared may be a predicate itself, whose clauses come before these.
        let mut clauses = Vec::new();
        for clause in formula.clauses(MAX_CLAUSES).ok_or_else(too_many)? {
            let mut bits = 0;
            for compare in clause {
                bits |= 1 << self.term(compare)?;
            }
            clauses.push(bits);
        }
        let from = self.clauses.len();
        self.clauses.extend(clauses);
        ensure!(self.clauses.len() <= MAX_CLAUSES, too_many());
        Ok((from as u8, self.clauses.len() as u8))
    }

    fn term(&mut self, compare: Compare) -> Result<usize> {
        let Compare { left, mask, op, right } = compare;
        let left = self.temp(left)?;
        let (right, imm) = match right {
            Right::Constant(imm) => (NONE, imm),
            Right::Node(node) => (self.temp(node)?, 0),
        };
        let term = Term { imm, mask, left, right, op, pad: [0; 5] };
        if let Some(known) = self.terms.iter().position(|t| *t == term) {
            return Ok(known);
        }
        ensure!(
            self.terms.len() < MAX_TERMS,
            "the predicates have more than {MAX_TERMS} comparisons, which is the limit: use fewer values in filters"
        );
        self.terms.push(term);
        Ok(self.terms.len() - 1)
    }
}
