//! Who a machine is: by MAC address, else by what its firmware tells.
//!
//! All of it is only as good as the wire: whoever is on it can claim any MAC
//! address, UUID or serial number. It says which machine is meant, and is no
//! proof of it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Debug;

use super::{MachineEntry, Snapshot};
use crate::api::{Cidr, Interface, MachineSpec, Reservation, id_bytes};
use crate::boot::{MacAddress, Uuid, tag_key};
use crate::timeline::BootId;

/// What a machine tells of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// The MAC address that it boots by.
    pub mac: Option<MacAddress>,
    /// Its firmware's UUID.
    pub uuid: Option<Uuid>,
    /// Its serial number.
    pub serial: Option<String>,
    /// Its asset tag.
    pub asset: Option<String>,
    /// The identifier that it gives itself (option 61).
    pub client_id: Option<Vec<u8>>,
    /// The circuit that its relay says it is at (option 82.1).
    pub circuit_id: Option<Vec<u8>>,
    /// The remote end that its relay says it is (option 82.2).
    pub remote_id: Option<Vec<u8>>,
    /// The class of clients that its last request was of; empty for none.
    pub class: Option<String>,
    /// What was chosen from its firmware's menu, by PXE's number; 0 for nothing.
    pub item: Option<u16>,
    /// Whether it was asked for its serial number and asset tag: what is not
    /// here by then is not known.
    pub asked: bool,
}

/// By what a machine is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KnownBy {
    /// The MAC address of one of its interfaces.
    Mac,
    /// The client identifier of one of its reservations.
    ClientId,
    /// The circuit of one of its reservations.
    CircuitId,
    /// The remote end of one of its reservations.
    RemoteId,
    /// Its UUID.
    Uuid,
    /// Its serial number.
    Serial,
    /// Its asset tag.
    AssetTag,
}

/// What machines told of themselves lately, for the doors that see no more
/// than an address.
pub trait Acquaintances: Debug + Sync {
    /// What the machine that boots by `mac` told; its MAC address at least.
    fn identity(&self, mac: MacAddress) -> Identity;

    /// The token of the boot of `mac` that is good for `what`, which is empty
    /// for the boot as a whole; `None` where no boot is known.
    fn token_for(&self, mac: MacAddress, what: &str) -> Option<String> {
        let _ = (mac, what);
        None
    }

    /// The boot of `mac` that `token` is of, for the same `what`; `None` where
    /// it is not ours.
    fn boot_of(&self, mac: MacAddress, what: &str, token: &str) -> Option<BootId> {
        let _ = (mac, what, token);
        None
    }

    /// The token of the boot of `mac`, for the system that it boots.
    fn boot_token(&self, mac: MacAddress) -> Option<String> {
        self.token_for(mac, "")
    }

    /// The boot that `mac` began last, as far as it is known here.
    fn last_boot(&self, mac: MacAddress) -> Option<BootId> {
        let _ = mac;
        None
    }
}

/// Machines by what their firmware tells, in one namespace.
#[derive(Debug, Default)]
pub(super) struct Index {
    ids: HashMap<(KnownBy, Vec<u8>), usize>,
    uuids: HashMap<Uuid, usize>,
    serials: HashMap<String, usize>,
    assets: HashMap<String, usize>,
    /// Whether a machine can be known by a serial number or asset tag only.
    asks: bool,
}

// === impl Identity ===

impl Identity {
    /// What a machine with this manifest tells that boots by `mac`.
    #[must_use]
    pub fn of(spec: &MachineSpec, mac: Option<MacAddress>) -> Self {
        let mut reservations = spec.reservations.iter();
        let by_id = reservations.find(|reservation| reservation.names_a_machine());
        let id = |text: &Option<String>| id_bytes(text.as_deref()?);
        Self {
            mac,
            uuid: spec.uuid,
            serial: spec.serial.clone(),
            asset: spec.asset_tag.clone(),
            client_id: by_id.and_then(|it| id(&it.client_id)),
            circuit_id: by_id.and_then(|it| id(&it.circuit_id)),
            remote_id: by_id.and_then(|it| id(&it.remote_id)),
            class: None,
            item: None,
            asked: true,
        }
    }

