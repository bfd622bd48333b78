//! The rows of the tables: what the admin doors say of each object. Core.

use std::net::IpAddr;

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
    pub ip: Option<IpAddr>,
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
    /// What its manifest says that we do there.
    pub mode: String,
    /// What we are there at this moment: `server`, `proxy`, `looking`, `refused`.
    #[serde(default)]
    pub acting: Option<String>,
    /// Its IPv4 network, where it has one.
    #[serde(default)]
    pub cidr: Option<String>,
    /// Its IPv6 network, where it has one.
    #[serde(default)]
    pub cidr6: Option<String>,
    /// Its interface, as the manifest names it.
    pub interface: String,
    /// Addresses of its pools that can be lent now.
    pub free: Option<u32>,
    /// Addresses of its pools that are lent now.
    pub used: Option<u32>,
    /// Addresses of its IPv6 pools that can be lent now.
    #[serde(default)]
    pub free6: Option<u32>,
    /// Addresses of its IPv6 pools that are lent now.
    #[serde(default)]
    pub used6: Option<u32>,
    /// Whether DHCP is served there.
    pub ready: bool,
    /// Why it is not.
    pub reason: Option<String>,
}

/// What is known of an artifact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ArtifactRow {
    /// The object's namespace; `-` where a profile names a file by URL.
    pub namespace: String,
    /// Its name, or else the digest.
    pub name: String,
    /// Whether a profile names it by URL, and no object is there.
    pub anonymous: bool,
    /// Bytes of what is served.
    pub bytes: Option<u64>,
    /// Files that are served.
    pub files: Option<usize>,
    /// The generation that is served.
    pub generation: Option<u64>,
    /// The digest of the tree.
    pub digest: Option<String>,
    /// When it was fetched, in milliseconds since the Unix epoch.
    pub fetched: Option<u64>,
    /// How far it is: `42%`, `12 MiB` or `100%`.
    pub progress: Option<String>,
    /// Bytes a second of the fetch that goes on.
    pub bytes_per_second: Option<u64>,
    /// Seconds that it takes yet.
    pub seconds_left: Option<u64>,
    /// Whether it is there as the manifest wants it.
    pub ready: bool,
    /// Whether it failed several times, or for good.
    pub stalled: bool,
    /// What went wrong last.
    pub reason: Option<String>,
    /// When it is looked at again, in milliseconds since the Unix epoch.
    pub next: Option<u64>,
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
