//! Manifests that files are checked with, shown to an API server.

use anyhow::{Result, ensure};

use crate::stage::Stage;
use crate::verdicts::{Outcome, manifests, verdicts};

/// What is right in a folder is right in a cluster.
pub(super) fn valid(stage: &mut Stage<'_>) -> Result<Vec<String>> {
    let mut files = manifests("tests/manifests/valid")?;
    files.extend(manifests("examples")?);
    let seen = verdicts(stage.plane, &files)?;
    for verdict in &seen {
        ensure!(verdict.outcome == Outcome::Accepted, "{verdict}");
        ensure!(verdict.warnings.is_empty(), "{verdict}");
    }
    // Stored, and away again: no file sees another's objects.
    for file in &files {
        let path = file.display().to_string();
        stage.plane.kubectl(&["apply", "-f", &path])?;
        let shown = stage.plane.kubectl(&["get", "-f", &path, "-o", "name"])?;
        stage.plane.kubectl(&["delete", "-f", &path])?;
        ensure!(!shown.is_empty(), "{path}: nothing was stored");
    }
    Ok(vec![format!(
        "{} documents of {} files accepted and stored",
        seen.len(),
        files.len()
    )])
}
