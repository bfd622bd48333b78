//! What a TFTP name means.

use std::net::Ipv4Addr;

use crate::api::LoaderKind;
use crate::files::{ArtifactPath, BadPath};
use crate::script::{AUTOEXEC_NAME, Caller, NoScript, Urls, bootstrap, script_for};
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
    /// There is no script for the machine.
    Script(NoScript),
}

impl Refused {
    /// Its name in log lines and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Path(bad) => bad.as_str(),
            Self::EmptyName => "name-empty",
            Self::Script(reason) => reason.as_str(),
        }
    }
}

/// Decides what `name` means for `caller`, which reached us at `server`.
///
/// Names come as firmware sends them: `\` is a slash, bytes that are no UTF-8
/// (junk that shim 15.8 and some ROMs stick to a name) end it.
///
/// # Errors
/// [`Refused`] names why the client gets an ERROR packet.
pub fn resolve(
    snapshot: &Snapshot,
    caller: Caller<'_>,
    server: Ipv4Addr,
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
    if path.file_name() == AUTOEXEC_NAME {
        return autoexec(snapshot, caller, server);
    }
    let purpose = purpose(snapshot, &path);
    Ok(Content::File { path, purpose })
}

/// The machine's own script where the leases tell who asks, else one that
/// fetches it by MAC address. Answered at once either way: iPXE waits for it.
fn autoexec(snapshot: &Snapshot, caller: Caller<'_>, server: Ipv4Addr) -> Result<Content, Refused> {
    let urls = Urls {
        server,
        port: snapshot.http_port,
    };
    let (body, purpose) = match caller.mac {
        Some(mac) => {
            let identity = caller.told.identity(mac);
            match script_for(snapshot, mac, &identity, caller, &urls) {
                // A token is for HTTP, and so is a script that has one.
                Ok(script) if script.private => (bootstrap(&urls), Purpose::Other),
                Err(NoScript::BootUnknown) => (bootstrap(&urls), Purpose::Other),
                Ok(script) => (script.body, script.purpose),
                Err(reason) => return Err(Refused::Script(reason)),
            }
        }
        None => (bootstrap(&urls), Purpose::Other),
    };
    Ok(Content::Text {
        name: AUTOEXEC_NAME.to_owned(),
        body,
        purpose,
    })
}

/// What a file of the tree is for, as far as the snapshot tells.
fn purpose(snapshot: &Snapshot, path: &ArtifactPath) -> Purpose {
    let is = |file: &str| file.trim_start_matches('/') == path.as_str();
    let own = snapshot
        .profiles
        .iter()
        .flat_map(|profile| profile.spec.loader.files.values());
    if snapshot.loaders.values().chain(own).any(|file| is(file)) {
        return Purpose::Loader;
    }
    let direct = snapshot
        .profiles
        .iter()
        .filter(|profile| profile.spec.loader.kind == LoaderKind::Direct)
        .filter_map(|profile| profile.spec.efi.as_ref())
        .any(|efi| is(&efi.file.path));
    if direct { Purpose::Efi } else { Purpose::Other }
}
