//! Leases as `DhcpLease` objects, and back.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference, Time};

use crate::api::{
    API_VERSION, DhcpLease, DhcpLeaseSpec, Kind, MAC_LABEL, MACHINE_LABEL, REPLICA_LABEL,
    SUBNET_LABEL,
};
use crate::boot::MacAddress;
use crate::clock::Millis;
use crate::lease::{Lease, Lease6, LeaseKey, LeaseState, Record, Shares, association_of, lender6};
use crate::snapshot::Snapshot;

/// The uid of a Subnet's object (`namespace/name`); `None` where it has none,
/// being of a file.
pub type Uid<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The longest value of a label.
const LABEL: usize = 63;

/// A lease that objects show.
pub trait Mirrored: Record + Send + Sync + 'static {
    /// Its kind, in metrics.
    const FAMILY: &'static str;

    /// The name that the machine gave itself.
    fn hostname(&self) -> Option<&str>;
    /// Since when the machine has the address.
    fn since(&self) -> Millis;
    /// `address`, where it is one of this kind.
    fn of_kind(address: IpAddr) -> Option<Self::Address>;
    /// The lease of what an object tells.
    fn from_shown(shown: Shown<Self::Address>) -> Self;
}

/// What an object tells of a lease.
#[derive(Clone, Debug)]
pub struct Shown<A> {
    address: A,
    key: LeaseKey,
    mac: Option<MacAddress>,
    subnet: Arc<str>,
    hostname: Option<Box<str>>,
    since: Millis,
}

impl Mirrored for Lease {
    const FAMILY: &'static str = "ipv4";

    fn hostname(&self) -> Option<&str> {
        self.hostname.as_deref()
    }

    fn since(&self) -> Millis {
        self.since
    }

    fn of_kind(address: IpAddr) -> Option<Ipv4Addr> {
        match address {
            IpAddr::V4(address) => Some(address),
            IpAddr::V6(_) => None,
        }
    }

    fn from_shown(shown: Shown<Ipv4Addr>) -> Self {
        let client_id = match &shown.key {
            LeaseKey::ClientId(id) => Some(id.clone()),
            LeaseKey::Mac(_) => None,
        };
        Self {
            address: shown.address,
            key: shown.key,
            mac: shown.mac,
            client_id,
            subnet: shown.subnet,
            hostname: shown.hostname,
            state: LeaseState::Bound,
            since: shown.since,
            expires: Millis(0),
        }
    }
}

impl Mirrored for Lease6 {
    const FAMILY: &'static str = "ipv6";

    fn hostname(&self) -> Option<&str> {
        None
    }

    fn since(&self) -> Millis {
        self.since
    }

    fn of_kind(address: IpAddr) -> Option<Ipv6Addr> {
        match address {
            IpAddr::V4(_) => None,
            IpAddr::V6(address) => Some(address),
        }
    }

    /// Of a lease that is known by its MAC address no object says which DUID
    /// asked: it changes within one boot.
    fn from_shown(shown: Shown<Ipv6Addr>) -> Self {
        let (duid, iaid) = association_of(&shown.key).unwrap_or_default();
        Self {
            address: shown.address,
            duid: duid.to_vec(),
            iaid,
            mac: shown.mac,
            key: shown.key,
            subnet: shown.subnet,
            state: LeaseState::Bound,
            since: shown.since,
            expires: Millis(0),
        }
    }
}

/// The name of the object of `address`: an object's name may hold no colon, nor
/// end with a hyphen.
#[must_use]
pub fn name_of(address: IpAddr) -> String {
    let name = address.to_string().replace(':', "-");
    let (first, last) = (name.starts_with('-'), name.ends_with('-'));
    let zero = |is: bool| if is { "0" } else { "" };
    format!("{}{name}{}", zero(first), zero(last))
}

