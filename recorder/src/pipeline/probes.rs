//! Probes that were tried in; rows of table probes out.

use std::sync::Arc;

use anyhow::Result;
use arrow_array::builder::{
    BooleanBuilder, StringBuilder, StringDictionaryBuilder, TimestampNanosecondBuilder, UInt16Builder,
};
use arrow_array::types::Int32Type;
use arrow_array::{ArrayRef, RecordBatch};
use schemas::frames::ProbeRow;
use schemas::trace::PROBES;

use super::count_rows::side_schema;

/// All rows of the table.
pub fn batch(rows: &[ProbeRow]) -> Result<RecordBatch> {
    let mut numbers = UInt16Builder::new();
    let mut texts: [StringDictionaryBuilder<Int32Type>; 3] = Default::default();
    let mut targets = StringBuilder::new();
    let mut attached = BooleanBuilder::new();
    let mut reasons = StringBuilder::new();
    let mut times: [TimestampNanosecondBuilder; 2] = Default::default();
    let mut programs = StringBuilder::new();
    for ProbeRow { probe, event, source, kind, target, reason, attached_ns, detached_ns, program } in rows {
        numbers.append_option(*probe);
        for (builder, text) in texts.iter_mut().zip([event, source, kind]) {
            builder.append_value(text);
        }
        targets.append_value(target);
        attached.append_value(probe.is_some());
        reasons.append_option(reason.as_deref());
        times[0].append_option(*attached_ns);
        times[1].append_option(*detached_ns);
        programs.append_option(program.as_deref());
    }
    let mut columns: Vec<ArrayRef> = vec![Arc::new(numbers.finish())];
    columns.extend(texts.iter_mut().map(|b| Arc::new(b.finish()) as ArrayRef));
    columns.extend([
        Arc::new(targets.finish()) as ArrayRef,
        Arc::new(attached.finish()),
        Arc::new(reasons.finish()),
    ]);
    columns.extend(times.iter_mut().map(|b| Arc::new(b.finish().with_timezone("UTC")) as ArrayRef));
    columns.push(Arc::new(programs.finish()));
    Ok(RecordBatch::try_new(side_schema(PROBES)?, columns)?)
}
