//! `Artifact`: bytes that boot things, fetched once, verified, kept.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Lifetime, NameRef};

/// Most files that one Artifact may list; an archive or an image holds more.
pub const MAX_ARTIFACT_FILES: usize = 64;
/// Most further places of one file.
pub const MAX_MIRRORS: usize = 8;
/// Most patterns that choose entries of an archive or an image.
pub const MAX_PICKS: usize = 64;

/// An Artifact is a tree of files that machines boot from. Reveille fetches
/// them once, verifies them and serves them from its own volume, at
/// `artifacts/NAMESPACE/NAME/PATH`.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "reveille.dev",
    version = "v1alpha1",
    kind = "Artifact",
    doc = "Files that machines boot from: fetched once, verified, kept and served.",
    plural = "artifacts",
    shortname = "art",
    namespaced,
    category = "reveille",
    derive = "PartialEq",
    status = "ArtifactStatus",
    printcolumn(name = "Size", type_ = "string", json_path = ".status.size"),
    printcolumn(name = "Progress", type_ = "string", json_path = ".status.progress"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].status"
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].reason",
        priority = 1
    ),
    printcolumn(
        name = "Generation",
        type_ = "integer",
        json_path = ".status.generation",
        priority = 1
    ),
    printcolumn(
        name = "Fetched",
        type_ = "date",
        json_path = ".status.fetched",
        priority = 1
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    )
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ArtifactSpec {
    /// Single files. Exactly one of `files`, `archive` and `oci` must be there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub files: Vec<ArtifactFile>,

    /// An archive that is unpacked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archive: Option<ArchiveSource>,

    /// An OCI image, whose layers are laid over each other, or an OCI artifact.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oci: Option<OciSource>,

    /// The Secret with what the servers ask for: `username` and `password`, or
    /// `token` (bearer), or `.dockerconfigjson`; and `ca.crt`, where their
    /// certificates are of an authority of your own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<NameRef>,

    /// How often it is looked whether there is something newer, such as `24h`.
    /// What has a digest never changes, and is not asked for again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refresh: Option<Lifetime>,
}

/// One file of an Artifact.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ArtifactFile {
    /// Its path in the Artifact's tree.
    #[schemars(length(min = 1, max = 512))]
    pub path: String,
    /// Where it is: an `http://`, `https://` or `file:///` URL.
    #[schemars(length(min = 1, max = 2048))]
    pub url: String,
    /// Further places of the same file, tried in turn.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub mirrors: Vec<String>,
    /// Its SHA-256 digest in hex, as `sha256sum` prints it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// Its SHA-512 digest in hex, as `sha512sum` prints it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha512: Option<String>,
    /// The publisher's signature, over the file or over a list of digests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<Signature>,
}

/// An archive that is unpacked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ArchiveSource {
    /// Where it is: an `http://`, `https://` or `file:///` URL.
    #[schemars(length(min = 1, max = 2048))]
    pub url: String,
    /// Further places of the same file, tried in turn.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub mirrors: Vec<String>,
    /// Its SHA-256 digest in hex, as `sha256sum` prints it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// Its SHA-512 digest in hex, as `sha512sum` prints it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha512: Option<String>,
    /// The publisher's signature, over the archive or over a list of digests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<Signature>,
    /// What it is.
    pub format: ArchiveFormat,
    /// The entries that are unpacked: paths, with `*` for a part of a name and
    /// `**` for any folders. Default: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub include: Vec<String>,
    /// Leading parts of each path that are dropped.
    #[serde(default)]
    #[schemars(range(max = 32))]
    pub strip: u16,
}

/// What an archive is.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
pub enum ArchiveFormat {
    /// A tar file.
    #[default]
    Tar,
    /// A tar file, compressed by gzip.
    TarGz,
    /// A tar file, compressed by xz.
    TarXz,
    /// A tar file, compressed by zstd.
    TarZst,
    /// A zip file.
    Zip,
    /// An ISO 9660 image, such as that of an installer.
    Iso,
}

/// An OCI image or artifact.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OciSource {
    /// Its reference, such as `registry.example.net/boot/debian@sha256:…`. A
    /// tag is resolved anew at each refresh.
    #[schemars(length(min = 1, max = 512))]
    pub image: String,
    /// The platform of an image for several, such as `linux/amd64`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub platform: Option<String>,
    /// The entries that are laid out, as for an archive. Default: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub include: Vec<String>,
}

/// A publisher's signature.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Signature {
    /// Where the detached signature is.
    #[schemars(length(min = 1, max = 2048))]
    pub url: String,
    /// Where the list of digests is that is signed, such as `SHA256SUMS`.
    /// Default: the file itself is signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2048))]
    pub sums: Option<String>,
    /// The publisher's OpenPGP keys, in armour. Exactly one of `openpgp` and
    /// `minisign` must be there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 65536))]
    pub openpgp: Option<String>,
    /// The publisher's minisign key: the line that begins with `RW`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub minisign: Option<String>,
}

/// What is known of an Artifact.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ArtifactStatus {
    /// The `metadata.generation` that this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `Ready`, `Fetching`, `Stalled`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// How big what is served is, such as `56 MiB`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<String>,
    /// The same in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<i64>,
    /// How far it is: `42%`, `12 MiB`, or `100%`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<String>,
    /// The fetch that goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fetch: Option<FetchStatus>,
    /// The generation of the tree that is served; counts up with each change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<i64>,
    /// Where it is served, below the service's URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The digest of the whole tree: the same bytes under the same names have
    /// the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// How many files are served.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<i64>,
    /// When it was fetched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fetched: Option<Time>,
    /// When it is tried or looked for anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<Time>,
    /// What went wrong last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
}

/// A fetch that goes on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FetchStatus {
    /// What is fetched now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// Bytes that are there.
    #[serde(default)]
    pub bytes: i64,
    /// Bytes that there are, where the server said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_bytes: Option<i64>,
    /// Bytes a second, lately.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_per_second: Option<i64>,
    /// Seconds that are left, by that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds_left: Option<i64>,
}
