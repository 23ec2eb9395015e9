//! Stacks, code addresses and cgroup ids met while decoding in; rows of tables stacks, symbols and cgroups, each
//! distinct one once per trace, out.
//!
//! Memory: 32 to 64 bytes for each distinct address and cgroup of the recording, and twice that for each stack, for as
//! long as it lasts.

use std::sync::Arc;

use anyhow::Result;
use arrow_array::builder::{
    Int64Builder, ListBuilder, StringBuilder, StringDictionaryBuilder, UInt32Builder, UInt64Builder,
};
use arrow_array::types::Int32Type;
use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{DataType, Field, SchemaRef};

use super::table::Table;
use super::text::stable_hash;

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

/// What a cgroup id stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cgroup {
    /// Path below the cgroup2 mount.
    pub path: String,
    /// Container id found in the path.
    pub container_id: Option<String>,
}

/// Finds the kernel symbol of an address.
pub type Symbolizer = Box<dyn FnMut(u64) -> Option<Symbol> + Send>;
/// Finds the cgroup of an id.
pub type CgroupFinder = Box<dyn FnMut(u64) -> Option<Cgroup> + Send>;

/// Whose addresses a stack has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Space {
    /// Kernel code.
    Kernel,
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
    stack_ids: Vec<i64>,
    known_stacks: Table,
    known_addresses: Table,
    known_cgroups: Table,
    stacks: Vec<Stack>,
    /// Address, and whether it is a return address.
    addresses: Vec<(u64, bool)>,
    cgroups: Vec<u64>,
}

impl Collector {
    /// Nothing collected yet.
    pub fn new(symbolizer: Symbolizer) -> Self {
        Self {
            symbolizer,
            raw_stacks: Table::default(),
            stack_ids: Vec::new(),
            known_stacks: Table::default(),
            known_addresses: Table::default(),
            known_cgroups: Table::default(),
            stacks: Vec::new(),
            addresses: Vec::new(),
            cgroups: Vec::new(),
        }
    }

    /// Get ready to name addresses.
    pub fn warm_up(&mut self) {
        let _ = (self.symbolizer)(0);
    }

    /// The id of a stack: a hash of its frames, its space and the process of a user stack. Frames of the machinery
    /// between what is probed and our programs are left out.
    pub fn stack(&mut self, space: Space, frames: impl Iterator<Item = u64> + Clone) -> i64 {
        let owner = match space {
            Space::Kernel => 0,
            Space::User(pid) => (1 << 32) | u64::from(pid),
        };
        let raw = stable_hash([owner].into_iter().chain(frames.clone()));
        let (number, is_new) = self.raw_stacks.number(raw, |_| true);
        if is_new {
            let id = self.new_stack(owner, space, frames.collect());
            self.stack_ids.push(id);
        }
        self.stack_ids[number as usize]
    }

    fn new_stack(&mut self, owner: u64, space: Space, mut frames: Vec<u64>) -> i64 {
        if space == Space::Kernel {
            let own = frames.iter().position(|frame| !self.is_machinery(*frame)).unwrap_or(0);
            frames.drain(..own);
        }
        let id = stable_hash([owner].into_iter().chain(frames.iter().copied())) as i64;
        if self.known_stacks.number(id as u64, |_| true).1 {
            if space == Space::Kernel {
                frames.iter().for_each(|&frame| self.new_address(frame, true));
            }
            self.stacks.push(Stack { id, space, frames });
        }
        id
    }

    fn is_machinery(&mut self, frame: u64) -> bool {
        let symbol = (self.symbolizer)(frame.saturating_sub(1));
        symbol.is_some_and(|symbol| MACHINERY.iter().any(|prefix| symbol.name.starts_with(prefix)))
    }

    /// A kernel address in a `sym` column.
    pub fn address(&mut self, addr: u64) {
        self.new_address(addr, false);
    }

    fn new_address(&mut self, addr: u64, is_return: bool) {
        if self.known_addresses.number(addr, |_| true).1 {
            self.addresses.push((addr, is_return));
        }
    }

    /// A cgroup id.
    pub fn cgroup(&mut self, id: u64) {
        if self.known_cgroups.number(id, |_| true).1 {
            self.cgroups.push(id);
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
                Space::Kernel => ("kernel", None),
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

    /// New rows of table cgroups; ids that cannot be found (already gone) have no row.
    pub fn take_cgroups(
        &mut self,
        schema: &SchemaRef,
        finder: &mut CgroupFinder,
    ) -> Result<Option<RecordBatch>> {
        let mut ids = UInt64Builder::new();
        let mut paths = StringBuilder::new();
        let mut containers = StringDictionaryBuilder::<Int32Type>::new();
        let mut rows = 0;
        for id in self.cgroups.drain(..) {
            if let Some(Cgroup { path, container_id }) = finder(id) {
                ids.append_value(id);
                paths.append_value(path);
                containers.append_option(container_id);
                rows += 1;
            }
        }
        if rows == 0 {
            return Ok(None);
        }
        let columns: Vec<ArrayRef> =
            vec![Arc::new(ids.finish()), Arc::new(paths.finish()), Arc::new(containers.finish())];
        Ok(Some(RecordBatch::try_new(schema.clone(), columns)?))
    }
}