    /// Of `other` what is not known here.
    pub fn complete(&mut self, other: Self) {
        self.mac = self.mac.or(other.mac);
        self.uuid = self.uuid.or(other.uuid);
        self.serial = self.serial.take().or(other.serial);
        self.asset = self.asset.take().or(other.asset);
        self.client_id = self.client_id.take().or(other.client_id);
        self.circuit_id = self.circuit_id.take().or(other.circuit_id);
        self.remote_id = self.remote_id.take().or(other.remote_id);
        self.class = self.class.take().or(other.class);
        self.item = self.item.or(other.item);
        self.asked |= other.asked;
    }
}

impl Identity {
    /// The identifiers that it gives, by what they are compared with.
    fn ids(&self) -> [(KnownBy, Option<&[u8]>); 3] {
        [
            (KnownBy::ClientId, self.client_id.as_deref()),
            (KnownBy::CircuitId, self.circuit_id.as_deref()),
            (KnownBy::RemoteId, self.remote_id.as_deref()),
        ]
    }

    /// The first of `reservations` in `cidr` that is for whoever tells this:
    /// all identifiers that it names are these.
    #[must_use]
    pub fn reserved<'a>(
        &self,
        reservations: &'a [Reservation],
        cidr: Cidr,
    ) -> Option<&'a Reservation> {
        reservations.iter().find(|reservation| {
            let ids = self.ids();
            let told = |(by, id): (KnownBy, Vec<u8>)| {
                ids.iter()
                    .any(|(of, told)| *of == by && *told == Some(id.as_slice()))
            };
            cidr.contains(reservation.ip) && ids_of(reservation).all(told)
        })
    }
}

impl From<Option<MacAddress>> for Identity {
    fn from(mac: Option<MacAddress>) -> Self {
        Self {
            mac,
            ..Self::default()
        }
    }
}

impl From<MacAddress> for Identity {
    fn from(mac: MacAddress) -> Self {
        Some(mac).into()
    }
}

// === impl KnownBy ===

impl KnownBy {
    /// Its name in log lines and `/boots`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Mac => "mac",
            Self::ClientId => "client-id",
            Self::CircuitId => "circuit-id",
            Self::RemoteId => "remote-id",
            Self::Uuid => "uuid",
            Self::Serial => "serial",
            Self::AssetTag => "asset-tag",
        }
    }
}

// === impl Acquaintances ===

/// Nobody told anything.
impl Acquaintances for () {
    fn identity(&self, mac: MacAddress) -> Identity {
        mac.into()
    }
}

impl Acquaintances for BTreeMap<MacAddress, Identity> {
    fn identity(&self, mac: MacAddress) -> Identity {
        let mut identity = Identity::from(mac);
        identity.complete(self.get(&mac).cloned().unwrap_or_default());
        identity
    }
}

// === impl Snapshot ===

impl Snapshot {
    /// The machine that tells this of itself, its interface where it has that
    /// MAC address, and by what it is known. What is written down first in
    /// [`KnownBy`] wins.
    #[must_use]
    pub fn who(
        &self,
        namespace: &str,
        identity: &Identity,
    ) -> Option<(&MachineEntry, Option<&Interface>, KnownBy)> {
        let by_mac = identity.mac.and_then(|mac| self.machine(namespace, mac));
        if let Some((machine, interface)) = by_mac {
            return Some((machine, Some(interface), KnownBy::Mac));
        }
        let index = self.identities.get(namespace)?;
        let by_id = identity.ids().into_iter().find_map(|(by, id)| {
            let key = (by, id?.to_vec());
            Some((*index.ids.get(&key)?, by))
        });
        if let Some((at, by)) = by_id.filter(|_| !index.ids.is_empty()) {
            return Some((self.machines.get(at)?, None, by));
        }
        let tag = |text: &Option<String>, tags: &HashMap<String, usize>| {
            let key = tag_key(text.as_deref()?)?;
            tags.get(&key).copied()
        };
        let uuid = identity
            .uuid
            .and_then(|uuid| index.uuids.get(&uuid.key()).copied());
        let (at, by) = match uuid {
            Some(at) => (at, KnownBy::Uuid),
            None => match tag(&identity.serial, &index.serials) {
                Some(at) => (at, KnownBy::Serial),
                None => (tag(&identity.asset, &index.assets)?, KnownBy::AssetTag),
            },
        };
        Some((self.machines.get(at)?, None, by))
    }

