//! Why a registry did not give what was asked for.

use std::error::Error;
use std::time::Duration;

use super::manifest::BadManifest;

/// A failed request. Every one names the registry or the reference.
#[derive(Debug, thiserror::Error)]
pub enum OciFailure {
    /// The client cannot be made: the certificates cannot be read.
    #[error("the certificates of `ca.crt` cannot be read: {0}")]
    Certificates(String),
    /// TLS failed.
    #[error("{registry}: TLS failed: {cause}")]
    Tls {
        /// The registry.
        registry: String,
        /// Why, to the last cause.
        cause: String,
    },
    /// No connection, or it broke.
    #[error("{registry}: {cause}")]
    Connection {
        /// The registry.
        registry: String,
        /// Why, to the last cause.
        cause: String,
    },
    /// No answer in time.
    #[error("{registry}: no answer in time")]
    Timeout {
        /// The registry.
        registry: String,
    },
    /// Redirects without end, or to where we do not go.
    #[error("{registry}: {cause}")]
    Redirect {
        /// The registry.
        registry: String,
        /// What was refused.
        cause: String,
    },
    /// The registry wants to know who we are, or does not believe it.
    #[error("{what}: {}", if *known { "the registry does not take the login of the Secret" } else { "the registry wants a login: name a Secret by `secretRef`" })]
    Unauthorized {
        /// What was asked for.
        what: String,
        /// A login was given.
        known: bool,
    },
    /// We may not have it.
    #[error("{what}: the registry denies it to this login")]
    Denied {
        /// What was asked for.
        what: String,
    },
    /// It is not there.
    #[error("{what}: not in the registry")]
    NotFound {
        /// What was asked for.
        what: String,
    },
    /// We asked too often (429).
    #[error("{what}: the registry wants to be asked less often{}", after(*retry_after))]
    TooMany {
        /// What was asked for.
        what: String,
        /// When it may be asked again.
        retry_after: Option<Duration>,
    },
    /// The registry is in trouble (5xx).
    #[error("{what}: the registry answers {status}{}", after(*retry_after))]
    Server {
        /// What was asked for.
        what: String,
        /// The status.
        status: u16,
        /// When it may be asked again.
        retry_after: Option<Duration>,
    },
    /// An answer that no registry gives.
    #[error("{what}: {found}; is this a registry?")]
    Unexpected {
        /// What was asked for.
        what: String,
        /// What came.
        found: String,
    },
    /// Other bytes than the digest says.
    #[error("{what}: the bytes have the digest {found}, not {expected}")]
    WrongDigest {
        /// What was asked for.
        what: String,
        /// Its digest.
        expected: String,
        /// That of what came.
        found: String,
    },
    /// More than any manifest has.
    #[error("{what}: more than {limit} bytes")]
    TooLarge {
        /// What was asked for.
        what: String,
        /// The limit.
        limit: usize,
    },
    /// The manifest is of no use.
    #[error("{what}: {why}")]
    Manifest {
        /// What was asked for.
        what: String,
        /// Why.
        why: BadManifest,
    },
}

impl OciFailure {
    /// Its name in log lines and metrics.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Certificates(_) => "certificates",
            Self::Tls { .. } => "tls",
            Self::Connection { .. } => "connection",
            Self::Timeout { .. } => "timeout",
            Self::Redirect { .. } => "redirect",
            Self::Unauthorized { .. } => "unauthorized",
            Self::Denied { .. } => "denied",
            Self::NotFound { .. } => "not-found",
            Self::TooMany { .. } => "too-many-requests",
            Self::Server { .. } => "server-error",
            Self::Unexpected { .. } => "unexpected-answer",
            Self::WrongDigest { .. } => "wrong-digest",
            Self::TooLarge { .. } => "too-large",
            Self::Manifest { why, .. } => why.as_str(),
        }
    }

    /// When the registry may be asked again, where it says so.
    #[must_use]
    pub const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::TooMany { retry_after, .. } | Self::Server { retry_after, .. } => *retry_after,
            Self::Certificates(_)
            | Self::Tls { .. }
            | Self::Connection { .. }
            | Self::Timeout { .. }
            | Self::Redirect { .. }
            | Self::Unauthorized { .. }
            | Self::Denied { .. }
            | Self::NotFound { .. }
            | Self::Unexpected { .. }
            | Self::WrongDigest { .. }
            | Self::TooLarge { .. }
            | Self::Manifest { .. } => None,
        }
    }

    /// Whether another manifest of ours is needed to cure it.
    #[must_use]
    pub const fn is_for_good(&self) -> bool {
        matches!(self, Self::Certificates(_) | Self::Manifest { .. })
    }

    /// That of a request without an answer.
    pub(super) fn of(registry: &str, error: &reqwest::Error) -> Self {
        let registry = registry.to_owned();
        let causes = causes(error);
        let cause = causes.join(": ");
        if error.is_redirect() {
            return Self::Redirect { registry, cause };
        }
        if error.is_timeout() {
            return Self::Timeout { registry };
        }
        if is_tls(error) {
            return Self::Tls { registry, cause };
        }
        Self::Connection { registry, cause }
    }
}

/// The causes below an error, each once; not the URL, which may carry a key.
fn causes(error: &reqwest::Error) -> Vec<String> {
    let mut causes: Vec<String> = Vec::new();
    each_cause(error, &mut |cause| {
        let text = cause.to_string();
        if !causes.iter().any(|known| known.contains(&text)) {
            causes.push(text);
        }
    });
    if causes.is_empty() {
        causes.push("the request failed".to_owned());
    }
    causes
}

fn is_tls(error: &reqwest::Error) -> bool {
    let mut tls = false;
    each_cause(error, &mut |cause| tls |= cause.is::<rustls::Error>());
    tls
}

fn each_cause(error: &reqwest::Error, see: &mut dyn FnMut(&(dyn Error + 'static))) {
    let mut next = error.source();
    while let Some(cause) = next {
        see(cause);
        // An I/O error hides the one that it carries.
        let inner = cause.downcast_ref::<std::io::Error>();
        next = match inner.and_then(std::io::Error::get_ref) {
            Some(inner) => Some(inner),
            None => cause.source(),
        };
    }
}

fn after(retry_after: Option<Duration>) -> String {
    retry_after.map_or_else(String::new, |after| {
        format!(", again in {} s", after.as_secs())
    })
}
