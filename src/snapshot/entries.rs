//! The rows of the snapshot.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use super::identity::Index;
use super::select::Labels;
use super::{Plan, Target};
use crate::api::{
    BootProfileSpec, ClientClass, Interface, Machine, MachineSpec, Pool, SubnetSpec,
    UnknownMachines,
};
use crate::artifact::Want;
use crate::boot::{Architecture, MacAddress};
use crate::clock::Millis;
use crate::lease::AddressSet;

/// Everything that is served, at one moment. Made by `compile`, never changed.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// Counts snapshots up from 1; in every log span.
    pub generation: u64,
    /// The Subnets that are served, oldest first.
    pub subnets: Vec<SubnetEntry>,
    /// The profiles, oldest first.
    pub profiles: Vec<ProfileEntry>,
    /// The machines, oldest first.
    pub machines: Vec<MachineEntry>,
    /// The artifacts that are to be kept, oldest first, and those that
    /// profiles name by URL.
    pub artifacts: Vec<ArtifactEntry>,
    /// Artifacts whose objects have mistakes: what is there of them is kept.
    pub artifacts_refused: BTreeSet<ObjectName>,
    /// The loader file that is there for each architecture.
    pub loaders: BTreeMap<Architecture, String>,
    /// The architectures whose loader runs `autoexec.ipxe`.
    pub autoexec: BTreeSet<Architecture>,
    /// The host's own addresses.
    pub own_addresses: Vec<Ipv4Addr>,
    /// The greatest `boot.generation` that each machine has used up.
    pub spent: Arc<BTreeMap<ObjectName, i64>>,
    /// Whether manifests are missing that may name any machine.
    pub incomplete: bool,
    /// The port of our HTTP service, for URLs.
    pub http_port: u16,
    /// Our HTTPS service, where it is on.
    pub https: Option<HttpsDoor>,
    pub(super) by_mac: BTreeMap<String, HashMap<MacAddress, (usize, usize)>>,
    pub(super) identities: BTreeMap<String, Index>,
    pub(super) namespace_defaults: BTreeMap<String, usize>,
}

/// The HTTPS service, as clients are told of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HttpsDoor {
    /// Its port.
    pub port: u16,
    /// The SHA-256 of the certificate of our own authority, where that signs:
    /// nobody knows it unless they are told.
    pub trust: Option<[u8; 32]>,
}

/// Namespace and name of an object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectName {
    /// The namespace.
    pub namespace: String,
    /// The name.
    pub name: String,
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// A Subnet that is served.
#[derive(Clone, Debug)]
pub struct SubnetEntry {
    /// Its name.
    pub name: ObjectName,
    /// `namespace/name`, the key of its leases.
    pub key: String,
    /// What its manifest says.
    pub spec: SubnetSpec,
    /// The Subnet by whose listener its requests come (`namespace/name`): its
    /// own, or an older one's with the same interface. `None` where it is
    /// reached through relays only, or has no IPv4 network.
    pub listener: Option<String>,
    /// Addresses that are never lent to just anyone: reserved for machines,
    /// routers, name servers, next-server, the host's own.
    pub excluded: AddressSet,
    /// These, and what classes of clients are lent alone.
    pub of_classes: AddressSet,
    /// IPv6 addresses that are reserved for machines, or are name servers'.
    pub excluded6: BTreeSet<Ipv6Addr>,
    /// Whether DHCPv6 is heard on its own interface: it has an IPv6 network, and
    /// no older Subnet with one has the interface.
    pub hears_v6: bool,
    /// The profile of its `defaultProfileRef`.
    pub default_profile: DefaultProfile,
    /// The profiles of its classes that name one, by class.
    pub class_profiles: BTreeMap<String, DefaultProfile>,
}

