//! What DHCP tells machines beyond the usual.

use std::net::Ipv4Addr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::boot::Architecture;

/// Options that are the protocol's own: Reveille sets them, or only clients do.
/// A value of somebody's own there would break the exchange (50 to 55, 57 to
/// 59, 61 and 82), or belongs into a field (1: `cidr`).
pub const RESERVED_OPTIONS: [u8; 14] = [1, 50, 51, 52, 53, 54, 55, 56, 57, 58, 59, 61, 82, 118];

/// An option that machines are told, by its number. Exactly one of `string`,
/// `hex`, `ip`, `ips`, `u8`, `u16` and `u32` says its value.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DhcpOption {
    /// Its number, such as 252.
    #[schemars(range(min = 1, max = 254))]
    pub code: u8,
    /// A text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub string: Option<String>,
    /// Bytes as pairs of hex digits, such as `01 04 c0000201`; white space and
    /// colons between the bytes do not count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub hex: Option<String>,
    /// An address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip: Option<Ipv4Addr>,
    /// Several addresses, the preferred one first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32))]
    pub ips: Option<Vec<Ipv4Addr>>,
    /// A number of one byte.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub u8: Option<u8>,
    /// A number of two bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub u16: Option<u16>,
    /// A number of four bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub u32: Option<u32>,
    /// Whether a machine is told that does not ask for it: firmware that wants
    /// an option often forgets to say so. Default: only who asks for it, or
    /// asks for nothing in particular.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub always: bool,
}

/// A range of addresses, or one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AddressRange {
    /// The first address.
    pub start: Ipv4Addr,
    /// The last address. Default: `start`, the range is one address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<Ipv4Addr>,
}

/// A network that is reached by a router of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Route {
    /// The network, such as `10.50.0.0/16`.
    pub to: super::Cidr,
    /// The router on this link that leads there.
    pub via: Ipv4Addr,
}

/// By what a lease knows its machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum LeaseIdentity {
    /// By its MAC address: ROM, iPXE and system send different client
    /// identifiers during one boot and keep one address so.
    #[default]
    Mac,
    /// By its client identifier (option 61) where it sends one: several
    /// clients behind one MAC address get an address each.
    ClientId,
}

/// A class of clients: what they are known by, and what they get.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClientClass {
    /// Its name, in the log and in `reveille` commands.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// What a client must be. All that is named must hold.
    #[serde(rename = "match")]
    pub matches: ClassMatch,
    /// Parts of the Subnet's pools that are lent to this class alone, and it is
    /// lent nothing else. Default: what no class has for itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub pools: Vec<super::Pool>,
    /// DHCP options for this class. They win over those of the Subnet; those of
    /// a BootProfile and of a Machine win over them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub options: Vec<DhcpOption>,
    /// The profile for machines of this class that neither name one nor are
    /// selected by one; before the Subnet's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile_ref: Option<super::NameRef>,
}

/// What a client of a class is known by.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClassMatch {
    /// The beginning of its vendor class (option 60), such as `PXEClient` or
    /// `docsis`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255))]
    pub vendor_class: Option<String>,
    /// Its user class, or one of several (option 77).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255))]
    pub user_class: Option<String>,
    /// Its architecture is one of these (option 93).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub architectures: Vec<Architecture>,
    /// The circuit that its relay or switch says it is at (option 82.1): a
    /// text, or `0x` and hex digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub circuit_id: Option<String>,
    /// The remote end that its relay or switch says it is (option 82.2), in the
    /// same way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub remote_id: Option<String>,
    /// Options that it sends with just these values.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub options: Vec<DhcpOption>,
}

/// An address that is kept for a machine which is known by something else than
/// a MAC address, or whichever of its interfaces asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Reservation {
    /// The address.
    pub ip: Ipv4Addr,
    /// The host name that the machine is told with it (option 12).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub hostname: Option<String>,
    /// For the client that gives this identifier (option 61): a text, or `0x`
    /// and hex digits, such as `0x01525400123456`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub client_id: Option<String>,
    /// For whoever is at this circuit of a relay or switch (option 82.1), in
    /// the same way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub circuit_id: Option<String>,
    /// For whoever is at this remote end (option 82.2), in the same way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub remote_id: Option<String>,
}

/// The bytes of an identifier: a text, or `0x` and hex digits; `None` where
/// these are none.
#[must_use]
pub fn id_bytes(text: &str) -> Option<Vec<u8>> {
    match text.strip_prefix("0x") {
        Some(digits) => unhex(digits),
        None => Some(text.as_bytes().to_vec()),
    }
}

