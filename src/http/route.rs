//! What a request path means.
//!
//! `/reveille/machines/MAC/…` belongs to machines: `boot.ipxe` is the script,
//! `config/TOKEN/NAME` and `config/NAME?token=TOKEN` are answer files,
//! `loader/PATH`, `kernel/PATH`, `initrd/PATH`, `efi/PATH` and `iso/PATH` are
//! files of the tree on the way to one machine, and `menu/ENTRY/…` is what was
//! chosen from its menu. Every other path is the artifact tree's.

use percent_encoding::percent_decode_str;

use super::release::{self, Granted, grant};
use crate::api::MenuPassword;
use crate::boot::{MAX_TAG, MacAddress, Uuid};
use crate::files::{ArtifactPath, BadPath};
use crate::script::{
    AUTOEXEC_NAME, Asked, CONFIG_NAME, Caller, DISK_NAME, Dialect, GRUB_NAME, MACHINES, NoScript,
    PASS, PXELINUX_NAME, SCRIPT_NAME, Urls, Way, chosen_script, file_of, is_token, locks, may_load,
    purpose_of,
};
use crate::snapshot::{Choice, Identity, LocalReason, MENU_NAME, ObjectName, Snapshot};
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
    /// What was chosen, behind passwords.
    Locked(Box<Locked>),
}

/// What was chosen from a menu, behind passwords that are still to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Locked {
    /// The machine.
    pub mac: MacAddress,
    /// What was chosen.
    pub choice: Choice,
    /// The profile with the first menu: Secrets are of its namespace.
    pub menu: ObjectName,
    /// The passwords: one must be right for all of them.
    pub passwords: Vec<MenuPassword>,
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
            Self::Script(NoScript::PasswordNeeded) => 401,
            Self::Script(NoScript::AddressNotTheMachines) => 403,
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
    let menu = rest
        .strip_prefix(MENU_NAME)
        .and_then(|rest| rest.strip_prefix('/'));
    let (choice, rest) = menu.map_or_else(|| (Choice::default(), rest), Choice::split);
    if let Some(dialect) = dialect_of(rest) {
        return script(dialect, snapshot, (mac, choice), caller, &urls, query);
    }
    if rest == DISK_NAME {
        return Err(Refused::Disk);
    }
    let (door, file) = rest.split_once('/').ok_or(Refused::NoSuchDoor)?;
    if door == CONFIG_NAME {
        let granted = grant(snapshot, caller, &urls, (mac, &choice), file, query);
        return granted
            .map(Box::new)
            .map(Route::Config)
            .map_err(Refused::Config);
    }
    // Files are the machine's, whatever it chose.
    let purpose = purpose_of(door).filter(|_| choice.is_empty());
    let purpose = purpose.ok_or(Refused::NoSuchDoor)?;
    let path = ArtifactPath::parse(file).map_err(Refused::Path)?;
    if path.file_name() == AUTOEXEC_NAME {
        let own = (mac, Choice::default());
        return script(Dialect::Ipxe, snapshot, own, caller, &urls, None);
    }
    // A loader is sent all the same: its script tells the machine to go on.
    if purpose != Purpose::Loader {
        may_load(snapshot, mac, caller, urls.server).map_err(|refused| match refused {
            NoScript::LocalBoot(reason) => Refused::LocalBoot(reason),
            NoScript::Machine(_)
            | NoScript::NetworkUnknown
            | NoScript::ProfileHasNone
            | NoScript::BootUnknown
            | NoScript::Entry(_)
            | NoScript::PasswordNeeded
            | NoScript::AddressNotTheMachines => Refused::Script(refused),
        })?;
    }
    Ok(Route::File {
        path,
        purpose,
        machine: Some(mac),
    })
}

/// The language of a machine's script of this name.
fn dialect_of(name: &str) -> Option<Dialect> {
    match name {
        SCRIPT_NAME => Some(Dialect::Ipxe),
        GRUB_NAME => Some(Dialect::Grub(Way::Http)),
        PXELINUX_NAME => Some(Dialect::Pxelinux(Way::Http)),
        _ => None,
    }
}

