//! `cargo xtask licences`: what cargo says about every dependency in, the ones with a licence we do not take out.

use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::host;

/// Licences that ask for no more than to be named.
const TAKEN: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MIT-0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// Fails, naming them, if there are dependencies with other licences.
pub fn run() -> Result<()> {
    let mut cargo = Command::new("cargo");
    cargo.args(["metadata", "--format-version", "1", "--locked"]).current_dir(host::repo());
    let metadata: Value =
        serde_json::from_str(&host::output(&mut cargo)?).context("cargo metadata is not JSON")?;
    let packages = metadata["packages"].as_array().context("cargo metadata names no packages")?;
    let refused: Vec<String> = packages
        .iter()
        .filter(|package| !package["license"].as_str().is_some_and(taken))
        .map(|package| format!("{} {} ({})", package["name"], package["version"], package["license"]))
        .collect();
    if !refused.is_empty() {
        bail!("dependencies with a licence we do not take: {}", refused.join(", "));
    }
    println!("licences: {} packages", packages.len());
    Ok(())
}

/// Is there a choice of licences that are all taken? Understands OR, AND, one level of parentheses, and the old `/`.
fn taken(expression: &str) -> bool {
    let known = |licence: &str| TAKEN.contains(&licence.trim_matches(|c| c == '(' || c == ')' || c == ' '));
    let any = |group: &str| group.replace('/', " OR ").split(" OR ").any(known);
    if expression.contains('(') {
        return expression.split(" AND ").all(any);
    }
    expression.replace('/', " OR ").split(" OR ").any(|choice| choice.split(" AND ").all(known))
}

#[cfg(test)]
mod tests {
    use super::taken;

    #[test]
    fn a_choice_needs_one_licence_and_a_conjunction_all() {
        assert!(taken("MIT OR GPL-3.0"));
        assert!(taken("MIT/Apache-2.0"));
        assert!(taken("(MIT OR Apache-2.0) AND Unicode-3.0"));
        assert!(!taken("MIT AND LGPL-2.1"));
        assert!(!taken("(MIT OR Apache-2.0) AND LGPL-2.1"));
        assert!(!taken("GPL-2.0"));
    }
}
