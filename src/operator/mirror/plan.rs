//! Which `DhcpLease` objects there should be, and the next write towards that.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference, Time};

use crate::api::{
    API_VERSION, DhcpLease, DhcpLeaseSpec, Kind, MAC_LABEL, MACHINE_LABEL, SUBNET_LABEL,
};
use crate::boot::MacAddress;
use crate::clock::{Millis, Uptime};
use crate::lease::{Change, Lease, LeaseKey, LeaseState, Record as _};
use crate::snapshot::Snapshot;

/// The uid of a Subnet's object (`namespace/name`); `None` where it has none,
/// being of a file.
pub type Uid<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The first rest of an address whose object could not be written; each
/// further one is twice as long.
const FIRST_REST: Duration = Duration::from_secs(5);
/// The longest.
const LONGEST_REST: Duration = Duration::from_secs(300);
/// The longest value of a label.
const LABEL: usize = 63;

/// What the API server has, and what is to be done about it.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// The objects that are there, by address and namespace, each with a
    /// number that tells its content.
    there: BTreeMap<(Ipv4Addr, String), u64>,
    /// What is known of addresses whose object may be wrong; one entry for
    /// each, however often it changes.
    pending: BTreeMap<Ipv4Addr, Option<Arc<Lease>>>,
    /// Those of them whose object could not be written: how often, and when it
    /// is tried again.
    resting: BTreeMap<Ipv4Addr, (u32, Uptime)>,
}

/// A write.
#[derive(Clone, Debug, PartialEq)]
pub enum Write {
    /// Make the object, or make it what this says.
    Apply(Box<DhcpLease>),
    /// Remove the object of this address.
    Delete {
        /// Its namespace.
        namespace: String,
        /// Its address, which is its name.
        address: Ipv4Addr,
    },
}

// === impl Plan ===

impl Plan {
    /// Notes that there is such an object.
    pub fn listed(&mut self, object: &DhcpLease) {
        // What somebody made by another name is not ours.
        if let Some(key) = key_of(object) {
            self.there.insert(key, print(object));
        }
    }

    /// Takes a change of the lease table in.
    pub fn change(&mut self, change: Change) {
        let address = change.address();
        let lease = match change {
            Change::Put(lease) if lease.state == LeaseState::Bound => Some(lease),
            Change::Put(_) | Change::Remove(_) => None,
        };
        self.pending.insert(address, lease);
    }

    /// Holds everything against `table`, the whole of it.
    pub fn resync(&mut self, now: Millis, table: Vec<Arc<Lease>>) {
        self.pending = self.there.keys().map(|(at, _)| (*at, None)).collect();
        let bound = table
            .into_iter()
            .filter(|lease| lease.state_at(now) == LeaseState::Bound);
        self.pending
            .extend(bound.map(|lease| (lease.address, Some(lease))));
        self.resting
            .retain(|address, _| self.pending.contains_key(address));
    }

    /// Addresses that are yet to be looked at.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    /// Objects that are there.
    #[must_use]
    pub fn there(&self) -> usize {
        self.there.len()
    }

    /// The next write; `None` when all is as it should be, or rests at `now`.
    /// Tell [`Plan::done`] when it was carried out; until then it comes again.
    pub fn next(&mut self, now: Uptime, snapshot: &Snapshot, uid: Uid<'_>) -> Option<Write> {
        let mut from = Ipv4Addr::UNSPECIFIED;
        while let Some((address, lease)) = self.awake(from, now) {
            let address = *address;
            from = address;
            let wanted = match lease {
                Some(lease) => match object_of(lease, snapshot, uid) {
                    Some(object) => Some(object),
                    // Its Subnet is not served now. It may come back; if not,
                    // its objects go with it.
                    None => {
                        self.drop(address);
                        continue;
                    }
                },
                None => None,
            };
            let place = wanted.as_ref().and_then(key_of);
            let all = (address, String::new())..;
            let stray = self
                .there
                .range(all)
                .map(|(key, _)| key)
                .take_while(|(at, _)| *at == address)
                .find(|key| place.as_ref() != Some(*key));
            if let Some((_, namespace)) = stray {
                return Some(Write::Delete {
                    namespace: namespace.clone(),
                    address,
                });
            }
            match (wanted, place) {
                (Some(object), Some(key)) if self.there.get(&key) != Some(&print(&object)) => {
                    return Some(Write::Apply(Box::new(object)));
                }
                _ => self.drop(address),
            }
        }
        None
    }

    /// The first address from `from` on that does not rest.
    fn awake(&self, from: Ipv4Addr, now: Uptime) -> Option<(&Ipv4Addr, &Option<Arc<Lease>>)> {
        let rests = |address| self.resting.get(address).is_some_and(|it| now < it.1);
        self.pending.range(from..).find(|it| !rests(it.0))
    }

