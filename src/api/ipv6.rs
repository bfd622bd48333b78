//! The IPv6 half of a Subnet.

use std::net::Ipv6Addr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Cidr6, Lifetimes};

/// The IPv6 network of a Subnet, which DHCPv6 serves (RFC 8415). Router
/// advertisements are a router's: Reveille sends none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Ipv6Network {
    /// The network, such as `2001:db8:33::/64`. The interface has an address in
    /// it, which the URLs name that machines are told.
    pub cidr: Cidr6,

    /// Ranges of addresses for machines that have none of their own. Without a
    /// pool only machines with a reserved address are lent one; the others are
    /// told what to boot where they have an address from elsewhere.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub pools: Vec<Pool6>,

    /// How long an address is lent and preferred, and when a machine asks again
    /// (T1, T2): renew before rebind before valid.
    #[serde(default)]
    pub lifetimes: Lifetimes,

    /// Name resolution.
    #[serde(default)]
    pub dns: Dns6,

    /// Links that belong here by what their relays call them (link-address),
    /// where that does not lie in `cidr`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub relays: Vec<Ipv6Addr>,

    /// Our address in the URLs that machines are told. Default: that of the
    /// interface in `cidr`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<Ipv6Addr>,

    /// How much we want to be chosen where several servers answer (option 7):
    /// the highest wins, and a machine does not wait for others at 255.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub preference: u8,

    /// Whether a machine that asks for it is lent an address by two messages in
    /// place of four (option 14). Only where no other server does so: each lends
    /// one then.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub rapid_commit: bool,
}

/// A range of IPv6 addresses, both ends part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Pool6 {
    /// The first address.
    pub start: Ipv6Addr,
    /// The last address.
    pub end: Ipv6Addr,
}

/// Name resolution over IPv6.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Dns6 {
    /// Name servers (option 23), the preferred one first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub servers: Vec<Ipv6Addr>,
    /// Domains to search (option 24). Default: those of the Subnet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub search: Vec<String>,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde asks for a reference"
)]
const fn is_zero(value: &u8) -> bool {
    *value == 0
}

// === impl Pool6 ===

impl Pool6 {
    /// Whether `address` lies in it.
    #[must_use]
    pub fn contains(&self, address: Ipv6Addr) -> bool {
        (self.start..=self.end).contains(&address)
    }
}
