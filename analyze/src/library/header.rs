//! The text of a file `NAME.sql` goes in, an [`Analysis`] comes out.
//!
//! The header of a file is its comment lines up to the first other line (docs/adding-an-analysis.md):
//! ```text
//! -- One sentence: the question it answers.
//! --
//! -- More text.
//! --
//! -- @table packets(saddr ip, proto u8)             a table it reads, and the event's columns with their types
//! -- @param min_age_ns duration = 500ms: doc        see ParamType
//! -- @column bytes s64 [bytes]: doc                 in order; the unit in brackets is optional
//! -- @loss what a loss in those tables makes uncertain
//! -- @tool opensnoop: opensnoop -x | recorder record opens | analyze opens x.trace
//! --     What it gets wrong.                        a tool of bcc or bpftrace that asks the same: there and here
//! -- @answer losses                                 the rows are losses, and to have none is good
//! -- @as table                                      the name alone, without parentheses, is the table of its rows
//! -- @note                                          a query of one text, said below the rows if there are losses
//! --     SELECT ...
//! ```
//! A line that is indented goes on with the tag above it. In the SQL, `$min_age_ns` stands for the parameter.

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{
    Expr, Query, Statement as SqlStatement, Value, ValueWithSpan, Visit, Visitor,
};
use datafusion::sql::sqlparser::tokenizer::Span;

use crate::library::analysis::{Analysis, Answer, ClassicTool, ColumnDoc, Param, TableUse};
use crate::library::params::ParamType;
use crate::library::reserved::OPTIONS;
use crate::sql::near::near;
use crate::sql::parse::parse as parse_sql;
use crate::sql::problem::Problem;

/// What is said of losses if the header does not.
pub const ANY_LOSS: &str =
    "rows are missing or incomplete: counts may be too small, and that something is not there proves little";

/// A tag of the header with the text after it.
struct Tag<'a> {
    /// Line of the file, from 0.
    line: usize,
    name: &'a str,
    text: String,
    /// Lines of the file that go on with it.
    more: Vec<usize>,
}

/// Read `text`. Its lines are numbered from `first_line + 1` in the spans of the queries; messages name `title`.
///
/// Fails with one line that names file and line.
pub fn parse(name: &str, text: &str, title: &str, file: Option<&Path>, first_line: u64) -> Result<Analysis> {
    let lines: Vec<&str> = text.lines().collect();
    let header = lines.iter().take_while(|line| line.starts_with("--")).count();
    let place = |line: usize| format!("{title}:{}", line + 1);
    ensure!(
        header > 0,
        "{}: the file has no header: begin it with a comment that says what it answers",
        place(0)
    );
    let comments: Vec<&str> =
        lines[..header].iter().map(|line| line[2..].strip_prefix(' ').unwrap_or(&line[2..])).collect();
    let (doc, tags) = tags(&comments, 1);
    let summary = comments[0].trim().to_owned();
    ensure!(
        !summary.is_empty() && !summary.starts_with('@'),
        "{}: the first line must say in one sentence what it answers",
        place(0)
    );
    let query = query(text, header..lines.len(), title, first_line)?;
    let mut analysis = Analysis {
        name: name.to_owned(),
        file: file.map(Path::to_owned),
        summary,
        doc,
        tables: Vec::new(),
        params: Vec::new(),
        columns: Vec::new(),
        loss: String::new(),
        tools: Vec::new(),
        answer: Answer::default(),
        is_table: false,
        query,
        note: None,
    };
    for tag in tags {
        let said = || format!("{}: @{}", place(tag.line), tag.name);
        match tag.name {
            "table" => analysis.tables.push(table(&tag.text).with_context(said)?),
            "param" => {
                let param = param(&tag.text).with_context(said)?;
                let has = |other: &Param| other.name == param.name || other.flag == param.flag;
                ensure!(!analysis.params.iter().any(has), "{}: {} is there twice", said(), param.name);
                analysis.params.push(param);
            }
            "column" => analysis.columns.push(column(&tag.text).with_context(said)?),
            "loss" => analysis.loss = tag.text,
            "tool" => analysis.tools.push(tool(&tag, &comments).with_context(said)?),
            "answer" if tag.text == "losses" => analysis.answer = Answer::Losses,
            "answer" => bail!("{}: '{}' is not possible: write losses, or leave it out", said(), tag.text),
            "as" if tag.text == "table" => analysis.is_table = true,
            "as" => bail!("{}: '{}' is not possible: write table, or leave it out", said(), tag.text),
            "note" => {
                let own = if tag.text.is_empty() { None } else { Some(tag.line) };
                ensure!(own.is_none(), "{}: the query stands in the lines below, indented", said());
                let (first, last) = (tag.more.first().copied(), tag.more.last().copied());
                let (first, last) =
                    first.zip(last).with_context(|| format!("{}: the query is missing", said()))?;
                analysis.note = Some(self::query(text, first..last + 1, title, first_line)?);
            }
            other => {
                let known = ["table", "param", "column", "loss", "tool", "answer", "as", "note"];
                bail!("{}: unknown tag @{other}{}", place(tag.line), near(other, known.into_iter()));
            }
        }
    }
    if analysis.loss.is_empty() {
        analysis.loss = ANY_LOSS.to_owned();
    }
    check_params(&analysis, text, title)?;
    Ok(analysis)
}

