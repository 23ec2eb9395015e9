//! Values as a graph in which equal values are one node, so that what several columns share is computed once.

use std::collections::HashMap;

use schemas::wire::src;

/// Number of a node.
pub(super) type NodeId = usize;

/// A value or an address, as the kernel side can compute it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Node {
    /// What a probe has at hand: a [`src`].
    Source { src: u8, index: u8, imm: u64 },
    /// `size` bytes of memory at `base + off`.
    Load { base: NodeId, off: i32, size: u8, place: Place },
    /// `base + add + off`.
    Sum { base: NodeId, add: Option<NodeId>, off: i32 },
    /// Shifted, cut, extended or swapped.
    Bits { of: NodeId, bits: Bits },
    /// 1 if a formula holds, else 0.
    Holds(Formula),
    /// `of` if the predicate `guard` (a [`Node::Holds`]) holds, else 0.
    If { of: NodeId, guard: NodeId },
    /// What is behind the IP header at `ip`, of a packet of `length` bytes whose headers lie in one piece until `end`.
    Headers { ip: NodeId, end: NodeId, length: NodeId },
    /// One of the results of headers: see [`schemas::wire::headers`].
    Found { of: NodeId, which: u8 },
}

/// Which memory a load reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Place {
    /// User memory.
    pub user: bool,
    /// Reached from a typed argument through declared struct pointers only.
    pub typed: bool,
}

/// What happens to an integer after it is read, in this order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Bits {
    pub rshift: u8,
    /// Bits kept, 0 for all.
    pub keep: u8,
    pub signed: bool,
    /// Bytes to swap, 0 for none.
    pub swap: u8,
    pub lshift: u8,
    /// The opposite number at the end.
    pub negate: bool,
    /// The highest bit alone, last of all; of what is `signed` with the sign.
    pub power: bool,
}

/// A predicate over nodes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Formula {
    Always,
    Never,
    Compare(Compare),
    All(Vec<Self>),
    Any(Vec<Self>),
}

/// `(left & mask) op right`; `op` is one of [`schemas::wire::cmp`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Compare {
    pub left: NodeId,
    pub mask: u64,
    pub op: u8,
    pub right: Right,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Right {
    Constant(u64),
    Node(NodeId),
}

/// All nodes of a plan.
#[derive(Clone, Debug, Default)]
pub(super) struct Nodes {
    nodes: Vec<Node>,
    ids: HashMap<Node, NodeId>,
}

impl Nodes {
    /// The number of a node, which is new or was there.
    pub fn add(&mut self, node: Node) -> NodeId {
        if let Some(id) = self.ids.get(&node) {
            return *id;
        }
        self.nodes.push(node.clone());
        self.ids.insert(node, self.nodes.len() - 1);
        self.nodes.len() - 1
    }

    pub fn get(&self, id: NodeId) -> &Node {
        &self.nodes[id]
    }

    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    pub fn source(&mut self, src: u8, index: u8) -> NodeId {
        self.add(Node::Source { src, index, imm: 0 })
    }

    pub fn constant(&mut self, imm: u64) -> NodeId {
        self.add(Node::Source { src: src::CONST, index: 0, imm })
    }

    /// The value of a node that is a constant.
    pub fn as_constant(&self, id: NodeId) -> Option<u64> {
        match self.get(id) {
            Node::Source { src: src::CONST, imm, .. } => Some(*imm),
            _ => None,
        }
    }

    /// `of` after `bits`; nothing happens to it if `bits` do nothing.
    pub fn bits(&mut self, of: NodeId, bits: Bits) -> NodeId {
        if bits == Bits::default() {
            return of;
        }
        // What is cut from what was cut already is cut at once.
        let cut = |bits: Bits| Bits { keep: 0, signed: false, ..bits } == Bits::default() && bits.keep != 0;
        if cut(bits)
            && let Node::Bits { of: inner, bits: before } = *self.get(of)
            && cut(Bits { rshift: 0, ..before })
            && bits.keep <= before.keep
        {
            let both = Bits { rshift: before.rshift, ..bits };
            return self.add(Node::Bits { of: inner, bits: both });
        }
        self.add(Node::Bits { of, bits })
    }

    /// `base + off`.
    pub fn offset(&mut self, base: NodeId, off: i32) -> NodeId {
        match *self.get(base) {
            _ if off == 0 => base,
            Node::Source { src: src::CONST, imm, .. } => self.constant(imm.wrapping_add_signed(off.into())),
            Node::Sum { base, add, off: inner } if inner.checked_add(off).is_some() => {
                self.add(Node::Sum { base, add, off: inner + off })
            }
            _ => self.add(Node::Sum { base, add: None, off }),
        }
    }

