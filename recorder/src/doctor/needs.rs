//! An event as it can be observed here in, the capabilities that recording it takes out; missing ones in, what to do
//! about them out.

use schemas::def::EventDef;

use crate::engine::Mechanism;
use crate::privileges::{
    BPF, CAPABILITIES, Capability, DAC_READ_SEARCH, PERFMON, Privileges, SYS_ADMIN, SYS_PTRACE,
};
use crate::record::{LISTENS, PROCESSES, parts};
use crate::resolve::ResolvedSource;

/// What recording `def` takes: the probes first, the snapshot second.
pub fn text(def: &EventDef, sources: &[ResolvedSource], privileges: Privileges) -> String {
    let mut needs: Vec<(Capability, &str)> = vec![(BPF, ""), (PERFMON, "")];
    if sources.iter().any(reads_tracefs) {
        needs.push((DAC_READ_SEARCH, "to read tracefs"));
    }
    match def.name.as_str() {
        PROCESSES => needs.push((SYS_PTRACE, "for namespaces and programs in the snapshot")),
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

/// Classic tracepoints are looked up in tracefs, which only root may enter.
fn reads_tracefs(source: &ResolvedSource) -> bool {
    let classic = [Mechanism::Tracepoint, Mechanism::SyscallTracepoints];
    match source.candidates.first() {
        Some(best) => classic.contains(&best.mechanism),
        None => {
            source.refused.iter().any(|(probe, _)| classic.iter().any(|m| m.to_string() == parts(probe).0))
        }
    }
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
