//! Finds the program of a process id and the container of a cgroup id, in the trace that the row comes from.

use std::sync::Arc;

use arrow_array::{ArrayRef, StringArray};
use arrow_cast::cast;
use arrow_schema::DataType;
use datafusion::common::Result;
use schemas::column::timestamp;

use super::lookup::Lookups;
use super::{Args, Def, Dependence, failed, identifiers, integers, text};

/// See each `doc`.
pub const DEFS: &[Def] = &[
    Def {
        name: "process",
        call: "process(pid, ts)",
        doc: "name of the process that had that id at that time, from table processes; NULL before its first row and after \
              its end, and where the recording does not say; process(pid, ts, trace): in that trace",
        args: Args::Any(&[2, 3]),
        depends_on_trace: Dependence::Needed,
        returns: text,
        eval: process,
    },
    Def {
        name: "container",
        call: "container(cgroup_id)",
        doc: "id of the container that a cgroup belongs to (docker, containerd, crio, podman), from table cgroups; NULL \
              outside of containers and where the path is not known; container(cgroup_id, trace): in that trace",
        args: Args::Any(&[1, 2]),
        depends_on_trace: Dependence::Needed,
        returns: text,
        eval: container,
    },
];

fn process(lookups: &Lookups, args: &[ArrayRef]) -> Result<ArrayRef> {
    let pids = integers(&args[0])?;
    let times = match args[1].data_type() {
        ty if ty.is_integer() => integers(&args[1])?,
        _ => integers(&cast(&cast(&args[1], &timestamp())?, &DataType::Int64)?)?,
    };
    let traces = lookups.needed("process(pid, ts, trace)", args.get(2), pids.len())?;
    let mut names: Vec<Option<&str>> = Vec::with_capacity(pids.len());
    for ((pid, ts_ns), trace) in pids.iter().zip(times.iter()).zip(traces) {
        let known = pid.and_then(|pid| u32::try_from(pid).ok()).zip(ts_ns).zip(trace);
        names.push(match known {
            Some(((pid, ts_ns), trace)) => lookups.processes(trace).map_err(failed)?.name(pid, ts_ns),
            None => None,
        });
    }
    Ok(Arc::new(StringArray::from(names)))
}

fn container(lookups: &Lookups, args: &[ArrayRef]) -> Result<ArrayRef> {
    let ids = identifiers(&args[0])?;
    let traces = lookups.needed("container(cgroup_id, trace)", args.get(1), ids.len())?;
    let mut names: Vec<Option<&str>> = Vec::with_capacity(ids.len());
    for (id, trace) in ids.into_iter().zip(traces) {
        names.push(match id.zip(trace) {
            Some((id, trace)) => lookups.containers(trace).map_err(failed)?.get(&id).map(String::as_str),
            None => None,
        });
    }
    Ok(Arc::new(StringArray::from(names)))
}
