//! Stacks, code addresses and cgroup ids met while decoding in; rows of tables stacks, symbols and cgroups, each
//! distinct one once per trace, out.
//!
//! Memory: 32 to 64 bytes for each distinct address and cgroup of an epoch, which is the recording if no old rows go, and
//! twice that for each stack.

use std::sync::Arc;

use anyhow::Result;
use arrow_array::builder::{
    Int64Builder, ListBuilder, StringBuilder, StringDictionaryBuilder, UInt32Builder, UInt64Builder,
};
use arrow_array::types::Int32Type;
use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{DataType, Field, SchemaRef};

use super::cgroups::{Cgroup, CgroupNames};
use super::stack_hash::fold23;
use super::table::Table;
use crate::kernel::symbols;

/// What a code address is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Symbol {
    /// Name of the function.
    pub name: String,
    /// Address minus start of the function.
    pub offset_bytes: i64,
    /// Kernel module; `None` for the kernel itself.
    pub module: Option<String>,
}

impl From<symbols::Symbol<'_>> for Symbol {
    fn from(found: symbols::Symbol<'_>) -> Self {
        let symbols::Symbol { name, offset, module } = found;
        Self { name: name.to_owned(), offset_bytes: offset.cast_signed(), module: module.map(str::to_owned) }
    }
}

/// Finds the kernel symbol of an address.
pub type Symbolizer = Box<dyn FnMut(u64) -> Option<Symbol> + Send>;

/// Whose addresses a stack has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Space {
    /// Kernel code.
    Kernel,
    /// The same, from where a sample found the processor: no return address, and whatever it is, no machinery.
    Sampled,
    /// Code of that process.
    User(u32),
}

struct Stack {
    id: i64,
    space: Space,
    frames: Vec<u64>,
}

/// Names of the functions that lead from what is probed to the recorder's own programs: the innermost frames of a kernel
/// stack, which say nothing of it.
const MACHINERY: [&str; 5] =
    ["bpf_prog_", "bpf_trace_run", "bpf_trampoline_", "__bpf_trace_", "__traceiter_"];

/// Collects what is met and not yet written.
pub struct Collector {
    symbolizer: Symbolizer,
    /// Stacks as they come out of the kernel, by a hash, and their ids by number.
    raw_stacks: Table,
    ids: Vec<i64>,
    known_stacks: Table,
    known_addresses: Table,
    known_cgroups: Table,
    stacks: Vec<Stack>,
    /// Address, and whether it is a return address.
    addresses: Vec<(u64, bool)>,
    cgroup_names: CgroupNames,
    cgroups: Vec<(u64, Option<Cgroup>)>,
    /// Cgroups that were met and not found.
    unknown_cgroups: u64,
}

impl Collector {
    /// Nothing collected yet.
    pub fn new(symbolizer: Symbolizer) -> Self {
        Self {
            symbolizer,
            raw_stacks: Table::default(),
            ids: Vec::new(),
            known_stacks: Table::default(),
            known_addresses: Table::default(),
            known_cgroups: Table::default(),
            stacks: Vec::new(),
            addresses: Vec::new(),
            cgroup_names: CgroupNames::default(),
            cgroups: Vec::new(),
            unknown_cgroups: 0,
        }
    }

    /// Cgroups are called what `names` says.
    pub fn with_cgroups(self, names: CgroupNames) -> Self {
        Self { cgroup_names: names, ..self }
    }

    /// Get ready to name addresses.
    pub fn warm_up(&mut self) {
        let _ = (self.symbolizer)(0);
    }

    /// Forget everything that was written: who meets it again writes it again.
    pub fn begin_epoch(&mut self) {
        let Self { raw_stacks, known_stacks, known_addresses, known_cgroups, .. } = self;
        [raw_stacks, known_stacks, known_addresses, known_cgroups].into_iter().for_each(Table::clear);
        self.ids.clear();
    }

