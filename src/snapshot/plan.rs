//! Whether a machine may boot, and what: decided here for every door.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::select::{Candidate, Labels, candidates};
use super::{
    DefaultProfile, Identity, KnownBy, MachineEntry, ProfileEntry, Selection, Snapshot, SubnetEntry,
};
use crate::api::{BootPolicy, Interface, IsoMethod, LoaderKind, LocalBoot, Source};
use crate::boot::{Architecture, Client, ClientKind};
use crate::timeline::Purpose;

/// What a machine is to do, and why.
#[derive(Clone, Copy, Debug)]
pub struct Plan<'a> {
    /// The machine; `None` for one without an object.
    pub machine: Option<&'a MachineEntry>,
    /// Its interface that asks, where the object has it.
    pub interface: Option<&'a Interface>,
    /// The address that is reserved for it here; that of its interface counts
    /// in its own network only.
    pub reserved: Option<Ipv4Addr>,
    /// The IPv6 address that is reserved for it; it counts in its own network
    /// only. One that is known by something else than a MAC address has that of
    /// its first interface with one.
    pub reserved6: Option<Ipv6Addr>,
    /// The host name that its interface or reservation gives it.
    pub hostname: Option<&'a str>,
    /// By what it is known.
    pub known_by: Option<KnownBy>,
    /// What was chosen from its firmware's menu, by PXE's number; 0 for nothing.
    pub item: Option<u16>,
    /// The profile that the rules chose, whether or not it is booted.
    pub profile: Option<&'a ProfileEntry>,
    /// The rule that chose.
    pub rule: Rule,
    /// What it is to do.
    pub verdict: Verdict,
}

/// The rule that chose a profile; the first that applies does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// `Machine.spec.profileRef`.
    ProfileRef,
    /// `BootProfile.spec.machineSelector`.
    Selector,
    /// `Subnet.spec.classes[].profileRef`.
    Class,
    /// `Subnet.spec.defaultProfileRef`.
    SubnetDefault,
    /// `BootProfile.spec.default`.
    NamespaceDefault,
    /// None applied.
    None,
}

/// What a machine is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Boot the profile.
    Boot,
    /// Tell more of itself: some machines here are known by a serial number or
    /// an asset tag, which iPXE is asked for.
    Tell,
    /// Boot its disk, for this reason.
    Local(LocalReason),
}

/// Why a machine is sent to its disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LocalReason {
    /// Its `boot.policy` is `Local`.
    Policy,
    /// Its `boot.policy` is `Once`, and a boot of this generation got to its end.
    Spent,
    /// Its interface has `netboot: false`.
    Interface,
    /// Its profile is `local`.
    Profile,
    /// The profile that it or its Subnet names is not there.
    ProfileMissing,
    /// No rule gives it a profile.
    NoProfile,
    /// Its object has a mistake: what it was to boot is not known.
    MachineRefused,
    /// No object names it, but some of the manifests could not be read.
    ManifestsIncomplete,
    /// Somebody chose that at the machine, from a menu.
    Chosen,
}

/// The first file for a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoaderChoice {
    /// Its path in the tree or name among the loaders.
    pub file: String,
    /// For which architecture.
    pub architecture: Architecture,
}

/// Why there is no loader for a client that may boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum NoLoader {
    /// Its architecture is none that we can boot.
    ArchitectureUnknown,
    /// The profile is not for its architecture.
    ArchitectureNotInProfile,
    /// There is no loader file for its architecture.
    LoaderMissing,
    /// The profile boots an EFI program, and its firmware is a BIOS.
    SourceNeedsUefi,
    /// The profile is for HTTPS, and the service has none.
    HttpsOff,
    /// The profile is for HTTPS, and the iPXE that we sent cannot do it.
    LoaderWithoutHttps,
    /// The profile's loader is shim, which there is for x64 and ARM64 UEFI.
    NoShim,
    /// The profile boots a disc in memory, which UEFI HTTP boot alone can.
    SourceNeedsHttpBoot,
}

