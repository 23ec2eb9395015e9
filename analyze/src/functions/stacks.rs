//! Names code addresses and stacks.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::{ArrayRef, StringArray};
use datafusion::common::Result;

use super::lookup::Lookups;
use super::{Args, Def, Dependence, failed, identifiers, integers, text};
use crate::trace::symbols::{Symbols, name_of};

/// `symbol`, which comparisons of code addresses with names use too.
pub const SYMBOL: Def = Def {
    name: "symbol",
    call: "symbol(addr)",
    doc: "name of a code address, such as call_site; the address in hexadecimal if unknown; symbol(addr, trace): in that trace",
    args: Args::Any(&[1]),
    depends_on_trace: Dependence::Needed,
    returns: text,
    eval: |lookups, args| {
        let addrs = identifiers(&args[0])?;
        let traces = lookups.needed("symbol(addr, trace)", args.get(1), addrs.len())?;
        let name = |(addr, trace): (Option<u64>, Option<usize>)| match addr.zip(trace) {
            Some((addr, trace)) => lookups.symbols().names(trace).map(|names| Some(name_of(names, addr))),
            None => Ok(None),
        };
        let texts = addrs.into_iter().zip(traces).map(name);
        Ok(Arc::new(texts.collect::<std::result::Result<StringArray, _>>().map_err(failed)?) as ArrayRef)
    },
};

/// See each `doc`.
pub const DEFS: &[Def] = &[
    SYMBOL,
    Def {
        name: "stack_text",
        call: "stack_text(stack_id)",
        doc: "names of the frames of a stack, innermost first, separated by ' <- '; also (stack_id, trace)",
        args: Args::Any(&[1]),
        depends_on_trace: Dependence::Needed,
        returns: text,
        eval: |lookups, args| of_each(lookups, "stack_text(stack_id, trace)", args, Symbols::stacks),
    },
    Def {
        name: "stack_fold",
        call: "stack_fold(stack_id)",
        doc: "names of the functions of a stack, outermost first, separated by ';', as flame graphs take them: \
              `SELECT stack_fold(kstack), count(*)`; also (stack_id, trace)",
        args: Args::Any(&[1]),
        depends_on_trace: Dependence::Needed,
        returns: text,
        eval: |lookups, args| of_each(lookups, "stack_fold(stack_id, trace)", args, Symbols::folded),
    },
];

/// The texts of all stacks of the trace with that number.
type StacksOf = fn(&Symbols, usize) -> std::result::Result<&HashMap<i64, String>, String>;

/// The text of each stack, of those of its trace.
fn of_each(lookups: &Lookups, call: &str, args: &[ArrayRef], stacks: StacksOf) -> Result<ArrayRef> {
    let ids = integers(&args[0])?;
    let traces = lookups.needed(call, args.get(1), ids.len())?;
    let text = |(id, trace): (Option<i64>, Option<usize>)| match id.zip(trace) {
        Some((id, trace)) => stacks(lookups.symbols(), trace).map(|stacks| stacks.get(&id)),
        None => Ok(None),
    };
    let texts = ids.iter().zip(traces).map(text);
    Ok(Arc::new(texts.collect::<std::result::Result<StringArray, _>>().map_err(failed)?))
}