/// The classic tools that the comment lines at the start of `text` name. Messages name `title`.
pub fn recipes(text: &str, title: &str) -> Result<Vec<ClassicTool>> {
    let header = text.lines().take_while(|line| line.starts_with("--"));
    let comments: Vec<&str> = header.map(|line| line[2..].strip_prefix(' ').unwrap_or(&line[2..])).collect();
    let (_, tags) = tags(&comments, 0);
    let tools = tags.iter().filter(|tag| tag.name == "tool");
    tools
        .map(|tag| tool(tag, &comments).with_context(|| format!("{title}:{}: @tool", tag.line + 1)))
        .collect()
}

/// The text of the header from line `first` on, and its tags.
fn tags<'a>(comments: &[&'a str], first: usize) -> (String, Vec<Tag<'a>>) {
    let (mut doc, mut tags): (String, Vec<Tag<'a>>) = (String::new(), Vec::new());
    let mut is_in_tag = false;
    for (line, comment) in comments.iter().enumerate().skip(first) {
        let text = comment.trim();
        if let Some(tag) = comment.strip_prefix('@') {
            let (name, rest) = tag.split_once(char::is_whitespace).unwrap_or((tag, ""));
            tags.push(Tag { line, name, text: rest.trim().to_owned(), more: Vec::new() });
            is_in_tag = true;
        } else if let (true, true, Some(tag)) = (is_in_tag, comment.starts_with(' '), tags.last_mut()) {
            if !["note", "tool"].contains(&tag.name) {
                tag.text.extend([" ", text]);
            }
            tag.more.push(line);
        } else {
            is_in_tag = false;
            doc.extend([text, "\n"]);
        }
    }
    (doc.trim().to_owned(), tags)
}

/// The query in these lines of `text`, where comment signs before it do not count.
fn query(text: &str, lines: std::ops::Range<usize>, title: &str, first_line: u64) -> Result<Query> {
    // The other lines stay, empty, so that places are those of the file.
    let is_header = lines.end <= text.lines().take_while(|line| line.starts_with("--")).count();
    let mut own = String::new();
    for (i, line) in text.lines().enumerate() {
        match lines.contains(&i) {
            true if is_header => own.extend(["  ", &line[2..]]),
            true => own.push_str(line),
            false => {}
        }
        own.push('\n');
    }
    if own.trim().is_empty() {
        bail!("{title}:{}: there is no query below the header", lines.start + 1);
    }
    let problem = |problem: Problem| anyhow::Error::msg(problem.in_file(title).line());
    match parse_sql(&own, first_line).map_err(problem)?.statement {
        Statement::Statement(statement) => match *statement {
            SqlStatement::Query(query) => Ok(*query),
            _ => bail!("{title}:{}: an analysis must be a query: SELECT or WITH", lines.start + 1),
        },
        _ => bail!("{title}:{}: an analysis must be a query: SELECT or WITH", lines.start + 1),
    }
}

/// Each parameter is declared and used.
fn check_params(analysis: &Analysis, text: &str, title: &str) -> Result<()> {
    let mut used = Used(Vec::new());
    for query in std::iter::once(&analysis.query).chain(&analysis.note) {
        // It never breaks.
        let _ = query.visit(&mut used);
    }
    for (name, span) in &used.0 {
        if analysis.param(name).is_none() {
            let names = analysis.params.iter().map(|param| param.name.as_str());
            let help = format!("declare it in the header: -- @param {name} count = 10: what it does");
            let message = format!("there is no parameter '{name}'{}", near(name, names));
            bail!("{}", Problem::at(message, *span, text, help).in_file(title).line());
        }
    }
    let used: HashSet<String> = used.0.into_iter().map(|(name, _)| name.to_lowercase()).collect();
    for param in &analysis.params {
        let says = |line: &str| line.split_whitespace().skip(1).take(2).eq(["@param", &param.name]);
        let line = text.lines().position(says).unwrap_or_default() + 1;
        ensure!(
            used.contains(&param.name),
            "{title}:{line}: @param {0}: the SQL does not use ${0}",
            param.name
        );
    }
    Ok(())
}

struct Used(Vec<(String, Span)>);

impl Visitor for Used {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        if let Expr::Value(ValueWithSpan { value: Value::Placeholder(name), span }) = expr {
            self.0.push((name.trim_start_matches('$').to_owned(), *span));
        }
        ControlFlow::Continue(())
    }
}