// === impl Snapshot ===

impl Snapshot {
    /// What a machine is to do on `subnet`: the one function that DHCP, TFTP
    /// and HTTP ask.
    #[must_use]
    pub fn plan<'a>(&'a self, subnet: &'a SubnetEntry, identity: &Identity) -> Plan<'a> {
        let namespace = &subnet.name.namespace;
        let known = self.who(namespace, identity);
        let machine = known.map(|(machine, _, _)| machine);
        let interface = known.and_then(|(_, interface, _)| interface);
        let reservation = machine.and_then(|machine| {
            let all = &machine.spec().reservations;
            identity.reserved(all, subnet.spec.cidr?)
        });
        let own_name = interface.and_then(|interface| interface.hostname.as_deref());
        let other_name = || reservation?.hostname.as_deref();
        let (profile, rule) = self.choose(subnet, machine, identity);
        let verdict = match (machine, profile) {
            (None, _) if self.incomplete => Verdict::Local(LocalReason::ManifestsIncomplete),
            (None, _) if !identity.asked && self.asks(namespace) => Verdict::Tell,
            (Some(machine), _) if machine.selection == Selection::Refused => {
                Verdict::Local(LocalReason::MachineRefused)
            }
            (Some(machine), _) if machine.spec().boot.policy == BootPolicy::Local => {
                Verdict::Local(LocalReason::Policy)
            }
            (Some(machine), _) if self.is_spent(machine) => Verdict::Local(LocalReason::Spent),
            _ if interface.is_some_and(|interface| !interface.netboot) => {
                Verdict::Local(LocalReason::Interface)
            }
            (_, Some(profile)) if profile.spec.local.is_some() => {
                Verdict::Local(LocalReason::Profile)
            }
            (_, Some(_)) => Verdict::Boot,
            (_, None) if rule == Rule::None => Verdict::Local(LocalReason::NoProfile),
            (_, None) => Verdict::Local(LocalReason::ProfileMissing),
        };
        Plan {
            machine,
            interface,
            reserved: interface
                .and_then(|interface| interface.ip)
                .or_else(|| Some(reservation?.ip)),
            reserved6: match (interface, machine) {
                (Some(interface), _) => interface.ipv6,
                (None, Some(machine)) => {
                    let mut interfaces = machine.spec().interfaces.iter();
                    interfaces.find_map(|interface| interface.ipv6)
                }
                (None, None) => None,
            },
            hostname: own_name.or_else(other_name),
            known_by: known.map(|(_, _, by)| by),
            item: identity.item,
            profile,
            rule,
            verdict,
        }
    }

    /// Whether the machine boots once, and did.
    fn is_spent(&self, machine: &MachineEntry) -> bool {
        let boot = machine.spec().boot;
        let spent = self.spent.get(&machine.name);
        boot.policy == BootPolicy::Once && spent.is_some_and(|spent| *spent >= boot.generation)
    }