fn script(
    dialect: Dialect,
    snapshot: &Snapshot,
    (mac, choice): (MacAddress, Choice),
    caller: Caller<'_>,
    urls: &Urls,
    query: Option<&str>,
) -> Result<Route, Refused> {
    // Who has another machine's address speaks for that one only.
    let speaks = caller.mac.is_none_or(|other| other == mac);
    let told = query.filter(|_| speaks && dialect == Dialect::Ipxe);
    let told = told.and_then(|query| told_in(mac, query));
    let mut identity = told.clone().unwrap_or_else(|| mac.into());
    identity.complete(caller.told.identity(mac));
    let mut pairs = query.unwrap_or_default().split('&');
    let pass = pairs.find_map(|pair| pair.strip_prefix(PASS));
    let asked = Asked {
        // It gets into the URLs of what is chosen next.
        pass: pass.filter(|pass| is_token(pass)),
        choice,
    };
    let name = match dialect {
        Dialect::Ipxe => SCRIPT_NAME,
        Dialect::Grub(_) => GRUB_NAME,
        Dialect::Pxelinux(_) => PXELINUX_NAME,
    };
    let who = (mac, &identity);
    let script = match chosen_script(dialect, snapshot, who, caller, urls, &asked) {
        Err(NoScript::PasswordNeeded) if dialect == Dialect::Ipxe => {
            let locked = locks(snapshot, who, caller, urls, &asked);
            let needed = Refused::Script(NoScript::PasswordNeeded);
            let (menu, passwords) = locked.ok_or(needed)?;
            let choice = asked.choice;
            return Ok(Route::Locked(Box::new(Locked {
                mac,
                choice,
                menu,
                passwords,
            })));
        }
        script => script.map_err(Refused::Script)?,
    };
    Ok(Route::Text {
        name: file_of(&asked.choice, name),
        body: script.body,
        purpose: script.purpose,
        // What another machine reads is no stage of this one's boot.
        machine: Some(mac).filter(|_| speaks),
        told,
    })
}

