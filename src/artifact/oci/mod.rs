//! Images and artifacts out of registries.
//!
//! Core: `reference`, `digest`, `manifest`, `credentials`, `challenge`. Shell:
//! `client` asks, [`lay`] unpacks layers over each other.
//!
//! The client is our own, over `reqwest`: `oci-client` 0.18 reads manifests of
//! any size into memory, drops `Retry-After`, and turns every failure to get a
//! token into "not authorized".

use std::path::{Path, PathBuf};

pub mod challenge;
pub mod client;
pub mod credentials;
pub mod digest;
mod failure;
pub mod manifest;
pub mod reference;

pub use self::client::{Blob, Registry, Resolved, Settings};
pub use self::credentials::{BadCredentials, Credentials, Login};
pub use self::digest::{Algorithm, Digest, Hasher};
pub use self::failure::OciFailure;
pub use self::manifest::{
    BadManifest, Content, Descriptor, Document, LayerType, Manifest, Platform,
};
pub use self::reference::{BadReference, Reference};

use super::unpack::{Layer, LayerFormat, Limits, Pick, Refused, Unpacked, unpack_layers};

/// Lays the layers of an image over each other, the lowest first, in `into`:
/// whiteouts take away what lower layers have, links stay in the tree. Blocks.
///
/// # Errors
/// [`Refused`]; what is in `into` is to be thrown away then.
pub fn lay(
    layers: &[(PathBuf, LayerType)],
    pick: &Pick,
    limits: &Limits,
    into: &Path,
    pace: &mut dyn FnMut(u64),
) -> Result<Unpacked, Refused> {
    let layers: Vec<Layer> = layers
        .iter()
        .map(|(path, packed)| Layer {
            path: path.clone(),
            packed: match packed {
                LayerType::Tar => LayerFormat::Tar,
                LayerType::TarGz => LayerFormat::TarGz,
                LayerType::TarZst => LayerFormat::TarZst,
            },
        })
        .collect();
    unpack_layers(&layers, pick, limits, into, pace)
}