    /// The id of a stack: a hash of its frames, its space and the process of a user stack. Frames of the machinery
    /// between what is probed and our programs are left out.
    pub fn stack(&mut self, space: Space, frames: impl Iterator<Item = u64> + Clone) -> i64 {
        let owner = match space {
            Space::Kernel | Space::Sampled => 0,
            Space::User(pid) => (1 << 32) | u64::from(pid),
        };
        let raw_owner = if space == Space::Sampled { 2 << 32 } else { owner };
        let raw = fold23([raw_owner].into_iter().chain(frames.clone()));
        let (number, is_new) = self.raw_stacks.number(raw, |_| true);
        if !is_new {
            return self.ids[number as usize];
        }
        let skip = self.machinery(space, frames.clone());
        let id = fold23([owner].into_iter().chain(frames.clone().skip(skip))) as i64;
        self.ids.push(id);
        if self.known_stacks.number(id.cast_unsigned(), |_| true).1 {
            if matches!(space, Space::Kernel | Space::Sampled) {
                let is_return = |i: usize| i > 0 || space == Space::Kernel;
                let frames = frames.clone().skip(skip).enumerate();
                frames.for_each(|(i, frame)| self.meet_address(frame, is_return(i)));
            }
            self.stacks.push(Stack { id, space, frames: frames.skip(skip).collect() });
        }
        id
    }

    /// Frames of the machinery; a stack of nothing else keeps them.
    fn machinery(&mut self, space: Space, mut frames: impl Iterator<Item = u64>) -> usize {
        if space != Space::Kernel {
            return 0;
        }
        frames.position(|frame| !self.is_machinery(frame)).unwrap_or(0)
    }

    fn is_machinery(&mut self, frame: u64) -> bool {
        let symbol = (self.symbolizer)(frame.saturating_sub(1));
        symbol.is_some_and(|symbol| MACHINERY.iter().any(|prefix| symbol.name.starts_with(prefix)))
    }

    /// A kernel address in a `sym` column.
    pub fn address(&mut self, addr: u64) {
        self.meet_address(addr, false);
    }

    fn meet_address(&mut self, addr: u64, is_return: bool) {
        if self.known_addresses.number(addr, |_| true).1 {
            self.addresses.push((addr, is_return));
        }
    }

    /// A cgroup id.
    pub fn cgroup(&mut self, id: u64) {
        if self.known_cgroups.number(id, |_| true).1 {
            // Now: later it may be forgotten.
            let found = self.cgroup_names.find(id);
            self.unknown_cgroups += u64::from(found.is_none());
            self.cgroups.push((id, found));
        }
    }

    /// New rows of table stacks.
    pub fn take_stacks(&mut self, schema: &SchemaRef) -> Result<Option<RecordBatch>> {
        if self.stacks.is_empty() {
            return Ok(None);
        }
        let mut ids = Int64Builder::new();
        let mut spaces = StringDictionaryBuilder::<Int32Type>::new();
        let mut pids = UInt32Builder::new();
        let mut frames =
            ListBuilder::new(UInt64Builder::new()).with_field(Field::new("item", DataType::UInt64, false));
        for Stack { id, space, frames: addresses } in self.stacks.drain(..) {
            ids.append_value(id);
            let (space, pid) = match space {
                Space::Kernel | Space::Sampled => ("kernel", None),
                Space::User(pid) => ("user", Some(pid)),
            };
            spaces.append_value(space);
            pids.append_option(pid);
            frames.values().append_slice(&addresses);
            frames.append(true);
        }
        let columns: Vec<ArrayRef> = vec![
            Arc::new(ids.finish()),
            Arc::new(spaces.finish()),
            Arc::new(pids.finish()),
            Arc::new(frames.finish()),
        ];
        Ok(Some(RecordBatch::try_new(schema.clone(), columns)?))
    }

