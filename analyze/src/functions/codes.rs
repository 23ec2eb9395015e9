//! Names for numbers that the kernel gives a meaning: errors, signals, system calls, allocation flags, devices; and the text of
//! bytes.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{ArrayRef, StringArray};
use arrow_cast::cast;
use arrow_schema::DataType;
use datafusion::common::Result;
use nix::sys::signal::Signal;
use schemas::text::escape;
use syscalls::{Errno, aarch64, x86_64};

use super::lookup::Lookups;
use super::{Args, Def, Dependence, failed, integers, named, text, texts};

/// Machines on which errors and signals have the numbers of Linux's asm-generic, as on the machine that asks.
const GENERIC: &[&str] = &["x86_64", "aarch64", "riscv64", "loongarch64", "s390x"];

/// See each `doc`.
pub const DEFS: &[Def] = &[
    Def {
        name: "errno_name",
        call: "errno_name(ret)",
        doc: "name of the error that a result is, EEXIST of -17; NULL if it is none (0 and more); the number where it \
              has no name",
        args: Args::Any(&[1]),
        depends_on_trace: Dependence::No,
        returns: text,
        eval: |lookups, args| {
            let is_generic = is_generic(lookups);
            named(&args[0], |ret| {
                let error = i32::try_from(ret.checked_neg()?).ok().filter(|_| is_generic);
                let name = error.and_then(|error| Errno::new(error).name());
                (ret < 0).then(|| name.map_or_else(|| ret.to_string(), str::to_owned))
            })
        },
    },
    Def {
        name: "signal_name",
        call: "signal_name(n)",
        doc: "name of a signal, SIGKILL of 9; the number where it has no name, as real-time signals. The signal that \
              ended a process is exit_code & 127 in table processes",
        args: Args::Any(&[1]),
        depends_on_trace: Dependence::No,
        returns: text,
        eval: |lookups, args| {
            let is_generic = is_generic(lookups);
            named(&args[0], |n| {
                let signal = i32::try_from(n).ok().filter(|_| is_generic);
                let name = signal.and_then(|n| Signal::try_from(n).ok()).map(Signal::as_str);
                Some(name.map_or_else(|| n.to_string(), str::to_owned))
            })
        },
    },
    Def {
        name: "syscall_name",
        call: "syscall_name(nr)",
        doc: "name of a system call on the machine of the trace (x86_64 or aarch64), as 64-bit programs number them; \
              the number where it has no name. syscall_name(machine, nr): on that machine, as uname -m says; \
              syscall_name(nr, trace): in that trace",
        args: Args::Any(&[1, 2]),
        depends_on_trace: Dependence::IfTheyDiffer,
        returns: text,
        eval: syscall_name,
    },
    Def {
        name: "gfp_flags",
        call: "gfp_flags(gfp)",
        doc: "names of allocation flags, GFP_KERNEL|__GFP_ZERO, as the recorded kernel says them itself; in hexadecimal \
              where the recording does not carry its names (it has no event kmem, or an older recorder made it), or \
              those of several open traces differ and no column trace says which one it is; gfp_flags(gfp, trace): in that \
              trace",
        args: Args::Any(&[1, 2]),
        depends_on_trace: Dependence::IfTheyDiffer,
        returns: text,
        eval: gfp_flags,
    },
    Def {
        name: "dev_name",
        call: "dev_name(dev)",
        doc: "MAJOR:MINOR of a device number of the kernel (dev_t), as /proc/partitions and lsblk have them; recordings \
              do not carry names such as sda",
        args: Args::Any(&[1]),
        depends_on_trace: Dependence::No,
        returns: text,
        eval: |_, args| {
            named(&args[0], |dev| {
                let dev = u32::try_from(dev).ok()?;
                Some(format!("{}:{}", dev >> 20, dev & 0xf_ffff))
            })
        },
    },
    Def {
        name: "bytes_text",
        call: "bytes_text(bytes)",
        doc: "bytes as text: UTF-8 stays as it is, and each other byte is \\xff, with its value in hexadecimal",
        args: Args::Any(&[1]),
        depends_on_trace: Dependence::No,
        returns: text,
        eval: |_, args| {
            let bytes = cast(&args[0], &DataType::Binary)?;
            let bytes = bytes.as_binary::<i32>();
            Ok(Arc::new(bytes.iter().map(|bytes| bytes.map(escape)).collect::<StringArray>()))
        },
    },
];

