//! Why an archive for elsewhere cannot be written or read.

use std::io;

use crate::artifact::unpack::Refused;

/// An archive that cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    /// It is no archive, or more than is taken.
    #[error(transparent)]
    Archive(#[from] Refused),
    /// Its list of contents is missing or of another kind.
    #[error("`{file}`: {what}")]
    Document {
        /// Which document.
        file: String,
        /// What is wrong with it.
        what: String,
    },
    /// A blob is not what its name says.
    #[error("`{name}` has the digest {found}: the archive is damaged")]
    WrongDigest {
        /// Its name in the archive.
        name: String,
        /// The digest of its bytes.
        found: String,
    },
    /// A blob is not in it.
    #[error("`{file}` needs {digest}, which is not in the archive")]
    Missing {
        /// What needs it.
        file: String,
        /// The blob.
        digest: String,
    },
    /// A blob has another size than the list says.
    #[error("{digest} has {found} bytes, not {expected}")]
    WrongSize {
        /// The blob.
        digest: String,
        /// The size in the list.
        expected: u64,
        /// Its size.
        found: u64,
    },
    /// Two artifacts have one name.
    #[error("`{0}` is in it twice")]
    Twice(String),
    /// Reading a blob for the archive failed.
    #[error("cannot read {digest}: {error}")]
    Read {
        /// The blob.
        digest: String,
        /// What the system said.
        error: io::Error,
    },
    /// Writing failed.
    #[error("cannot write `{path}`: {error}")]
    Write {
        /// The file.
        path: String,
        /// What the system said.
        error: io::Error,
    },
}

impl Broken {
    /// Its name in log lines and metrics.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Archive(refused) => refused.as_str(),
            Self::Document { .. } => "document",
            Self::WrongDigest { .. } => "wrong-digest",
            Self::Missing { .. } => "blob-missing",
            Self::WrongSize { .. } => "wrong-size",
            Self::Twice(_) => "twice",
            Self::Read { .. } => "read-failed",
            Self::Write { .. } => "write-failed",
        }
    }
}
