//! The rows of artifacts. Core.

use super::ArtifactRow;
use crate::artifact::keep::Entry;
use crate::artifact::{Table, identity::ANONYMOUS};
use crate::clock::Millis;
use crate::snapshot::{ObjectName, Snapshot};

/// A row for each artifact that is wanted: those of Artifacts, oldest first,
/// and those that profiles name by URL.
#[must_use]
pub fn artifacts(
    now: Millis,
    snapshot: &Snapshot,
    table: &Table,
    entry: &dyn Fn(&ObjectName) -> Option<Entry>,
) -> Vec<ArtifactRow> {
    let rows = snapshot.artifacts.iter().map(|wanted| {
        let name = &wanted.want.name;
        let held = table.get(name);
        let entry = entry(name).unwrap_or_default();
        let identity = wanted.want.identity();
        let ready = held.is_some_and(|held| {
            held.identity == identity && held.files.values().all(|file| !file.sha256.is_empty())
        });
        let progress = entry.fetching.as_ref();
        ArtifactRow {
            namespace: name.namespace.clone(),
            name: name.name.clone(),
            anonymous: name.namespace == ANONYMOUS,
            bytes: held.map(super::super::artifact::Held::bytes),
            files: held.map(|held| held.files.len()),
            generation: held.map(|held| held.generation),
            digest: held.map(|held| held.digest.clone()),
            fetched: held.map(|held| held.made),
            progress: match progress {
                Some(progress) => Some(progress.column()),
                None => ready.then(|| "100%".to_owned()),
            },
            bytes_per_second: progress.and_then(|progress| progress.rate(now)),
            seconds_left: progress.and_then(|progress| progress.seconds_left(now)),
            ready,
            stalled: entry.tries.is_stalled() && !ready,
            reason: entry.tries.error.clone(),
            next: entry.next.map(|next| next.0),
        }
    });
    rows.collect()
}
