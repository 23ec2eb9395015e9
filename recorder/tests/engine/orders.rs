//! Programs are accepted whatever the order of an event's columns is.

use recorder::kernel::Kernel;
use recorder::resolve::{Filter, Request, Stacks, resolve};
use schemas::def::builtin;

use crate::support::{PROBE, engine};

/// The verifier looks at every order anew, and what the compiler leaves in a register can be wrong in some of them.
#[test]
fn the_columns_of_an_event_may_stand_in_any_order() {
    let kernel = Kernel::running().unwrap();
    let drops = builtin().iter().find(|def| def.name == "drops").unwrap();
    let filter = Filter { pids: true, ..Filter::default() };
    for turn in 0..2 * drops.columns.len() {
        let mut def = drops.clone();
        def.columns.rotate_left(turn / 2);
        if turn % 2 == 1 {
            def.columns.reverse();
        }
        let request = Request { def: &def, filter: &filter, stacks: Stacks::None, all_sources: true };
        let event = resolve(&kernel, &request).unwrap();
        let mut engine = engine(1 << 16);
        for (source, probe) in event.sources.iter().zip(PROBE..) {
            let names: Vec<&str> = def.columns.iter().map(|column| column.name.as_str()).collect();
            let Some(candidate) = source.candidates.first() else { continue };
            engine.attach(probe, candidate).unwrap_or_else(|e| panic!("{} of {names:?}: {e:#}", source.name));
        }
    }
}
