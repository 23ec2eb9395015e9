//! An event and how it is observed here in, the capabilities that recording it takes out; missing ones in, what to do
//! about them out.

use schemas::def::EventDef;
use schemas::expr::ProbeKind;
use schemas::trace::PROCESSES;

use crate::engine::Mechanism;
use crate::privileges::{
    BPF, CAPABILITIES, Capability, DAC_READ_SEARCH, PERFMON, Privileges, SYS_ADMIN, SYS_PTRACE,
};
use crate::record::LISTENS;

/// What recording `def` takes, the probes first, the snapshot second. `used`: mechanisms that its sources use here; if
/// there is none, a system call would be one that is described in tracefs. Where that `is_readable`, it takes nothing.
pub fn text(def: &EventDef, used: &[Mechanism], privileges: Privileges, is_readable: bool) -> String {
    let mut needs: Vec<(Capability, &str)> = vec![(BPF, ""), (PERFMON, "")];
    let mut probes = def.sources.iter().flat_map(|source| &source.probes);
    let is_call = used.is_empty() && probes.any(|probe| probe.on.kind == ProbeKind::Syscall);
    let is_described = |m: &Mechanism| matches!(m, Mechanism::Tracepoint | Mechanism::SyscallTracepoints);
    // Whoever has the capability may have tracefs readable only through it.
    let is_needed = privileges.has(&DAC_READ_SEARCH) || !is_readable;
    if is_needed && (is_call || used.iter().any(is_described)) {
        needs.push((DAC_READ_SEARCH, "to read tracefs"));
    }
    if used.iter().any(|m| matches!(m, Mechanism::Uprobe | Mechanism::Uretprobe)) {
        needs.push((SYS_ADMIN, "for uprobes"));
    }
    match def.name.as_str() {
        PROCESSES => needs.extend([
            (SYS_PTRACE, "for namespaces and programs in the snapshot"),
            (SYS_ADMIN, "for cookies of network namespaces in the snapshot"),
        ]),
        LISTENS => needs.extend([
            (SYS_PTRACE, "for who holds a socket in the snapshot"),
            (DAC_READ_SEARCH, "for who holds a socket in the snapshot"),
            (SYS_ADMIN, "for other network namespaces in the snapshot"),
        ]),
        _ => {}
    }
    let texts = needs.iter().map(|(capability, reason)| {
        let missing = if privileges.has(capability) { "" } else { "MISSING" };
        let notes: Vec<&str> = [missing, reason].into_iter().filter(|note| !note.is_empty()).collect();
        let notes = if notes.is_empty() { String::new() } else { format!(" ({})", notes.join("; ")) };
        format!("{}{notes}", capability.name)
    });
    texts.collect::<Vec<_>>().join(", ")
}

/// How to get the capabilities that are missing.
pub fn remedies(privileges: Privileges) -> Vec<String> {
    let missing = privileges.missing(&CAPABILITIES);
    if missing.is_empty() {
        return Vec::new();
    }
    let all = CAPABILITIES.map(|capability| capability.name);
    let program = std::env::current_exe().map_or("recorder".to_owned(), |path| path.display().to_string());
    vec![
        format!(
            "for {}: run as root (sudo recorder ...), or leave out below what you can do without and",
            missing.join(", ")
        ),
        format!("  give them to the program: sudo setcap {}=ep {program}", all.join(",").to_lowercase()),
        format!("  or to a service: AmbientCapabilities={}", all.join(" ")),
        format!("                   CapabilityBoundingSet={}", all.join(" ")),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use schemas::def::parse_inline;

    #[test]
    fn tracefs_takes_a_capability_only_where_it_is_not_readable() {
        let def = parse_inline("syscall:mkdir{ mode }").unwrap();
        let used = [Mechanism::SyscallTracepoints];
        let two = Privileges::with(&[BPF, PERFMON]);
        let missing = "CAP_BPF, CAP_PERFMON, CAP_DAC_READ_SEARCH (MISSING; to read tracefs)";
        assert_eq!(text(&def, &used, two, false), missing);
        assert_eq!(text(&def, &used, two, true), "CAP_BPF, CAP_PERFMON");
        let all = text(&def, &used, Privileges::with(&CAPABILITIES), true);
        assert_eq!(all, "CAP_BPF, CAP_PERFMON, CAP_DAC_READ_SEARCH (to read tracefs)");
    }
}