    /// What a node is computed from.
    pub fn inputs(&self, id: NodeId) -> Vec<NodeId> {
        match self.get(id) {
            Node::Source { .. } => Vec::new(),
            Node::Load { base, .. } => vec![*base],
            Node::Sum { base, add, .. } => std::iter::once(*base).chain(*add).collect(),
            Node::Bits { of, .. } => vec![*of],
            Node::Holds(formula) => formula.inputs(),
            Node::If { of, guard } => vec![*of, *guard],
            Node::Headers { ip, end, length } => vec![*ip, *end, *length],
            Node::Found { of, .. } => vec![*of],
        }
    }
}

impl Formula {
    /// All of `parts`, simplified.
    pub fn all(parts: impl IntoIterator<Item = Self>) -> Self {
        let mut kept = Vec::new();
        for part in parts {
            match part {
                Self::Always => {}
                Self::Never => return Self::Never,
                Self::All(inner) => kept.extend(inner),
                part if kept.contains(&part) => {}
                part => kept.push(part),
            }
        }
        match kept.len() {
            0 => Self::Always,
            1 => kept.remove(0),
            _ => Self::All(kept),
        }
    }

    /// Any of `parts`, simplified.
    pub fn any(parts: impl IntoIterator<Item = Self>) -> Self {
        let mut kept = Vec::new();
        for part in parts {
            match part {
                Self::Never => {}
                Self::Always => return Self::Always,
                Self::Any(inner) => kept.extend(inner),
                part if kept.contains(&part) => {}
                part => kept.push(part),
            }
        }
        match kept.len() {
            0 => Self::Never,
            1 => kept.remove(0),
            _ => Self::Any(kept),
        }
    }

    /// The opposite. (A comparison with NULL is false, and so is its opposite.)
    pub fn negate(self) -> Self {
        use schemas::wire::cmp;
        match self {
            Self::Always => Self::Never,
            Self::Never => Self::Always,
            Self::All(parts) => Self::any(parts.into_iter().map(Self::negate)),
            Self::Any(parts) => Self::all(parts.into_iter().map(Self::negate)),
            Self::Compare(compare) => {
                let op = match compare.op {
                    cmp::EQ => cmp::NE,
                    cmp::NE => cmp::EQ,
                    cmp::LT => cmp::GE,
                    cmp::GE => cmp::LT,
                    cmp::LE => cmp::GT,
                    cmp::GT => cmp::LE,
                    cmp::SLT => cmp::SGE,
                    cmp::SGE => cmp::SLT,
                    cmp::SLE => cmp::SGT,
                    cmp::SGT => cmp::SLE,
                    cmp::ANY => cmp::NONE_OF,
                    _ => cmp::ANY,
                };
                Self::Compare(Compare { op, ..compare })
            }
        }
    }

    /// The nodes that are compared.
    pub fn inputs(&self) -> Vec<NodeId> {
        match self {
            Self::Always | Self::Never => Vec::new(),
            Self::Compare(Compare { left, right, .. }) => match right {
                Right::Constant(_) => vec![*left],
                Right::Node(right) => vec![*left, *right],
            },
            Self::All(parts) | Self::Any(parts) => parts.iter().flat_map(Self::inputs).collect(),
        }
    }

    /// As alternatives of comparisons that must all hold. `None` if there are more than `most`.
    pub fn clauses(&self, most: usize) -> Option<Vec<Vec<Compare>>> {
        match self {
            Self::Always => Some(vec![Vec::new()]),
            Self::Never => Some(Vec::new()),
            Self::Compare(compare) => Some(vec![vec![*compare]]),
            Self::Any(parts) => {
                let mut clauses = Vec::new();
                for part in parts {
                    clauses.extend(part.clauses(most)?);
                }
                (clauses.len() <= most).then_some(clauses)
            }
            Self::All(parts) => {
                let mut clauses = vec![Vec::new()];
                for part in parts {
                    let more = part.clauses(most)?;
                    if clauses.len() * more.len() > most {
                        return None;
                    }
                    let both = |a: &Vec<Compare>, b: &Vec<Compare>| a.iter().chain(b).copied().collect();
                    clauses = clauses.iter().flat_map(|a| more.iter().map(move |b| both(a, b))).collect();
                }
                Some(clauses)
            }
        }
    }
}