/// The object that shows `lease`; `None` where its Subnet is gone. `replica` is
/// who lent it, where each writes its own.
#[must_use]
pub fn object_of<L: Mirrored>(
    lease: &L,
    snapshot: &Snapshot,
    uid: Uid<'_>,
    replica: Option<u8>,
) -> Option<DhcpLease> {
    let subnet = snapshot.subnet(lease.subnet())?;
    let named = |mac: MacAddress| snapshot.machine(&subnet.name.namespace, mac);
    let machine = lease.mac().and_then(named).map(|(machine, _)| machine);
    let machine = machine.map(|machine| machine.name.name.clone());
    let address = lease.address().into();
    let spec = DhcpLeaseSpec {
        address,
        subnet: subnet.name.name.clone(),
        mac: lease.mac(),
        client_id: match lease.key() {
            LeaseKey::Mac(_) => None,
            key @ LeaseKey::ClientId(_) => {
                let text = key.to_string();
                text.strip_prefix("id:").map(str::to_owned)
            }
        },
        machine: machine.clone(),
        hostname: lease.hostname().map(str::to_owned),
        bound: seconds(lease.since()).map(Time),
    };
    let mut object = DhcpLease::new(&name_of(address), spec);
    let mac = lease.mac().map(|mac| mac.to_string().replace(':', "-"));
    let labels = [
        (SUBNET_LABEL, Some(subnet.name.name.clone())),
        (MAC_LABEL, mac),
        (MACHINE_LABEL, machine),
        (REPLICA_LABEL, replica.map(|number| number.to_string())),
    ];
    let labels = labels
        .into_iter()
        // A name may be longer than a label's value.
        .filter_map(|(name, value)| Some((name, value.filter(|value| value.len() <= LABEL)?)))
        .map(|(name, value)| (name.to_owned(), value));
    let owner = uid(lease.subnet()).map(|uid| OwnerReference {
        api_version: API_VERSION.to_owned(),
        kind: Kind::Subnet.as_str().to_owned(),
        name: subnet.name.name.clone(),
        uid,
        ..OwnerReference::default()
    });
    object.metadata = ObjectMeta {
        namespace: Some(subnet.name.namespace.clone()),
        labels: Some(labels.collect()),
        owner_references: owner.map(|owner| vec![owner]),
        ..object.metadata
    };
    Some(object)
}

/// The lease that `object` shows, without its end, which no object knows.
/// `None` for one that shows none of this kind: somebody else wrote it.
#[must_use]
pub fn lease_of<L: Mirrored>(object: &DhcpLease) -> Option<L> {
    let (address, namespace) = key_of::<L>(object)?;
    let spec = &object.spec;
    let key = match (&spec.client_id, spec.mac) {
        (Some(id), _) => format!("id:{id}").parse().ok()?,
        (None, mac) => LeaseKey::Mac(mac?),
    };
    let since = spec.bound.as_ref().map_or(0, |at| at.0.as_millisecond());
    Some(L::from_shown(Shown {
        address,
        key,
        mac: spec.mac,
        subnet: format!("{namespace}/{}", spec.subnet).into(),
        hostname: spec.hostname.as_deref().map(Into::into),
        since: Millis(u64::try_from(since).unwrap_or(0)),
    }))
}

/// Whether the IPv6 lease that `object` shows is for this replica to know: its
/// address lies in the part of the pools that it lends from, or it lent it. What
/// is nobody's, since there are fewer replicas than there were, is the first's.
#[must_use]
pub fn is_own6(object: &DhcpLease, snapshot: &Snapshot, shares: Shares) -> bool {
    let Some((address, namespace)) = key_of::<Lease6>(object) else {
        return false;
    };
    let subnet = snapshot.subnet(&format!("{namespace}/{}", object.spec.subnet));
    let lender = subnet.and_then(|subnet| {
        let network = subnet.spec.ipv6.as_ref()?;
        let lender = lender6(&network.pools, address, shares.replicas);
        lender.filter(|_| !subnet.excluded6.contains(&address))
    });
    let written = || replica_of(object).filter(|number| *number < shares.replicas);
    lender.or_else(written).unwrap_or(0) == shares.ordinal
}

/// The replica that wrote the object of an IPv6 lease.
#[must_use]
pub fn replica_of(object: &DhcpLease) -> Option<u8> {
    let labels = object.metadata.labels.as_ref()?;
    labels.get(REPLICA_LABEL)?.parse().ok()
}

/// Address and namespace of an object that is ours.
pub(super) fn key_of<L: Mirrored>(object: &DhcpLease) -> Option<(L::Address, String)> {
    let address = L::of_kind(object.spec.address)?;
    let is_ours = object.metadata.name.as_deref() == Some(&name_of(object.spec.address));
    let namespace = object.metadata.namespace.clone()?;
    is_ours.then_some((address, namespace))
}

/// A number that tells the content of an object, as far as we write it.
pub(super) fn print(object: &DhcpLease) -> u64 {
    let mut hasher = DefaultHasher::new();
    let spec = &object.spec;
    (spec.address, &spec.subnet, spec.mac, &spec.client_id).hash(&mut hasher);
    (&spec.machine, &spec.hostname).hash(&mut hasher);
    spec.bound
        .as_ref()
        .map(|at| at.0.as_second())
        .hash(&mut hasher);
    let labels = object.metadata.labels.iter().flatten();
    for label in labels.filter(|(name, _)| name.starts_with("reveille.dev/")) {
        label.hash(&mut hasher);
    }
    let owners = object.metadata.owner_references.iter().flatten();
    for owner in owners.filter(|owner| owner.api_version == API_VERSION) {
        owner.uid.hash(&mut hasher);
    }
    hasher.finish()
}

/// Whole seconds, which is what `metav1.Time` holds.
fn seconds(at: Millis) -> Option<Timestamp> {
    let secs = i64::try_from(at.secs()).ok()?;
    Timestamp::from_second(secs).ok()
}

#[cfg(test)]
#[path = "object_tests.rs"]
mod tests;
