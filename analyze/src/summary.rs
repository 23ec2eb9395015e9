//! Writes a page about the traces of a session: what is there, what is missing, what to ask next.

use std::collections::HashMap;
use std::io::Write;

use anyhow::Result;
use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Array, RecordBatch, TimestampNanosecondArray};
use arrow_cast::display::{ArrayFormatter, FormatOptions};
use schemas::trace::{Frozen, FrozenBy, NOT_OBSERVED};

use crate::library::analysis::TableUse;
use crate::loss::{Loss, known_line, losses, of_trace, unobserved};
use crate::session::{KnownUntil, Session};
use crate::times::seconds;
use crate::trace::Trace;
use crate::united::DICTIONARIES;

/// Write the page; the second value is true if there is doubt: a loss.
///
/// Fails if a table cannot be read or `out` cannot be written.
pub async fn write(session: &Session, out: &mut impl Write) -> Result<bool> {
    let distinct = distinct_rows(session).await?;
    for (number, trace) in session.traces.iter().enumerate() {
        if number > 0 {
            writeln!(out)?;
        }
        header(trace, out)?;
        tables(trace, &distinct, out)?;
    }
    clock_steps(session, out)?;
    unknown_cgroups(session, out).await?;
    let lost = losses(session, &[], None).await?;
    let known = session.losses_known_until();
    let is_whole = session.warnings().next().is_none();
    write_losses(&lost, &known, is_whole, session.start_ns(), out)?;
    let ways = unobserved(session, &[]).await?;
    if !ways.is_empty() {
        writeln!(out, "Not observed, so neither recorded nor counted as lost:")?;
    }
    for way in ways {
        writeln!(out, "  {}", way.escape_debug())?;
    }
    probes(session, out).await?;
    next(session, out)?;
    Ok(lost.iter().any(Loss::is_doubt) || known.iter().any(|known| !known.is_live))
}

fn header(trace: &Trace, out: &mut impl Write) -> Result<()> {
    let meta = &trace.meta;
    let clean = |text: &str| text.escape_debug().to_string();
    let end = trace.end_ns();
    writeln!(out, "{}", trace.dir.display())?;
    writeln!(
        out,
        "  host      {}, Linux {} {}, {} processors",
        clean(&meta.host),
        clean(&meta.kernel_release),
        clean(&meta.machine),
        meta.cpus
    )?;
    writeln!(
        out,
        "  recorded  {} to {} ({})",
        time(meta.start_ns),
        time(end),
        seconds(end.saturating_sub(meta.start_ns))
    )?;
    writeln!(out, "  state     {}", trace.state_text())?;
    if let Some(kept_ns) = meta.kept_from_ns {
        writeln!(
            out,
            "  kept      from {} on ({} after the start): older rows were removed while recording",
            time(kept_ns),
            seconds(kept_ns.saturating_sub(meta.start_ns))
        )?;
    }
    if let Some(Frozen { by, text, event: _, from }) = &meta.frozen {
        let why = text.as_ref().map(|text| format!(" '{}'", clean(text))).unwrap_or_default();
        let by = match by {
            FrozenBy::Signal => "signal",
            FrozenBy::Command => "command",
            FrozenBy::Trigger => "trigger",
        };
        writeln!(out, "  snapshot  of {}, by {by}{why}", clean(from))?;
    }
    writeln!(out, "  command   {}", clean(&meta.command_line.join(" ")))?;
    if let Some(code) = meta.command_exit_code {
        writeln!(out, "  exit code {code}")?;
    }
    Ok(())
}

fn time(ns: i64) -> String {
    let array = TimestampNanosecondArray::from(vec![ns]).with_timezone("UTC");
    let options = FormatOptions::default().with_display_error(true);
    ArrayFormatter::try_new(&array, &options).map_or_else(|_| ns.to_string(), |f| f.value(0).to_string())
}

/// Rows by trace and table, where some are written anew in each epoch and count once.
async fn distinct_rows(session: &Session) -> Result<HashMap<(String, String), i64>> {
    let mut found = HashMap::new();
    for name in DICTIONARIES.map(|(name, _)| name) {
        if !session.traces.iter().any(|trace| trace.table(name).is_some_and(|table| table.is_repeated)) {
            continue;
        }
        let counts = session.collect_each(&format!("SELECT count(*) AS n FROM {name}")).await?;
        for (trace, batch) in counts {
            let Some(trace) = trace.or_else(|| Some(session.traces.first()?.name())) else { continue };
            let count = batch.column(0).as_primitive::<Int64Type>().iter().flatten().sum();
            found.insert((trace, name.to_owned()), count);
        }
    }
    Ok(found)
}

fn tables(trace: &Trace, distinct: &HashMap<(String, String), i64>, out: &mut impl Write) -> Result<()> {
    writeln!(out, "\n  {:14} {:>12}  {:>12} {:>12}  what", "table", "rows", "first", "last")?;
    for table in &trace.tables {
        let when =
            |ns: Option<i64>| ns.map_or("-".to_owned(), |ns| seconds(ns.saturating_sub(trace.meta.start_ns)));
        let span = table.span();
        let distinct = distinct.get(&(trace.name(), table.name.clone()));
        writeln!(
            out,
            "  {:14} {:>12}  {:>12} {:>12}  {}",
            table.name,
            distinct.map_or(table.rows(), |rows| rows.cast_unsigned()),
            when(span.map(|s| s.0)),
            when(span.map(|s| s.1)),
            table.summary.escape_debug()
        )?;
    }
    Ok(())
}

