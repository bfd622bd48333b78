//! The identifier that a machine's firmware has of it (SMBIOS type 1, UUID).

use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;

/// A UUID as its text has it, byte for byte. Firmware and programs differ in
/// the byte order of its first three fields (SMBIOS 2.6 and later write them
/// little-endian, RFC 4122 big-endian), so [`same_as`](Self::same_as) takes
/// either.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Uuid([u8; 16]);

/// Text that is no UUID.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a UUID such as 4c4c4544-0043-4810-8052-b4c04f4a4d32")]
pub struct ParseUuidError(String);

/// Where the text has its hyphens, in digits.
const GROUPS: [usize; 5] = [8, 4, 4, 4, 12];

/// What makers of boards leave in many of them, one and all.
const SHARED: [Uuid; 4] = [
    // "Not present" and "not set" (SMBIOS 7.2.1).
    Uuid([0; 16]),
    Uuid([0xff; 16]),
    // Boards of several makers, "03000200-0400-0500-0006-000700080009".
    Uuid([3, 0, 2, 0, 4, 0, 5, 0, 0, 6, 0, 7, 0, 8, 0, 9]),
    // "12345678-1234-5678-90ab-cddeefaabbcc".
    Uuid([
        0x12, 0x34, 0x56, 0x78, 0x12, 0x34, 0x56, 0x78, 0x90, 0xab, 0xcd, 0xde, 0xef, 0xaa, 0xbb,
        0xcc,
    ]),
];

// === impl Uuid ===

impl Uuid {
    /// From its bytes, as the text has them.
    #[must_use]
    pub const fn new(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// From option 97 (RFC 4578 section 2.3): a type byte 0 and 16 bytes.
    #[must_use]
    pub fn from_option(data: &[u8]) -> Option<Self> {
        let (kind, bytes) = data.split_first()?;
        let uuid = Self(bytes.try_into().ok()?);
        (*kind == 0 && uuid.names_one()).then_some(uuid)
    }

    /// As option 97: type byte 0 and the bytes.
    #[must_use]
    pub fn to_option(self) -> Vec<u8> {
        [&[0][..], &self.0].concat()
    }

    /// With the first three fields in the other byte order.
    #[must_use]
    pub const fn swapped(self) -> Self {
        let [a, b, c, d, e, f, g, h, rest @ ..] = self.0;
        let [i, j, k, l, m, n, o, p] = rest;
        Self([d, c, b, a, f, e, h, g, i, j, k, l, m, n, o, p])
    }

    /// Whether both name one machine, in either byte order.
    #[must_use]
    pub fn same_as(self, other: Self) -> bool {
        self == other || self.swapped() == other
    }

    /// The same value for both byte orders.
    #[must_use]
    pub fn key(self) -> Self {
        self.min(self.swapped())
    }

    /// Whether it can name one machine, and is none that many boards share.
    #[must_use]
    pub fn names_one(self) -> bool {
        !SHARED.iter().any(|shared| shared.same_as(self))
    }

    /// Those that name no machine, in either byte order.
    #[must_use]
    pub fn shared() -> Vec<Self> {
        let both = SHARED.iter().flat_map(|uuid| [*uuid, uuid.swapped()]);
        both.collect()
    }
}

impl FromStr for Uuid {
    type Err = ParseUuidError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || ParseUuidError(text.chars().take(64).collect());
        let groups: Vec<&str> = text.split('-').collect();
        let lengths: Vec<usize> = groups.iter().map(|group| group.len()).collect();
        if lengths != GROUPS && lengths != [32] {
            return Err(wrong());
        }
        let mut bytes = [0; 16];
        let mut digits = groups.iter().flat_map(|group| group.chars());
        for byte in &mut bytes {
            for _ in 0..2 {
                let digit = digits.next().and_then(|c| c.to_digit(16));
                let digit = digit.and_then(|digit| u8::try_from(digit).ok());
                *byte = *byte << 4 | digit.ok_or_else(wrong)?;
            }
        }
        Ok(Self(bytes))
    }
}

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, byte) in self.0.iter().enumerate() {
            if matches!(index, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl Serialize for Uuid {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Uuid {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Uuid {
    fn schema_name() -> Cow<'static, str> {
        "Uuid".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": "^([0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}|[0-9A-Fa-f]{32})$"
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "4c4c4544-0043-4810-8052-b4c04f4a4d32";

    #[test]
    fn is_read_in_either_case_and_with_or_without_hyphens() {
        let uuid: Uuid = TEXT.parse().unwrap();
        assert_eq!(uuid.to_string(), TEXT);
        assert_eq!(TEXT.to_uppercase().parse(), Ok(uuid));
        assert_eq!(TEXT.replace('-', "").parse(), Ok(uuid));
        for bad in ["", "4c4c4544", "4c4c-45440043-4810-8052-b4c04f4a4d32", "ä"] {
            assert!(bad.parse::<Uuid>().is_err(), "{bad}");
        }
        assert!(TEXT.replace('4', "g").parse::<Uuid>().is_err());
    }

    #[test]
    fn is_the_same_in_either_byte_order() {
        let uuid: Uuid = TEXT.parse().unwrap();
        let swapped: Uuid = "44454c4c-4300-1048-8052-b4c04f4a4d32".parse().unwrap();
        assert!(uuid.same_as(swapped) && swapped.same_as(uuid) && uuid.same_as(uuid));
        assert_eq!(uuid.key(), swapped.key());
        let other: Uuid = "4c4c4544-0043-4810-8052-b4c04f4a4d33".parse().unwrap();
        assert!(!uuid.same_as(other) && uuid.key() != other.key());
    }

    #[test]
    fn option_97_names_a_machine_or_nobody() {
        let uuid: Uuid = TEXT.parse().unwrap();
        let mut data = vec![0];
        data.extend(uuid.0);
        assert_eq!(Uuid::from_option(&data), Some(uuid));
        assert_eq!(Uuid::from_option(&data[1..]), None);
        data[0] = 1;
        assert_eq!(Uuid::from_option(&data), None);
        assert_eq!(Uuid::from_option(&[0; 17]), None);
        assert_eq!(Uuid::from_option(&[&[0][..], &[0xff; 16]].concat()), None);
        let shared: Uuid = "03000200-0400-0500-0006-000700080009".parse().unwrap();
        assert!(!shared.names_one() && !shared.swapped().names_one());
    }
}
