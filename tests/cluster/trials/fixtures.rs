//! Manifests that files are checked with, shown to an API server.

use anyhow::{Result, ensure};
use reveille::api::API_VERSION;

use crate::stage::Stage;
use crate::verdicts::{Outcome, manifests, verdicts};

/// What is right in a folder is right in a cluster.
pub(super) fn valid(stage: &mut Stage<'_>) -> Result<Vec<String>> {
    let mut files = manifests("tests/manifests/valid")?;
    files.extend(manifests("examples")?);
    // Roles are no resources of ours.
    files.retain(|file| std::fs::read_to_string(file).is_ok_and(|text| text.contains(API_VERSION)));
    let seen = verdicts(stage.plane, "default", &files)?;
    for verdict in &seen {
        ensure!(verdict.outcome == Outcome::Accepted, "{verdict}");
        ensure!(verdict.warnings.is_empty(), "{verdict}");
    }
    // Stored, and away again: no file sees another's objects.
    for file in &files {
        let path = file.display().to_string();
        stage.plane.kubectl(&["apply", "-f", &path])?;
        // Defaults are no difference, or GitOps would never come to rest. A file that names the version it
        // was taken from is not meant to be applied twice.
        if !std::fs::read_to_string(file)?.contains("\"1234\"") {
            let again = stage.plane.kubectl(&["apply", "-f", &path])?;
            let same = again.lines().all(|line| line.ends_with(" unchanged"));
            ensure!(same, "applied twice: {again}");
        }
        let shown = stage.plane.kubectl(&["get", "-f", &path, "-o", "name"])?;
        // Nothing holds them: they are gone when this returns.
        stage
            .plane
            .kubectl(&["delete", "--wait=false", "-f", &path])?;
        ensure!(!shown.is_empty(), "{path}: nothing was stored");
    }
    Ok(vec![format!(
        "{} documents of {} files accepted and stored",
        seen.len(),
        files.len()
    )])
}
