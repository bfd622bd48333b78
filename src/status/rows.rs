//! The rows of the tables: what the admin doors say of each object. Core.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use crate::api::Phase;
use crate::boot::MacAddress;

/// What is known of a Machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MachineRow {
    /// The object's namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The profile that it boots.
    pub profile: Option<String>,
    /// The rule that chose the profile.
    pub rule: String,
    /// Its boot policy.
    pub policy: String,
    /// Where it stands.
    pub phase: Phase,
    /// Why it is sent to its disk, where it is.
    pub local: Option<String>,
    /// The last stage of its latest boot.
    pub stage: Option<String>,
    /// The address that it has, or else the one reserved for it.
    pub ip: Option<Ipv4Addr>,
    /// When its latest boot began, in milliseconds since the Unix epoch.
    pub last_boot: Option<u64>,
    /// When its object was made, where that is known.
    pub created: Option<u64>,
    /// The MAC addresses of its interfaces.
    pub macs: Vec<MacAddress>,
    /// What its firmware said that it is.
    pub architecture: Option<String>,
    /// How long its latest boot took so far, in milliseconds.
    pub duration_ms: Option<u64>,
}

/// What is known of a Subnet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SubnetRow {
    /// The object's namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// What we do there.
    pub mode: String,
    /// Its network.
    pub cidr: String,
    /// Its interface, as the manifest names it.
    pub interface: String,
    /// Addresses of its pools that can be lent now.
    pub free: Option<u32>,
    /// Addresses of its pools that are lent now.
    pub used: Option<u32>,
    /// Whether DHCP is served there.
    pub ready: bool,
    /// Why it is not.
    pub reason: Option<String>,
}

/// What is known of a BootProfile.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProfileRow {
    /// The object's namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// What it boots: `linux`, `local` or `loader`.
    pub source: String,
    /// Whether it is its namespace's default.
    pub default: bool,
    /// Machines that get it.
    pub machines: u64,
    /// Boots that got to the hand-off since the service started.
    pub boots: u64,
    /// Whether its files are there.
    pub ready: bool,
    /// What is missing.
    pub reason: Option<String>,
}
