//! Ethernet addresses.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A 48-bit MAC address. Prints as `52:54:00:12:34:56`; reads that, `-` and
/// `.` (Cisco) as separators, and twelve bare digits, in either case.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MacAddress([u8; 6]);

/// Text that is no MAC address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a MAC address such as 52:54:00:12:34:56")]
pub struct ParseMacError(String);

impl MacAddress {
    /// From its six bytes.
    #[must_use]
    pub const fn new(bytes: [u8; 6]) -> Self {
        Self(bytes)
    }

    /// Its six bytes.
    #[must_use]
    pub const fn bytes(self) -> [u8; 6] {
        self.0
    }

    /// Whether it names one station: not a group address and not all zero.
    #[must_use]
    pub fn is_station(self) -> bool {
        self.0[0] & 1 == 0 && self.0 != [0; 6]
    }

    /// With `-` between the bytes, fit for a path: `52-54-00-12-34-56`.
    #[must_use]
    pub fn hyphenated(self) -> String {
        text(&self.digits(b'-')).to_owned()
    }

    /// Its digits, with `between` the bytes. By a table: each script names its
    /// machine ten times.
    fn digits(self, between: u8) -> [u8; 17] {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut digits = [between; 17];
        for (pair, byte) in digits.chunks_mut(3).zip(self.0) {
            pair[0] = DIGITS[usize::from(byte >> 4)];
            pair[1] = DIGITS[usize::from(byte & 15)];
        }
        digits
    }
}

/// Digits as text.
fn text(digits: &[u8; 17]) -> &str {
    std::str::from_utf8(digits).unwrap_or_default()
}

impl FromStr for MacAddress {
    type Err = ParseMacError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || ParseMacError(text.to_owned());
        let group = match text.len() {
            12 => 12,
            14 => 4,
            17 => 2,
            _ => return Err(wrong()),
        };
        let separator = match text.chars().nth(group) {
            None => None,
            Some(c @ (':' | '-' | '.')) if (c == '.') == (group == 4) => Some(c),
            Some(_) => return Err(wrong()),
        };
        let mut digits = Vec::with_capacity(12);
        for (index, c) in text.chars().enumerate() {
            if separator.is_some() && index % (group + 1) == group {
                if Some(c) != separator {
                    return Err(wrong());
                }
            } else {
                let digit = c.to_digit(16).ok_or_else(wrong)?;
                digits.push(u8::try_from(digit).map_err(|_| wrong())?);
            }
        }
        let mut bytes = [0; 6];
        if digits.len() != 12 {
            return Err(wrong());
        }
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = pair.iter().fold(0, |acc, digit| acc << 4 | digit);
        }
        Ok(Self(bytes))
    }
}

impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(text(&self.digits(b':')))
    }
}

impl fmt::Debug for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for MacAddress {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for MacAddress {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for MacAddress {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "MacAddress".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": "^([0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){5}|[0-9A-Fa-f]{2}(-[0-9A-Fa-f]{2}){5}|[0-9A-Fa-f]{4}([.][0-9A-Fa-f]{4}){2}|[0-9A-Fa-f]{12})$"
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_ways_people_write_it() {
        let want = MacAddress::new([0x52, 0x54, 0, 0x12, 0xab, 0xcd]);
        for text in [
            "52:54:00:12:ab:cd",
            "52-54-00-12-AB-CD",
            "5254.0012.abcd",
            "52540012abcd",
        ] {
            assert_eq!(text.parse(), Ok(want), "{text}");
        }
        assert_eq!(want.to_string(), "52:54:00:12:ab:cd");
        assert_eq!(want.hyphenated(), "52-54-00-12-ab-cd");
    }

    #[test]
    fn refuses_what_is_none() {
        for text in [
            "",
            "52:54:00:12:ab",
            "52:54:00:12:ab:cg",
            "52:54-00:12:ab:cd",
            "52.54.00.12.ab.cd",
            "5254:0012:abcd",
            "52540012abcdef",
            "+2:54:00:12:ab:cd",
            "52:54:00:12:ab:cé",
        ] {
            assert!(text.parse::<MacAddress>().is_err(), "{text}");
        }
    }

    #[test]
    fn tells_stations_from_groups() {
        assert!(MacAddress::new([0x52, 0, 0, 0, 0, 1]).is_station());
        assert!(!MacAddress::new([0xff; 6]).is_station());
        assert!(!MacAddress::new([0; 6]).is_station());
    }
}
