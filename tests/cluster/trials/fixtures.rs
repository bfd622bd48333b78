//! Manifests that files are checked with, shown to an API server.

use anyhow::{Result, ensure};
use reveille::api::API_VERSION;

use crate::stage::Stage;
use crate::verdicts::{documents, manifests};

/// What is right in a folder is right in a cluster: stored without a complaint, a warning included, and
/// with unknown and double fields as mistakes. No file sees another's objects.
pub(super) fn valid(stage: &mut Stage<'_>) -> Result<Vec<String>> {
    let mut files = manifests("tests/manifests/valid")?;
    files.extend(manifests("examples")?);
    // Roles are no resources of ours.
    files.retain(|file| std::fs::read_to_string(file).is_ok_and(|text| text.contains(API_VERSION)));
    let plane = &*stage.plane;
    let mut stored = 0;
    for file in &files {
        let text = std::fs::read_to_string(file)?;
        let path = file.display().to_string();
        // Each time kubectl asks for all that the server has: not once for each document.
        let words = ["apply", "--validate=strict", "-f", &path];
        let output = plane.kubectl_output(&plane.kubeconfig(), &words, "")?;
        let (said, complaints) = (
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
        );
        ensure!(
            output.status.success() && complaints.is_empty(),
            "{path}: {complaints}"
        );
        let created = said.lines().filter(|line| line.ends_with(" created"));
        let (created, written) = (created.count(), documents(&text).count());
        ensure!(
            created == written,
            "{path}: {created} of {written} documents were stored"
        );
        stored += created;
        // Defaults are no difference, or GitOps would never come to rest. A file that names the version it
        // was taken from is not meant to be applied twice.
        if !text.contains("\"1234\"") {
            let again = plane.kubectl(&["apply", "-f", &path])?;
            let same = again.lines().all(|line| line.ends_with(" unchanged"));
            ensure!(same, "applied twice: {again}");
        }
        // Nothing holds them: they are gone when this returns.
        plane.kubectl(&["delete", "--wait=false", "-f", &path])?;
    }
    Ok(vec![format!(
        "{stored} documents of {} files accepted and stored",
        files.len()
    )])
}