    fn drop(&mut self, address: Ipv4Addr) {
        self.pending.remove(&address);
        self.resting.remove(&address);
    }

    /// Notes that `write` was carried out.
    pub fn done(&mut self, write: &Write) {
        self.resting.remove(&write.address());
        match write {
            Write::Apply(object) => self.listed(object),
            Write::Delete { namespace, address } => {
                self.there.remove(&(*address, namespace.clone()));
            }
        }
    }

    /// Puts the address of `write` off: its object cannot be written now.
    pub fn skip(&mut self, write: &Write) {
        self.drop(write.address());
    }

    /// Lets the address of `write` rest from `now` on, each time for longer:
    /// its object could not be written, and others must not wait for it.
    pub fn rest(&mut self, write: &Write, now: Uptime) {
        let (times, until) = self.resting.entry(write.address()).or_insert((0, now));
        let rest = FIRST_REST.saturating_mul(2_u32.saturating_pow(*times));
        *until = now.plus(rest.min(LONGEST_REST));
        *times = times.saturating_add(1);
    }
}

impl Write {
    /// The address that it is about.
    #[must_use]
    pub fn address(&self) -> Ipv4Addr {
        match self {
            Self::Apply(object) => object.spec.address,
            Self::Delete { address, .. } => *address,
        }
    }
}

/// The object that shows `lease`; `None` where its Subnet is gone.
#[must_use]
pub fn object_of(lease: &Lease, snapshot: &Snapshot, uid: Uid<'_>) -> Option<DhcpLease> {
    let subnet = snapshot.subnet(&lease.subnet)?;
    let named = |mac: MacAddress| snapshot.machine(&subnet.name.namespace, mac);
    let machine = lease.mac.and_then(named).map(|(machine, _)| machine);
    let machine = machine.map(|machine| machine.name.name.clone());
    let spec = DhcpLeaseSpec {
        address: lease.address,
        subnet: subnet.name.name.clone(),
        mac: lease.mac,
        client_id: match &lease.key {
            LeaseKey::Mac(_) => None,
            key @ LeaseKey::ClientId(_) => {
                let text = key.to_string();
                text.strip_prefix("id:").map(str::to_owned)
            }
        },
        machine: machine.clone(),
        hostname: lease.hostname.as_deref().map(str::to_owned),
        bound: seconds(lease.since).map(Time),
    };
    let mut object = DhcpLease::new(&lease.address.to_string(), spec);
    let mac = lease.mac.map(|mac| mac.to_string().replace(':', "-"));
    let labels = [
        (SUBNET_LABEL, Some(subnet.name.name.clone())),
        (MAC_LABEL, mac),
        (MACHINE_LABEL, machine),
    ];
    let labels = labels
        .into_iter()
        // A name may be longer than a label's value.
        .filter_map(|(name, value)| Some((name, value.filter(|value| value.len() <= LABEL)?)))
        .map(|(name, value)| (name.to_owned(), value));
    let owner = uid(&lease.subnet).map(|uid| OwnerReference {
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
/// `None` for one that shows none: somebody else wrote it.
#[must_use]
pub fn lease_of(object: &DhcpLease) -> Option<Lease> {
    let (address, namespace) = key_of(object)?;
    let spec = &object.spec;
    let key = match (&spec.client_id, spec.mac) {
        (Some(id), _) => format!("id:{id}").parse().ok()?,
        (None, mac) => LeaseKey::Mac(mac?),
    };
    let since = spec.bound.as_ref().map_or(0, |at| at.0.as_millisecond());
    let client_id = match &key {
        LeaseKey::ClientId(id) => Some(id.clone()),
        LeaseKey::Mac(_) => None,
    };
    Some(Lease {
        address,
        key,
        mac: spec.mac,
        client_id,
        subnet: format!("{namespace}/{}", spec.subnet).into(),
        hostname: spec.hostname.as_deref().map(Into::into),
        state: LeaseState::Bound,
        since: Millis(u64::try_from(since).unwrap_or(0)),
        expires: Millis(0),
    })
}

fn key_of(object: &DhcpLease) -> Option<(Ipv4Addr, String)> {
    let name: Ipv4Addr = object.metadata.name.as_deref()?.parse().ok()?;
    let namespace = object.metadata.namespace.clone()?;
    (name == object.spec.address).then_some((name, namespace))
}

/// A number that tells the content of an object, as far as we write it.
fn print(object: &DhcpLease) -> u64 {
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
#[path = "plan_tests.rs"]
mod tests;