// === impl Reservation ===

impl Reservation {
    /// Its identifiers by field.
    #[must_use]
    pub fn ids(&self) -> [(&'static str, Option<&str>); 3] {
        [
            ("clientId", self.client_id.as_deref()),
            ("circuitId", self.circuit_id.as_deref()),
            ("remoteId", self.remote_id.as_deref()),
        ]
    }

    /// Whether one of its identifiers makes the machine known.
    #[must_use]
    pub fn names_a_machine(&self) -> bool {
        self.ids().iter().any(|(_, id)| id.is_some())
    }
}

// === impl ClassMatch ===

impl ClassMatch {
    /// Whether it names nothing, and every client would match.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

// === impl DhcpOption ===

impl DhcpOption {
    /// The names of the fields that say a value here.
    #[must_use]
    pub fn values(&self) -> Vec<&'static str> {
        [
            ("string", self.string.is_some()),
            ("hex", self.hex.is_some()),
            ("ip", self.ip.is_some()),
            ("ips", self.ips.is_some()),
            ("u8", self.u8.is_some()),
            ("u16", self.u16.is_some()),
            ("u32", self.u32.is_some()),
        ]
        .into_iter()
        .filter_map(|(name, there)| there.then_some(name))
        .collect()
    }

    /// Its bytes; `None` where `hex` is none.
    #[must_use]
    pub fn bytes(&self) -> Option<Vec<u8>> {
        if let Some(digits) = &self.hex {
            return unhex(digits);
        }
        let text = self.string.as_ref().map(|text| text.clone().into_bytes());
        let ip = self.ip.map(|ip| ip.octets().to_vec());
        let ips = self.ips.as_ref();
        let ips = ips.map(|ips| ips.iter().flat_map(Ipv4Addr::octets).collect());
        text.or(ip)
            .or(ips)
            .or_else(|| self.u8.map(|number| vec![number]))
            .or_else(|| self.u16.map(|number| number.to_be_bytes().to_vec()))
            .or_else(|| self.u32.map(|number| number.to_be_bytes().to_vec()))
    }
}

/// Bytes from pairs of hex digits; white space and colons stand between pairs.
#[must_use]
pub fn unhex(text: &str) -> Option<Vec<u8>> {
    let parts = text.split(|c: char| c.is_ascii_whitespace() || c == ':');
    let mut bytes = Vec::new();
    for part in parts {
        for pair in part.as_bytes().chunks(2) {
            let [high, low] = pair else { return None };
            let digit = |byte: &u8| char::from(*byte).to_digit(16);
            let byte = digit(high)? * 16 + digit(low)?;
            bytes.push(u8::try_from(byte).ok()?);
        }
    }
    (!bytes.is_empty()).then_some(bytes)
}

// === impl AddressRange ===

impl AddressRange {
    /// Its last address.
    #[must_use]
    pub fn last(&self) -> Ipv4Addr {
        self.end.unwrap_or(self.start)
    }

    /// Whether `address` lies in it.
    #[must_use]
    pub fn contains(&self, address: Ipv4Addr) -> bool {
        (self.start..=self.last()).contains(&address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_is_read_in_pairs() {
        assert_eq!(unhex("01 04 c0:00:02:01"), Some(vec![1, 4, 192, 0, 2, 1]));
        assert_eq!(unhex("0104C000"), Some(vec![1, 4, 192, 0]));
        for wrong in ["", " ", "0", "0g", "1:2", "é0"] {
            assert_eq!(unhex(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn each_form_has_its_bytes() {
        let option = |field: &str| {
            let json = format!(r#"{{"code": 252, {field}}}"#);
            let option: DhcpOption = serde_json::from_str(&json).unwrap();
            assert_eq!(option.values().len(), 1, "{field}");
            option.bytes().unwrap()
        };
        assert_eq!(option(r#""string": "ab""#), b"ab");
        assert_eq!(option(r#""hex": "0102""#), [1, 2]);
        assert_eq!(option(r#""ip": "192.0.2.1""#), [192, 0, 2, 1]);
        let ips = option(r#""ips": ["192.0.2.1", "192.0.2.2"]"#);
        assert_eq!(ips, [192, 0, 2, 1, 192, 0, 2, 2]);
        assert_eq!(option(r#""u8": 7"#), [7]);
        assert_eq!(option(r#""u16": 258"#), [1, 2]);
        assert_eq!(option(r#""u32": 16909060"#), [1, 2, 3, 4]);
    }
}