fn is_generic(lookups: &Lookups) -> bool {
    lookups.traces().iter().all(|trace| GENERIC.contains(&trace.meta.machine.as_str()))
}

fn syscall_name(lookups: &Lookups, args: &[ArrayRef]) -> Result<ArrayRef> {
    let name = |machine: &str, nr: i64| {
        let number = usize::try_from(nr).ok();
        let name = match machine {
            "x86_64" => number.and_then(x86_64::Sysno::new).map(|call| call.name()),
            "aarch64" => number.and_then(aarch64::Sysno::new).map(|call| call.name()),
            _ => None,
        };
        name.map_or_else(|| nr.to_string(), str::to_owned)
    };
    match args {
        [machines, numbers] if !machines.data_type().is_integer() => {
            let (machines, numbers) = (texts(machines)?, integers(numbers)?);
            let rows = machines.iter().zip(numbers.iter());
            Ok(Arc::new(rows.map(|(machine, nr)| Some(name(machine?, nr?))).collect::<StringArray>()))
        }
        _ => {
            let numbers = integers(&args[0])?;
            let machines: Vec<&str> =
                lookups.traces().iter().map(|trace| trace.meta.machine.as_str()).collect();
            let first = machines.first().copied().unwrap_or_default();
            let Some(traces) = lookups.numbers(args.get(1), numbers.len())? else {
                if let Some(other) = machines.iter().find(|machine| **machine != first) {
                    return Err(failed(format!(
                        "traces of {first} and {other} are open, which number system calls differently: write \
                         syscall_name(nr, trace) or syscall_name(machine, nr)"
                    )));
                }
                return named(&args[0], |nr| Some(name(first, nr)));
            };
            let rows = numbers.iter().zip(traces);
            Ok(Arc::new(
                rows.map(|(nr, trace)| Some(name(machines.get(trace?)?, nr?))).collect::<StringArray>(),
            ))
        }
    }
}

fn gfp_flags(lookups: &Lookups, args: &[ArrayRef]) -> Result<ArrayRef> {
    let flags = integers(&args[0])?;
    let traces = lookups.traces();
    let mut tables = traces.iter().map(|trace| trace.meta.gfp_flags.as_slice());
    let first = tables.next().unwrap_or_default();
    let of_all = if tables.all(|table| table == first) { first } else { &[] };
    let numbers = lookups.numbers(args.get(1), flags.len())?;
    let text = |(row, flags): (usize, Option<i64>)| {
        let table = match &numbers {
            None => of_all,
            Some(numbers) => traces[numbers[row]?].meta.gfp_flags.as_slice(),
        };
        Some(flag_names(flags?.cast_unsigned(), table))
    };
    Ok(Arc::new(flags.iter().enumerate().map(text).collect::<StringArray>()))
}

/// As the kernel prints flags: those of `table` that match, in its order, then what is left in hexadecimal.
fn flag_names(mut flags: u64, table: &[(u64, String)]) -> String {
    if table.is_empty() {
        return format!("{flags:#x}");
    }
    if flags == 0 {
        return "none".to_owned();
    }
    let mut names = Vec::new();
    for (mask, name) in table {
        if *mask != 0 && flags & mask == *mask {
            flags &= !mask;
            names.push(name.clone());
        }
    }
    if flags != 0 {
        names.push(format!("{flags:#x}"));
    }
    names.join("|")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_named_as_the_kernel_names_them() {
        let table = [(0xc0, "KERNEL"), (0x80, "FS"), (0x40, "IO"), (0, "SKIP"), (0x100, "ZERO")];
        let table = table.map(|(mask, name)| (mask, name.to_owned()));
        assert_eq!(flag_names(0x1c0, &table), "KERNEL|ZERO");
        assert_eq!(flag_names(0x1000_0080, &table), "FS|0x10000000");
        assert_eq!(flag_names(0, &table), "none");
        assert_eq!(flag_names(0xcc0, &[]), "0xcc0");
    }
}
