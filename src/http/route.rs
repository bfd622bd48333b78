//! What a request path means.

use std::net::Ipv4Addr;

use crate::boot::MacAddress;
use crate::files::{ArtifactPath, BadPath};
use crate::snapshot::Snapshot;
use crate::timeline::Purpose;

/// What is sent for a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// A file (or folder) of the roots.
    File {
        /// Where it is.
        path: ArtifactPath,
        /// What it is for.
        purpose: Purpose,
        /// The machine that it is for, where the path names one.
        machine: Option<MacAddress>,
    },
    /// Text made for a machine.
    Text {
        /// Its name in log lines.
        name: String,
        /// The text.
        body: String,
        /// What it is for.
        purpose: Purpose,
        /// The machine.
        machine: Option<MacAddress>,
    },
}

/// Why a request is refused; the body of the answer says the same words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// 400: the path cannot be looked up.
    Path(BadPath),
    /// 404: the machine is to boot its disk and its firmware takes a 404 for that.
    LocalBoot,
}

impl Refused {
    /// Its name in log lines and metrics.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Path(bad) => bad.as_str(),
            Self::LocalBoot => "machine-boots-its-disk",
        }
    }

    /// The status code of the answer.
    #[must_use]
    pub const fn status(&self) -> u16 {
        match self {
            Self::Path(_) => 400,
            Self::LocalBoot => 404,
        }
    }
}

/// Decides what `path` (percent-decoded, without query) means for the client
/// at `peer`, which reached us at `server` and `port`.
///
/// # Errors
/// [`Refused`] carries the status code and the reason.
pub fn route(
    _snapshot: &Snapshot,
    _peer: Option<MacAddress>,
    _server: (Ipv4Addr, u16),
    path: &str,
) -> Result<Route, Refused> {
    let path = ArtifactPath::parse(path).map_err(Refused::Path)?;
    Ok(Route::File {
        path,
        purpose: Purpose::Other,
        machine: None,
    })
}
