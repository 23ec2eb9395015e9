//! Process ids and cgroup ids -> programs and containers, of the trace that the row is from.

use std::sync::Arc;

use arrow_array::{ArrayRef, StringArray};
use arrow_cast::cast;
use arrow_schema::DataType;
use datafusion::common::Result;
use schemas::column::timestamp;

use super::lookup::Lookups;
use super::{Def, failed, identifiers, integers, text};

/// See each `doc`.
pub const DEFS: &[Def] = &[
    Def {
        name: "process",
        call: "process(pid, ts)",
        doc: "name of the process that had that id at that time, from table processes; NULL before its first row and after \
              its end, and where the recording does not say. With several traces open: process(pid, ts, trace), or \
              numbers of one machine would get names of another",
        args: &[2, 3],
        returns: text,
        eval: process,
    },
    Def {
        name: "container",
        call: "container(cgroup_id)",
        doc: "id of the container that a cgroup belongs to (docker, containerd, crio, podman), from table cgroups; NULL \
              outside of containers and where the path is not known. With several traces open: container(cgroup_id, trace)",
        args: &[1, 2],
        returns: text,
        eval: container,
    },
];

/// For each row the place of its trace; the third argument says it, else there is only one.
fn places(
    lookups: &Lookups,
    call: &str,
    rows: usize,
    trace: Option<&ArrayRef>,
) -> Result<Vec<Option<usize>>> {
    match lookups.places(trace)? {
        Some(places) => Ok(places),
        None if lookups.traces().len() == 1 => Ok(vec![Some(0); rows]),
        None => Err(failed(format!(
            "{} traces are open, and a number means another thing in each: write {call} with the trace of the row",
            lookups.traces().len()
        ))),
    }
}

fn process(lookups: &Lookups, args: &[ArrayRef]) -> Result<ArrayRef> {
    let pids = integers(&args[0])?;
    let times = match args[1].data_type() {
        ty if ty.is_integer() => integers(&args[1])?,
        _ => integers(&cast(&cast(&args[1], &timestamp())?, &DataType::Int64)?)?,
    };
    let places = places(lookups, "process(pid, ts, trace)", pids.len(), args.get(2))?;
    let mut names: Vec<Option<&str>> = Vec::with_capacity(pids.len());
    for ((pid, ts_ns), place) in pids.iter().zip(times.iter()).zip(places) {
        let known = pid.and_then(|pid| u32::try_from(pid).ok()).zip(ts_ns).zip(place);
        names.push(match known {
            Some(((pid, ts_ns), place)) => lookups.processes(place).map_err(failed)?.name(pid, ts_ns),
            None => None,
        });
    }
    Ok(Arc::new(StringArray::from(names)))
}

fn container(lookups: &Lookups, args: &[ArrayRef]) -> Result<ArrayRef> {
    let ids = identifiers(&args[0])?;
    let places = places(lookups, "container(cgroup_id, trace)", ids.len(), args.get(1))?;
    let mut names: Vec<Option<&str>> = Vec::with_capacity(ids.len());
    for (id, place) in ids.into_iter().zip(places) {
        names.push(match id.zip(place) {
            Some((id, place)) => lookups.containers(place).map_err(failed)?.get(&id).map(String::as_str),
            None => None,
        });
    }
    Ok(Arc::new(StringArray::from(names)))
}
