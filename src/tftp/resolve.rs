//! What a TFTP name means.

use std::net::Ipv4Addr;

use crate::api::LoaderKind;
use crate::files::{ArtifactPath, BadPath};
use crate::script::{
    AUTOEXEC_NAME, Caller, Generated, MACHINES, NoScript, Urls, Way, bootstrap, may_load,
    purpose_of, script_for, script_in, subnet_for,
};
use crate::snapshot::Snapshot;
use crate::timeline::Purpose;

/// What firmware loads first under Secure Boot.
const SHIMS: [&str; 2] = ["shimx64.efi", "shimaa64.efi"];

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
    /// There is no such file under a machine's name.
    NoSuchDoor,
}

impl Refused {
    /// Its name in log lines and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Path(bad) => bad.as_str(),
            Self::EmptyName => "name-empty",
            Self::Script(reason) => reason.as_str(),
            Self::NoSuchDoor => "no-such-path",
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
    if let Some(rest) = path.as_str().strip_prefix(MACHINES) {
        return machine_file(snapshot, caller, server, rest);
    }
    if let Some(text) = generated(snapshot, caller, server, &path) {
        return text;
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

/// A file of the tree on its way to one machine, as in its URLs: what GRUB and
/// PXELINUX are told to load.
fn machine_file(
    snapshot: &Snapshot,
    caller: Caller<'_>,
    server: Ipv4Addr,
    rest: &str,
) -> Result<Content, Refused> {
    let mut parts = rest.trim_start_matches('/').splitn(3, '/');
    let mac = parts.next().and_then(|mac| mac.parse().ok());
    let purpose = parts.next().and_then(purpose_of);
    let (Some(mac), Some(purpose), Some(file)) = (mac, purpose, parts.next()) else {
        return Err(Refused::NoSuchDoor);
    };
    let path = ArtifactPath::parse(file).map_err(Refused::Path)?;
    if purpose != Purpose::Loader {
        may_load(snapshot, mac, caller, server).map_err(Refused::Script)?;
    }
    Ok(Content::File { path, purpose })
}

/// The script that `path` names. One that names its machine is made for a
/// machine of an object; one that does not is a file of the tree, but for a
/// machine whose loader is GRUB. A loader of somebody's own brings its own.
fn generated(
    snapshot: &Snapshot,
    caller: Caller<'_>,
    server: Ipv4Addr,
    path: &ArtifactPath,
) -> Option<Result<Content, Refused>> {
    let named = Generated::named(path.as_str(), Way::Tftp)?;
    let mac = named.mac.or(caller.mac)?;
    let identity = caller.told.identity(mac);
    let subnet = subnet_for(snapshot, caller, server)?;
    let plan = snapshot.plan(subnet, &identity);
    let is_made = match plan.profile?.spec.loader.kind {
        LoaderKind::GrubShim => true,
        LoaderKind::Ipxe | LoaderKind::Direct => named.mac.is_some() && plan.machine.is_some(),
        LoaderKind::File => false,
    };
    if !is_made {
        return None;
    }
    let urls = Urls {
        server,
        port: snapshot.http_port,
    };
    let script = script_in(named.dialect, snapshot, (mac, &identity), caller, &urls);
    Some(script.map_err(Refused::Script).map(|script| Content::Text {
        name: path.file_name().to_owned(),
        body: script.body,
        purpose: script.purpose,
    }))
}

/// What a file of the tree is for, as far as the snapshot tells.
fn purpose(snapshot: &Snapshot, path: &ArtifactPath) -> Purpose {
    let is = |file: &str| file.trim_start_matches('/') == path.as_str();
    let own = snapshot
        .profiles
        .iter()
        .flat_map(|profile| profile.spec.loader.files.values());
    let is_shim = SHIMS.contains(&path.file_name());
    if is_shim || snapshot.loaders.values().chain(own).any(|file| is(file)) {
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
