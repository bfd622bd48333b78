//! The names by which GRUB and PXELINUX ask for their scripts.

use super::dialect::{Dialect, Way};
use crate::boot::MacAddress;

/// A script that stands in no tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Generated {
    /// Its language.
    pub dialect: Dialect,
    /// The machine that the name names; without one, it is whoever asks.
    pub mac: Option<MacAddress>,
}

impl Generated {
    /// The script that `path` names, if it names one; `way` is how it is asked
    /// for. Whether a file of that name in the tree wins is the door's affair.
    ///
    /// - `pxelinux.cfg/01-MAC`, in any folder: PXELINUX asks for its UUID, this,
    ///   its address in hex, digit by digit, and `default` (SYSLINUX's
    ///   doc/pxelinux.txt). This is the one that names a machine.
    /// - `grub.cfg-01-MAC` in any folder: GRUB's `net_get_dhcp_option` way, and
    ///   its `normal` with a network prefix since 2.02.
    /// - `grub/grub.cfg` and `grub/x86_64-efi/grub.cfg`, `grub/arm64-efi/…`:
    ///   what Debian's and Ubuntu's signed images read, whoever the machine is.
    #[must_use]
    pub fn named(path: &str, way: Way) -> Option<Self> {
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        let last = folder.rsplit('/').next().unwrap_or(folder);
        if last == "pxelinux.cfg" {
            let dialect = Dialect::Pxelinux(way);
            let mac = ethernet(name);
            return mac.is_some().then_some(Self { dialect, mac });
        }
        let dialect = Dialect::Grub(way);
        if let Some(rest) = name.strip_prefix("grub.cfg-") {
            let mac = Some(ethernet(rest)?);
            return Some(Self { dialect, mac });
        }
        let is_grub = last == "grub" || matches!(last, "x86_64-efi" | "arm64-efi" | "i386-pc");
        (name == "grub.cfg" && is_grub).then_some(Self { dialect, mac: None })
    }
}

/// `01-52-54-00-00-00-07`: 1 is Ethernet (RFC 1700).
fn ethernet(name: &str) -> Option<MacAddress> {
    name.strip_prefix("01-")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_the_names() {
        let mac = MacAddress::new([0x52, 0x54, 0, 0, 0, 7]);
        let (grub, pxelinux) = (Dialect::Grub(Way::Tftp), Dialect::Pxelinux(Way::Tftp));
        for (path, want) in [
            (
                "pxelinux.cfg/01-52-54-00-00-00-07",
                Some((pxelinux, Some(mac))),
            ),
            ("bios/pxelinux.cfg/default", None),
            ("pxelinux.cfg/C0000207", None),
            ("pxelinux.cfg/01-52", None),
            (
                "grub/grub.cfg-01-52-54-00-00-00-07",
                Some((grub, Some(mac))),
            ),
            ("grub/grub.cfg-C0000207", None),
            ("grub/grub.cfg", Some((grub, None))),
            ("grub/x86_64-efi/grub.cfg", Some((grub, None))),
            ("debian-installer/amd64/grub/grub.cfg", Some((grub, None))),
            ("grub.cfg", None),
            ("isos/boot/grub.cfg", None),
            ("grub/x86_64-efi/command.lst", None),
        ] {
            let named = Generated::named(path, Way::Tftp);
            assert_eq!(named.map(|it| (it.dialect, it.mac)), want, "{path}");
        }
    }
}