/// A profile.
#[derive(Clone, Debug)]
pub struct ProfileEntry {
    /// Its name.
    pub name: ObjectName,
    /// What its manifest says; each file's `path` is what is served.
    pub spec: BootProfileSpec,
    /// Files that are not there yet, each with the reason; machines wait.
    pub pending: Vec<String>,
    /// Whether what iPXE fetches for it is to be told as HTTPS addresses: it
    /// says so, or its menu leads to one that does.
    pub https: bool,
    /// Where each entry of its menu leads.
    pub targets: Vec<Target>,
}

/// An artifact that is to be kept.
#[derive(Clone, Debug)]
pub struct ArtifactEntry {
    /// What is wanted.
    pub want: Want,
    /// The generation of its tree that this snapshot serves; 0 for none.
    pub generation: u64,
}

/// A machine.
#[derive(Clone, Debug)]
pub struct MachineEntry {
    /// Its name.
    pub name: ObjectName,
    /// Its manifest, shared with the inputs.
    pub manifest: Arc<Machine>,
    /// The profile that it gets of its own, before any default.
    pub selection: Selection,
}

/// The profile of a Subnet's `defaultProfileRef`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DefaultProfile {
    /// The one that it names.
    Named(usize),
    /// It names none that there is.
    Missing,
    /// It is not set: the namespace's default decides.
    Unset,
}

/// The profile that a machine gets of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Selection {
    /// The one that its `profileRef` names.
    Named(usize),
    /// Its `profileRef` names none that there is.
    Missing,
    /// The one whose selector matches best.
    Selected(usize),
    /// None: defaults decide.
    Default,
    /// None, and no default either: the object has a mistake. Only its MAC
    /// addresses are used, so that the machine is not taken for an unknown one.
    Refused,
}

/// Why a machine gets no answer at any door.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unserved {
    /// No object names it, and the Subnet serves only those that one does.
    Unknown,
    /// Its object waits for `approved: true`.
    NotApproved,
}

impl Unserved {
    /// Its name in log lines, metrics and scenarios.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "machine-unknown",
            Self::NotApproved => "machine-not-approved",
        }
    }
}

// === impl MachineEntry ===

impl MachineEntry {
    /// What its manifest says.
    #[must_use]
    pub fn spec(&self) -> &MachineSpec {
        &self.manifest.spec
    }

    /// Its labels.
    #[must_use]
    pub fn labels(&self) -> Labels<'_> {
        Labels::of(&self.manifest)
    }

    /// When its object was made; a cluster knows that, a folder does not.
    #[must_use]
    pub fn created(&self) -> Option<Millis> {
        let created = self.manifest.metadata.creation_timestamp.as_ref()?;
        u64::try_from(created.0.as_millisecond()).ok().map(Millis)
    }
}

// === impl Snapshot ===

impl Snapshot {
    /// The Subnet of this key (`namespace/name`).
    #[must_use]
    pub fn subnet(&self, key: &str) -> Option<&SubnetEntry> {
        self.subnets.iter().find(|subnet| subnet.key == key)
    }

    /// The Subnet whose network `address` lies in; the narrowest of several.
    #[must_use]
    pub fn subnet_of(&self, address: impl Into<IpAddr>) -> Option<&SubnetEntry> {
        let subnets = self.subnets.iter();
        match address.into() {
            IpAddr::V4(address) => subnets
                .filter_map(|subnet| Some((subnet, subnet.spec.cidr?)))
                .filter(|(_, cidr)| cidr.contains(address))
                .max_by_key(|(_, cidr)| cidr.net().prefix_len())
                .map(|(subnet, _)| subnet),
            IpAddr::V6(address) => subnets
                .filter_map(|subnet| Some((subnet, subnet.spec.ipv6.as_ref()?.cidr)))
                .filter(|(_, cidr)| cidr.contains(address))
                .max_by_key(|(_, cidr)| cidr.net().prefix_len())
                .map(|(subnet, _)| subnet),
        }
    }

