//! Manifests and indexes of images and artifacts (OCI image specification 1.1
//! and Docker's own, schema 2).

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;

use super::digest::Digest;

/// The media types that are asked for.
pub const ACCEPT: &str = "application/vnd.oci.image.manifest.v1+json, \
     application/vnd.oci.image.index.v1+json, \
     application/vnd.docker.distribution.manifest.v2+json, \
     application/vnd.docker.distribution.manifest.list.v2+json";
/// The media type of an image's manifest.
pub const IMAGE: &str = "application/vnd.oci.image.manifest.v1+json";
/// The media type of an index.
pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// The annotation with the name of a file (ORAS).
pub const TITLE: &str = "org.opencontainers.image.title";
/// The annotation of a folder that was packed as tar (ORAS).
const UNPACK: &str = "io.deis.oras.content.unpack";

/// What a registry has under a reference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Document {
    /// One image or artifact.
    Image(Manifest),
    /// Several, by platform.
    Index(Vec<IndexEntry>),
}

/// One image or artifact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// What an artifact calls itself.
    pub artifact_type: Option<String>,
    /// Its configuration.
    pub config: Descriptor,
    /// Its layers, the lowest first; the files of an artifact.
    pub layers: Vec<Descriptor>,
}

/// A blob.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// What it is.
    pub media_type: String,
    /// Its digest.
    pub digest: Digest,
    /// Its bytes.
    pub size: u64,
    /// Its notes.
    pub annotations: BTreeMap<String, String>,
}

/// A manifest of an index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexEntry {
    /// The manifest.
    pub descriptor: Descriptor,
    /// What it is for.
    pub platform: Option<Platform>,
}

/// What an image runs on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Platform {
    /// The operating system, such as `linux`.
    pub os: String,
    /// The processor, such as `amd64` or `arm64`.
    pub architecture: String,
    /// Its variant, such as `v8`.
    pub variant: Option<String>,
}

/// What a manifest holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// Layers of a file system.
    Layers(Vec<(Descriptor, LayerType)>),
    /// Files with names: a flat artifact.
    Files(Vec<NamedFile>),
}

/// A file of a flat artifact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedFile {
    /// Its name, as the artifact has it; to be checked before it is a path.
    pub name: String,
    /// It is a folder, packed as tar under gzip.
    pub packed: bool,
    /// The blob.
    pub descriptor: Descriptor,
}

/// How a layer is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LayerType {
    /// tar.
    Tar,
    /// tar under gzip.
    TarGz,
    /// tar under zstd.
    TarZst,
}

/// Why a manifest cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadManifest {
    /// It is no JSON of the kind.
    #[error("the manifest cannot be read: {0}")]
    Unreadable(String),
    /// It is of a kind that is not supported.
    #[error("a manifest of the type `{0}` is not supported")]
    Type(String),
    /// A digest is none.
    #[error("`{0}` in the manifest is no digest")]
    Digest(String),
    /// No image for the platform.
    #[error("there is no image for {wanted}; there are: {}", there.join(", "))]
    Platform {
        /// The platform that was asked for.
        wanted: String,
        /// Those that there are.
        there: Vec<String>,
    },
    /// A layer of a kind that is not supported, without a name.
    #[error("a layer of the type `{0}` is not supported, and it has no title to be a file by")]
    Layer(String),
    /// Nothing is in it.
    #[error("the manifest has no layers")]
    Empty,
}

