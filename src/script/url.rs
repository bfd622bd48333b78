//! The URLs of a machine: stable, by address, never redirected.

use std::net::IpAddr;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::boot::MacAddress;
use crate::snapshot::{Choice, MENU_NAME, ProfileEntry, Snapshot};
use crate::timeline::Purpose;

/// Where the URLs of machines begin. The artifact tree owns every other path.
pub const MACHINES: &str = "reveille/machines";

/// The file name of a machine's script.
pub const SCRIPT_NAME: &str = "boot.ipxe";

/// The script that an iPXE of 2021 or later asks for by itself, in the folder of
/// its loader.
pub const AUTOEXEC_NAME: &str = "autoexec.ipxe";

/// The name that is never there, and so sends firmware to its disk.
pub const DISK_NAME: &str = "disk.efi";

/// Where the system that was booted calls back.
pub const PHONE_HOME_NAME: &str = "phone-home";

/// The file name of a machine's `grub.cfg`.
pub const GRUB_NAME: &str = "grub.cfg";

/// The file name of what PXELINUX is told for a machine's choice.
pub const PXELINUX_NAME: &str = "pxelinux.cfg";

/// Where the answer files of a machine begin.
pub const CONFIG_NAME: &str = "config";

/// What stays as it is in a path: RFC 3986's unreserved characters and `/`.
const PATH: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'/')
    .remove(b'+');

/// Makes the URLs that a client of one server address is told. They hold an
/// address, not a name: firmware has no DNS before the offer (UEFI 24.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Urls {
    /// Our address as the client reaches it.
    pub server: IpAddr,
    /// The port of the service that it is told.
    pub port: u16,
    /// Whether that is HTTPS.
    pub tls: bool,
}

impl Urls {
    /// The same for what boots `profile`: over HTTPS where that says so.
    #[must_use]
    pub fn of_profile(self, snapshot: &Snapshot, profile: Option<&ProfileEntry>) -> Self {
        let wants = profile.is_some_and(|profile| profile.https);
        match snapshot.https.filter(|_| wants) {
            Some(https) => Self {
                port: https.port,
                tls: true,
                ..self
            },
            None => self,
        }
    }

    /// `http://192.0.2.1` or `https://[2001:db8::1]`, with the port where it is
    /// not the scheme's own.
    #[must_use]
    pub fn base(&self) -> String {
        let (scheme, own) = if self.tls {
            ("https", 443)
        } else {
            ("http", 80)
        };
        let host = host(self.server);
        if self.port == own {
            format!("{scheme}://{host}")
        } else {
            format!("{scheme}://{host}:{}", self.port)
        }
    }

    /// A file that TFTP sends, as firmware is told of it by DHCPv6, which has no
    /// field for a bare name (RFC 5970 section 3.1).
    #[must_use]
    pub fn tftp(&self, path: &str) -> String {
        let path = utf8_percent_encode(path.trim_start_matches('/'), PATH);
        format!("tftp://{}/{path}", host(self.server))
    }

    /// The script of the machine with `mac`.
    #[must_use]
    pub fn script(&self, mac: MacAddress) -> String {
        format!("{}/{SCRIPT_NAME}", self.machine(mac))
    }

    /// Where the system that `mac` boots calls back, with the boot's token.
    #[must_use]
    pub fn phone_home(&self, mac: MacAddress, token: &str) -> String {
        format!("{}/{PHONE_HOME_NAME}?token={token}", self.machine(mac))
    }

    /// Where the answer files of the boot with `token` begin, of what was
    /// chosen; with a slash at its end, as cloud-init wants it.
    #[must_use]
    pub fn configs(&self, mac: MacAddress, choice: &Choice, token: &str) -> String {
        format!("{}/{CONFIG_NAME}/{token}/", self.chosen(mac, choice))
    }

    /// Where the files of what was chosen at the machine with `mac` begin.
    #[must_use]
    pub fn chosen(&self, mac: MacAddress, choice: &Choice) -> String {
        let machine = self.machine(mac);
        if choice.is_empty() {
            machine
        } else {
            format!("{machine}/{MENU_NAME}/{choice}")
        }
    }

    /// A file of what was chosen by its name, which TFTP takes as it stands.
    #[must_use]
    pub fn chosen_name(&self, mac: MacAddress, choice: &Choice, file: &str) -> String {
        format!("{MACHINES}/{}/{}", mac.hyphenated(), file_of(choice, file))
    }

    /// A URL that is never there: how UEFI HTTP boot is sent to the disk.
    #[must_use]
    pub fn disk(&self, mac: MacAddress) -> String {
        format!("{}/{DISK_NAME}", self.machine(mac))
    }

    /// A file of the tree for the machine with `mac`: the path tells the
    /// timeline which machine loads what, the file is the same for all.
    #[must_use]
    pub fn file(&self, mac: MacAddress, purpose: Purpose, path: &str) -> String {
        let path = path.trim_start_matches('/');
        format!(
            "{}/{}/{}",
            self.machine(mac),
            purpose.as_str(),
            utf8_percent_encode(path, PATH)
        )
    }

    /// The same file by its name, which TFTP takes as it stands.
    #[must_use]
    pub fn name(&self, mac: MacAddress, purpose: Purpose, path: &str) -> String {
        let (mac, door) = (mac.hyphenated(), purpose.as_str());
        format!("{MACHINES}/{mac}/{door}/{path}")
    }

    /// Where the files of the machine with `mac` begin.
    #[must_use]
    pub fn machine(&self, mac: MacAddress) -> String {
        format!("{}/{MACHINES}/{}", self.base(), mac.hyphenated())
    }
}

/// A file of what was chosen, below the machine's own path.
#[must_use]
pub fn file_of(choice: &Choice, file: &str) -> String {
    if choice.is_empty() {
        file.to_owned()
    } else {
        format!("{MENU_NAME}/{choice}/{file}")
    }
}

/// An address as the host of a URL: IPv6 stands in brackets (RFC 3986 section 3.2.2).
fn host(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    }
}

/// What the files below a machine's `door` are for.
#[must_use]
pub fn purpose_of(door: &str) -> Option<Purpose> {
    match door {
        "loader" => Some(Purpose::Loader),
        "kernel" => Some(Purpose::Kernel),
        "initrd" => Some(Purpose::Initrd),
        "efi" => Some(Purpose::Efi),
        "iso" => Some(Purpose::Iso),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv6_host_stands_in_brackets() {
        let urls = |server: &str, port| Urls {
            server: server.parse().unwrap(),
            port,
            tls: false,
        };
        assert_eq!(urls("192.0.2.1", 80).base(), "http://192.0.2.1");
        assert_eq!(urls("2001:db8::1", 80).base(), "http://[2001:db8::1]");
        assert_eq!(
            urls("2001:db8::1", 8080).base(),
            "http://[2001:db8::1]:8080"
        );
        assert_eq!(
            urls("2001:db8::1", 80).tftp("/a b/ipxe.efi"),
            "tftp://[2001:db8::1]/a%20b/ipxe.efi"
        );
    }
}
