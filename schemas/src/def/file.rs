//! The TOML of a definition -> [`EventDef`]: keys, expressions, and what a probe inherits from its source.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{
    Aggregate, ColumnDef, Context, DEFAULT_WEIGHT, DefError, Each, EventDef, ProbeDef, SourceDef, check, fail,
};
use crate::column::Type;
use crate::expr::{Field, Target};

/// Read a definition in TOML, as in `schemas/events`. Fails if it is not TOML, has a key that has no meaning, an
/// expression that cannot be read, or columns and sources that do not fit together.
pub fn parse_toml(name: &str, text: &str) -> Result<EventDef, DefError> {
    let raw: RawEvent = toml::from_str(text)
        .map_err(|error| DefError(format!("event {name}: {}", error.to_string().trim_end())))?;
    let RawEvent { summary, excludes, always, context, weight, source, column, aggregate } = raw;
    let mut columns = Vec::new();
    for RawColumn { name: column, ty, unit, doc, subject, optional: is_optional, expr } in column {
        if is_optional && ty.is_none() {
            return fail(format!("event {name}, column {column}: an optional column needs a type"));
        }
        let expr = optional(expr.as_deref(), || format!("event {name}, column {column}, expr"))?;
        columns.push(ColumnDef { name: column, ty, unit, doc, subject, is_optional, expr });
    }
    let mut sources = Vec::new();
    for raw in source {
        sources.push(source_def(name, raw)?);
    }
    let weight = weight.unwrap_or(DEFAULT_WEIGHT);
    let event = EventDef {
        name: name.to_owned(),
        summary,
        always,
        context,
        weight,
        sources,
        excludes,
        columns,
        everything: false,
        only_if: None,
        aggregate: aggregate.map(RawAggregate::parse).transpose().map_err(|e| e.within(name))?,
    };
    check(&event)?;
    Ok(event)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawEvent {
    summary: String,
    excludes: Option<String>,
    #[serde(default)]
    always: bool,
    #[serde(default)]
    context: Context,
    weight: Option<u32>,
    source: Vec<RawSource>,
    column: Vec<RawColumn>,
    aggregate: Option<RawAggregate>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawAggregate {
    #[serde(default)]
    count: Vec<String>,
    #[serde(default)]
    sum: Vec<String>,
    hist: Option<String>,
}

impl RawAggregate {
    fn parse(self) -> Result<Aggregate, DefError> {
        let Self { count, sum, hist } = self;
        Aggregate::new(count, &sum, hist.as_deref())
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSource {
    name: Option<String>,
    #[serde(default)]
    optional: bool,
    covers: Option<String>,
    each: Option<RawEach>,
    pid: Option<String>,
    tid: Option<String>,
    #[serde(default)]
    filter_pids: Vec<String>,
    begins: Option<String>,
    ends: Option<String>,
    #[serde(default)]
    nests: bool,
    #[serde(default, rename = "let")]
    lets: BTreeMap<String, String>,
    #[serde(rename = "where")]
    predicate: Option<String>,
    #[serde(default)]
    set: BTreeMap<String, String>,
    #[serde(default)]
    when: BTreeMap<String, String>,
    probe: Vec<RawProbe>,
}

/// Keys here go before those of the source; tables are merged key by key.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawProbe {
    on: String,
    #[serde(default, rename = "let")]
    lets: BTreeMap<String, String>,
    #[serde(rename = "where")]
    predicate: Option<String>,
    once: Option<String>,
    #[serde(default)]
    set: BTreeMap<String, String>,
    #[serde(default)]
    when: BTreeMap<String, String>,
    #[serde(default)]
    misses: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawEach {
    count: String,
    array: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawColumn {
    name: String,
    #[serde(rename = "type")]
    ty: Option<Type>,
    unit: Option<String>,
    doc: String,
    subject: Option<String>,
    #[serde(default)]
    optional: bool,
    expr: Option<String>,
}

fn source_def(event: &str, source: RawSource) -> Result<SourceDef, DefError> {
    let RawSource {
        name,
        optional: is_optional,
        covers,
        each,
        pid,
        tid,
        filter_pids,
        begins,
        ends,
        nests,
        lets,
        predicate,
        set,
        when,
        probe,
    } = source;
    let mut probes = Vec::new();
    let mut name = name;
    for probe in probe {
        let RawProbe {
            on,
            lets: own_lets,
            predicate: own_predicate,
            once,
            set: own_set,
            when: own_when,
            misses,
        } = probe;
        let target =
            Target::parse(&on).map_err(|error| DefError(format!("event {event}, probe on: {error}")))?;
        let name = name.get_or_insert_with(|| target.default_name());
        let at = |key: &str| format!("event {event}, source {name}, probe {target}, {key}");
        let table = |key: &str, base: &BTreeMap<String, String>, own: BTreeMap<String, String>| {
            let mut all = base.clone();
            all.extend(own);
            let parse = |(k, text): (String, String)| {
                let value = field(&text, || at(&format!("{key} {k}")))?;
                Ok((k, value))
            };
            all.into_iter().map(parse).collect::<Result<BTreeMap<String, Field>, DefError>>()
        };
        let predicate = own_predicate.as_ref().or(predicate.as_ref());
        let condition = |text: &str, at: String| {
            Field::parse_predicate(text).map_err(|error| DefError(format!("{at}: {error}")))
        };
        let each = match &each {
            Some(RawEach { count, array }) => Some(Each {
                count: field(count, || at("each count"))?,
                array: field(array, || at("each array"))?,
            }),
            None => None,
        };
        let filter_pids =
            filter_pids.iter().map(|text| field(text, || at("filter_pids"))).collect::<Result<_, _>>()?;
        probes.push(ProbeDef {
            lets: table("let", &lets, own_lets)?,
            predicate: predicate.map(|text| condition(text, at("where"))).transpose()?,
            set: table("set", &set, own_set)?,
            when: when
                .iter()
                .chain(&own_when)
                .map(|(k, text)| Ok((k.clone(), condition(text, at(&format!("when {k}")))?)))
                .collect::<Result<_, DefError>>()?,
            pid: optional(pid.as_deref(), || at("pid"))?,
            tid: optional(tid.as_deref(), || at("tid"))?,
            filter_pids,
            each,
            begins: optional(begins.as_deref(), || at("begins"))?,
            ends: optional(ends.as_deref(), || at("ends"))?,
            once: optional(once.as_deref(), || at("once"))?,
            nests,
            misses,
            on: target,
        });
    }
    let Some(name) = name else {
        return fail(format!(
            "event {event}: a source has no probe: add [[source.probe]] with on = \"KIND:TARGET\""
        ));
    };
    Ok(SourceDef { name, optional: is_optional, covers, probes })
}

fn field(text: &str, at: impl Fn() -> String) -> Result<Field, DefError> {
    Field::parse(text).map_err(|error| DefError(format!("{}: {error}", at())))
}

fn optional(text: Option<&str>, at: impl Fn() -> String) -> Result<Option<Field>, DefError> {
    text.map(|text| field(text, at)).transpose()
}