fn table(text: &str) -> Result<TableUse> {
    let (name, list) = match text.split_once('(') {
        Some((name, list)) => (name, list.strip_suffix(')').context("')' is missing at the end")?),
        None => (text, ""),
    };
    let mut columns = Vec::new();
    for column in list.split(", ").map(str::trim).filter(|column| !column.is_empty()) {
        let (name, ty) = column.split_once(' ').with_context(|| format!("'{column}' has no type"))?;
        columns.push((name.to_owned(), ty.parse().with_context(|| format!("column {name}"))?));
    }
    let name = name.trim();
    ensure!(!name.is_empty(), "the name of a table is missing");
    Ok(TableUse { name: name.to_owned(), columns })
}

fn tool(Tag { text, more, .. }: &Tag<'_>, comments: &[&str]) -> Result<ClassicTool> {
    let form = "write TOOL: its command | recorder record ... | analyze ... x.trace";
    let (name, commands) = text.split_once(": ").with_context(|| format!("the name is missing: {form}"))?;
    let [there, record, ask] = commands.split(" | ").collect::<Vec<_>>()[..] else {
        bail!("these are not three commands: {form}");
    };
    ensure!(record.starts_with("recorder record "), "'{record}' does not record: {form}");
    ensure!(ask.starts_with("analyze ") && ask.contains("x.trace"), "'{ask}' does not ask x.trace: {form}");
    let [name, there, record, ask] = [name, there, record, ask].map(|part| part.trim().to_owned());
    let doc = more.iter().map(|line| comments[*line].trim()).collect::<Vec<_>>().join(" ");
    Ok(ClassicTool { name, there, record, ask, doc })
}

fn param(text: &str) -> Result<Param> {
    let form = "write NAME TYPE = DEFAULT: what it does";
    let (head, doc) =
        text.split_once(": ").with_context(|| format!("': ' and a description are missing: {form}"))?;
    let (typed, default) =
        head.split_once('=').with_context(|| format!("'= ' and a default are missing: {form}"))?;
    let (name, ty) = typed.trim().split_once(' ').with_context(|| format!("the type is missing: {form}"))?;
    let (ty, default) = (ParamType::parse(ty.trim())?, default.trim());
    let is_name = name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    ensure!(is_name, "'{name}' is no name of a parameter: it has small letters, digits and '_'");
    let flag = name.strip_suffix("_ns").unwrap_or(name).replace('_', "-");
    ensure!(
        !OPTIONS.contains(&flag.as_str()),
        "--{flag} is an option of every analysis: give {name} another name"
    );
    ty.value(default, &|text| crate::times::time_ns(text, 0))
        .with_context(|| format!("the default of {name}"))?;
    Ok(Param { name: name.to_owned(), flag, ty, default: default.to_owned(), doc: doc.trim().to_owned() })
}

fn column(text: &str) -> Result<ColumnDoc> {
    let form = "write NAME TYPE [UNIT]: what it says";
    let (head, doc) =
        text.split_once(": ").with_context(|| format!("': ' and a description are missing: {form}"))?;
    let (name, rest) = head.trim().split_once(' ').with_context(|| format!("the type is missing: {form}"))?;
    let (ty, unit) = match rest.split_once('[') {
        Some((ty, unit)) => (ty.trim(), Some(unit.trim_end_matches(']').to_owned())),
        None => (rest.trim(), None),
    };
    Ok(ColumnDoc { name: name.to_owned(), ty: ty.to_owned(), unit, doc: doc.trim().to_owned() })
}
