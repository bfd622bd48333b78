//! Why a signature does not say what it should.

use std::io;

/// A signature that is not believed. The file is kept out then.
#[derive(Debug, thiserror::Error)]
pub enum Untrusted {
    /// The key of the manifest is none.
    #[error("the key cannot be read: {0}")]
    Key(String),
    /// The signature is none.
    #[error("the signature cannot be read: {0}")]
    Signature(String),
    /// It was made by another key.
    #[error("the signature is by the key {by}, which the manifest does not name")]
    WrongKey {
        /// The key that made it, or `unknown`.
        by: String,
    },
    /// What was signed is something else.
    #[error("the signature by {by} is not over these bytes: they were changed")]
    Tampered {
        /// The key.
        by: String,
    },
    /// The key has run out.
    #[error("the key {by} has expired: get the publisher's present key")]
    KeyExpired {
        /// The key.
        by: String,
    },
    /// The key was revoked.
    #[error("the key {by} was revoked by its owner: get the publisher's present key")]
    KeyRevoked {
        /// The key.
        by: String,
    },
    /// The key is not for signatures over data, or not proven to be its
    /// owner's.
    #[error("the key {by} may not sign files")]
    KeyCannotSign {
        /// The key.
        by: String,
    },
    /// The signature has run out.
    #[error("the signature by {by} has expired")]
    Expired {
        /// The key.
        by: String,
    },
    /// The signature is of a time to come.
    #[error("the signature by {by} is from the future: is the clock right?")]
    Future {
        /// The key.
        by: String,
    },
    /// The signature is over a digest that can be forged.
    #[error("the signature by {by} is over {hash}, which can be forged")]
    WeakHash {
        /// The key.
        by: String,
        /// The algorithm.
        hash: String,
    },
    /// An old minisign signature over a file that is too large for its kind.
    #[error("the signature is of minisign's old kind, which is taken for up to {limit} bytes only")]
    Legacy {
        /// The limit.
        limit: u64,
    },
    /// A list that carries no signature, and none beside it.
    #[error("the list of digests is not signed")]
    Unsigned,
    /// The list of digests is none.
    #[error("the list of digests cannot be read: {0}")]
    List(&'static str),
    /// The file is not in the list.
    #[error("`{name}` is not in the signed list{}", if near.is_empty() { String::new() } else { format!(": near it are `{}`", near.join("`, `")) })]
    NotListed {
        /// The file.
        name: String,
        /// Names that come near.
        near: Vec<String>,
    },
    /// The list has two digests for the file.
    #[error("the list has two digests for `{name}`")]
    Ambiguous {
        /// The file.
        name: String,
    },
    /// The list has only a digest that can be forged.
    #[error("the list has only a digest by {hash} for `{name}`, which can be forged")]
    WeakDigest {
        /// The file.
        name: String,
        /// The algorithm.
        hash: &'static str,
    },
    /// The file cannot be read.
    #[error("cannot read what is signed: {0}")]
    Read(io::Error),
}

impl Untrusted {
    /// Its name in log lines and metrics.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Key(_) => "key-unreadable",
            Self::Signature(_) => "signature-unreadable",
            Self::WrongKey { .. } => "wrong-key",
            Self::Tampered { .. } => "tampered",
            Self::KeyExpired { .. } => "key-expired",
            Self::KeyRevoked { .. } => "key-revoked",
            Self::KeyCannotSign { .. } => "key-cannot-sign",
            Self::Expired { .. } => "signature-expired",
            Self::Future { .. } => "signature-from-future",
            Self::WeakHash { .. } => "weak-hash",
            Self::Legacy { .. } => "legacy-signature",
            Self::Unsigned => "list-unsigned",
            Self::List(_) => "list-unreadable",
            Self::NotListed { .. } => "not-in-list",
            Self::Ambiguous { .. } => "list-ambiguous",
            Self::WeakDigest { .. } => "weak-digest",
            Self::Read(_) => "read-failed",
        }
    }

    /// How much it says: of several signatures, the failure that is told.
    pub(super) const fn weight(&self) -> u8 {
        match self {
            Self::Tampered { .. } => 9,
            Self::KeyRevoked { .. } => 8,
            Self::KeyExpired { .. } => 7,
            Self::WeakHash { .. } => 6,
            Self::Expired { .. } | Self::Future { .. } => 5,
            Self::KeyCannotSign { .. } => 4,
            Self::Read(_) => 10,
            Self::Key(_)
            | Self::Signature(_)
            | Self::WrongKey { .. }
            | Self::Legacy { .. }
            | Self::Unsigned
            | Self::List(_)
            | Self::NotListed { .. }
            | Self::Ambiguous { .. }
            | Self::WeakDigest { .. } => 0,
        }
    }
}
