//! What a TFTP name means.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::refuse::Refusal;
use crate::api::LoaderKind;
use crate::boot::MacAddress;
use crate::files::{ArtifactPath, BadPath};
use crate::script::{
    AUTOEXEC_NAME, Asked, Caller, Dialect, GRUB_NAME, Generated, MACHINES, NoScript, PXELINUX_NAME,
    Urls, Way, bootstrap, chosen_script, file_of, may_load, purpose_of, script_for, script_in,
    subnet_for,
};
use crate::snapshot::{Choice, MENU_NAME, Snapshot};
use crate::timeline::Purpose;

/// What firmware loads first under Secure Boot.
const SHIMS: [&str; 2] = ["shimx64.efi", "shimaa64.efi"];

/// What is sent for a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// A file of the roots.
    File {
        /// Where it may be: the first of these that is there is sent.
        paths: Vec<ArtifactPath>,
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

/// How names are taken, as the settings say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Naming {
    /// The folder whose folders are single machines' own: what is in one of
    /// them, named by a MAC address (`52-54-00-12-34-56`) or an IP address,
    /// that machine sees before the common tree.
    pub views: Option<ArtifactPath>,
    /// Names that stand for files of another name.
    pub aliases: BTreeMap<ArtifactPath, ArtifactPath>,
}

/// Who may write what: nobody anything, unless folders are named.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Uploads {
    /// Folders of the artifact tree in which clients may make files.
    pub folders: Vec<ArtifactPath>,
    /// Most bytes of one file.
    pub largest: u64,
    /// Most bytes that the files of a folder have together.
    pub quota: u64,
    /// Whether a file that is there is replaced.
    pub replace: bool,
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
/// (junk that shim 15.8 and some ROMs stick to a name) end it. A Raspberry Pi
/// puts its serial number in front.
///
/// # Errors
/// [`Refused`] names why the client gets an ERROR packet.
pub fn resolve(
    snapshot: &Snapshot,
    naming: &Naming,
    caller: Caller<'_>,
    server: IpAddr,
    name: &[u8],
) -> Result<Content, Refused> {
    let path = path_of(name)?;
    if path.file_name() == AUTOEXEC_NAME {
        return autoexec(snapshot, caller, server);
    }
    if let Some(rest) = path.as_str().strip_prefix(MACHINES) {
        return machine_file(snapshot, caller, server, rest);
    }
    let path = naming.aliases.get(&path).cloned().unwrap_or(path);
    let common = without_serial(&path);
    let asked = common.as_ref().unwrap_or(&path);
    if let Some(text) = generated(snapshot, caller, server, asked) {
        return text;
    }
    let purpose = purpose(snapshot, asked);
    let own = naming.own(&path, caller);
    let paths = own.chain([path]).chain(common).collect();
    Ok(Content::File { paths, purpose })
}

/// Decides whether a client may write a file called `name`: the folder that
/// takes it, and its path.
///
/// # Errors
/// Why it may not.
pub fn resolve_upload(
    uploads: &Uploads,
    name: &[u8],
) -> Result<(ArtifactPath, ArtifactPath), Refusal> {
    if uploads.folders.is_empty() {
        return Err(Refusal::Write);
    }
    let path = path_of(name).map_err(Refusal::Name)?;
    let takes = |folder: &&ArtifactPath| {
        let inside = path.as_str().strip_prefix(folder.as_str());
        inside.is_some_and(|inside| inside.len() > 1 && inside.starts_with('/'))
    };
    // Hidden names are ours: drafts.
    let hidden = path.file_name().starts_with('.');
    let folder = uploads.folders.iter().find(takes).filter(|_| !hidden);
    let folder = folder.ok_or(Refusal::WriteElsewhere)?.clone();
    Ok((folder, path))
}

fn path_of(name: &[u8]) -> Result<ArtifactPath, Refused> {
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
    Ok(path)
}

// === impl Naming ===

impl Naming {
    /// Where `path` is in the views of `caller`.
    fn own(
        &self,
        path: &ArtifactPath,
        caller: Caller<'_>,
    ) -> impl Iterator<Item = ArtifactPath> + use<> {
        let by_mac = caller.mac.map(|mac| mac.hyphenated());
        let names = by_mac.into_iter().chain([caller.address.to_string()]);
        let (views, path) = (self.views.clone(), path.clone());
        let inside =
            move |name| ArtifactPath::parse(&format!("{}/{name}/{path}", views.as_ref()?)).ok();
        names.filter_map(inside)
    }
}

/// `path` without the part that a Raspberry Pi puts in front: the last eight
/// digits of its serial number, or its MAC address (`TFTP_PREFIX` of its
/// EEPROM). It would ask for that itself, some thirty times, after a refusal.
fn without_serial(path: &ArtifactPath) -> Option<ArtifactPath> {
    let (first, rest) = path.split_first()?;
    let is_serial = first.len() == 8 && first.bytes().all(|byte| byte.is_ascii_hexdigit());
    let is_mac = first.len() == 17 && first.parse::<MacAddress>().is_ok();
    ((is_serial || is_mac) && !rest.is_root()).then_some(rest)
}