    /// The profiles of a namespace that choose machines by labels, for those
    /// who ask why.
    #[must_use]
    pub fn candidates(&self, namespace: &str, labels: Labels<'_>) -> Vec<Candidate<'_>> {
        candidates(&self.profiles, namespace, labels)
    }

    /// The profile of a namespace that has `default: true`.
    #[must_use]
    pub fn namespace_default(&self, namespace: &str) -> Option<&ProfileEntry> {
        let index = self.namespace_defaults.get(namespace)?;
        self.profiles.get(*index)
    }

    fn choose(
        &self,
        subnet: &SubnetEntry,
        machine: Option<&MachineEntry>,
        identity: &Identity,
    ) -> (Option<&ProfileEntry>, Rule) {
        let class = identity.class.as_ref();
        let of_class = class.and_then(|class| subnet.class_profiles.get(class));
        let selection = machine.map_or(Selection::Default, |machine| machine.selection);
        let (index, rule) = match selection {
            Selection::Named(index) => (Some(index), Rule::ProfileRef),
            Selection::Missing => (None, Rule::ProfileRef),
            Selection::Selected(index) => (Some(index), Rule::Selector),
            Selection::Refused => (None, Rule::None),
            Selection::Default => match (of_class, subnet.default_profile) {
                (Some(DefaultProfile::Named(index)), _) => (Some(*index), Rule::Class),
                (Some(DefaultProfile::Missing), _) => (None, Rule::Class),
                (_, DefaultProfile::Named(index)) => (Some(index), Rule::SubnetDefault),
                (_, DefaultProfile::Missing) => (None, Rule::SubnetDefault),
                (_, DefaultProfile::Unset) => {
                    match self.namespace_defaults.get(&subnet.name.namespace) {
                        Some(index) => (Some(*index), Rule::NamespaceDefault),
                        None => (None, Rule::None),
                    }
                }
            },
        };
        (index.and_then(|index| self.profiles.get(index)), rule)
    }

    /// Whether `client` is of an architecture that `profile` is for, and can
    /// boot what the profile boots.
    ///
    /// # Errors
    /// [`NoLoader`] says why it is not.
    pub fn fits(&self, profile: &ProfileEntry, client: &Client) -> Result<Architecture, NoLoader> {
        let architecture = client.architecture().ok_or(NoLoader::ArchitectureUnknown)?;
        let allowed = &profile.spec.architectures;
        if !allowed.is_empty() && !allowed.contains(&architecture) {
            return Err(NoLoader::ArchitectureNotInProfile);
        }
        if profile.https && self.https.is_none() {
            return Err(NoLoader::HttpsOff);
        }
        match profile.spec.source() {
            Source::Efi(_) if !architecture.is_uefi() => Err(NoLoader::SourceNeedsUefi),
            // One that waits for its files waits in iPXE, and begins anew then.
            Source::Iso(iso)
                if iso.method == Some(IsoMethod::RamDisk) && profile.pending.is_empty() =>
            {
                let can = architecture.is_uefi() && client.kind == ClientKind::HttpBoot;
                can.then_some(architecture)
                    .ok_or(NoLoader::SourceNeedsHttpBoot)
            }
            Source::Linux(_)
            | Source::Efi(_)
            | Source::Iso(_)
            | Source::Chain(_)
            | Source::Script(_)
            | Source::Menu(_)
            | Source::Local
            | Source::Loader => Ok(architecture),
        }
    }

    /// The first file for `client`, which boots `profile`; a profile's own
    /// file wins over the usual one.
    ///
    /// # Errors
    /// [`NoLoader`] says why it cannot boot.
    pub fn loader(
        &self,
        profile: &ProfileEntry,
        client: &Client,
    ) -> Result<LoaderChoice, NoLoader> {
        let architecture = self.fits(profile, client)?;
        let file = match profile.spec.loader.files.get(&architecture) {
            Some(file) => Some(file),
            None if profile.spec.loader.kind == LoaderKind::File => {
                return Err(NoLoader::ArchitectureNotInProfile);
            }
            None if profile.spec.loader.kind == LoaderKind::GrubShim => {
                let shim = architecture.shim_file().ok_or(NoLoader::NoShim)?;
                return Ok(LoaderChoice {
                    file: shim.to_owned(),
                    architecture,
                });
            }
            None => self.loaders.get(&architecture),
        };
        file.map(|file| LoaderChoice {
            file: file.trim_start_matches('/').to_owned(),
            architecture,
        })
        .ok_or(NoLoader::LoaderMissing)
    }
}

// === impl ProfileEntry ===

impl ProfileEntry {
    /// The file that `client`'s firmware loads itself, without a loader of
    /// ours, and what it is for; `None` where it needs one, or the file is not
    /// there yet: iPXE can wait for it, firmware cannot.
    #[must_use]
    pub fn direct(&self, client: &Client) -> Option<(Purpose, &str)> {
        if !self.pending.is_empty() {
            // Firmware knows no waiting: an iPXE shows why, and waits.
            return None;
        }
        let firmware = matches!(client.kind, ClientKind::Pxe | ClientKind::HttpBoot);
        match self.spec.source() {
            Source::Efi(efi) if firmware && self.spec.loader.kind == LoaderKind::Direct => {
                Some((Purpose::Efi, efi.file.path.as_str()))
            }
            Source::Iso(iso)
                if iso.method != Some(IsoMethod::SanBoot)
                    && client.kind == ClientKind::HttpBoot
                    && client.architecture().is_some_and(Architecture::is_uefi) =>
            {
                Some((Purpose::Iso, iso.file.path.as_str()))
            }
            Source::Linux(_)
            | Source::Efi(_)
            | Source::Iso(_)
            | Source::Chain(_)
            | Source::Script(_)
            | Source::Menu(_)
            | Source::Local
            | Source::Loader => None,
        }
    }
}

// === impl Plan ===

impl<'a> Plan<'a> {
    /// The same for a machine that boots `profile` by somebody's choice.
    #[must_use]
    pub const fn choosing(self, profile: &'a ProfileEntry) -> Self {
        let verdict = if profile.spec.local.is_some() {
            Verdict::Local(LocalReason::Chosen)
        } else {
            Verdict::Boot
        };
        Self {
            profile: Some(profile),
            verdict,
            ..self
        }
    }
}

impl Plan<'_> {
    /// The name under which the machine appears in logs and templates; `None`
    /// without an object.
    #[must_use]
    pub fn machine_name(&self) -> Option<&str> {
        self.machine.map(|machine| machine.name.name.as_str())
    }

