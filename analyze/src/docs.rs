//! The headers of the analyses go in, `docs/analyses.md` comes out.

use std::fmt::Write;

use crate::analysis::{self, Analysis, ParamType};
use crate::cli::call;
use crate::functions;

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
    for analysis in analysis::all() {
        section(&mut text, analysis);
    }
    text += "## Functions\n\n| function | value |\n|---|---|\n";
    for (call, doc) in functions::docs() {
        text += &format!("| `{call}` | {} |\n", cell(doc));
    }
    text += "\n## Tables made by analyze\n";
    let tables = [
        ("traces", "The traces that are open.", crate::session::traces_schema()),
        ("loss_reasons", "What each reason of table `losses` means.", crate::session::loss_reasons_schema()),
        (
            "kmem_pairs",
            "Event `kmem` paired by pointer: one row per allocation, one per free that matches none.",
            crate::pairs::schema(false).as_ref().clone(),
        ),
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

fn section(text: &mut String, analysis: &Analysis) {
    let Analysis { name, summary, doc, tables, params, columns, loss, note: _, sql: _ } = analysis;
    *text += &format!("## {name}\n\n{summary}\n\n");
    if !doc.is_empty() {
        *text += &format!("{doc}\n\n");
    }
    let tables: Vec<String> = tables.iter().map(|t| format!("`{}`", t.name)).collect();
    *text += &format!("Reads {}. In SQL: `{}`\n\n", tables.join(", "), call(analysis));
    if !params.is_empty() {
        *text += "| parameter | option | type | default | doc |\n|---|---|---|---|---|\n";
        for param in params {
            let ty = match &param.ty {
                ParamType::Duration => "duration".to_owned(),
                ParamType::Count => "count".to_owned(),
                ParamType::Time => "time".to_owned(),
                ParamType::Choice(words) => {
                    words.iter().map(|w| format!("`{w}`")).collect::<Vec<_>>().join(", ")
                }
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
