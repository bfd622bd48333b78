//! Archives for places without a network: an OCI image layout in a tar, with
//! one OCI artifact for each Artifact and one blob for each of its files.
//!
//! Registries take them too (`skopeo copy oci-archive:…`), and an Artifact
//! with `oci` fetches them from there. The same artifacts make the same bytes:
//! blobs are sorted, dates are zero. `document` is core.

mod broken;
pub mod document;
mod read;
mod write;

pub use self::broken::Broken;
pub use self::document::{Entry, EntryFile};
pub use self::read::{Imported, import};
pub use self::write::{OpenBlob, Written, export, write};
