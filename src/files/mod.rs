//! The files that boot machines: the artifact tree, further roots, loaders.
//!
//! `path` is core: names are normalised and confined before anything opens
//! them. `roots` is the one place that opens files for strangers.
//! `whole` writes files of our own.

pub mod path;
pub mod roots;
mod whole;

pub use self::path::{ArtifactPath, BadPath};
pub use self::roots::{OpenedFile, Origin, Roots};
pub use self::whole::write_whole;
