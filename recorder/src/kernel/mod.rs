//! The kernel, as far as it must be known to record from it: types, functions, tracepoints, and what it allows.

pub mod btf;
pub mod facts;
pub mod symbols;
pub mod tracefs;

use std::cell::OnceCell;

use anyhow::Result;

pub use btf::{Btf, TypeId};
pub use facts::Facts;
use schemas::wire::{Interrupts, interrupts};
pub use symbols::{FunctionNames, FunctionSymbol, KernelSymbols};
pub use tracefs::{TraceField, Tracefs};

/// A kernel: the running one, or for tests another one's BTF.
#[derive(Debug)]
pub struct Kernel {
    /// Its types.
    pub btf: Btf,
    /// What it allows.
    pub facts: Facts,
    /// False for another kernel: then kallsyms and tracefs of the running one say nothing about it.
    running: bool,
    functions: OnceCell<Option<FunctionNames>>,
    tracefs: OnceCell<Result<Tracefs, String>>,
}

impl Kernel {
    /// The running kernel. Fails if it has no BTF.
    pub fn running() -> Result<Self> {
        Ok(Self::new(Btf::of_running_kernel()?, Facts::of_running_kernel(), true))
    }

    /// Another kernel, of which only the types are known.
    pub fn from_btf(btf: Btf, facts: Facts) -> Self {
        Self::new(btf, facts, false)
    }

    /// The running kernel with other facts, for tests of what this machine lacks.
    #[cfg(test)]
    pub(crate) fn with_facts(btf: Btf, facts: Facts) -> Self {
        Self::new(btf, facts, true)
    }

    fn new(btf: Btf, facts: Facts, running: bool) -> Self {
        Self { btf, facts, running, functions: OnceCell::new(), tracefs: OnceCell::new() }
    }

    /// The names of all functions, if they can be known.
    pub fn functions(&self) -> Option<&FunctionNames> {
        self.functions.get_or_init(|| if self.running { FunctionNames::load().ok() } else { None }).as_ref()
    }

    /// Whether a function of that name exists, and once. Without kallsyms BTF decides.
    pub fn function(&self, name: &str) -> FunctionSymbol {
        match self.functions() {
            Some(names) => names.get(name),
            None if self.btf.find(name, btf::Kind::Func).is_some() => FunctionSymbol::Unique,
            None => FunctionSymbol::Missing,
        }
    }

    /// tracefs, or why it cannot be used.
    pub fn tracefs(&self) -> Result<&Tracefs> {
        let opened = self.tracefs.get_or_init(|| {
            if self.running {
                Tracefs::open().map_err(|error| format!("{error:#}"))
            } else {
                Err("tracefs is known of the running kernel only".to_owned())
            }
        });
        opened.as_ref().map_err(|reason| anyhow::anyhow!("{reason}"))
    }

    /// Where the numbers of thread and process are in `struct task_struct`.
    pub fn task_offsets(&self) -> Option<TaskOffsets> {
        let task = self.btf.find("task_struct", btf::Kind::Struct)?;
        let offset = |name| self.btf.member(task, name).map(|member| member.bit_offset / 8);
        Some(TaskOffsets { pid: offset("pid")?, tgid: offset("tgid")?, start: offset("start_boottime") })
    }

    /// How programs tell interrupts from tasks.
    pub fn interrupts(&self) -> Interrupts {
        let softirq = self.offset("task_struct", &["softirq_disable_cnt"]).unwrap_or(0);
        let counted =
            if self.facts.machine == "x86_64" { self.per_cpu_count() } else { self.count_in_task() };
        if let Some(counted) = counted {
            return Interrupts { softirq, ..counted };
        }
        Interrupts { how: interrupts::UNKNOWN, ..Interrupts::default() }
    }

    fn count_in_task(&self) -> Option<Interrupts> {
        let count = self.offset("task_struct", &["thread_info", "preempt_count"])?;
        Some(Interrupts { how: interrupts::IN_TASK, count, ..Interrupts::default() })
    }

    /// x86_64: 6.2 to 6.14 have both variables in one structure.
    fn per_cpu_count(&self) -> Option<Interrupts> {
        let text = OnceCell::new();
        let per_cpu = |name| {
            let named = || {
                let text = text.get_or_init(|| if self.running { symbols::text() } else { String::new() });
                symbols::per_cpu(text, name)
            };
            // Types of older kernels have no variables.
            self.btf.per_cpu(name).or_else(named)
        };
        let hot = |member| Some(self.btf.per_cpu("pcpu_hot")? + self.offset("pcpu_hot", &[member])?);
        let run_queue = per_cpu("runqueues")?;
        let count = hot("preempt_count").or_else(|| per_cpu("__preempt_count"))?;
        let current = hot("current_task").or_else(|| per_cpu("current_task"))?;
        Some(Interrupts {
            own: 0,
            how: interrupts::PER_CPU,
            count: count - run_queue,
            queue: self.offset("task_struct", &["se", "cfs_rq"])?,
            run_queue: self.offset("cfs_rq", &["rq"])?,
            current: current - run_queue,
            softirq: 0,
        })
    }

    /// Where a member of a member ... of a structure is.
    fn offset(&self, of: &str, path: &[&str]) -> Option<i32> {
        let mut ty = self.btf.find(of, btf::Kind::Struct)?;
        let mut offset = 0;
        for name in path {
            let member = self.btf.member(self.btf.strip(ty), name)?;
            offset += member.bit_offset / 8;
            ty = member.ty;
        }
        i32::try_from(offset).ok()
    }

    /// Where the kernel keeps whether a program runs. Programs that nest need it.
    pub fn program_offsets(&self) -> Option<ProgramOffsets> {
        let offset = |name, member| {
            let of = self.btf.find(name, btf::Kind::Struct)?;
            self.btf.member(of, member).map(|member| member.bit_offset / 8)
        };
        Some(ProgramOffsets { active: offset("bpf_prog", "active")?, items: offset("bpf_array", "ptrs")? })
    }

    /// Names of the functions that can be probed: those with a symbol and types.
    pub fn probeable_functions(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self
            .btf
            .names(btf::Kind::Func)
            .filter(|name| self.function(name) == FunctionSymbol::Unique)
            .collect();
        names.sort_unstable();
        names
    }
}

/// Places in `struct task_struct`, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TaskOffsets {
    /// `pid`: the thread.
    pub pid: u32,
    /// `tgid`: the process.
    pub tgid: u32,
    /// `start_boottime`, since 5.5.
    pub start: Option<u32>,
}

/// Places in `struct bpf_prog` and `struct bpf_array`, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProgramOffsets {
    /// `bpf_prog.active`: by CPU, how often the program is running; 0 if it is not known.
    pub active: u32,
    /// `bpf_array.ptrs` (and `pptrs`, in the same place): the items of a map of programs, and of one by CPU.
    pub items: u32,
}

#[cfg(test)]
mod tests;
