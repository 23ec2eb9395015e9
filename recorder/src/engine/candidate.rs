//! What the engine is asked to attach.

use std::fmt;

use schemas::wire::Plan;

/// How a probe is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mechanism {
    /// Tracepoint with typed arguments.
    TpBtf,
    /// Tracepoint with its arguments as they are.
    RawTp,
    /// Function entry, by BPF trampoline.
    Fentry,
    /// Function return, by BPF trampoline.
    Fexit,
    /// Function entry, by kprobe.
    Kprobe,
    /// Function return, by kretprobe.
    Kretprobe,
    /// Classic tracepoint, target `category:name`.
    Tracepoint,
    /// `sys_enter_NAME` and `sys_exit_NAME`, target `NAME`.
    SyscallTracepoints,
    /// Entry of a function in user space, target `path:symbol`.
    Uprobe,
    /// Its return.
    Uretprobe,
}

impl fmt::Display for Mechanism {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TpBtf => "tp_btf",
            Self::RawTp => "raw_tp",
            Self::Fentry => "fentry",
            Self::Fexit => "fexit",
            Self::Kprobe => "kprobe",
            Self::Kretprobe => "kretprobe",
            Self::Tracepoint => "tracepoint",
            Self::SyscallTracepoints => "syscall tracepoints",
            Self::Uprobe => "uprobe",
            Self::Uretprobe => "uretprobe",
        })
    }
}

/// A probe that can be tried.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// Source of the event.
    pub source: String,
    /// How it is attached.
    pub mechanism: Mechanism,
    /// What it is attached to.
    pub target: String,
    /// What the program does.
    pub plan: Box<Plan>,
    /// What the program at entry does, for a probe at return that needs one.
    pub entry: Option<Box<Plan>>,
    /// The tracepoint's typedef or the function in the kernel's BTF.
    pub btf_id: Option<u32>,
    /// Types and offsets, for people.
    pub explain: String,
}
