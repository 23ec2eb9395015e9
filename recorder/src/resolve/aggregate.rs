//! What an event is counted by -> the keys and sums that its programs store, and the columns of its rows.
//!
//! ```text
//! record: header | keys, the power of two of the histogram last | sums
//! row:    header | keys                                         | values (the engine makes them of the table of keys)
//! ```

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use schemas::column::{COUNT, Column, Type};
use schemas::def::{Aggregate, ColumnDef, EventDef, MAX_COLUMNS, Measure};
use schemas::expr::{Field, ParseError, near};
use schemas::wire::{MAX_KEY, RecordHeader, subject};

use super::Stacks;
use super::columns::{Output, What};
use super::compile;
use super::layout::{How, Keys, Recorded, Stored, layout};
use super::lower::{Lower, Value};
use super::nodes::{Bits, Formula};
use super::scope::Offer;
use crate::kernel::Kernel;

/// Column that says how long an interval was.
const INTERVAL: &str = "interval_ns";
/// Columns that every table has and that can be keys, with what of the subject they are.
const SUBJECTS: [(&str, u64); 3] =
    [("pid", subject::NO_PID << 32), ("tid", subject::NO_TID), ("ctx", subject::UNKNOWN << subject::SHIFT)];
/// The columns that all rows are told apart by anyway.
const ANYWAY: [&str; 2] = ["cpu", "probe"];

/// The keys that are part of a record's subject: those of which `mask` has the bits.
pub(super) fn subjects(mask: u64) -> Vec<&'static str> {
    SUBJECTS.iter().filter(|(_, bits)| mask & bits == *bits).map(|(name, _)| *name).collect()
}

/// Stacks that are recorded because they are keys, too.
pub(super) fn stacks(def: &EventDef, stacks: Stacks) -> Stacks {
    let has = |name: &str| def.aggregate.iter().flat_map(|aggregate| &aggregate.keys).any(|key| key == name);
    let kernel = has("kstack") || matches!(stacks, Stacks::Kernel | Stacks::Both);
    let user = has("ustack") || matches!(stacks, Stacks::User | Stacks::Both);
    match (kernel, user) {
        (false, false) => Stacks::None,
        (true, false) => Stacks::Kernel,
        (false, true) => Stacks::User,
        (true, true) => Stacks::Both,
    }
}

