//! The documents of an archive: which artifacts, which files, which blobs (OCI
//! image layout 1.0, artifacts of image specification 1.1).

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::broken::Broken;
use crate::artifact::oci::Digest;
use crate::artifact::oci::manifest::{IMAGE, INDEX, TITLE};
use crate::artifact::unpack::Limits;
use crate::artifact::unpack::name::EntryName;

/// What our artifacts call themselves.
pub const ARTIFACT_TYPE: &str = "application/vnd.reveille.artifact.v1";
/// The name of an artifact in the index.
const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// A configuration that says nothing, and its bytes.
pub const EMPTY_TYPE: &str = "application/vnd.oci.empty.v1+json";
/// Its bytes.
pub const EMPTY: &[u8] = b"{}";
/// What one file is.
const FILE_TYPE: &str = "application/octet-stream";

/// One artifact of an archive.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// Its name, unique in the archive: `namespace/name`.
    pub name: String,
    /// Notes.
    pub annotations: BTreeMap<String, String>,
    /// Its files, sorted by path when written.
    pub files: Vec<EntryFile>,
}

/// One file of an artifact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryFile {
    /// Its path in the artifact's tree.
    pub path: String,
    /// Its bytes, by digest.
    pub digest: Digest,
    /// How many.
    pub size: u64,
    /// Notes.
    pub annotations: BTreeMap<String, String>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Index {
    schema_version: u64,
    #[serde(default)]
    media_type: String,
    manifests: Vec<Descriptor>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Manifest {
    schema_version: u64,
    #[serde(default)]
    media_type: String,
    #[serde(default)]
    artifact_type: String,
    config: Descriptor,
    layers: Vec<Descriptor>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<String, String>,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    media_type: String,
    digest: String,
    size: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    artifact_type: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<String, String>,
}

/// What an archive says it has: each artifact's name and its manifest's digest.
pub type Listed = Vec<(String, Digest)>;

fn bad(file: &str, what: impl ToString) -> Broken {
    Broken::Document {
        file: file.to_owned(),
        what: what.to_string(),
    }
}

/// The bytes of `oci-layout`.
#[must_use]
pub const fn marker() -> &'static [u8] {
    br#"{"imageLayoutVersion":"1.0.0"}"#
}

/// Reads `oci-layout`.
///
/// # Errors
/// [`Broken::Document`] where it is of another version.
pub fn read_marker(bytes: &[u8]) -> Result<(), Broken> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Marker {
        image_layout_version: String,
    }
    let marker: Marker = serde_json::from_slice(bytes).map_err(|error| bad("oci-layout", error))?;
    if marker.image_layout_version.split('.').next() != Some("1") {
        let what = format!("version {} is not known", marker.image_layout_version);
        return Err(bad("oci-layout", what));
    }
    Ok(())
}

/// The bytes of an artifact's manifest: the same for the same files, in
/// whichever order they come.
///
/// # Errors
/// [`Broken::Document`] where two files have one path, or one has none.
pub fn manifest(entry: &Entry) -> Result<Vec<u8>, Broken> {
    let mut layers = BTreeMap::new();
    for file in &entry.files {
        checked_path(&entry.name, &file.path)?;
        let mut annotations = file.annotations.clone();
        annotations.insert(TITLE.to_owned(), file.path.clone());
        let layer = Descriptor {
            media_type: FILE_TYPE.to_owned(),
            digest: file.digest.to_string(),
            size: file.size,
            artifact_type: None,
            annotations,
        };
        if layers.insert(&file.path, layer).is_some() {
            return Err(bad(&entry.name, format!("`{}` is in it twice", file.path)));
        }
    }
    let manifest = Manifest {
        schema_version: 2,
        media_type: IMAGE.to_owned(),
        artifact_type: ARTIFACT_TYPE.to_owned(),
        config: Descriptor {
            media_type: EMPTY_TYPE.to_owned(),
            digest: Digest::of(EMPTY).to_string(),
            size: EMPTY.len() as u64,
            artifact_type: None,
            annotations: BTreeMap::new(),
        },
        layers: layers.into_values().collect(),
        annotations: entry.annotations.clone(),
    };
    serde_json::to_vec(&manifest).map_err(|error| bad(&entry.name, error))
}

