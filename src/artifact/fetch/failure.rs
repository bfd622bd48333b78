//! Why a fetch failed.

use std::fmt;
use std::io;

use crate::artifact::plan::Failed;
use crate::artifact::store::{is_full, is_read_only};

/// A fetch that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Its stable name.
    pub reason: Reason,
    /// What is wrong, with the cure.
    pub what: String,
    /// Seconds after which the server wants to be asked again.
    pub retry_after: Option<u64>,
}

/// Reasons why a fetch fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// The server is not reached, or the connection broke.
    Unreachable,
    /// TLS failed.
    Tls,
    /// The server answers with an error.
    ServerError,
    /// The server wants to be asked less often (429).
    TooManyRequests,
    /// The server does not know us (401, 403).
    Unauthorized,
    /// There is nothing at the URL (404, 410).
    NotFound,
    /// It redirects for ever, or to where we do not go.
    Redirect,
    /// Nothing came for a while.
    Stalled,
    /// Less came than was said.
    Truncated,
    /// Other bytes came than are wanted.
    WrongDigest,
    /// A page came in the place of the file.
    ErrorPage,
    /// Nothing is in the file.
    Empty,
    /// The file is bigger than is taken.
    TooBig,
    /// What verified bytes were to be replaced by is not verified.
    NotVerified,
    /// The publisher's signature is not right.
    BadSignature,
    /// What was fetched cannot be unpacked.
    BadArchive,
    /// A Secret is missing.
    Secret,
    /// A `file://` URL that is not below an allowed folder, or not there.
    File,
    /// The volume is full.
    VolumeFull,
    /// The volume takes no writes.
    VolumeReadOnly,
    /// The volume fails otherwise.
    VolumeFails,
    /// This version cannot do it.
    NotServed,
}

// === impl Failure ===

impl Failure {
    /// A failure.
    #[must_use]
    pub fn new(reason: Reason, what: impl Into<String>) -> Self {
        Self {
            reason,
            what: what.into(),
            retry_after: None,
        }
    }

    /// Trouble with our own volume, at `doing`.
    #[must_use]
    pub fn volume(doing: &str, error: &io::Error) -> Self {
        let (reason, cure) = if is_full(error) {
            (Reason::VolumeFull, "; make room, or use a bigger volume")
        } else if is_read_only(error) {
            (
                Reason::VolumeReadOnly,
                "; mount it for writing, and let this user write there",
            )
        } else {
            (Reason::VolumeFails, "")
        };
        Self::new(reason, format!("{doing}: {error}{cure}"))
    }

    /// Whether only another manifest can cure it.
    #[must_use]
    pub const fn is_for_good(&self) -> bool {
        matches!(self.reason, Reason::NotServed | Reason::NotVerified)
    }

    /// As far as the next try depends on it.
    #[must_use]
    pub fn to_failed(&self) -> Failed {
        Failed {
            reason: self.reason.as_str(),
            what: self.what.clone(),
            is_for_good: self.is_for_good(),
            retry_after: self.retry_after,
        }
    }

    /// Whether another place of the same file may do better.
    #[must_use]
    pub const fn is_of_place(&self) -> bool {
        !matches!(
            self.reason,
            Reason::VolumeFull
                | Reason::VolumeReadOnly
                | Reason::VolumeFails
                | Reason::Secret
                | Reason::NotServed
                | Reason::NotVerified
        )
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

// === impl Reason ===

impl Reason {
    /// Its name in log lines, metrics and conditions.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unreachable => "Unreachable",
            Self::Tls => "Tls",
            Self::ServerError => "ServerError",
            Self::TooManyRequests => "TooManyRequests",
            Self::Unauthorized => "Unauthorized",
            Self::NotFound => "NotFound",
            Self::Redirect => "Redirect",
            Self::Stalled => "ServerSilent",
            Self::Truncated => "Truncated",
            Self::WrongDigest => "WrongDigest",
            Self::ErrorPage => "ErrorPage",
            Self::Empty => "Empty",
            Self::TooBig => "TooBig",
            Self::NotVerified => "NotVerified",
            Self::BadSignature => "BadSignature",
            Self::BadArchive => "BadArchive",
            Self::Secret => "SecretMissing",
            Self::File => "FileNotAllowed",
            Self::VolumeFull => "VolumeFull",
            Self::VolumeReadOnly => "VolumeReadOnly",
            Self::VolumeFails => "VolumeFails",
            Self::NotServed => "NotServed",
        }
    }
}