    /// Whether any machine can be known by what only its DHCP requests tell, or
    /// chooses there, or a relay may ask where machines are: that is worth
    /// remembering for the other doors.
    #[must_use]
    pub fn remembers(&self) -> bool {
        let mut indexes = self.identities.values();
        indexes.any(|index| !index.uuids.is_empty() || !index.ids.is_empty())
            || self.subnets.iter().any(|subnet| {
                !subnet.spec.classes.is_empty() || !subnet.spec.lease_queries.is_empty()
            })
            || self
                .profiles
                .iter()
                .any(|it| it.spec.menu.as_ref().is_some_and(|it| it.firmware))
    }

    /// Whether a machine of `namespace` that nothing names is worth asking for
    /// its serial number and asset tag.
    #[must_use]
    pub fn asks(&self, namespace: &str) -> bool {
        self.identities
            .get(namespace)
            .is_some_and(|index| index.asks)
    }
}

/// The machines by what their firmware tells, by namespace; the older object
/// wins.
pub(super) fn index(machines: &[MachineEntry]) -> BTreeMap<String, Index> {
    let mut all: BTreeMap<String, Index> = BTreeMap::new();
    for (at, machine) in machines.iter().enumerate() {
        let spec = &machine.spec();
        let by_id = spec.reservations.iter().any(Reservation::names_a_machine);
        let by_name = spec.uuid.is_some() || spec.serial.is_some() || spec.asset_tag.is_some();
        if !by_name && !by_id {
            continue;
        }
        let index = all.entry(machine.name.namespace.clone()).or_default();
        for (by, id) in spec.reservations.iter().flat_map(ids_of) {
            index.ids.entry((by, id)).or_insert(at);
        }
        if let Some(uuid) = spec.uuid.filter(|uuid| uuid.names_one()) {
            index.uuids.entry(uuid.key()).or_insert(at);
        }
        for (tag, tags) in [
            (&spec.serial, &mut index.serials),
            (&spec.asset_tag, &mut index.assets),
        ] {
            if let Some(key) = tag.as_deref().and_then(tag_key) {
                tags.entry(key).or_insert(at);
            }
        }
        index.asks |= by_tag_only(spec);
    }
    all
}

/// The identifiers of a reservation, as they are compared.
fn ids_of(reservation: &Reservation) -> impl Iterator<Item = (KnownBy, Vec<u8>)> {
    let kinds = [KnownBy::ClientId, KnownBy::CircuitId, KnownBy::RemoteId];
    let ids = kinds.into_iter().zip(reservation.ids());
    ids.filter_map(|(by, (_, id))| Some((by, id_bytes(id?)?)))
}

fn by_tag_only(spec: &MachineSpec) -> bool {
    let tagged = spec.serial.is_some() || spec.asset_tag.is_some();
    let by_id = spec.reservations.iter().any(Reservation::names_a_machine);
    spec.interfaces.is_empty() && spec.uuid.is_none() && tagged && !by_id
}

/// The names under which a machine is known beside its MAC addresses: the
/// field, the reason where two share it, and the value as it is compared.
pub(super) fn names(spec: &MachineSpec) -> Vec<(&'static str, &'static str, String)> {
    let ids: BTreeSet<_> = spec.reservations.iter().flat_map(ids_of).collect();
    let ids = ids.into_iter().map(|(by, id)| {
        let digits = id.iter().map(|byte| format!("{byte:02x}"));
        let value = format!("{} 0x{}", by.as_str(), digits.collect::<String>());
        ("reservations", "DuplicateId", value)
    });
    let uuid = spec.uuid.map(|uuid| uuid.key().to_string());
    let tag = |tag: &Option<String>| tag.as_deref().and_then(tag_key);
    [
        ("uuid", "DuplicateUuid", uuid),
        ("serial", "DuplicateSerial", tag(&spec.serial)),
        ("assetTag", "DuplicateAssetTag", tag(&spec.asset_tag)),
    ]
    .into_iter()
    .filter_map(|(field, reason, value)| Some((field, reason, value?)))
    .chain(ids)
    .collect()
}
