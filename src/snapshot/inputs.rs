//! What a snapshot is compiled from.

use crate::api::{BootProfile, Machine, Subnet};

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
}
