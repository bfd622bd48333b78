//! `Subnet`: where machines boot.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    AddressRange, Cidr, ClientClass, DhcpOption, Ipv6Network, LeaseIdentity, Lifetime, NameRef,
    Route, SubnetStatus,
};

/// A Subnet is one broadcast domain that Reveille serves: which interface,
/// which addresses, which network settings the machines there get.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "reveille.dev",
    version = "v1alpha1",
    kind = "Subnet",
    doc = "Where machines boot: one broadcast domain that Reveille serves.",
    plural = "subnets",
    shortname = "sn",
    selectable = ".spec.mode",
    selectable = ".spec.interface",
    namespaced,
    category = "reveille",
    derive = "PartialEq",
    status = "SubnetStatus",
    printcolumn(name = "Mode", type_ = "string", json_path = ".spec.mode"),
    printcolumn(name = "CIDR", type_ = "string", json_path = ".spec.cidr"),
    printcolumn(name = "Interface", type_ = "string", json_path = ".spec.interface"),
    printcolumn(name = "Free", type_ = "integer", json_path = ".status.addresses.free"),
    printcolumn(name = "Used", type_ = "integer", json_path = ".status.addresses.used"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].status"
    ),
    printcolumn(
        name = "Server",
        type_ = "string",
        json_path = ".status.server",
        priority = 1
    ),
    printcolumn(
        name = "IPv6",
        type_ = "string",
        json_path = ".spec.ipv6.cidr",
        priority = 1
    ),
    printcolumn(
        name = "Used6",
        type_ = "integer",
        json_path = ".status.ipv6.addresses.used",
        priority = 1
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    )
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SubnetSpec {
    /// What Reveille does here. `Server` answers DHCP and hands out addresses;
    /// `Proxy` stands beside a DHCP server that hands them out, and tells
    /// machines what to boot (ProxyDHCP, UDP 4011), so it takes no `pools`;
    /// `Auto` looks whether another server lends addresses, and does what `auto`
    /// says; `Disabled` keeps the object and serves nothing. There is no
    /// default: the wrong one breaks a network.
    pub mode: Mode,

    /// What `mode: Auto` does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auto: Option<Auto>,

    /// The IPv4 network, such as `10.33.0.0/16`. Where there is an `ipv6`, it may
    /// be left out: nothing is served over IPv4 then, and what is about IPv4 here
    /// is left out as well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cidr: Option<Cidr>,

    /// The IPv6 network of the same link. With it DHCPv6 is served here (UDP
    /// 547), whatever `mode` says of DHCPv4; without it no IPv6 port is open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv6: Option<Ipv6Network>,

    /// The interface that faces the machines: its name, an alternative name,
    /// or its MAC address. Several Subnets may name one: they share its wire,
    /// the oldest lends first, and the next when that has nothing left.
    /// Without an interface the Subnet is reached through relays only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,

    /// Relay agents of this network, by the addresses that they give as their
    /// own (giaddr), where these do not lie in `cidr`. What a relay says of the
    /// link (option 82, link selection, RFC 3527) and subnet selection (option
    /// 118, RFC 3011) go before its address.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub relays: Vec<AddressRange>,

    /// Ranges of addresses for machines that have none of their own. Without a
    /// pool only machines with a reserved address are served. They lie in the
    /// network and share no address.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub pools: Vec<Pool>,

    /// Addresses of the pools that are lent to nobody: something else has them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub exclude: Vec<AddressRange>,

    /// How long an address is lent, and when a machine asks again: renew before
    /// rebind before valid.
    #[serde(default)]
    pub lifetimes: Lifetimes,

    /// Default gateways (option 3), the preferred one first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub routers: Vec<Ipv4Addr>,

    /// Networks behind other routers of this link (option 121, RFC 3442). The
    /// first of `routers` stays the way to all others. Who asks for option 33
    /// and not for 121 is told those that 33 can say: single hosts, and whole
    /// networks of class A, B or C.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub routes: Vec<Route>,

    /// Name resolution.
    #[serde(default)]
    pub dns: Dns,

    /// Time servers (option 42).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub ntp: Vec<Ipv4Addr>,

    /// Largest packet on this link in bytes (option 26).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 576, max = 9216))]
    pub mtu: Option<u16>,

    /// The server that machines load their first file from (siaddr, sname and
    /// option 66). Default: our own address on the interface.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_server: Option<Ipv4Addr>,

    /// What a machine gets that no Machine object names. `Boot`: an address
    /// from a pool and the profile that the rules choose. `Ignore`: no answer.
    /// `Discover`: no answer either, but a Machine is made that waits for
    /// `approved: true`.
    #[serde(default)]
    pub unknown_machines: UnknownMachines,

    /// Whether we are the one DHCP server of this network. If so, a machine
    /// that asks for an address of another network is told so at once (NAK)
    /// and a renewal that we do not know is granted when the address is free.
    #[serde(default = "yes")]
    pub authoritative: bool,

    /// By what a lease knows its machine.
    #[serde(default)]
    pub identity: LeaseIdentity,

    /// Which host name machines are told (option 12, and 81 where they send it).
    /// A `hostname` of a Machine's interface or reservation comes before it.
    #[serde(default)]
    pub hostnames: Hostnames,

    /// Relay agents, by the addresses that they give as their own (giaddr),
    /// that may ask who has which lease here (leasequery, RFC 4388). Default:
    /// nobody may.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub lease_queries: Vec<AddressRange>,

    /// Whether an address is probed before a machine is offered it that does
    /// not have it already: by ARP, behind a relay by ICMP echo. An address at
    /// which somebody answers rests for a day. The machine waits half a second
    /// for its first offer; others do not wait.
    #[serde(default)]
    pub conflict_probe: bool,

    /// What machines are told beside all this, option by option. It wins over
    /// the fields here; a BootProfile's `options` win over it, and a Machine's
    /// over both.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub options: Vec<DhcpOption>,

    /// Classes of clients. A client is of the first that it matches, and of no
    /// other.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub classes: Vec<ClientClass>,

    /// The profile for machines here that neither name one nor are selected
    /// by one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_profile_ref: Option<NameRef>,

    /// Values for templates of what boots here, as `{{ params.NAME }}`; those
    /// of the profile and of the machine win.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub params: BTreeMap<String, String>,
}