    /// New rows of table symbols. The name of a return address is that of the call before it, which may be the last
    /// instruction of its function; the address stays as it is.
    pub fn take_symbols(&mut self, schema: &SchemaRef) -> Result<Option<RecordBatch>> {
        if self.addresses.is_empty() {
            return Ok(None);
        }
        let mut addrs = UInt64Builder::new();
        let mut names = StringDictionaryBuilder::<Int32Type>::new();
        let mut offsets = Int64Builder::new();
        let mut modules = StringDictionaryBuilder::<Int32Type>::new();
        for (addr, is_return) in self.addresses.drain(..) {
            let back = u64::from(is_return && addr > 0);
            addrs.append_value(addr);
            match (self.symbolizer)(addr - back) {
                Some(Symbol { name, offset_bytes, module }) => {
                    names.append_value(name);
                    offsets.append_value(offset_bytes.saturating_add(back as i64));
                    modules.append_option(module);
                }
                None => {
                    names.append_value(format!("{addr:#x}"));
                    offsets.append_value(0);
                    modules.append_null();
                }
            }
        }
        let columns: Vec<ArrayRef> = vec![
            Arc::new(addrs.finish()),
            Arc::new(names.finish()),
            Arc::new(offsets.finish()),
            Arc::new(modules.finish()),
        ];
        Ok(Some(RecordBatch::try_new(schema.clone(), columns)?))
    }

    /// Forget the cgroups that were removed long before this time (CLOCK_BOOTTIME): all older rows are decoded.
    pub fn forget_cgroups(&self, decoded_ns: u64) {
        self.cgroup_names.forget(decoded_ns);
    }

    /// How many rows of table cgroups have no path.
    pub fn unknown_cgroups(&self) -> u64 {
        self.unknown_cgroups
    }

    /// New rows of table cgroups; ids that no record told have a row without a path.
    pub fn take_cgroups(&mut self, schema: &SchemaRef) -> Result<Option<RecordBatch>> {
        if self.cgroups.is_empty() {
            return Ok(None);
        }
        let mut ids = UInt64Builder::new();
        let mut paths = StringBuilder::new();
        let mut containers = StringDictionaryBuilder::<Int32Type>::new();
        for (id, found) in self.cgroups.drain(..) {
            let (path, container_id) =
                found.map(|Cgroup { path, container_id }| (path, container_id)).unzip();
            ids.append_value(id);
            paths.append_option(path);
            containers.append_option(container_id.flatten());
        }
        let columns: Vec<ArrayRef> =
            vec![Arc::new(ids.finish()), Arc::new(paths.finish()), Arc::new(containers.finish())];
        Ok(Some(RecordBatch::try_new(schema.clone(), columns)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_where_it_is_and_a_return_address_behind_the_call() {
        let function = |name: &str, start: u64, address| {
            Some(Symbol { name: name.into(), offset_bytes: (address - start) as i64, module: None })
        };
        let mut all = Collector::new(Box::new(move |address| match address {
            100..200 => function("bpf_prog_1", 100, address),
            200..300 => function("called", 200, address),
            _ => function("caller", 300, address),
        }));
        // At the first instruction of a function, not behind the last of the one before it.
        all.stack(Space::Sampled, [200, 350].into_iter());
        assert_eq!(all.addresses, [(200, false), (350, true)]);
        let of_probe = all.stack(Space::Kernel, [110, 220, 350].into_iter());
        let of_sample = all.stack(Space::Sampled, [110, 220, 350].into_iter());
        assert_ne!(of_probe, of_sample);
        let frames: Vec<_> = all.stacks.iter().map(|stack| stack.frames.clone()).collect();
        assert_eq!(frames, [vec![200, 350], vec![220, 350], vec![110, 220, 350]]);
    }

    #[test]
    fn what_was_written_is_written_again_in_another_epoch_and_not_before() {
        let mut all = Collector::new(Box::new(|_| None));
        let meet = |all: &mut Collector| {
            let ids = [70, 80, 70].map(|n| all.stack(Space::Kernel, [n, n + 1].into_iter()));
            all.cgroup(5);
            (ids, all.stacks.len(), all.addresses.len(), all.cgroups.len())
        };
        let first = meet(&mut all);
        assert_eq!((first.1, first.2, first.3), (2, 4, 1));
        assert_eq!((first.0[0], meet(&mut all)), (first.0[2], first));
        all.begin_epoch();
        let (ids, stacks, addresses, cgroups) = meet(&mut all);
        assert_eq!((ids, stacks, addresses, cgroups), (first.0, 4, 8, 2));
    }
}
