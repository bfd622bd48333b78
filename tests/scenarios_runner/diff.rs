//! What was wanted against what came, line by line.

use std::collections::BTreeMap;

/// Named facts, each as text.
pub(crate) type Facts = BTreeMap<String, String>;

/// The facts that differ; those of `got` that nobody asks for count only
/// where `exact`.
pub(crate) fn compare(want: &Facts, got: &Facts, exact: bool) -> Result<(), String> {
    let mut lines = Vec::new();
    for (name, value) in want {
        match got.get(name) {
            Some(other) if other == value => {}
            Some(other) => lines.push(format!(
                "    {name}:\n      - {value}   (wanted)\n      + {other}   (got)"
            )),
            None => lines.push(format!("    {name}:\n      - {value}   (wanted, absent)")),
        }
    }
    for (name, value) in got
        .iter()
        .filter(|(name, _)| exact && !want.contains_key(*name))
    {
        lines.push(format!("    {name}:\n      + {value}   (got, unwanted)"));
    }
    if lines.is_empty() {
        Ok(())
    } else {
        Err(format!("{}\n", lines.join("\n")))
    }
}

/// One fact that must be so.
pub(crate) fn same(name: &str, want: &str, got: &str) -> Result<(), String> {
    let fact = |value: &str| Facts::from([(name.to_owned(), value.to_owned())]);
    compare(&fact(want), &fact(got), true)
}