/// What Reveille does on a Subnet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Mode {
    /// Answers DHCP: addresses and boot.
    Server,
    /// Answers machines that boot, beside another server that lends addresses.
    Proxy,
    /// `Server` where nobody else lends addresses, else what `auto` says.
    Auto,
    /// Serves nothing.
    Disabled,
}

/// What `mode: Auto` does. It asks for an address as a machine does, now and
/// then, and takes none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Auto {
    /// What is done where another server lends addresses.
    #[serde(default)]
    pub foreign_dhcp: ForeignDhcp,
    /// How long no other server may have answered before Reveille lends
    /// addresses: after its start, and after another server has gone. From 10s
    /// to 1h; longer than a router takes to begin.
    #[serde(default = "default_serves_after")]
    pub serves_after: Lifetime,
}

/// What is done where another server lends addresses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ForeignDhcp {
    /// Machines are told what to boot, as by `mode: Proxy`.
    #[default]
    Proxy,
    /// Nobody is answered, and the Subnet is not ready.
    Refuse,
}

impl SubnetSpec {
    /// Whether `address` lies in its IPv4 network.
    #[must_use]
    pub fn contains(&self, address: Ipv4Addr) -> bool {
        self.cidr.is_some_and(|cidr| cidr.contains(address))
    }

    /// Whether a host can have `address` in its IPv4 network.
    #[must_use]
    pub fn is_host(&self, address: Ipv4Addr) -> bool {
        self.cidr.is_some_and(|cidr| cidr.is_host(address))
    }

    /// What `mode: Auto` does here.
    #[must_use]
    pub const fn auto_or_default(&self) -> Auto {
        match self.auto {
            Some(auto) => auto,
            None => Auto {
                foreign_dhcp: ForeignDhcp::Proxy,
                serves_after: default_serves_after(),
            },
        }
    }
}

/// A range of addresses, both ends part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Pool {
    /// The first address.
    pub start: Ipv4Addr,
    /// The last address.
    pub end: Ipv4Addr,
}

/// Lease times: renew < rebind < valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Lifetimes {
    /// How long an address is lent (option 51); 60s at least.
    #[serde(default = "default_valid")]
    pub valid: Lifetime,
    /// When the machine first asks to keep it (option 58, T1). Default: half of `valid`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renew: Option<Lifetime>,
    /// When it asks any server (option 59, T2). Default: 7/8 of `valid`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rebind: Option<Lifetime>,
}

impl Lifetimes {
    /// T1 in seconds: as written, or half of `valid` (RFC 2131 section 4.4.5).
    #[must_use]
    pub fn renew_secs(&self) -> u32 {
        self.renew
            .map_or_else(|| self.valid.secs() / 2, Lifetime::secs)
    }

    /// T2 in seconds: as written, or 7/8 of `valid` (RFC 2131 section 4.4.5).
    #[must_use]
    pub fn rebind_secs(&self) -> u32 {
        self.rebind
            .map_or_else(|| self.valid.secs() - self.valid.secs() / 8, Lifetime::secs)
    }
}

impl Default for Lifetimes {
    fn default() -> Self {
        Self {
            valid: default_valid(),
            renew: None,
            rebind: None,
        }
    }
}

/// Name resolution settings.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Dns {
    /// Name servers (option 6), the preferred one first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub servers: Vec<Ipv4Addr>,
    /// Domains to search (option 119); the first is the machine's own (option 15).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub search: Vec<String>,
}

/// What machines get that no object names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum UnknownMachines {
    /// They are served like any other.
    #[default]
    Boot,
    /// They get no answer.
    Ignore,
    /// They get no answer until somebody approves the Machine that is made
    /// of what they asked.
    Discover,
}

/// Which host name machines are told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Hostnames {
    /// The name of their Machine; those without one are told none.
    #[default]
    FromMachine,
    /// The one that they give themselves (option 81, else 12), made a host name
    /// of: small letters, digits and hyphens. Those that give none are told the
    /// name of their Machine.
    FromClient,
    /// The name of their Machine; those without one are told one that is made of
    /// their address, such as `ip-192-0-2-100`.
    Generate,
}

const fn yes() -> bool {
    true
}

/// 4000 s: long enough that renewals are rare, short enough that a renumbered
/// network settles within the hour.
const fn default_valid() -> Lifetime {
    Lifetime::from_secs(4000)
}

/// A minute: a lost frame or a busy server is no silence.
const fn default_serves_after() -> Lifetime {
    Lifetime::from_secs(60)
}