/// What a machine tells of itself in the query of its script, where it does.
/// What is too long or unreadable counts as not told.
fn told_in(mac: MacAddress, query: &str) -> Option<Identity> {
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

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::path::Path;
    use std::sync::LazyLock;

    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;
    use crate::script::BootKey;
    use crate::snapshot::{Settings, compile};
    use crate::standalone::read_text;
    use crate::timeline::Introductions;

    /// What strangers send, and no script of ours holds.
    const MARK: &str = "Qz7";

    const WORLD: &str = r#"
{apiVersion: reveille.dev/v1alpha1, kind: Subnet, metadata: {name: lab}, spec: {mode: Server, cidr: 192.0.2.0/24, interface: eth0}}
---
{apiVersion: reveille.dev/v1alpha1, kind: BootProfile, metadata: {name: start}, spec: {default: true, menu: {entries: [
  {name: linux, profileRef: {name: linux}}, {name: tools, profileRef: {name: tools}}, {name: disk, action: Disk}]}}}
---
{apiVersion: reveille.dev/v1alpha1, kind: BootProfile, metadata: {name: tools}, spec: {menu: {entries: [
  {name: shell, action: Shell}, {name: reboot, action: Reboot}, {name: linux, profileRef: {name: linux}}]}}}
---
{apiVersion: reveille.dev/v1alpha1, kind: BootProfile, metadata: {name: linux}, spec: {linux: {kernel: {path: linux}, args: ["a={{ machine.name }}"]}}}
---
{apiVersion: reveille.dev/v1alpha1, kind: Machine, metadata: {name: known}, spec: {interfaces: [{mac: "52:54:00:00:00:07", ip: 192.0.2.17}]}}
---
{apiVersion: reveille.dev/v1alpha1, kind: Machine, metadata: {name: by-serial}, spec: {serial: "S1"}}
"#;

    /// What stands below a machine's path.
    const NAMES: [&str; 9] = [
        "boot.ipxe",
        "grub.cfg",
        "pxelinux.cfg",
        "loader/autoexec.ipxe",
        "menu/linux/boot.ipxe",
        "menu/tools/boot.ipxe",
        "menu/tools/grub.cfg",
        "menu/tools/shell/boot.ipxe",
        "menu/tools/linux/boot.ipxe",
    ];

    static SNAPSHOT: LazyLock<Snapshot> = LazyLock::new(|| {
        let loaded = read_text(Path::new("world.yaml"), WORLD);
        assert!(loaded.check().iter().all(|it| !it.is_error()));
        let settings = Settings::default();
        compile(1, &loaded.inputs, &settings).snapshot
    });

    fn asked(mac: &str, path: &str, query: Option<&str>) -> Result<Route, Refused> {
        let told = Introductions::with_key(BootKey::new([1; 32]));
        let caller = Caller {
            address: IpAddr::from([192, 0, 2, 17]),
            mac: mac.parse().ok(),
            told: &told,
        };
        let door = Urls {
            server: IpAddr::from([192, 0, 2, 1]),
            port: 80,
            tls: false,
        };
        let path = format!("/{MACHINES}/{mac}/{path}");
        route(&SNAPSHOT, caller, door, &path, query)
    }

    fn body(mac: &str, path: &str, query: Option<&str>) -> Option<String> {
        match asked(mac, path, query) {
            Ok(Route::Text { body, .. }) => Some(body),
            Ok(_) | Err(_) => None,
        }
    }

    const KNOWN: &str = "52-54-00-00-00-07";
    const UNKNOWN: &str = "52-54-00-00-00-09";

    /// What may stand in a request line, and more.
    fn text() -> impl Strategy<Value = String> {
        let bits = [
            "${", "}", "||", "&&", ";", "#", "'", "\"", "\\", "\n", "%0a", "%20", " ", "{{", "`",
            ".",
        ];
        let bit = prop_oneof![
            3 => select(bits.to_vec()).prop_map(str::to_owned),
            3 => Just(MARK.to_owned()),
            2 => "[ -~]{0,8}",
            1 => "[0-9a-f]{1,16}[.][0-9a-f]{30,34}",
        ];
        prop::collection::vec(bit, 0..6).prop_map(|bits| bits.concat())
    }

    fn query() -> impl Strategy<Value = String> {
        let name = select(vec![
            "pass=", "pass=", "uuid=", "serial=", "asset=", "token=", "", "x=",
        ]);
        let pair = (name, text()).prop_map(|(name, text)| format!("{name}{text}"));
        prop::collection::vec(pair, 0..4).prop_map(|pairs| pairs.join("&"))
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

        /// A script holds nothing that a stranger wrote but a token.
        #[test]
        fn nothing_that_is_sent_gets_into_a_script(
            mac in select(vec![KNOWN, UNKNOWN]), name in select(NAMES.to_vec()), query in query(),
        ) {
            let Some(body) = body(mac, name, Some(&query)) else { return Ok(()) };
            prop_assert!(!body.contains(MARK), "{query}: {body}");
            let mut pairs = query.split('&');
            let pass = pairs.find_map(|pair| pair.strip_prefix(PASS));
            let token = pass.filter(|pass| is_token(pass));
            if mac == KNOWN {
                let plain = token.map(|token| format!("{PASS}{token}"));
                let plain = self::body(mac, name, plain.as_deref()).unwrap();
                prop_assert_eq!(body, plain);
            }
        }

        #[test]
        fn nor_does_a_name(tail in text(), before in select(vec!["", "menu/", "menu/tools/", "loader/"]), name in select(NAMES.to_vec())) {
            for path in [format!("{before}{tail}"), format!("{before}{tail}/{name}"), format!("{tail}/../{name}")] {
                if let Some(body) = body(KNOWN, &path, None) {
                    prop_assert!(!body.contains(MARK), "{path}: {body}");
                }
            }
        }
    }

    #[test]
    fn a_pass_goes_on_to_what_is_chosen_next() {
        let token = format!("199c82cc000.{}", "ab".repeat(16));
        let next = format!("menu/tools/linux/boot.ipxe?pass={token}");
        let shown = |query: &str| body(KNOWN, "menu/tools/boot.ipxe", Some(query)).unwrap();
        assert!(shown(&format!("pass={token}")).contains(&next));
        for bad in ["pass=${uuid}", "pass=1", &format!("pass={token}${{uuid}}")] {
            let body = shown(bad);
            assert!(
                !body.contains("pass=") && !body.contains("uuid"),
                "{bad}: {body}"
            );
        }
    }
}
