//! The iPXE loaders: which there are, where they come from, and how those of
//! the image get onto the volume.
//!
//! `plan` is core: what becomes of a file of the volume. `seed` writes the
//! volume at the start, `find` looks the loaders up as machines are sent them.

mod find;
mod metrics;
mod plan;
mod seed;

pub use self::find::{Found, Loaders};
pub use self::metrics::LoaderMetrics;
pub use self::plan::Step;
pub use self::seed::{FOLDER, RECORD, Seeded, seed};

/// Most of a loader that is read; the largest iPXE is a megabyte or two.
const MAX_LOADER: u64 = 8 << 20;

/// SHA-256 of `bytes`, in hex.
fn digest(bytes: &[u8]) -> String {
    use sha2::{Digest as _, Sha256};
    let digest = Sha256::digest(bytes);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}