    /// The address that is reserved for it, of the kind that `address` is of.
    #[must_use]
    pub fn reserved_like(&self, address: IpAddr) -> Option<IpAddr> {
        match address {
            IpAddr::V4(_) => self.reserved.map(IpAddr::V4),
            IpAddr::V6(_) => self.reserved6.map(IpAddr::V6),
        }
    }

    /// How its firmware is sent to the disk.
    #[must_use]
    pub fn local_boot(&self) -> LocalBoot {
        self.machine
            .map_or_else(LocalBoot::default, |machine| machine.spec().local_boot)
    }
}

// === impl Rule ===

impl Rule {
    /// Its name in log lines.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ProfileRef => "profile-ref",
            Self::Selector => "machine-selector",
            Self::Class => "client-class",
            Self::SubnetDefault => "subnet-default",
            Self::NamespaceDefault => "namespace-default",
            Self::None => "none",
        }
    }
}

// === impl LocalReason ===

impl LocalReason {
    /// Its name in log lines and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Policy => "policy-local",
            Self::Spent => "once-is-spent",
            Self::Interface => "interface-not-netboot",
            Self::Profile => "profile-local",
            Self::ProfileMissing => "profile-missing",
            Self::NoProfile => "no-profile",
            Self::MachineRefused => "machine-refused",
            Self::ManifestsIncomplete => "manifests-incomplete",
            Self::Chosen => "chosen-from-menu",
        }
    }
}

// === impl NoLoader ===

impl NoLoader {
    /// Its name in log lines and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ArchitectureUnknown => "architecture-unknown",
            Self::ArchitectureNotInProfile => "architecture-not-in-profile",
            Self::LoaderMissing => "loader-missing",
            Self::SourceNeedsUefi => "source-needs-uefi",
            Self::HttpsOff => "https-off",
            Self::LoaderWithoutHttps => "loader-without-https",
            Self::NoShim => "no-shim-for-architecture",
            Self::SourceNeedsHttpBoot => "source-needs-http-boot",
        }
    }
}
