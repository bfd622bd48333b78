//! From the files that profiles name to those that are served.

use std::collections::BTreeSet;

use super::compile::name_of;
use super::{ArtifactEntry, Inputs, ObjectName};
use crate::api::{ArtifactRef, BootProfileSpec};
use crate::artifact::plan::AllStuck;
use crate::artifact::table::PENDING;
use crate::artifact::{Held, Origin, Table, Want, on_screen};

/// What is wanted, and what of it is there.
pub(super) struct Shelves<'a> {
    held: &'a Table,
    stuck: &'a AllStuck,
    wants: Vec<Want>,
    /// Artifacts whose objects have mistakes.
    refused: BTreeSet<ObjectName>,
}

// === impl Shelves ===

impl<'a> Shelves<'a> {
    /// What the Artifacts of `inputs` want, but for those that are refused.
    pub(super) fn new(
        inputs: &Inputs,
        (held, stuck): (&'a Table, &'a AllStuck),
        is_refused: impl Fn(&ObjectName) -> bool,
    ) -> Self {
        let mut shelves = Self {
            held,
            stuck,
            wants: Vec::new(),
            refused: BTreeSet::new(),
        };
        for artifact in &inputs.artifacts {
            let name = name_of(&artifact.metadata);
            if is_refused(&name) {
                shelves.refused.insert(name);
            } else {
                shelves.wants.push(Want::of(&name, &artifact.spec));
            }
        }
        shelves
    }

    /// What is to be kept, and the names of those that are refused.
    pub(super) fn entries(self) -> (Vec<ArtifactEntry>, BTreeSet<ObjectName>) {
        let held = self.held;
        let entry = |want: Want| ArtifactEntry {
            generation: held.get(&want.name).map_or(0, |held| held.generation),
            want,
        };
        let entries = self.wants.into_iter().map(entry).collect();
        (entries, self.refused)
    }

    /// Where a file of an Artifact is served.
    fn of_artifact(&self, namespace: &str, file: &ArtifactRef) -> Result<String, String> {
        let name = ObjectName {
            namespace: namespace.to_owned(),
            name: file.name.clone(),
        };
        let want = self.wants.iter().find(|want| want.name == name);
        if want.is_none() && !self.refused.contains(&name) {
            return Err(format!("there is no Artifact {}", file.name));
        }
        let error = want.and_then(|want| self.error(want));
        let Some(held) = self.held.get(&name) else {
            return Err(format!("Artifact {} {}", file.name, fetched(error)));
        };
        match held.files.get(&file.path) {
            Some(there) if !there.sha256.is_empty() => Ok(held.served_at(&name, &file.path)),
            Some(_) => Err(format!(
                "{} of Artifact {} was damaged and {}",
                file.path,
                file.name,
                fetched(error)
            )),
            None => Err(match error {
                // It may be in what is wanted now.
                Some(_) => format!("Artifact {} as it is now {}", file.name, fetched(error)),
                None => missing(held, file),
            }),
        }
    }

    /// What its tries say, where they fail.
    fn error(&self, want: &Want) -> Option<&'a str> {
        let stuck = self.stuck.get(&want.name)?;
        (stuck.identity == want.identity()).then_some(stuck.error.as_str())
    }

    /// Where a file is served that is named by URL and digest.
    fn of_url(&mut self, want: Want) -> Result<String, String> {
        let (name, path) = (want.name.clone(), first_path(&want));
        match self.wants.iter_mut().find(|known| known.name == name) {
            // The same bytes by another URL: one more place of them.
            Some(known) => add_place(known, want),
            None => self.wants.push(want),
        }
        let mut wants = self.wants.iter();
        let known = wants.find(|known| known.name == name);
        let error = known.and_then(|known| self.error(known));
        // Several profiles may call it differently; the first name is kept.
        let held = self.held.get(&name);
        let there = held.and_then(|held| {
            let file = held
                .files
                .iter()
                .find(|(_, file)| !file.sha256.is_empty())?;
            Some(held.served_at(&name, file.0))
        });
        there.ok_or_else(|| format!("{path} {}", fetched(error)))
    }
}

/// How it goes with what is not there; `error` is what its tries say.
fn fetched(error: Option<&str>) -> String {
    match error {
        None => "is being fetched".to_owned(),
        Some(error) => format!("cannot be fetched: {}", on_screen(error)),
    }
}

fn missing(held: &Held, file: &ArtifactRef) -> String {
    let known = held.files.keys().map(String::as_str);
    let near = super::suggest::nearest(&file.path, known);
    let hint = near.map_or_else(String::new, |near| format!(" (did you mean {near})"));
    format!(
        "there is no file {} in Artifact {}{hint}",
        file.path, file.name
    )
}

fn first_path(want: &Want) -> String {
    match &want.origin {
        Origin::Files(files) => files.first().map(|file| file.path.clone()),
        Origin::Archive(..) | Origin::Oci(_) => None,
    }
    .unwrap_or_default()
}

fn add_place(known: &mut Want, want: Want) {
    let (Origin::Files(old), Origin::Files(new)) = (&mut known.origin, want.origin) else {
        return;
    };
    for (old, new) in old.iter_mut().zip(new) {
        for url in new.urls {
            if !old.urls.contains(&url) {
                old.urls.push(url);
            }
        }
    }
}

/// Puts into each file's `path` what is served; the reasons why some are not.
pub(super) fn resolve(
    spec: &mut BootProfileSpec,
    profile: &ObjectName,
    shelves: &mut Shelves<'_>,
) -> Vec<String> {
    let mut pending = Vec::new();
    let files = spec.files().into_iter();
    let served: Vec<_> = files
        .map(|file| match file.artifact_ref {
            Some(artifact) => Some(shelves.of_artifact(&profile.namespace, artifact)),
            None => Want::anonymous(&file, &format!("BootProfile {profile}"))
                .map(|want| shelves.of_url(want)),
        })
        .collect();
    for (path, served) in spec.paths_mut().into_iter().zip(served) {
        match served {
            Some(Ok(file)) => *path = file,
            Some(Err(reason)) => {
                if !pending.contains(&reason) {
                    pending.push(reason);
                }
                // Never what stands there by chance.
                PENDING.clone_into(path);
            }
            None => {}
        }
    }
    pending
}
