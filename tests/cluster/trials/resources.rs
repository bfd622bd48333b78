//! Our kinds, as a cluster's people meet them.

use anyhow::{Result, ensure};

use crate::kubectl::KINDS;
use crate::stage::Stage;

/// The definitions install, are explained, listed, and found by their category.
pub(super) fn install(stage: &mut Stage<'_>) -> Result<Vec<String>> {
    // The room has installed them: once more changes nothing.
    let again = stage.plane.install_crds()?;
    for kind in KINDS {
        let line =
            format!("customresourcedefinition.apiextensions.k8s.io/{kind}.reveille.dev unchanged");
        ensure!(again.contains(&line), "applied twice: {again}");
    }
    let explained = stage.kubectl(&["explain", "subnet.spec"])?;
    for words in [
        "KIND:       Subnet",
        "FIELDS:",
        "mode\t<string> -required-",
        "enum: Server",
    ] {
        ensure!(explained.contains(words), "no `{words}`: {explained}");
    }
    stage.kubectl(&["get", "bootprofiles,machines,subnets"])?;
    let words = ["api-resources", "--categories=reveille", "--output=name"];
    let found = stage.kubectl(&words)?;
    let names = KINDS.map(|kind| format!("{kind}.reveille.dev"));
    ensure!(found.lines().eq(names.iter()), "the category holds {found}");
    let fields = explained
        .lines()
        .filter(|line| line.starts_with("  ") && line.contains("\t<"));
    let mut lines = vec![format!(
        "{} kinds installed; subnet.spec explains {} fields",
        KINDS.len(),
        fields.count()
    )];
    lines.extend(stage.plane.warnings.iter().cloned());
    Ok(lines)
}
