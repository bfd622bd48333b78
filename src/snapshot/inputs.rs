//! What a snapshot is compiled from.

use super::Identity;
use crate::api::{BootProfile, Machine, ObjectRef, Subnet};
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
    /// Who they are.
    pub machines: Vec<Machine>,
    /// Machines whose objects cannot be read, as far as their MAC addresses can.
    pub withheld: Vec<Withheld>,
    /// The same by what else they are known by.
    pub withheld_names: Vec<WithheldNames>,
    /// Whether some of the manifests could not be read and never were: nobody
    /// knows which machines they name, so none is taken for an unknown one.
    pub incomplete: bool,
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
