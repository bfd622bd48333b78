//! `Machine`: who boots.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{DhcpOption, MachineStatus, NameRef, Reservation};
use crate::boot::{MacAddress, Uuid};

/// Most interfaces that one machine may have.
pub const MAX_INTERFACES: usize = 32;

/// A Machine is a piece of hardware that boots from the network.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "reveille.dev",
    version = "v1alpha1",
    kind = "Machine",
    doc = "Who boots: a piece of hardware, known by its MAC addresses.",
    plural = "machines",
    shortname = "mach",
    selectable = ".spec.approved",
    selectable = ".spec.profileRef.name",
    selectable = ".status.phase",
    selectable = ".status.profile",
    namespaced,
    category = "reveille",
    derive = "PartialEq",
    status = "Box<MachineStatus>",
    printcolumn(name = "Profile", type_ = "string", json_path = ".status.profile"),
    printcolumn(name = "Policy", type_ = "string", json_path = ".spec.boot.policy"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Stage", type_ = "string", json_path = ".status.stage"),
    printcolumn(name = "IP", type_ = "string", json_path = ".status.address"),
    printcolumn(name = "Last-Boot", type_ = "date", json_path = ".status.lastBoot"),
    printcolumn(
        name = "MAC",
        type_ = "string",
        json_path = ".status.mac",
        priority = 1
    ),
    printcolumn(
        name = "Arch",
        type_ = "string",
        json_path = ".status.architecture",
        priority = 1
    ),
    printcolumn(
        name = "Duration",
        type_ = "string",
        json_path = ".status.lastDuration",
        priority = 1
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    )
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MachineSpec {
    /// Its network interfaces. There may be none where it is known by `uuid`,
    /// `serial`, `assetTag` or an identifier of `reservations`; a MAC address
    /// wins over these.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub interfaces: Vec<Interface>,

    /// The UUID that its firmware tells (SMBIOS type 1; DHCP option 97), in
    /// either byte order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uuid: Option<Uuid>,

    /// The serial number that its firmware tells iPXE (SMBIOS type 1). The
    /// case of letters does not matter. A machine known by nothing else gets
    /// an address and our loader as an unknown one does, and is asked then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub serial: Option<String>,

    /// The asset tag that its firmware tells iPXE (SMBIOS type 3); like
    /// `serial`, which wins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub asset_tag: Option<String>,

    /// Addresses that are kept for it beside those of its interfaces: for the
    /// identifiers that they name, which make it known as well, or, without
    /// any, wherever it asks. The first one in the network counts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub reservations: Vec<Reservation>,

    /// The profile it boots. Default: the one whose selector matches best,
    /// then the Subnet's default, then the namespace's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile_ref: Option<NameRef>,

    /// Whether it boots from the network.
    #[serde(default)]
    pub boot: BootSpec,

    /// How this machine's firmware is sent to its disk.
    #[serde(default)]
    pub local_boot: LocalBoot,

    /// Whether it may boot. A machine that Reveille discovered waits with
    /// `false` until somebody approves it, and gets no answer until then.
    #[serde(default = "yes")]
    pub approved: bool,

    /// DHCP options for this machine, which win over those of its profile and
    /// its Subnet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub options: Vec<DhcpOption>,

    /// Values for templates, as `{{ params.NAME }}`; they win over those of the
    /// profile and of the Subnet.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub params: BTreeMap<String, String>,
}

impl MachineSpec {
    /// Every address that is reserved for it.
    pub fn addresses(&self) -> impl Iterator<Item = Ipv4Addr> {
        let interfaces = self.interfaces.iter().filter_map(|interface| interface.ip);
        interfaces.chain(self.reservations.iter().map(|reservation| reservation.ip))
    }
}

impl Default for MachineSpec {
    fn default() -> Self {
        Self {
            interfaces: Vec::new(),
            uuid: None,
            serial: None,
            asset_tag: None,
            reservations: Vec::new(),
            profile_ref: None,
            boot: BootSpec::default(),
            local_boot: LocalBoot::default(),
            approved: true,
            options: Vec::new(),
            params: BTreeMap::new(),
        }
    }
}

/// One network interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Interface {
    /// Its MAC address, such as `52:54:00:12:34:56`; `-`, `.` (Cisco) and no
    /// separator are read as well, in either case.
    pub mac: MacAddress,
    /// The address reserved for it. Default: one from the Subnet's pools.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip: Option<Ipv4Addr>,
    /// The IPv6 address reserved for it. Default: one from the Subnet's
    /// `ipv6.pools`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv6: Option<Ipv6Addr>,
    /// The host name it is told (option 12).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub hostname: Option<String>,
    /// Whether the machine may boot over this interface; if not, it gets an
    /// address and is sent to its disk. Default: true.
    #[serde(default = "yes")]
    pub netboot: bool,
}

impl Interface {
    /// Whether `address` is reserved for it.
    #[must_use]
    pub fn has(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(address) => self.ip == Some(address),
            IpAddr::V6(address) => self.ipv6 == Some(address),
        }
    }
}

/// Whether a machine boots from the network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BootSpec {
    /// `Always`: each time it asks. `Once`: until one boot got to its end, then
    /// its disk. `Local`: it is sent to its disk.
    #[serde(default)]
    pub policy: BootPolicy,
    /// Which `Once` this is: a greater number has it boot once more.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub generation: i64,
}

/// Boot policies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum BootPolicy {
    /// Boots its profile each time it asks.
    #[default]
    Always,
    /// Boots its profile until a boot got to its end: all that the profile names
    /// was sent whole, or the system called back. A profile of `script` or
    /// `chain`, or with a loader of kind `File`, ends with the call alone.
    Once,
    /// Is sent to its disk.
    Local,
}

/// How iPXE sends a machine to its disk; firmware differs in what works.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum LocalBoot {
    /// iPXE exits and the firmware tries its next boot entry.
    #[default]
    Exit,
    /// iPXE boots the first disk itself (BIOS `sanboot --drive 0x80`).
    SanBoot,
    /// iPXE gets a 404 instead of a script.
    NotFound,
}

const fn yes() -> bool {
    true
}