/// The machine's own script where the leases tell who asks, else one that
/// fetches it by MAC address. Answered at once either way: iPXE waits for it.
fn autoexec(snapshot: &Snapshot, caller: Caller<'_>, server: IpAddr) -> Result<Content, Refused> {
    // The kernel did not say which of our addresses it came to.
    if server.is_unspecified() {
        return Err(Refused::Script(NoScript::NetworkUnknown));
    }
    let urls = Urls {
        server,
        port: snapshot.http_port,
        tls: false,
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
    server: IpAddr,
    rest: &str,
) -> Result<Content, Refused> {
    let mut parts = rest.trim_start_matches('/').splitn(3, '/');
    let mac = parts.next().and_then(|mac| mac.parse().ok());
    let (door, file) = (parts.next(), parts.next());
    if let (Some(mac), Some(MENU_NAME), Some(file)) = (mac, door, file) {
        return chosen(snapshot, caller, server, mac, file);
    }
    if let (Some(mac), Some(file), None) = (mac, door, file) {
        return chosen(snapshot, caller, server, mac, file);
    }
    let purpose = door.and_then(purpose_of);
    let (Some(mac), Some(purpose), Some(file)) = (mac, purpose, file) else {
        return Err(Refused::NoSuchDoor);
    };
    let path = ArtifactPath::parse(file).map_err(Refused::Path)?;
    if purpose != Purpose::Loader {
        may_load(snapshot, mac, caller, server).map_err(Refused::Script)?;
    }
    let paths = vec![path];
    Ok(Content::File { paths, purpose })
}

/// What GRUB or PXELINUX is told for a machine's choice: `ENTRY/grub.cfg`; the
/// first menu has no entry in its name.
fn chosen(
    snapshot: &Snapshot,
    caller: Caller<'_>,
    server: IpAddr,
    mac: MacAddress,
    path: &str,
) -> Result<Content, Refused> {
    let (choice, name) = Choice::split(path);
    let dialect = match name {
        GRUB_NAME => Dialect::Grub(Way::Tftp),
        PXELINUX_NAME => Dialect::Pxelinux(Way::Tftp),
        _ => return Err(Refused::NoSuchDoor),
    };
    let urls = Urls {
        server,
        port: snapshot.http_port,
        tls: false,
    };
    let who = (mac, &caller.told.identity(mac));
    let asked = Asked { choice, pass: None };
    let script = chosen_script(dialect, snapshot, who, caller, &urls, &asked);
    let script = script.map_err(Refused::Script)?;
    Ok(Content::Text {
        name: file_of(&asked.choice, name),
        body: script.body,
        purpose: script.purpose,
    })
}

/// The script that `path` names. One that names its machine is made for a
/// machine of an object; one that does not is a file of the tree, but for a
/// machine whose loader is GRUB. A loader of somebody's own brings its own.
fn generated(
    snapshot: &Snapshot,
    caller: Caller<'_>,
    server: IpAddr,
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
        tls: false,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::timeline::Introductions;

    fn path(name: &str) -> ArtifactPath {
        ArtifactPath::parse(name).unwrap()
    }

    fn paths(naming: &Naming, name: &str) -> Vec<String> {
        let caller = Caller {
            address: IpAddr::from([192, 0, 2, 7]),
            mac: Some("52:54:00:12:34:56".parse().unwrap()),
            told: &Introductions::default(),
        };
        let server = IpAddr::from([192, 0, 2, 1]);
        let content = resolve(
            &Snapshot::default(),
            naming,
            caller,
            server,
            name.as_bytes(),
        );
        let Ok(Content::File { paths, .. }) = content else {
            panic!("{name} is no file");
        };
        paths.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn looks_in_the_machines_own_folders_first() {
        let naming = Naming {
            views: Some(path("by-machine")),
            ..Naming::default()
        };
        let want = [
            "by-machine/52-54-00-12-34-56/grub/grub.cfg",
            "by-machine/192.0.2.7/grub/grub.cfg",
            "grub/grub.cfg",
        ];
        assert_eq!(paths(&naming, "/grub/grub.cfg"), want);
        assert_eq!(
            paths(&Naming::default(), "/grub/grub.cfg"),
            ["grub/grub.cfg"]
        );
    }

    #[test]
    fn takes_one_name_for_another() {
        let aliases = BTreeMap::from([(path("boot/x64.efi"), path("ipxe.efi"))]);
        let naming = Naming {
            aliases,
            ..Naming::default()
        };
        assert_eq!(paths(&naming, "\\boot\\x64.efi"), ["ipxe.efi"]);
        assert_eq!(paths(&naming, "x64.efi"), ["x64.efi"]);
    }

    #[test]
    fn takes_files_in_named_folders_only() {
        let folders = vec![path("in"), path("logs/boot")];
        let uploads = Uploads {
            folders,
            ..Uploads::default()
        };
        let refused = |name: &str| {
            let resolved = resolve_upload(&uploads, name.as_bytes());
            resolved.err().map(Refusal::as_str)
        };
        for (name, why) in [
            ("in/a", None),
            ("\\in\\sub\\a", None),
            ("/logs/boot/a.txt", None),
            ("in", Some("folder-takes-no-files")),
            ("inner/a", Some("folder-takes-no-files")),
            ("logs/a", Some("folder-takes-no-files")),
            ("in/.upload-1-1", Some("folder-takes-no-files")),
            ("in/../a", Some("path-escapes-root")),
            ("", Some("name-empty")),
        ] {
            assert_eq!(refused(name), why, "{name}");
        }
        let off = resolve_upload(&Uploads::default(), b"in/a").unwrap_err();
        assert_eq!(off, Refusal::Write);
    }

    #[test]
    fn a_raspberry_pi_finds_its_files_with_its_serial_and_without() {
        let none = Naming::default();
        let want = ["1a2b3c4d/start4.elf", "start4.elf"];
        assert_eq!(paths(&none, "1a2b3c4d/start4.elf"), want);
        let want = ["dc-a6-32-01-02-03/config.txt", "config.txt"];
        assert_eq!(paths(&none, "dc-a6-32-01-02-03/config.txt"), want);
        assert_eq!(paths(&none, "1a2b3c4/start4.elf"), ["1a2b3c4/start4.elf"]);
        assert_eq!(paths(&none, "1a2b3c4d"), ["1a2b3c4d"]);
    }
}