/// What the programs of an aggregated event store. Fails if a key is no column of the event or has no fixed size, or if
/// what is added up is no number.
pub(super) fn recorded(
    kernel: &Kernel,
    def: &EventDef,
    aggregate: &Aggregate,
    (columns, types): (&[ColumnDef], &[Type]),
    offers: &[Vec<Offer<'_>>],
) -> Result<Recorded> {
    let measured = |option: &str, measure: &Measure, column: &str| {
        measured(kernel, (columns, types), offers, measure, column)
            .with_context(|| format!("{option} {}", measure.field.text.trim()))
    };
    let mut subject = 0;
    let mut keys: Vec<(ColumnDef, Type, How)> = Vec::new();
    for key in &aggregate.keys {
        if let Some(i) = columns.iter().position(|column| column.name == *key) {
            ensure!(
                types[i].most_bytes().is_none(),
                "--count {key}: it is {}, which may have any length: it cannot be a key",
                types[i]
            );
            keys.push((columns[i].clone(), types[i].clone(), How::Column));
        } else if let Some((_, mask)) = SUBJECTS.iter().find(|(name, _)| name == key) {
            subject |= mask;
        } else if !ANYWAY.contains(&key.as_str()) {
            let names =
                || columns.iter().map(|c| c.name.as_str()).chain(SUBJECTS.iter().map(|(name, _)| *name));
            let near = near(key, names());
            let hint = match near.first() {
                Some(first) => format!("did you mean {first}? "),
                None => String::new(),
            };
            bail!(
                "--count {key}: there is no such column: {hint}it has {}",
                names().collect::<Vec<_>>().join(", ")
            );
        }
    }
    // What the engine makes, with the unit of what it is made of.
    let mut values: Vec<(String, Type, Option<String>, String)> = Vec::new();
    if let Some(hist) = &aggregate.hist {
        let (mut column, ty) = measured("--hist", hist, &format!("from_{}", hist.name))?;
        let what = &hist.field.text;
        column.doc = format!(
            "least value of {what} in this row: a power of two (0 for 0; of negative numbers likewise)"
        );
        let doc = format!("greatest value of {what} in this row");
        values.push((format!("to_{}", hist.name), ty.clone(), column.unit.clone(), doc));
        keys.push((column, ty, How::Power));
    }
    let ns = Some("ns".to_owned());
    values.push((
        INTERVAL.to_owned(),
        Type::Signed(64),
        ns,
        "length of the interval: it began at ts - interval_ns".to_owned(),
    ));
    values.push((COUNT.to_owned(), Type::Signed(64), None, "how many events".to_owned()));
    let mut sums = Vec::new();
    for sum in &aggregate.sums {
        let (column, ty) = measured("--sum", sum, &format!("sum_{}", sum.name))?;
        let what = &sum.field.text;
        let doc = format!("how many of the events had a value of {what}, which was not NULL");
        values.push((format!("count_{}", sum.name), Type::Signed(64), None, doc));
        let doc = format!("sum of {what}, modulo 2^64; NULL if no event had a value");
        values.push((column.name.clone(), ty.clone(), column.unit.clone(), doc));
        sums.push((column, ty));
    }

    let key_columns: Vec<ColumnDef> = keys.iter().map(|(column, ..)| column.clone()).collect();
    let (mut rows, stash_size) =
        layout(def, &key_columns, keys.iter().map(|(_, ty, _)| ty.clone()).collect())?;
    let end = rows.record_size;
    ensure!(
        end as usize <= size_of::<RecordHeader>() + MAX_KEY,
        "the keys have {} bytes, the limit is {MAX_KEY}: leave some out, or shorten strings",
        end as usize - size_of::<RecordHeader>()
    );
    let n_keys = keys.len();
    let n = n_keys + values.len();
    ensure!(n <= MAX_COLUMNS, "it would have {n} columns, the limit is {MAX_COLUMNS}: leave some out");
    let mut stored: Vec<Stored> = (keys.into_iter().zip(&rows.columns))
        .map(|((column, _, how), place)| Stored { column, place: place.clone(), how })
        .collect();
    let n_sums = sums.len();
    for (i, (column, ty)) in sums.into_iter().enumerate() {
        let (offset, bit) = (end as u16 + 8 * i as u16, (n_keys + i) as u8);
        let (name, unit, doc) = (column.name.clone(), column.unit.clone(), column.doc.clone());
        let place = Column { name, ty, unit, doc, offset, bit };
        stored.push(Stored { column, place, how: How::Measure });
    }
    for (i, (name, ty, unit, doc)) in values.into_iter().enumerate() {
        let is_taken = rows.columns.iter().any(|other| other.name.eq_ignore_ascii_case(&name));
        ensure!(
            !is_taken,
            "its table has a column {name} of its own: give the key another name (NAME=expression in braces), or the sum \
             (--sum NAME=EXPR)"
        );
        let (offset, bit) = (end as u16 + 8 * i as u16, (n_keys + i) as u8);
        rows.columns.push(Column { name, ty, unit, doc, offset, bit });
        rows.record_size += 8;
    }
    rows.aggregate = true;
    rows.summary = format!(
        "{}: counted in the kernel, a row for each interval, processor and combination of keys that there was",
        def.summary.trim_end_matches('.')
    );
    let from = if subject == 0 {
        std::mem::offset_of!(RecordHeader, seq)
    } else {
        std::mem::offset_of!(RecordHeader, pid_tgid)
    };
    let bits = 1u64.unbounded_shl(n_keys as u32).wrapping_sub(1) as u32;
    let keys = Keys { subject, bits, from: from as u16, end: end as u16, sums: n_sums as u8 };
    Ok(Recorded { layout: rows, stored, stash_size, record_size: end + 8 * n_sums as u32, keys: Some(keys) })
}

/// A number of 64 bits of the event, as a column called `name`.
fn measured(
    kernel: &Kernel,
    (columns, types): (&[ColumnDef], &[Type]),
    offers: &[Vec<Offer<'_>>],
    measure: &Measure,
    name: &str,
) -> Result<(ColumnDef, Type)> {
    let mut column = ColumnDef {
        name: name.to_owned(),
        ty: None,
        unit: None,
        doc: measure.field.text.clone(),
        subject: None,
        is_optional: false,
        expr: Some(measure.field.clone()),
    };
    let of = measure.column().and_then(|name| columns.iter().position(|column| column.name == name));
    let found = match of {
        Some(i) => {
            column.unit = columns[i].unit.clone();
            let is_early = |field: &Field| matches!(field.expr.kind, schemas::expr::Kind::Entry(_));
            let mut probes = offers.iter().flatten().map(|offer| offer.probe);
            ensure!(
                !probes.any(|probe| probe.value(&columns[i]).is_some_and(is_early)),
                "a value that is read at the entry can be a key only (--count)"
            );
            types[i].clone()
        }
        None => compile::infer(kernel, columns, &column, offers, How::Measure)?,
    };
    if matches!(measure.field.expr.kind, schemas::expr::Kind::Duration) {
        column.unit = Some("ns".to_owned());
    }
    let ty = match found {
        Type::Unsigned(_) | Type::Bool => Type::Unsigned(64),
        Type::Signed(_) => Type::Signed(64),
        other => return Err(anyhow!("it is {other}, and no number that can be added up")),
    };
    Ok((column, ty))
}

impl Lower<'_> {
    /// What to store of an expression about the row.
    pub(super) fn measure(
        &mut self,
        field: &Field,
        place: &Column,
        is_power: bool,
    ) -> Result<Vec<Output>, ParseError> {
        let columns_first = std::mem::replace(&mut self.columns_first, true);
        let guards = self.guards.replace(Vec::new());
        let value = self.field(field);
        let guards = std::mem::replace(&mut self.guards, guards).unwrap_or_default();
        self.columns_first = columns_first;
        let value = value?;
        if matches!(value, Value::Null | Value::Missing) {
            return Ok(vec![self.null(place)]);
        }
        let mut node = self.integer(field, value)?.node;
        if is_power {
            let signed = matches!(place.ty, Type::Signed(_));
            // All 64 bits are there already, with the sign.
            let keep = if signed { 64 } else { 0 };
            node = self.nodes.bits(node, Bits { keep, signed, power: true, ..Bits::default() });
        }
        let what = What::Integer { node, width: 8 };
        Ok(vec![Output { what, dst: place.offset, bit: place.bit, guard: Formula::all(guards), soft: false }])
    }
}