impl BadManifest {
    /// Its name in log lines and metrics.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Unreadable(_) => "manifest-unreadable",
            Self::Type(_) => "manifest-type",
            Self::Digest(_) => "manifest-digest",
            Self::Platform { .. } => "platform-missing",
            Self::Layer(_) => "layer-type",
            Self::Empty => "manifest-empty",
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawDocument {
    schema_version: u64,
    media_type: Option<String>,
    artifact_type: Option<String>,
    config: Option<RawDescriptor>,
    layers: Option<Vec<RawDescriptor>>,
    manifests: Option<Vec<RawDescriptor>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawDescriptor {
    #[serde(default)]
    media_type: String,
    digest: String,
    size: u64,
    platform: Option<RawPlatform>,
    #[serde(default)]
    annotations: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
struct RawPlatform {
    #[serde(default)]
    os: String,
    #[serde(default)]
    architecture: String,
    variant: Option<String>,
}

impl Document {
    /// Reads the bytes of a manifest; `content_type` is what the server says
    /// they are, for those that do not say it themselves.
    ///
    /// # Errors
    /// [`BadManifest`].
    pub fn read(bytes: &[u8], content_type: Option<&str>) -> Result<Self, BadManifest> {
        let raw: RawDocument = serde_json::from_slice(bytes)
            .map_err(|error| BadManifest::Unreadable(error.to_string()))?;
        if raw.schema_version != 2 {
            let version = format!("schema version {}", raw.schema_version);
            return Err(BadManifest::Type(version));
        }
        let said = raw
            .media_type
            .as_deref()
            .or(content_type)
            .unwrap_or_default();
        let kind = said.split(';').next().unwrap_or_default().trim();
        let is_index = match kind {
            INDEX | "application/vnd.docker.distribution.manifest.list.v2+json" => true,
            IMAGE | "application/vnd.docker.distribution.manifest.v2+json" => false,
            "" | "application/json" | "application/octet-stream" => raw.manifests.is_some(),
            other => return Err(BadManifest::Type(other.to_owned())),
        };
        if is_index {
            // One document that is both is read one way by us and another way
            // by others.
            if raw.layers.is_some() || raw.config.is_some() {
                return Err(BadManifest::Unreadable(
                    "it is an index and an image".to_owned(),
                ));
            }
            let entries = raw.manifests.unwrap_or_default();
            return entries
                .into_iter()
                .map(IndexEntry::read)
                .collect::<Result<_, _>>()
                .map(Self::Index);
        }
        if raw.manifests.is_some() {
            return Err(BadManifest::Unreadable(
                "it is an index and an image".to_owned(),
            ));
        }
        let config = raw
            .config
            .ok_or_else(|| BadManifest::Unreadable("it has no config".to_owned()))?;
        let layers = raw.layers.unwrap_or_default();
        Ok(Self::Image(Manifest {
            artifact_type: raw.artifact_type,
            config: Descriptor::read(config)?,
            layers: layers
                .into_iter()
                .map(Descriptor::read)
                .collect::<Result<_, _>>()?,
        }))
    }
}

impl Descriptor {
    fn read(raw: RawDescriptor) -> Result<Self, BadManifest> {
        let digest = Digest::parse(&raw.digest).ok_or(BadManifest::Digest(raw.digest))?;
        Ok(Self {
            media_type: raw.media_type,
            digest,
            size: raw.size,
            annotations: raw.annotations.unwrap_or_default(),
        })
    }

    /// The name of a file, where it has one.
    #[must_use]
    pub fn title(&self) -> Option<&str> {
        self.annotations.get(TITLE).map(String::as_str)
    }

    /// How it is packed, where it is a layer.
    #[must_use]
    pub fn layer_type(&self) -> Option<LayerType> {
        Some(match self.media_type.as_str() {
            "application/vnd.oci.image.layer.v1.tar" => LayerType::Tar,
            "application/vnd.oci.image.layer.v1.tar+gzip"
            | "application/vnd.docker.image.rootfs.diff.tar.gzip" => LayerType::TarGz,
            "application/vnd.oci.image.layer.v1.tar+zstd" => LayerType::TarZst,
            _ => return None,
        })
    }
}

impl IndexEntry {
    fn read(mut raw: RawDescriptor) -> Result<Self, BadManifest> {
        let platform = raw.platform.take().map(|platform| Platform {
            os: platform.os,
            architecture: platform.architecture,
            variant: platform.variant.filter(|variant| !variant.is_empty()),
        });
        Ok(Self {
            descriptor: Descriptor::read(raw)?,
            platform,
        })
    }
}

impl Manifest {
    /// What is in it: files where every layer has a name, else layers.
    ///
    /// # Errors
    /// [`BadManifest::Empty`], [`BadManifest::Layer`].
    pub fn content(&self) -> Result<Content, BadManifest> {
        if self.layers.is_empty() {
            return Err(BadManifest::Empty);
        }
        let named = self.layers.iter().map(|layer| {
            let packed = layer
                .annotations
                .get(UNPACK)
                .is_some_and(|value| value == "true");
            Some(NamedFile {
                name: layer.title()?.to_owned(),
                packed,
                descriptor: layer.clone(),
            })
        });
        if let Some(files) = named.collect::<Option<Vec<_>>>() {
            return Ok(Content::Files(files));
        }
        let layers = self.layers.iter().map(|layer| {
            let packed = layer.layer_type();
            let packed = packed.ok_or_else(|| BadManifest::Layer(layer.media_type.clone()))?;
            Ok((layer.clone(), packed))
        });
        layers.collect::<Result<_, _>>().map(Content::Layers)
    }
}

impl Platform {
    /// Reads `linux/arm64/v8`; the variant may be missing.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('/');
        let (os, architecture) = (parts.next()?, parts.next()?);
        let variant = parts.next();
        let word =
            |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if parts.next().is_some()
            || ![Some(os), Some(architecture), variant]
                .into_iter()
                .flatten()
                .all(word)
        {
            return None;
        }
        Some(Self {
            os: os.to_owned(),
            architecture: architecture.to_owned(),
            variant: variant.map(str::to_owned),
        })
    }

    /// Where nothing is said: what most machines are.
    #[must_use]
    pub fn usual() -> Self {
        Self {
            os: "linux".to_owned(),
            architecture: "amd64".to_owned(),
            variant: None,
        }
    }

    fn fits(&self, wanted: &Self) -> bool {
        self.os == wanted.os
            && self.architecture == wanted.architecture
            && (wanted.variant.is_none() || self.variant == wanted.variant)
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        match &self.variant {
            Some(variant) => write!(f, "/{variant}"),
            None => Ok(()),
        }
    }
}

/// The manifest of an index for a platform. An index of a single manifest that
/// says no platform is taken as it is: artifacts are packed so.
///
/// # Errors
/// [`BadManifest::Platform`] with those that there are.
pub fn choose<'a>(
    index: &'a [IndexEntry],
    wanted: &Platform,
) -> Result<&'a Descriptor, BadManifest> {
    let fits = |entry: &&IndexEntry| entry.platform.as_ref().is_some_and(|it| it.fits(wanted));
    if let Some(entry) = index.iter().find(fits) {
        return Ok(&entry.descriptor);
    }
    if let [only] = index
        && only.platform.is_none()
    {
        return Ok(&only.descriptor);
    }
    let there = index.iter().filter_map(|entry| entry.platform.as_ref());
    let mut there: Vec<String> = there.map(ToString::to_string).collect();
    // Notes about how an image was built are packed as images for nothing.
    there.retain(|platform| platform != "unknown/unknown");
    there.dedup();
    Err(BadManifest::Platform {
        wanted: wanted.to_string(),
        there,
    })
}