/// The bytes of `index.json`, of names and manifests.
///
/// # Errors
/// [`Broken::Twice`].
pub fn index(entries: &[(String, Vec<u8>)]) -> Result<Vec<u8>, Broken> {
    let mut manifests = BTreeMap::new();
    for (name, manifest) in entries {
        let descriptor = Descriptor {
            media_type: IMAGE.to_owned(),
            digest: Digest::of(manifest).to_string(),
            size: manifest.len() as u64,
            artifact_type: Some(ARTIFACT_TYPE.to_owned()),
            annotations: BTreeMap::from([(REF_NAME.to_owned(), name.clone())]),
        };
        if manifests.insert(name, descriptor).is_some() {
            return Err(Broken::Twice(name.clone()));
        }
    }
    let index = Index {
        schema_version: 2,
        media_type: INDEX.to_owned(),
        manifests: manifests.into_values().collect(),
    };
    serde_json::to_vec(&index).map_err(|error| bad("index.json", error))
}

/// Reads `index.json`.
///
/// # Errors
/// [`Broken`] where it lists what is not ours.
pub fn read_index(bytes: &[u8]) -> Result<Listed, Broken> {
    let bad = |what: String| bad("index.json", what);
    let index: Index = serde_json::from_slice(bytes).map_err(|error| bad(error.to_string()))?;
    let mut listed = Vec::new();
    let mut names = BTreeSet::new();
    for manifest in index.manifests {
        let Some(name) = manifest.annotations.get(REF_NAME).cloned() else {
            return Err(bad(format!("{} has no name", manifest.digest)));
        };
        if manifest.artifact_type.as_deref() != Some(ARTIFACT_TYPE) {
            return Err(bad(format!(
                "`{name}` is no artifact of ours: only `reveille artifacts export` writes these"
            )));
        }
        let digest = Digest::parse(&manifest.digest)
            .ok_or_else(|| bad(format!("`{}` is no digest", manifest.digest)))?;
        if !names.insert(name.clone()) {
            return Err(Broken::Twice(name));
        }
        listed.push((name, digest));
    }
    Ok(listed)
}

/// Reads the manifest of the artifact `name`.
///
/// # Errors
/// [`Broken::Document`].
pub fn read_manifest(name: &str, bytes: &[u8]) -> Result<Entry, Broken> {
    let manifest: Manifest = serde_json::from_slice(bytes).map_err(|error| bad(name, error))?;
    if manifest.artifact_type != ARTIFACT_TYPE {
        return Err(bad(
            name,
            format!("its type is `{}`", manifest.artifact_type),
        ));
    }
    let mut files = Vec::new();
    let mut paths = BTreeSet::new();
    for mut layer in manifest.layers {
        let path = layer.annotations.remove(TITLE);
        let path = path.ok_or_else(|| bad(name, "a file has no name"))?;
        checked_path(name, &path)?;
        if !paths.insert(path.clone()) {
            return Err(bad(name, format!("`{path}` is in it twice")));
        }
        let digest = Digest::parse(&layer.digest);
        files.push(EntryFile {
            path,
            digest: digest.ok_or_else(|| bad(name, format!("`{}` is no digest", layer.digest)))?,
            size: layer.size,
            annotations: layer.annotations,
        });
    }
    Ok(Entry {
        name: name.to_owned(),
        annotations: manifest.annotations,
        files,
    })
}

/// A path has to be the one that is served: no two spellings of one file.
fn checked_path(entry: &str, path: &str) -> Result<(), Broken> {
    match EntryName::parse(path.as_bytes(), Limits::default().name()) {
        Ok(name) if !name.is_root() && name.as_str() == path => Ok(()),
        Ok(_) => Err(bad(
            entry,
            format!("`{}` is no path of a file", path.escape_debug()),
        )),
        Err(why) => Err(bad(entry, format!("`{}`: {why}", path.escape_debug()))),
    }
}
