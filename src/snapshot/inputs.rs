//! What a snapshot is compiled from.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{Identity, ObjectName};
use crate::api::{Artifact, BootProfile, Kind, Machine, ObjectRef, Subnet};
use crate::boot::MacAddress;

/// All manifests, each kind oldest first: by `creationTimestamp` and name from
/// a cluster, by path and document from a folder. Where two objects conflict
/// the older one wins.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Inputs {
    /// Where machines boot.
    pub subnets: Vec<Subnet>,
    /// What they boot.
    pub profiles: Vec<BootProfile>,
    /// Who they are; shared with the source and the snapshot, for they are many.
    pub machines: Vec<Arc<Machine>>,
    /// Files that they boot from.
    pub artifacts: Vec<Artifact>,
    /// Machines whose objects cannot be read, as far as their MAC addresses can.
    pub withheld: Vec<Withheld>,
    /// The same by what else they are known by.
    pub withheld_names: Vec<WithheldNames>,
    /// The greatest `boot.generation` that each machine has used up, as far as
    /// the source tells.
    pub spent: BTreeMap<ObjectName, i64>,
    /// Whether some of the manifests could not be read and never were: nobody
    /// knows which machines they name, so none is taken for an unknown one.
    pub incomplete: bool,
}

// === impl Inputs ===

impl Inputs {
    /// The names of all objects that can be read.
    #[must_use]
    pub fn refs(&self) -> BTreeSet<ObjectRef> {
        let subnets = self.subnets.iter().map(|it| (Kind::Subnet, &it.metadata));
        let profiles = self
            .profiles
            .iter()
            .map(|it| (Kind::BootProfile, &it.metadata));
        let machines = self.machines.iter().map(|it| (Kind::Machine, &it.metadata));
        let artifacts = self
            .artifacts
            .iter()
            .map(|it| (Kind::Artifact, &it.metadata));
        subnets
            .chain(profiles)
            .chain(machines)
            .chain(artifacts)
            .map(|(kind, metadata)| ObjectRef::of(kind, metadata))
            .collect()
    }

    /// Leaves only the objects that `keep` says.
    pub fn retain(&mut self, keep: impl Fn(&ObjectRef) -> bool) {
        self.subnets
            .retain(|it| keep(&ObjectRef::of(Kind::Subnet, &it.metadata)));
        self.profiles
            .retain(|it| keep(&ObjectRef::of(Kind::BootProfile, &it.metadata)));
        self.machines
            .retain(|it| keep(&ObjectRef::of(Kind::Machine, &it.metadata)));
        self.artifacts
            .retain(|it| keep(&ObjectRef::of(Kind::Artifact, &it.metadata)));
        self.withheld.retain(|withheld| keep(&withheld.object));
        self.withheld_names
            .retain(|withheld| keep(&withheld.object));
    }
}

/// What a machine whose object cannot be read is known by beside its MAC
/// addresses; see [`Withheld`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WithheldNames {
    /// The object.
    pub object: ObjectRef,
    /// The UUID, serial number and asset tag that it names.
    pub identity: Identity,
}

/// A machine whose object cannot be read: it must not pass for an unknown
/// machine and boot whatever those boot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Withheld {
    /// The object.
    pub object: ObjectRef,
    /// A MAC address that it names.
    pub mac: MacAddress,
}
