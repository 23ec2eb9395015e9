//! Commands of the shell, such as `\d`.

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};
use clap::ValueEnum;
use schemas::column::timestamp;

use super::{MAX_DEPTH, Next, Shell};
use crate::functions;
use crate::ordered::Operator;
use crate::output::{Format, Target};
use crate::sql::near::near;

/// Name, argument, and what the command does.
pub const COMMANDS: &[(&str, &str, &str)] = &[
    ("d", "[NAME]", "list the tables; or the columns of a table, analysis or function"),
    ("i", "FILE", "answer what is asked in a file"),
    ("o", "FILE", "write the rows of the next answer to a file, whose ending says the format"),
    ("f", "FORMAT", "write rows as table, csv, json, ndjson or markdown"),
    ("set", "[NAME VALUE]", "give $NAME a value; or list the values"),
    ("timing", "", "say how long each answer took, or no more"),
    ("?", "", "this list"),
    ("q", "", "leave; Ctrl-D does too"),
];

impl<W: Write + Send> Shell<'_, W> {
    /// Do what `text`, a command without its backslash, says.
    ///
    /// Fails if there is no such command, or it cannot be done.
    pub(super) async fn command(&mut self, text: &str, depth: usize) -> Result<Next> {
        let (name, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
        let rest = rest.trim();
        match name {
            "d" if rest.is_empty() => self.tables()?,
            "d" => self.describe(rest).await?,
            "i" => {
                ensure!(!rest.is_empty(), "write \\i FILE");
                ensure!(depth < MAX_DEPTH, "{rest}: files read each other too deeply");
                let text = std::fs::read_to_string(rest).with_context(|| format!("cannot read {rest}"))?;
                self.code = Box::pin(self.all(&text, depth + 1)).await?;
            }
            "o" if rest.is_empty() => self.once = None,
            "o" => self.once = Some(Target::new(None, Some(PathBuf::from(rest)))?),
            "f" => {
                let format = Format::from_str(rest, true).ok().filter(|format| !format.is_binary());
                self.target.format = format.with_context(|| {
                    format!("'{rest}' is no format for here: use table, csv, json, ndjson or markdown, or \\o FILE")
                })?;
            }
            "set" if rest.is_empty() => {
                for (name, value) in self.session.values().iter() {
                    writeln!(self.out, "${name} = {value}")?;
                }
            }
            "set" => {
                let (name, value) = rest.split_once(char::is_whitespace).context("write \\set NAME VALUE")?;
                self.session.set(&format!("{name}={}", value.trim()))?;
            }
            "timing" => {
                self.is_timed = !self.is_timed;
                let does = if self.is_timed { "is" } else { "is not" };
                writeln!(self.out, "-- how long an answer takes {does} said")?;
            }
            "?" => {
                for (name, argument, doc) in COMMANDS {
                    writeln!(self.out, "  {:22} {doc}", format!("\\{name} {argument}"))?;
                }
                writeln!(
                    self.out,
                    "  {:22} SQL on one or several lines; analyses are tables: leaks()",
                    "QUERY;"
                )?;
                writeln!(self.out, "  {:22} completes names; Ctrl-C cancels a query", "Tab")?;
            }
            "q" => return Ok(Next::Leave),
            _ => {
                let hint = near(name, COMMANDS.iter().map(|(name, ..)| *name));
                bail!("there is no command \\{name}{hint}: \\? lists them")
            }
        }
        Ok(Next::Ask)
    }

    fn tables(&mut self) -> Result<()> {
        let traces = &self.session.traces;
        for name in self.session.table_names() {
            let tables: Vec<_> = traces.iter().filter_map(|trace| trace.table(name)).collect();
            let rows = match tables.is_empty() {
                true => String::new(),
                false => tables.iter().map(|table| table.rows()).sum::<u64>().to_string(),
            };
            let summary = tables.first().map_or("", |table| table.summary.as_str());
            writeln!(self.out, "{}", format!("  {name:20} {rows:>12}  {summary}").trim_end())?;
        }
        writeln!(self.out, "-- \\d TABLE lists columns; analyses:")?;
        for analysis in self.session.library().all() {
            writeln!(self.out, "  {:20} {}", format!("{}()", analysis.name), analysis.summary)?;
        }
        Ok(())
    }

    async fn describe(&mut self, name: &str) -> Result<()> {
        let wanted = name.trim_end_matches("()");
        let tables = self.session.table_names();
        if let Some(table) = tables.iter().find(|table| table.eq_ignore_ascii_case(wanted)) {
            let table = self.session.context().table_provider(table.to_lowercase()).await?;
            for field in table.schema().fields() {
                let said = |key: &str| field.metadata().get(key).map_or("", String::as_str);
                let ty = match (said("ktape_type"), field.data_type()) {
                    ("", ty) if *ty == timestamp() => "time".to_owned(),
                    ("", ty) => ty.to_string(),
                    (ty, _) => ty.to_owned(),
                };
                writeln!(self.out, "{}", line(field.name(), &ty, said("unit"), said("doc")))?;
            }
        } else if let Some(analysis) = self.session.library().find(wanted) {
            writeln!(self.out, "{}\n  SELECT * FROM {}", analysis.summary, analysis.call())?;
            for param in &analysis.params {
                writeln!(self.out, "  {:20} {} [default: {}]", param.name, param.doc, param.default)?;
            }
            for column in &analysis.columns {
                let unit = column.unit.as_deref().unwrap_or_default();
                writeln!(self.out, "{}", line(&column.name, &column.ty, unit, &column.doc))?;
            }
        } else if let Some((call, doc)) =
            functions::docs().find(|(call, _)| call.split('(').next() == Some(wanted))
        {
            writeln!(self.out, "{call}: {doc}")?;
        } else if let Some(operator) = Operator::find(wanted) {
            writeln!(self.out, "{}: {}", operator.usage(), operator.doc())?;
        } else {
            let names = tables.iter().map(String::as_str).chain(self.session.library().names());
            bail!("there is no table, analysis or function '{name}'{}: \\d lists them", near(wanted, names));
        }
        Ok(())
    }
}

fn line(name: &str, ty: &str, unit: &str, doc: &str) -> String {
    let ty = if unit.is_empty() { ty.to_owned() } else { format!("{ty} [{unit}]") };
    format!("  {name:20} {ty:24} {doc}").trim_end().to_owned()
}
