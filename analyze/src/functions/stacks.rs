//! Code addresses and stacks -> names.

use std::sync::Arc;

use arrow_array::{ArrayRef, StringArray};
use datafusion::common::Result;

use super::{Def, failed, identifiers, integers, text};
use crate::symbols::name_of;

/// `symbol`, which comparisons of code addresses with names use too.
pub const SYMBOL: Def = Def {
    name: "symbol",
    call: "symbol(addr)",
    doc: "name of a code address, such as call_site; the address in hexadecimal if unknown",
    args: &[1],
    returns: text,
    eval: |lookups, args| {
        let names = lookups.symbols().names().map_err(failed)?;
        let texts = identifiers(&args[0])?.into_iter().map(|addr| addr.map(|addr| name_of(names, addr)));
        Ok(Arc::new(texts.collect::<StringArray>()) as ArrayRef)
    },
};

/// See each `doc`.
pub const DEFS: &[Def] = &[
    SYMBOL,
    Def {
        name: "stack_text",
        call: "stack_text(stack_id)",
        doc: "names of the frames of a stack, innermost first, separated by ' <- '",
        args: &[1],
        returns: text,
        eval: |lookups, args| {
            let stacks = lookups.symbols().stacks().map_err(failed)?;
            of_each(&args[0], |id| stacks.get(&id).map(String::as_str))
        },
    },
    Def {
        name: "stack_fold",
        call: "stack_fold(stack_id)",
        doc: "names of the functions of a stack, outermost first, separated by ';', as flame graphs take them: \
              `SELECT stack_fold(kstack), count(*)`",
        args: &[1],
        returns: text,
        eval: |lookups, args| {
            let stacks = lookups.symbols().folded().map_err(failed)?;
            of_each(&args[0], |id| stacks.get(&id).map(String::as_str))
        },
    },
];

fn of_each<'a>(ids: &ArrayRef, text: impl Fn(i64) -> Option<&'a str>) -> Result<ArrayRef> {
    let ids = integers(ids)?;
    Ok(Arc::new(ids.iter().map(|id| text(id?)).collect::<StringArray>()))
}
