//! Scalar types of the manifests that cannot hold a wrong value.

use std::borrow::Cow;
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use ipnet::{Ipv4Net, Ipv6Net};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A scalar that does not parse: what is wrong, in words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ScalarError(pub String);

/// An IPv4 network such as `10.33.0.0/16`; host bits must be zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cidr(Ipv4Net);

impl Cidr {
    /// The network itself.
    #[must_use]
    pub const fn net(self) -> Ipv4Net {
        self.0
    }

    /// Whether `address` lies in the network.
    #[must_use]
    pub fn contains(self, address: Ipv4Addr) -> bool {
        self.0.contains(&address)
    }

    /// Whether `address` is one that a host may have here: neither the network
    /// nor the broadcast address (RFC 3021 lets /31 use both, /32 its one).
    #[must_use]
    pub fn is_host(self, address: Ipv4Addr) -> bool {
        self.contains(address)
            && (self.0.prefix_len() >= 31
                || (address != self.0.network() && address != self.0.broadcast()))
    }
}

impl FromStr for Cidr {
    type Err = ScalarError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let net: Ipv4Net = text.parse().map_err(|_| {
            ScalarError(format!(
                "`{text}` is not an IPv4 network such as 10.33.0.0/16"
            ))
        })?;
        if net.addr() == net.network() {
            Ok(Self(net))
        } else {
            Err(ScalarError(format!(
                "`{text}` has host bits set; the network is {}",
                net.trunc()
            )))
        }
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An IPv6 network such as `2001:db8:33::/64`; host bits must be zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cidr6(Ipv6Net);

impl Cidr6 {
    /// The network itself.
    #[must_use]
    pub const fn net(self) -> Ipv6Net {
        self.0
    }

    /// Whether `address` lies in the network.
    #[must_use]
    pub fn contains(self, address: Ipv6Addr) -> bool {
        self.0.contains(&address)
    }

    /// Whether `address` is one that a host may have here: not the routers'
    /// anycast address (RFC 4291 section 2.6.1; RFC 6164 lets /127 and /128 use
    /// all).
    #[must_use]
    pub fn is_host(self, address: Ipv6Addr) -> bool {
        self.contains(address) && (self.0.prefix_len() >= 127 || address != self.0.network())
    }
}

impl FromStr for Cidr6 {
    type Err = ScalarError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let net: Ipv6Net = text.parse().map_err(|_| {
            ScalarError(format!(
                "`{text}` is not an IPv6 network such as 2001:db8:33::/64"
            ))
        })?;
        if net.addr() == net.network() {
            Ok(Self(net))
        } else {
            // The server cannot say which network it is: its rules may not cost so much.
            Err(ScalarError(format!(
                "`{text}` has host bits set; behind the prefix all bits of a network are 0"
            )))
        }
    }
}

impl fmt::Display for Cidr6 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A span of time in whole seconds, written as `4000s`, `90m`, `1h30m`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lifetime(u32);

impl Lifetime {
    /// A lifetime of so many seconds.
    #[must_use]
    pub const fn from_secs(secs: u32) -> Self {
        Self(secs)
    }

    /// The whole of it in seconds.
    #[must_use]
    pub const fn secs(self) -> u32 {
        self.0
    }
}

impl FromStr for Lifetime {
    type Err = ScalarError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || {
            ScalarError(format!(
                "`{text}` is not a time such as 4000s, 90m or 1h30m"
            ))
        };
        let mut total: u64 = 0;
        let mut rest = text;
        while !rest.is_empty() {
            let end = rest
                .find(|c: char| !c.is_ascii_digit())
                .filter(|end| *end > 0)
                .ok_or_else(wrong)?;
            let (digits, tail) = rest.split_at(end);
            let unit = match tail.chars().next() {
                Some('h') => 3600,
                Some('m') => 60,
                Some('s') => 1,
                _ => return Err(wrong()),
            };
            let count: u64 = digits.parse().map_err(|_| wrong())?;
            total = count
                .checked_mul(unit)
                .and_then(|add| total.checked_add(add))
                .ok_or_else(wrong)?;
            rest = tail.get(1..).unwrap_or_default();
        }
        if text.is_empty() {
            return Err(wrong());
        }
        u32::try_from(total)
            .map(Self)
            .map_err(|_| ScalarError(format!("`{text}` is more than 4294967295 seconds")))
    }
}

impl fmt::Display for Lifetime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}s", self.0)
    }
}

macro_rules! text_scalar {
    ($name:ident, $schema:expr) => {
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }

        impl JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                $schema
            }
        }
    };
}

text_scalar!(
    Cidr,
    json_schema!({"type": "string", "format": "cidr", "pattern": r"^[0-9.]+/[0-9]+$"})
);
text_scalar!(
    Cidr6,
    json_schema!({"type": "string", "format": "cidr6", "pattern": r"^[0-9a-fA-F:]+/[0-9]+$"})
);
text_scalar!(
    Lifetime,
    json_schema!({"type": "string", "format": "duration", "pattern": "^([0-9]+[hms])+$"})
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_lifetimes_as_go_writes_them() {
        for (text, secs) in [("4000s", 4000), ("90m", 5400), ("1h30m", 5400), ("0s", 0)] {
            assert_eq!(text.parse::<Lifetime>().unwrap().secs(), secs, "{text}");
        }
        for text in ["", "s", "10", "1d", "-1s", "1h30", "9999999999h", "1.5h"] {
            assert!(text.parse::<Lifetime>().is_err(), "{text}");
        }
    }

    #[test]
    fn refuses_a_network_with_host_bits() {
        let error = "10.33.1.1/16".parse::<Cidr>().unwrap_err();
        assert!(error.0.contains("10.33.0.0/16"), "{error}");
        assert!("10.33.0.0".parse::<Cidr>().is_err());
    }

    #[test]
    fn reads_ipv6_networks_without_host_bits() {
        let cidr: Cidr6 = "2001:DB8:33::/64".parse().unwrap();
        assert_eq!(cidr.to_string(), "2001:db8:33::/64");
        assert!(cidr.is_host("2001:db8:33::1".parse().unwrap()));
        assert!(!cidr.is_host("2001:db8:33::".parse().unwrap()));
        assert!(!cidr.is_host("2001:db8:34::1".parse().unwrap()));
        let error = "2001:db8::1/64".parse::<Cidr6>().unwrap_err();
        assert!(error.0.contains("has host bits set"), "{error}");
        assert!("10.33.0.0/16".parse::<Cidr6>().is_err());
    }

    #[test]
    fn knows_which_addresses_a_host_may_have() {
        let cidr: Cidr = "192.0.2.0/24".parse().unwrap();
        assert!(cidr.is_host([192, 0, 2, 1].into()));
        assert!(!cidr.is_host([192, 0, 2, 0].into()));
        assert!(!cidr.is_host([192, 0, 2, 255].into()));
        assert!(!cidr.is_host([192, 0, 3, 1].into()));
    }
}
