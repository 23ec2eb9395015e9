//! Writes `docs/analyses.md` from the headers of the analyses.

use std::fmt::Write;

use crate::functions;
use crate::library::Library;
use crate::library::analysis::Analysis;
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

fn section(text: &mut String, analysis: &Analysis) {
    let Analysis {
        name,
        summary,
        doc,
        tables,
        params,
        columns,
        loss,
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