    /// The Subnet of a link that a DHCPv6 relay names: the one that names its
    /// address, else the one whose IPv6 network that lies in.
    #[must_use]
    pub fn subnet_of_link(&self, link: Ipv6Addr) -> Option<&SubnetEntry> {
        let names = |subnet: &&SubnetEntry| {
            let network = subnet.spec.ipv6.as_ref();
            network.is_some_and(|network| network.relays.contains(&link))
        };
        let named = self.subnets.iter().find(names);
        named.or_else(|| self.subnet_of(link))
    }

    /// The Subnet of a relay agent: the one that names it, else the one whose
    /// network its address lies in.
    #[must_use]
    pub fn subnet_of_relay(&self, giaddr: Ipv4Addr) -> Option<&SubnetEntry> {
        let names = |subnet: &&SubnetEntry| {
            let mut relays = subnet.spec.relays.iter();
            relays.any(|range| range.contains(giaddr))
        };
        let named = self.subnets.iter().find(names);
        named.or_else(|| self.subnet_of(giaddr))
    }

    /// The other Subnets on the wire of `subnet`, oldest first.
    pub fn sharing<'a>(&'a self, subnet: &'a SubnetEntry) -> impl Iterator<Item = &'a SubnetEntry> {
        self.subnets.iter().filter(move |other| {
            other.listener.is_some() && other.listener == subnet.listener && other.key != subnet.key
        })
    }

    /// The machine with this interface, and the interface, in a namespace.
    #[must_use]
    pub fn machine(&self, namespace: &str, mac: MacAddress) -> Option<(&MachineEntry, &Interface)> {
        let (machine, interface) = self.by_mac.get(namespace)?.get(&mac)?;
        let machine = self.machines.get(*machine)?;
        Some((machine, machine.spec().interfaces.get(*interface)?))
    }
}

// === impl SubnetEntry ===

impl SubnetEntry {
    /// Why a machine with this plan gets no answer here at any door; `None`
    /// where it is served.
    #[must_use]
    pub fn ignores(&self, plan: &Plan<'_>) -> Option<Unserved> {
        match (plan.machine, self.spec.unknown_machines) {
            (Some(machine), _) if !machine.spec().approved => Some(Unserved::NotApproved),
            (Some(_), _) | (None, UnknownMachines::Boot) => None,
            (None, UnknownMachines::Ignore | UnknownMachines::Discover) => Some(Unserved::Unknown),
        }
    }

    /// How many addresses its pools have to lend.
    #[must_use]
    pub fn pool_addresses(&self) -> u64 {
        let pools = self.spec.pools.iter();
        let sizes = pools.map(|pool| {
            let size = u64::from(u32::from(pool.end).saturating_sub(pool.start.into())) + 1;
            size.saturating_sub(self.excluded.count(pool.start, pool.end))
        });
        sizes.sum()
    }

    /// The addresses that no pool gives away where we are `server`.
    #[must_use]
    pub fn taken(&self, server: Ipv4Addr) -> Cow<'_, AddressSet> {
        with(&self.excluded, server)
    }

    /// The same for a client of `class`: one without pools of its own is lent
    /// nothing of those of others.
    #[must_use]
    pub fn taken_from(&self, class: Option<&ClientClass>, server: Ipv4Addr) -> Cow<'_, AddressSet> {
        let own = class.is_some_and(|class| !class.pools.is_empty());
        with(
            if own {
                &self.excluded
            } else {
                &self.of_classes
            },
            server,
        )
    }

    /// The pools that `address` is lent from.
    #[must_use]
    pub fn pools_at(&self, address: Ipv4Addr) -> &[Pool] {
        let holds = |pool: &Pool| (pool.start..=pool.end).contains(&address);
        let mut classes = self.spec.classes.iter();
        let class = classes.find(|class| class.pools.iter().any(holds));
        class.map_or(&self.spec.pools, |class| &class.pools)
    }
}

/// `set` with `address`, which the host may have got after the snapshot was made.
fn with(set: &AddressSet, address: Ipv4Addr) -> Cow<'_, AddressSet> {
    if set.contains(address) {
        return Cow::Borrowed(set);
    }
    let mut set = set.clone();
    set.insert(address);
    Cow::Owned(set)
}
