//! Writes `docs/analyses.md` and `docs/from-bcc.md` from the headers of the analyses.

use std::fmt::Write;
use std::sync::Arc;

use crate::functions;
use crate::library::Library;
use crate::library::analysis::{Analysis, ClassicTool};
use crate::library::params::ParamType;
use crate::ordered::Operator;

/// The text of `docs/analyses.md`.
pub fn analyses_md() -> String {
    let mut text = String::from(
        "# Analyses\n\n\
         Generated from `analyze/sql/*.sql` by `analyze::docs`. Each analysis is a subcommand (`analyze NAME TRACE`), a table\n\
         function in SQL (`SELECT * FROM NAME(PARAMETER => VALUE, ...)`), and, with its default parameters, a view `a.NAME`\n\
         (the schema keeps analysis `listens` apart from table `listens`).\n\n\
         Times in SQL parameters are UTC nanoseconds or timestamps, durations are nanoseconds; on the command line they are\n\
         written `+1.5s`, `2027-01-15T08:00:00Z`, `500ms`.\n\n",
    );
    for analysis in Library::shipped().all() {
        section(&mut text, analysis);
    }
    text += "## Functions\n\n| function | value |\n|---|---|\n";
    for (call, doc) in functions::docs() {
        text += &format!("| `{call}` | {} |\n", cell(doc));
    }
    text += "\n## Operators over rows in order of time\n\n| operator | rows |\n|---|---|\n";
    for operator in Operator::ALL {
        text += &format!("| `{}` | {} |\n", operator.usage(), cell(operator.doc()));
    }
    text += "\n## Tables made by analyze\n";
    let tables = [
        ("traces", "The traces that are open.", crate::united::traces_schema()),
        ("loss_reasons", "What each reason of table `losses` means.", crate::united::loss_reasons_schema()),
    ];
    for (name, doc, schema) in tables {
        text += &format!("\n### {name}\n\n{doc}\n\n| column | doc |\n|---|---|\n");
        for field in schema.fields() {
            let doc = field.metadata().get("doc").map_or("", String::as_str);
            text += &format!("| `{}` | {} |\n", field.name(), cell(doc));
        }
    }
    text
}

/// The text of `docs/from-bcc.md`. `recipes` answer tools with events and queries of their own, and so does `not_run`, but
/// nobody has recorded these.
pub fn from_bcc_md(recipes: &[ClassicTool], not_run: &[ClassicTool]) -> String {
    let library = Library::shipped();
    let tools = |analysis: &'_ Arc<Analysis>| analysis.tools.clone();
    let mut tools: Vec<ClassicTool> =
        library.all().iter().flat_map(tools).chain(recipes.iter().cloned()).collect();
    tools.sort_by(|a, b| (&a.name, &a.ask).cmp(&(&b.name, &b.ask)));
    let mut names: Vec<&str> = tools.iter().map(|tool| tool.name.as_str()).collect();
    names.dedup();
    let mut text = format!(
        "# From bcc and bpftrace\n\n\
         Generated from `analyze/sql/*.sql` and `tests/kernel/tools/*.sql`; do not edit. The question of each of these {} tools of\n\
         bcc and bpftrace, asked of a recording. Record once, several events if you like; ask afterwards, as often as you like and with\n\
         other parameters. Without a command or `-d 10` a recording goes on until Ctrl-C.\n\n\
         The recordings of each tool's events are compared by a test with what the kernel itself or the workload has counted\n\
         (`tests/kernel/tools`), and the commands of this page are run there.\n\n\
         | tool | there | here: record | and ask | what is different |\n|---|---|---|---|---|\n",
        names.len(),
    );
    text.extend(tools.iter().map(row));
    text += &format!(
        "\n## Not run on a kernel\n\n\
         What these {} tools ask about does not happen on the kernels that tests run, for the reason given. They are not among those\n\
         above. Their queries are asked of rows made up for it (`tests/slt/not_run.slt`); nobody has seen the recording.\n\n\
         | tool | there | here: record | and ask | why not, and what is different |\n|---|---|---|---|---|\n",
        not_run.len(),
    );
    text.extend(not_run.iter().map(row));
    text
}

fn row(tool: &ClassicTool) -> String {
    let ClassicTool { name, there, record, ask, doc } = tool;
    let (there, record, ask, doc) = (cell(there), cell(&recording(record)), cell(ask), cell(doc));
    format!("| {name} | `{there}` | `{record}` | `{ask}` | {doc} |\n")
}

/// With the name of the trace, which goes before a command.
fn recording(record: &str) -> String {
    match record.split_once(" -- ") {
        Some((options, command)) => format!("{options} -o x.trace -- {command}"),
        None => format!("{record} -o x.trace"),
    }
}

fn section(text: &mut String, analysis: &Analysis) {
    let Analysis {
        name,
        summary,
        doc,
        tables,
        params,
        columns,
        loss,
        tools,
        answer: _,
        is_table: _,
        query: _,
        note: _,
        file: _,
    } = analysis;
    *text += &format!("## {name}\n\n{summary}\n\n");
    if !doc.is_empty() {
        *text += &format!("{doc}\n\n");
    }
    let tables: Vec<String> = tables.iter().map(|t| format!("`{}`", t.name)).collect();
    if !tools.is_empty() {
        let mut names: Vec<&str> = tools.iter().map(|tool| tool.name.as_str()).collect();
        names.dedup();
        *text += &format!("Asked by [{}](from-bcc.md).\n\n", names.join(", "));
    }
    *text += &format!("Reads {}. In SQL: `{}`\n\n", tables.join(", "), analysis.call());
    if !params.is_empty() {
        *text += "| parameter | option | type | default | doc |\n|---|---|---|---|---|\n";
        for param in params {
            let ty = match &param.ty {
                ParamType::Choice(words) => {
                    words.iter().map(|w| format!("`{w}`")).collect::<Vec<_>>().join(", ")
                }
                other => other.name(),
            };
            // Writing into a String cannot fail.
            let _ = writeln!(
                text,
                "| `{}` | `--{}` | {ty} | `{}` | {} |",
                param.name,
                param.flag,
                param.default,
                cell(&param.doc)
            );
        }
        *text += "\n";
    }
    *text += "| column | type | unit | doc |\n|---|---|---|---|\n";
    for column in columns {
        let unit = column.unit.as_deref().unwrap_or("");
        *text += &format!("| `{}` | {} | {unit} | {} |\n", column.name, cell(&column.ty), cell(&column.doc));
    }
    *text += &format!("\nLosses: {loss}.\n\n");
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}
