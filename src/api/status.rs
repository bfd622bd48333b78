//! What Reveille says about the objects: `status`.
//!
//! Every field may be missing: an object that was never looked at has none,
//! and an older version wrote fewer.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::boot::{Architecture, MacAddress};

/// Most boots that a Machine's status shows: those under way and the last five.
pub const MAX_STATUS_BOOTS: usize = 8;

/// What is known of a Subnet.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SubnetStatus {
    /// The `metadata.generation` that this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `Ready`, `InterfaceReady`, `ForeignDhcp`, `PoolExhausted`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// How many addresses its pools have, and how many are lent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub addresses: Option<AddressCounts>,
    /// The interface that is served, by its name on the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// Our address there: the server identifier (option 54).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<Ipv4Addr>,
    /// How its IPv6 network is, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv6: Option<Ipv6Status>,
    /// What Reveille is here at this moment: `server`, `proxy`, `looking` (for
    /// another DHCP server), `refused` (because there is one).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acting: Option<String>,
    /// Other DHCP servers that machines here were heard to choose.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["address"]))]
    pub foreign_servers: Vec<ForeignServer>,
}

/// What is known of a Subnet's IPv6 network.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Ipv6Status {
    /// How many addresses its pools have, and how many are lent. Of several
    /// replicas each lends from a part of its own; these are the leader's. Of
    /// large pools it counts as many as a replica keeps leases of, 65536.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub addresses: Option<AddressCounts>,
    /// Our address there, which URLs name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<Ipv6Addr>,
}

/// The addresses of a Subnet's pools.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AddressCounts {
    /// All that its pools can lend, without those that are reserved or fixed.
    pub total: u32,
    /// Free to lend.
    pub free: u32,
    /// Lent.
    pub used: u32,
    /// Put aside because somebody else answered there.
    pub declined: u32,
}

/// A DHCP server that is not ours.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ForeignServer {
    /// Its address, as machines name it (option 54).
    pub address: Ipv4Addr,
    /// When a machine was last heard to choose it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_seen: Option<Time>,
}

/// What is known of a BootProfile.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BootProfileStatus {
    /// The `metadata.generation` that this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `Ready`, `ArtifactsReady`, `TemplatesValid`, `Conflict`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// What it boots: `linux`, `efi`, `iso`, `chain`, `script`, `local` or `loader`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Machines that it is chosen for.
    #[serde(default)]
    pub machines: u32,
    /// Boots that were handed off, as far as they are remembered.
    #[serde(default)]
    pub boots: u64,
    /// When the last of them was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_boot: Option<Time>,
}

/// What is known of a Machine.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MachineStatus {
    /// The `metadata.generation` that this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `Ready`, `ProfileResolved`, `Accepted`, `Booted`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// Where it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<Phase>,
    /// The stage that its current or last boot reached: `script`, `hand-off`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stage: Option<String>,
    /// The profile that it boots, by name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// The rule that chose the profile: `profile-ref`, `machine-selector`,
    /// `subnet-default`, `namespace-default`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// The MAC address that it was last seen with, or its first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<MacAddress>,
    /// The greatest `boot.generation` that a boot with policy `Once` has used up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consumed_generation: Option<i64>,
    /// Its address: lent, or else reserved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    /// What its firmware said that it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub architecture: Option<Architecture>,
    /// What its firmware told about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub facts: Option<MachineFacts>,
    /// When its last boot began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_boot: Option<Time>,
    /// How long its last boot took, such as `23s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_duration: Option<String>,
    /// The boots under way and the last five, each written by the replica that
    /// saw it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    // MAX_STATUS_BOOTS of each of MAX_REPLICAS.
    #[schemars(
        length(max = 64),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["id"])
    )]
    pub boots: Vec<BootStatus>,
}

/// Where a Machine is.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
pub enum Phase {
    /// It asked to boot and waits for approval.
    Discovered,
    /// It boots when it asks.
    Ready,
    /// It is booting.
    Booting,
    /// It runs on its own.
    Booted,
    /// Its last boot stopped half way.
    Stalled,
    /// It is sent to its disk.
    Local,
}

/// What the firmware of a Machine told.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MachineFacts {
    /// Its UUID (option 97).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uuid: Option<String>,
    /// Its vendor class (option 60).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vendor_class: Option<String>,
    /// Its user class (option 77), such as `iPXE`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_class: Option<String>,
    /// Its type (option 93), such as `x64 UEFI`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub firmware: Option<String>,
    /// Its host name (option 12).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// The Subnet that it asked on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subnet: Option<String>,
    /// When it was first heard.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_seen: Option<Time>,
    /// When it was last heard, before it was approved; noted now and then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_seen: Option<Time>,
    /// How often it had asked by then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests: Option<i64>,
}

/// One boot of a Machine.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BootStatus {
    /// Names the boot.
    pub id: String,
    /// The interface that booted, by its MAC address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<MacAddress>,
    /// When it began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<Time>,
    /// How it ended: `running`, `handed-off`, `phoned-home`, `local-boot`,
    /// `stalled`, `restarted`, `failed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<String>,
    /// The stage that it reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stage: Option<String>,
    /// The profile that it booted, by name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// What was chosen from a menu to get there, by the names of entries:
    /// `tools/wipe`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entry: Option<String>,
    /// What its firmware said that it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub architecture: Option<Architecture>,
    /// The loader that it was told to load.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loader: Option<String>,
    /// The address that it got.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    /// Milliseconds from its first packet to what was last seen.
    #[serde(default)]
    pub duration_ms: u64,
    /// Bytes that it was sent.
    #[serde(default)]
    pub bytes: u64,
    /// The `boot.generation` that it used up, under the policy `Once`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consumed_generation: Option<i64>,
    /// What went wrong, the last thing first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// What was seen, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), extend("x-kubernetes-list-type" = "atomic"))]
    pub stages: Vec<StageStatus>,
    /// The replica that saw it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replica: Option<String>,
}

/// One stage of a boot.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StageStatus {
    /// Which: `offer`, `ack`, `loader`, `script`, `kernel`, `initrd`, `hand-off`.
    pub stage: String,
    /// Milliseconds from the boot's beginning to the stage's end.
    #[serde(default)]
    pub at_ms: u64,
    /// How long the stage itself took, in milliseconds; 0 for a packet.
    #[serde(default)]
    pub duration_ms: u64,
    /// Bytes that were sent.
    #[serde(default)]
    pub bytes: u64,
    /// What was sent, or who asked.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub what: String,
}

// === impl Phase ===

impl Phase {
    /// As it stands in the status.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Discovered => "Discovered",
            Self::Ready => "Ready",
            Self::Booting => "Booting",
            Self::Booted => "Booted",
            Self::Stalled => "Stalled",
            Self::Local => "Local",
        }
    }
}
