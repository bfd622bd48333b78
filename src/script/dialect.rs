//! Who reads a script: iPXE, GRUB or PXELINUX; one plan, three languages.

use super::{Context, Urls, grub, ipxe, pxelinux, render};
use crate::api::{LocalBoot, Source};
use crate::boot::MacAddress;
use crate::snapshot::Choice;

/// How GRUB and PXELINUX fetch what their script names: as they got it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// By TFTP.
    Tftp,
    /// By HTTP.
    Http,
}

/// A language of scripts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// iPXE's, which fetches by HTTP whatever brought its script.
    Ipxe,
    /// `grub.cfg`.
    Grub(Way),
    /// `pxelinux.cfg`.
    Pxelinux(Way),
}

// === impl Dialect ===

impl Dialect {
    /// The script that boots `source`; `None` for what needs no script. What
    /// cannot be said becomes a script that says so on the machine's screen and
    /// tries again.
    pub(super) fn boot(
        self,
        source: Source<'_>,
        context: &Context,
        urls: &Urls,
        mac: MacAddress,
    ) -> Option<String> {
        let made = match self {
            Self::Ipxe => return ipxe::machine_script(source, context, urls, mac),
            Self::Grub(way) => grub::boot(source, context, urls, mac, way),
            Self::Pxelinux(way) => pxelinux::boot(source, context, urls, mac, way),
        };
        Some(made.unwrap_or_else(|reason| self.waiting(context, urls, mac, &reason)))
    }

    /// The script that sends `machine` to its disk; `None` where a missing
    /// script does that.
    pub(super) fn local(self, how: LocalBoot, machine: &str) -> Option<String> {
        match self {
            Self::Ipxe => ipxe::local(how, machine),
            Self::Grub(_) => grub::local(how, machine),
            Self::Pxelinux(_) => pxelinux::local(how, machine),
        }
    }

    /// A script that shows `reason` on the machine's screen and tries again.
    pub(super) fn waiting(
        self,
        context: &Context,
        urls: &Urls,
        mac: MacAddress,
        reason: &str,
    ) -> String {
        match self {
            Self::Ipxe => ipxe::waiting(context, urls, mac, reason),
            Self::Grub(_) => grub::waiting(context, reason),
            Self::Pxelinux(_) => pxelinux::waiting(context, reason),
        }
    }

    /// A script that goes on by HTTP, and shows `reason` where the loader cannot;
    /// `None` where none can, or HTTP is not to be spoken.
    pub(super) fn by_http(
        self,
        context: &Context,
        urls: &Urls,
        who: (MacAddress, &Choice),
        reason: &str,
    ) -> Option<String> {
        match self {
            Self::Grub(Way::Tftp) if !urls.tls => Some(grub::by_http(context, urls, who, reason)),
            Self::Ipxe | Self::Grub(_) | Self::Pxelinux(_) => None,
        }
    }

    /// Whether its script may hold a boot's token.
    pub(super) const fn keeps_secrets(self) -> bool {
        match self {
            // Over TFTP, `resolve` puts another in the place of such a one.
            Self::Ipxe | Self::Grub(Way::Http) | Self::Pxelinux(Way::Http) => true,
            Self::Grub(Way::Tftp) | Self::Pxelinux(Way::Tftp) => false,
        }
    }
}

/// Arguments, rendered and split into words; the reason where they cannot be.
pub(super) fn words(templates: &[String], context: &Context) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    for template in templates {
        let text = render(template, context).map_err(|error| error.to_string())?;
        if text.chars().any(char::is_control) {
            return Err(format!("argument {template} has control characters"));
        }
        let parts = text.split(' ').filter(|word| !word.is_empty());
        words.extend(parts.map(str::to_owned));
    }
    Ok(words)
}
