//! What a request path means.
//!
//! `/reveille/machines/MAC/…` belongs to machines: `boot.ipxe` is the script,
//! `config/TOKEN/NAME` and `config/NAME?token=TOKEN` are answer files,
//! `loader/PATH`, `kernel/PATH`, `initrd/PATH`, `efi/PATH` and `iso/PATH` are
//! files of the tree on the way to one machine. Every other path is the artifact tree's.

use percent_encoding::percent_decode_str;

use super::release::{self, Granted, grant};
use crate::boot::{MAX_TAG, MacAddress, Uuid};
use crate::files::{ArtifactPath, BadPath};
use crate::script::{
    AUTOEXEC_NAME, CONFIG_NAME, Caller, DISK_NAME, Dialect, GRUB_NAME, MACHINES, NoScript,
    SCRIPT_NAME, Urls, Way, may_load, purpose_of, script_for, script_in,
};
use crate::snapshot::{Identity, LocalReason, Snapshot};
use crate::timeline::Purpose;

/// Bytes of a query that are read: three values of [`MAX_TAG`] characters,
/// each of three bytes, with their names.
const MAX_QUERY: usize = 1300;

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
        /// What it told of itself to get this, to be remembered.
        told: Option<Identity>,
    },
    /// An answer file, still to be rendered.
    Config(Box<Granted>),
}

/// Why a request is refused; the body of the answer says the same words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// 400: the path cannot be looked up.
    Path(BadPath),
    /// 400: the path names a machine by something that is no MAC address.
    NotAMac,
    /// 404: there is no such door under a machine's path.
    NoSuchDoor,
    /// 404: the name that is never there; the firmware goes on to its disk.
    Disk,
    /// 404: there is no script for the machine, or nothing at all.
    Script(NoScript),
    /// 403: the machine boots its disk: it gets no kernel and no initrd.
    LocalBoot(LocalReason),
    /// No answer file is given; 403 mostly.
    Config(release::Refused),
}

impl Refused {
    /// Its name in log lines and metrics.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Path(bad) => bad.as_str(),
            Self::NotAMac => "not-a-mac-address",
            Self::NoSuchDoor => "no-such-path",
            Self::Disk => "machine-boots-its-disk",
            Self::Script(reason) => reason.as_str(),
            Self::LocalBoot(reason) => reason.as_str(),
            Self::Config(refused) => refused.as_str(),
        }
    }

    /// The status code of the answer.
    #[must_use]
    pub const fn status(&self) -> u16 {
        match self {
            Self::Path(_) | Self::NotAMac => 400,
            Self::Script(NoScript::BootUnknown) => 503,
            Self::NoSuchDoor | Self::Disk | Self::Script(_) => 404,
            Self::LocalBoot(_) => 403,
            Self::Config(refused) => refused.status(),
        }
    }
}

/// Decides what `path` (percent-decoded) and `query` (as it came) mean for
/// `caller`, which reached us at `door`.
///
/// # Errors
/// [`Refused`] carries the status code and the reason.
pub fn route(
    snapshot: &Snapshot,
    caller: Caller<'_>,
    door: Urls,
    path: &str,
    query: Option<&str>,
) -> Result<Route, Refused> {
    let path = ArtifactPath::parse(path).map_err(Refused::Path)?;
    let own = path.as_str().strip_prefix(MACHINES);
    let Some(rest) = own.and_then(|rest| rest.strip_prefix('/')) else {
        return Ok(Route::File {
            path,
            purpose: Purpose::Other,
            machine: None,
        });
    };
    let (mac, rest) = rest.split_once('/').ok_or(Refused::NoSuchDoor)?;
    let mac: MacAddress = mac.parse().map_err(|_| Refused::NotAMac)?;
    let urls = door;
    if rest == SCRIPT_NAME {
        return script(snapshot, mac, caller, &urls, query);
    }
    if rest == GRUB_NAME {
        return grub_script(snapshot, mac, caller, &urls);
    }
    if rest == DISK_NAME {
        return Err(Refused::Disk);
    }
    let (door, file) = rest.split_once('/').ok_or(Refused::NoSuchDoor)?;
    if door == CONFIG_NAME {
        let granted = grant(snapshot, caller, &urls, mac, file, query);
        return granted
            .map(Box::new)
            .map(Route::Config)
            .map_err(Refused::Config);
    }
    let purpose = purpose_of(door).ok_or(Refused::NoSuchDoor)?;
    let path = ArtifactPath::parse(file).map_err(Refused::Path)?;
    if path.file_name() == AUTOEXEC_NAME {
        return script(snapshot, mac, caller, &urls, None);
    }
    // A loader is sent all the same: its script tells the machine to go on.
    if purpose != Purpose::Loader {
        may_load(snapshot, mac, caller, urls.server).map_err(|refused| match refused {
            NoScript::LocalBoot(reason) => Refused::LocalBoot(reason),
            NoScript::Machine(_)
            | NoScript::NetworkUnknown
            | NoScript::ProfileHasNone
            | NoScript::BootUnknown => Refused::Script(refused),
        })?;
    }
    Ok(Route::File {
        path,
        purpose,
        machine: Some(mac),
    })
}

fn script(
    snapshot: &Snapshot,
    mac: MacAddress,
    caller: Caller<'_>,
    urls: &Urls,
    query: Option<&str>,
) -> Result<Route, Refused> {
    // Who has another machine's address speaks for that one only.
    let speaks = caller.mac.is_none_or(|other| other == mac);
    let told = query.filter(|_| speaks).and_then(|query| told(mac, query));
    let mut identity = told.clone().unwrap_or_else(|| mac.into());
    identity.complete(caller.told.identity(mac));
    let script = script_for(snapshot, mac, &identity, caller, urls).map_err(Refused::Script)?;
    Ok(Route::Text {
        name: SCRIPT_NAME.to_owned(),
        body: script.body,
        purpose: script.purpose,
        // What another machine reads is no stage of this one's boot.
        machine: Some(mac).filter(|_| speaks),
        told,
    })
}

/// The script of a GRUB that came by HTTP.
fn grub_script(
    snapshot: &Snapshot,
    mac: MacAddress,
    caller: Caller<'_>,
    urls: &Urls,
) -> Result<Route, Refused> {
    let identity = caller.told.identity(mac);
    let dialect = Dialect::Grub(Way::Http);
    let script = script_in(dialect, snapshot, (mac, &identity), caller, urls);
    let script = script.map_err(Refused::Script)?;
    Ok(Route::Text {
        name: GRUB_NAME.to_owned(),
        body: script.body,
        purpose: script.purpose,
        machine: Some(mac).filter(|_| caller.mac.is_none_or(|other| other == mac)),
        told: None,
    })
}

/// What a machine tells of itself in the query of its script, where it does.
/// What is too long or unreadable counts as not told.
fn told(mac: MacAddress, query: &str) -> Option<Identity> {
    if query.len() > MAX_QUERY {
        return None;
    }
    let mut identity = Identity::from(mac);
    for pair in query.split('&') {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let text = || {
            let decoded = percent_decode_str(value).decode_utf8().ok()?;
            let text = decoded.trim();
            (!text.is_empty() && text.len() <= MAX_TAG).then(|| text.to_owned())
        };
        match name {
            "uuid" => {
                let uuid: Option<Uuid> = value.parse().ok();
                identity.uuid = uuid.filter(|uuid| uuid.names_one());
            }
            "serial" => identity.serial = text(),
            "asset" => identity.asset = text(),
            _ => continue,
        }
        identity.asked = true;
    }
    identity.asked.then_some(identity)
}