fn clock_steps(session: &Session, out: &mut impl Write) -> Result<()> {
    const TOLD: usize = 5;
    let several = session.traces.len() > 1;
    for (trace, clock) in session.traces.iter().zip(session.clocks()?) {
        let of = if several { trace.name() } else { trace.meta.host.clone() };
        let steps: Vec<(i64, i64)> = clock.steps().collect();
        for (ts_ns, step_ns) in steps.iter().take(TOLD) {
            let direction = if *step_ns < 0 { "back" } else { "forward" };
            writeln!(
                out,
                "\nThe wall clock of {} was set {direction} by {:.6} s {} after the start: ts is not affected, --from and --to \
                 with a date mean what it showed.",
                of.escape_debug(),
                step_ns.unsigned_abs() as f64 / 1e9,
                seconds(ts_ns.saturating_sub(trace.meta.start_ns))
            )?;
        }
        if steps.len() > TOLD {
            writeln!(out, "It was set {} times more: table clock has all of them.", steps.len() - TOLD)?;
        }
    }
    Ok(())
}

async fn unknown_cgroups(session: &Session, out: &mut impl Write) -> Result<()> {
    let counts = session.collect_each("SELECT count(*) AS n FROM cgroups WHERE path IS NULL").await?;
    for (trace, batch) in counts {
        let of = of_trace(trace.as_deref());
        for count in batch.column(0).as_primitive::<Int64Type>().iter().flatten().filter(|count| *count > 0) {
            writeln!(
                out,
                "\n{of}{count} cgroups have no path (cgroups.path is NULL): no event and no directory told it."
            )?;
        }
    }
    Ok(())
}

fn write_losses(
    lost: &[Loss],
    known: &[KnownUntil],
    is_whole: bool,
    start_ns: i64,
    out: &mut impl Write,
) -> Result<()> {
    let lines: Vec<String> = known.iter().map(|known| known_line(known, start_ns)).collect();
    let mut below = &lines[..];
    match (lost.is_empty(), known) {
        (true, []) if !is_whole => {
            writeln!(out, "\nNo losses are told, but not all of the trace is there: see the warnings.")?
        }
        (true, []) => writeln!(out, "\nNo losses: every event that the probes saw is there.")?,
        (true, [KnownUntil { trace: None, .. }]) => {
            writeln!(out, "\nNo losses {}", lines.concat())?;
            below = &[];
        }
        (true, _) => writeln!(out, "\nNo losses, but not all are known")?,
        (false, _) => writeln!(out, "\nLosses")?,
    }
    for loss in lost {
        writeln!(out, "  {}", loss.line(start_ns))?;
    }
    for known in below {
        writeln!(out, "  {known}")?;
    }
    Ok(())
}

async fn probes(session: &Session, out: &mut impl Write) -> Result<()> {
    let batches = session
        .collect_each(
            "SELECT event, source, kind, target, attached, coalesce(reason, '') AS reason FROM probes
             ORDER BY event, source, attached DESC, target",
        )
        .await?;
    let mut told = None;
    for (trace, batch) in batches.iter().filter(|(_, batch)| batch.num_rows() > 0) {
        if told != Some(trace) {
            let of = trace.as_ref().map(|trace| format!(" of {}", trace.escape_debug()));
            writeln!(out, "\nProbes{}", of.unwrap_or_default())?;
            told = Some(trace);
        }
        for row in 0..batch.num_rows() {
            writeln!(out, "  {}", probe_line(batch, row)?)?;
        }
    }
    Ok(())
}

fn probe_line(batch: &RecordBatch, row: usize) -> Result<String> {
    let text = |column: usize| -> Result<String> {
        let options = FormatOptions::default();
        Ok(ArrayFormatter::try_new(batch.column(column).as_ref(), &options)?.value(row).to_string())
    };
    let attached = batch.column(4).as_boolean();
    let mark = if attached.is_valid(row) && attached.value(row) { "attached" } else { "not used" };
    let reason = text(5)?;
    let why = if reason.is_empty() { String::new() } else { format!(": {reason}") };
    let (kind, target) = (text(2)?, text(3)?);
    let line = match kind == NOT_OBSERVED {
        true => format!("{kind}  {}.{}  {target}{why}", text(0)?, text(1)?),
        false => format!("{mark}  {}.{}  {kind}:{target}{why}", text(0)?, text(1)?),
    };
    Ok(line.escape_debug().to_string().replace("\\'", "'").replace("\\\"", "\""))
}

fn next(session: &Session, out: &mut impl Write) -> Result<()> {
    let Some(trace) = session.traces.first() else { return Ok(()) };
    let dir = trace.dir.display();
    writeln!(out, "\nAsk next")?;
    let has_rows =
        |used: &TableUse| session.traces.iter().any(|t| t.table(&used.name).is_some_and(|t| t.rows() > 0));
    let all = session.library().all().iter();
    for analysis in all.filter(|a| !a.tables.is_empty() && a.tables.iter().all(has_rows)) {
        writeln!(out, "  {:40} # {}", format!("analyze {} {dir}", analysis.name), analysis.summary)?;
    }
    if let Some(table) = trace.tables.iter().filter(|t| t.is_event).max_by_key(|t| t.rows()) {
        writeln!(out, "  analyze sql {dir} 'SELECT * FROM {} ORDER BY ts LIMIT 20'", table.name)?;
    }
    Ok(())
}
