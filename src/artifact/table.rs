//! What is there: the artifacts of the store, for `compile` and for the doors.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::snapshot::ObjectName;

/// The first part of every path below which artifacts are served.
pub const ROOT: &str = "artifacts";

/// The artifacts that are there, by name.
pub type Table = BTreeMap<ObjectName, Held>;

/// One artifact that is there: the tree that is served.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Held {
    /// Counts trees of this artifact up from 1.
    pub generation: u64,
    /// What it was made for: [`Want::identity`](super::Want::identity).
    pub identity: String,
    /// The digest of the tree.
    pub digest: String,
    /// When it was made, in milliseconds since the Unix epoch.
    pub made: u64,
    /// When it was last known to be the newest there is.
    pub checked: u64,
    /// Its files, by path.
    pub files: BTreeMap<String, HeldFile>,
}

/// One file that is there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HeldFile {
    /// Its length in bytes.
    pub size: u64,
    /// Its SHA-256 digest in hex.
    pub sha256: String,
    /// Whether it was held against a digest or signature of its publisher.
    #[serde(default)]
    pub verified: bool,
    /// What its server said of its version, for the next look.
    #[serde(default, skip_serializing_if = "Version::is_unknown")]
    pub version: Version,
}

/// What a server says of the version of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Version {
    /// The URL that said so.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub url: String,
    /// `ETag`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etag: Option<String>,
    /// `Last-Modified`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_modified: Option<String>,
}

// === impl Held ===

impl Held {
    /// Bytes of all files.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.files.values().map(|file| file.size).sum()
    }

    /// Where `path` of this generation is served: a boot that began with this
    /// tree goes on with it.
    #[must_use]
    pub fn served_at(&self, name: &ObjectName, path: &str) -> String {
        format!(
            "{ROOT}/{}/{}/{}/{path}",
            name.namespace, name.name, self.generation
        )
    }
}

/// What stands in the place of the path of a file that is not there yet.
pub const PENDING: &str = "artifacts/-/pending";

/// Whether `path` stands for a file that is not there yet.
#[must_use]
pub fn is_pending(path: &str) -> bool {
    path == PENDING
}

/// Where the current tree of `name` is served.
#[must_use]
pub fn stable_path(name: &ObjectName) -> String {
    format!("{ROOT}/{}/{}/", name.namespace, name.name)
}

// === impl Version ===

impl Version {
    /// Whether nothing is known.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        *self == Self::default()
    }

    /// What `If-Range` and conditional requests can name: a strong tag, else
    /// the time of the last change (RFC 9110 section 13.1.5).
    #[must_use]
    pub fn validator(&self) -> Option<&str> {
        let strong = self.etag.as_deref().filter(|tag| !tag.starts_with("W/"));
        strong.or(self.last_modified.as_deref())
    }
}
