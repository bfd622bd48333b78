//! What a source hands to `compile`.

use crate::api::{BootProfile, Machine, Subnet};

/// The manifests of the whole world, oldest first in each kind: age decides
/// conflicts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Inputs {
    /// The networks.
    pub subnets: Vec<Subnet>,
    /// What to boot.
    pub profiles: Vec<BootProfile>,
    /// Who boots.
    pub machines: Vec<Machine>,
}
