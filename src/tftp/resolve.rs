//! What a TFTP name means.

use std::net::Ipv4Addr;

use crate::boot::MacAddress;
use crate::files::{ArtifactPath, BadPath};
use crate::snapshot::Snapshot;
use crate::timeline::Purpose;

/// What is sent for a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// A file of the roots.
    File {
        /// Where it is.
        path: ArtifactPath,
        /// What it is for.
        purpose: Purpose,
    },
    /// Text made for this machine.
    Text {
        /// Its name in log lines.
        name: String,
        /// The text.
        body: String,
        /// What it is for.
        purpose: Purpose,
    },
}

/// Why a name is refused; the client gets an ERROR packet with the same words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The name cannot be looked up.
    Path(BadPath),
    /// The name has no characters at all.
    EmptyName,
}

impl Refused {
    /// Its name in log lines and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Path(bad) => bad.as_str(),
            Self::EmptyName => "name-empty",
        }
    }
}

/// Decides what `name` means for `peer`, which reached us at `server`.
///
/// Names come as firmware sends them: `\` is a slash, bytes that are no UTF-8
/// (junk that shim 15.8 and some ROMs stick to a name) end it.
///
/// # Errors
/// [`Refused`] names why the client gets an ERROR packet.
pub fn resolve(
    _snapshot: &Snapshot,
    _peer: Option<MacAddress>,
    _server: Ipv4Addr,
    name: &[u8],
) -> Result<Content, Refused> {
    let text = match std::str::from_utf8(name) {
        Ok(text) => text,
        Err(error) => {
            let (good, _) = name.split_at(error.valid_up_to());
            std::str::from_utf8(good).unwrap_or_default()
        }
    };
    let path = ArtifactPath::parse(&text.replace('\\', "/")).map_err(Refused::Path)?;
    if path.is_root() {
        return Err(Refused::EmptyName);
    }
    let purpose = Purpose::Other;
    Ok(Content::File { path, purpose })
}
