//! The names and forms of DHCPv6's options: one table for all that is shown.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

use crate::boot::{MacAddress, Uuid};
use crate::dhcp::v6::option;
use crate::dhcp::v6::wire::{split, texts};
use crate::lease::MAX_DUID;
use crate::packets::options::{
    architectures, bytes, hex, interface, joined, names, number, text, unhex,
};

/// How the bytes of an option are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// One address or several.
    Addresses,
    /// A number of as many bytes as there are, up to four.
    Number,
    /// Seconds.
    Seconds,
    /// Hundredths of a second (RFC 8415 section 21.9).
    Elapsed,
    /// Text.
    Text,
    /// Domain names in DNS's encoding (RFC 1035 section 3.1).
    Names,
    /// Option codes, two bytes each.
    Codes,
    /// A DUID (RFC 8415 section 11).
    Duid,
    /// A number, two times and options (RFC 8415 sections 21.4 and 21.21).
    Association,
    /// A number and options (RFC 8415 section 21.5).
    Temporary,
    /// An address, two times and options (RFC 8415 section 21.6).
    Lent,
    /// Two times, a prefix and options (RFC 8415 section 21.22).
    Prefix,
    /// A code and words (RFC 8415 section 21.13).
    Status,
    /// Texts with their lengths before them (RFC 8415 section 21.15).
    Texts,
    /// An enterprise and such texts (RFC 8415 section 21.16).
    Classes,
    /// An enterprise and anything.
    Enterprise,
    /// Firmware types (RFC 5970 section 3.3).
    Architectures,
    /// A type byte and two of a version (RFC 5970 section 3.4).
    Interface,
    /// A hardware type and an address (RFC 6939 section 4).
    Hardware,
    /// It says all by being there.
    Flag,
    /// Anything.
    Bytes,
}

/// A code, its name and how it is read.
pub type Entry = (u16, &'static str, Form);

/// RFC 8415 unless a line says otherwise.
const OPTIONS: &[Entry] = &[
    (option::CLIENT_ID, "client identifier", Form::Duid),
    (option::SERVER_ID, "server identifier", Form::Duid),
    (option::IA_NA, "addresses (IA_NA)", Form::Association),
    (
        option::IA_TA,
        "temporary addresses (IA_TA)",
        Form::Temporary,
    ),
    (option::IA_ADDRESS, "address", Form::Lent),
    (option::REQUESTED, "option request", Form::Codes),
    (option::PREFERENCE, "preference", Form::Number),
    (option::ELAPSED, "elapsed time", Form::Elapsed),
    (option::RELAY_MESSAGE, "relay message", Form::Bytes),
    (11, "authentication", Form::Bytes),
    (12, "server unicast", Form::Addresses),
    (option::STATUS, "status", Form::Status),
    (option::RAPID_COMMIT, "rapid commit", Form::Flag),
    (option::USER_CLASS, "user class", Form::Texts),
    (option::VENDOR_CLASS, "vendor class", Form::Classes),
    (17, "vendor options", Form::Enterprise),
    (option::INTERFACE_ID, "interface identifier", Form::Bytes),
    (19, "reconfigure message", Form::Number),
    (20, "reconfigure accept", Form::Flag),
    // RFC 3319
    (21, "SIP server names", Form::Names),
    (22, "SIP servers", Form::Addresses),
    // RFC 3646
    (option::DNS_SERVERS, "name servers", Form::Addresses),
    (option::DOMAIN_SEARCH, "domain search", Form::Names),
    (option::IA_PD, "prefixes (IA_PD)", Form::Association),
    (26, "prefix", Form::Prefix),
    // RFC 3898
    (27, "NIS servers", Form::Addresses),
    (29, "NIS domain", Form::Names),
    // RFC 4075
    (31, "SNTP servers", Form::Addresses),
    (32, "information refresh time", Form::Seconds),
    // RFC 4649
    (37, "remote identifier", Form::Enterprise),
    // RFC 4580
    (38, "subscriber identifier", Form::Text),
    // RFC 4704
    (39, "client FQDN", Form::Bytes),
    // RFC 4833
    (41, "POSIX time zone", Form::Text),
    (42, "TZ database time zone", Form::Text),
    // RFC 5908
    (56, "NTP server", Form::Bytes),
    // RFC 5970
    (option::BOOT_FILE_URL, "boot file URL", Form::Text),
    (
        option::BOOT_FILE_PARAMETERS,
        "boot file parameters",
        Form::Texts,
    ),
    (
        option::ARCHITECTURE,
        "client architecture",
        Form::Architectures,
    ),
    (
        option::NETWORK_INTERFACE,
        "network interface",
        Form::Interface,
    ),
    // RFC 6939
    (
        option::CLIENT_LINK_LAYER,
        "client link-layer address",
        Form::Hardware,
    ),
    (82, "longest wait to solicit", Form::Seconds),
    (83, "longest wait to ask for settings", Form::Seconds),
    // RFC 8910
    (103, "captive portal", Form::Text),
    // RFC 8357
    (option::RELAY_PORT, "relay source port", Form::Number),
];

/// Options inside options that are shown as such: an address in an association
/// and its status are three. A stranger may nest more, and sees bytes.
const DEPTH: u8 = 3;

/// A DUID as people write it: in hex, with colons or hyphens where they like.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Duid(pub Vec<u8>);

impl FromStr for Duid {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // Between colons stands a byte: an IPv6 address is no DUID.
        let groups: Vec<&str> = text.split([':', '-']).collect();
        let whole = groups.len() == 1 || groups.iter().all(|group| group.len() == 2);
        let bytes = unhex(&groups.concat()).filter(|_| whole);
        let bytes = bytes.filter(|bytes| (3..=MAX_DUID).contains(&bytes.len()));
        bytes
            .map(Self)
            .ok_or_else(|| format!("{text} is no DUID: write 3 to {MAX_DUID} bytes in hex"))
    }
}

impl fmt::Display for Duid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

/// The name of an option; its number where it has none.
#[must_use]
pub fn name(code: u16) -> String {
    find(code).map_or_else(
        || format!("option {code}"),
        |(_, name, _)| (*name).to_owned(),
    )
}

/// What the bytes of an option say, on one line.
#[must_use]
pub fn value(code: u16, data: &[u8]) -> String {
    within(code, data, DEPTH)
}

/// The name of a message (RFC 8415 section 7.3, RFC 5007).
#[must_use]
pub const fn message_type(number: u8) -> Option<&'static str> {
    Some(match number {
        1 => "SOLICIT",
        2 => "ADVERTISE",
        3 => "REQUEST",
        4 => "CONFIRM",
        5 => "RENEW",
        6 => "REBIND",
        7 => "REPLY",
        8 => "RELEASE",
        9 => "DECLINE",
        10 => "RECONFIGURE",
        11 => "INFORMATION-REQUEST",
        option::RELAY_FORWARD => "RELAY-FORW",
        option::RELAY_REPLY => "RELAY-REPL",
        14 => "LEASEQUERY",
        15 => "LEASEQUERY-REPLY",
        _ => return None,
    })
}

fn find(code: u16) -> Option<&'static Entry> {
    OPTIONS.iter().find(|(its, _, _)| *its == code)
}

fn within(code: u16, data: &[u8], depth: u8) -> String {
    let form = find(code).map_or(Form::Bytes, |(_, _, form)| *form);
    let read = match form {
        Form::Addresses => addresses(data),
        Form::Number => number(data).map(|number| number.to_string()),
        Form::Seconds => number(data).map(seconds),
        Form::Elapsed => number(data).map(|all| format!("{}.{:02} s", all / 100, all % 100)),
        Form::Text => Some(text(data)),
        Form::Names => names(data),
        Form::Codes => codes(data),
        Form::Duid => duid(data),
        Form::Association => association(data, depth),
        Form::Temporary => temporary(data, depth),
        Form::Lent => lent(data, depth),
        Form::Prefix => prefix(data, depth),
        Form::Status => status(data),
        Form::Texts => list(data),
        Form::Classes => classes(data),
        Form::Enterprise => enterprise(data),
        Form::Architectures => architectures(data),
        Form::Interface => interface(data),
        Form::Hardware => hardware(data),
        Form::Flag => data.is_empty().then(|| "yes".to_owned()),
        Form::Bytes => None,
    };
    read.unwrap_or_else(|| bytes(data))
}

fn seconds(number: u32) -> String {
    if number == u32::MAX {
        "for ever".to_owned()
    } else {
        format!("{number} s")
    }
}

fn address(data: &[u8]) -> Option<Ipv6Addr> {
    <[u8; 16]>::try_from(data).ok().map(Ipv6Addr::from)
}

fn addresses(data: &[u8]) -> Option<String> {
    let whole = !data.is_empty() && data.len().is_multiple_of(16);
    let each = data.chunks(16).filter_map(address);
    whole.then(|| joined(each.map(|it| it.to_string())))
}

fn codes(data: &[u8]) -> Option<String> {
    let each = data.chunks(2).filter_map(number);
    let whole = data.len().is_multiple_of(2);
    whole.then(|| joined(each.map(|code| code.to_string())))
}

fn duid(data: &[u8]) -> Option<String> {
    match data {
        [0, 1, high, low, _, _, _, _, rest @ ..] => {
            let address = hardware(&[&[*high, *low], rest].concat())?;
            Some(format!("DUID-LLT {address}"))
        }
        [0, 2, rest @ ..] => Some(format!("DUID-EN {}", enterprise(rest)?)),
        [0, 3, rest @ ..] => Some(format!("DUID-LL {}", hardware(rest)?)),
        [0, 4, rest @ ..] => {
            let uuid = Uuid::from_option(&[&[0], rest].concat())?;
            Some(format!("DUID-UUID {uuid}"))
        }
        _ => None,
    }
}

fn hardware(data: &[u8]) -> Option<String> {
    let (kind, address) = data.split_first_chunk::<2>()?;
    match (kind, <[u8; 6]>::try_from(address)) {
        ([0, 1], Ok(mac)) => Some(MacAddress::new(mac).to_string()),
        _ => Some(format!(
            "type {}, {}",
            u16::from_be_bytes(*kind),
            hex(address)
        )),
    }
}

/// A number of four bytes at the beginning, and what is behind it.
fn word(data: &[u8]) -> Option<(u32, &[u8])> {
    let (word, rest) = data.split_first_chunk::<4>()?;
    Some((u32::from_be_bytes(*word), rest))
}

fn association(data: &[u8], depth: u8) -> Option<String> {
    let (id, rest) = word(data)?;
    let (renew, rest) = word(rest)?;
    let (rebind, rest) = word(rest)?;
    let head = if (renew, rebind) == (0, 0) {
        format!("number {id:08x}")
    } else {
        let (renew, rebind) = (seconds(renew), seconds(rebind));
        format!("number {id:08x}, renewed after {renew}, rebound after {rebind}")
    };
    with_options(head, rest, depth)
}

fn temporary(data: &[u8], depth: u8) -> Option<String> {
    let (id, rest) = word(data)?;
    with_options(format!("number {id:08x}"), rest, depth)
}

fn lent(data: &[u8], depth: u8) -> Option<String> {
    let (at, rest) = data.split_first_chunk::<16>()?;
    let (preferred, rest) = word(rest)?;
    let (valid, rest) = word(rest)?;
    let head = format!("{}{}", Ipv6Addr::from(*at), times(preferred, valid));
    with_options(head, rest, depth)
}

fn prefix(data: &[u8], depth: u8) -> Option<String> {
    let (preferred, rest) = word(data)?;
    let (valid, rest) = word(rest)?;
    let (width, rest) = rest.split_first()?;
    let (at, rest) = rest.split_first_chunk::<16>()?;
    let (at, times) = (Ipv6Addr::from(*at), times(preferred, valid));
    with_options(format!("{at}/{width}{times}"), rest, depth)
}

/// For how long; a client that asks names no times.
fn times(preferred: u32, valid: u32) -> String {
    match (preferred, valid) {
        (0, 0) => String::new(),
        (preferred, valid) if preferred == valid => format!(" for {}", seconds(valid)),
        (preferred, valid) => {
            let (preferred, valid) = (seconds(preferred), seconds(valid));
            format!(" for {valid}, preferred for {preferred}")
        }
    }
}

/// What stands inside, behind a semicolon each.
fn with_options(head: String, mut rest: &[u8], depth: u8) -> Option<String> {
    let mut all = head;
    if depth == 0 && !rest.is_empty() {
        return Some(format!("{all}; {}", hex(rest)));
    }
    while !rest.is_empty() {
        let (code, data, behind) = split(rest)?;
        let (name, value) = (name(code), within(code, data, depth - 1));
        all = format!("{all}; {code} {name}: {value}");
        rest = behind;
    }
    Some(all)
}

/// The names of RFC 8415 section 21.13.
fn status(data: &[u8]) -> Option<String> {
    let (code, words) = data.split_first_chunk::<2>()?;
    let code = u16::from_be_bytes(*code);
    let name = match code {
        0 => "Success",
        1 => "UnspecFail",
        2 => "NoAddrsAvail",
        3 => "NoBinding",
        4 => "NotOnLink",
        5 => "UseMulticast",
        6 => "NoPrefixAvail",
        _ => return None,
    };
    Some(match words {
        [] => name.to_owned(),
        words => format!("{name} ({})", text(words)),
    })
}

/// Texts with their lengths; what is not that is shown as it is.
fn list(data: &[u8]) -> Option<String> {
    let all = texts(data);
    let length: usize = all.iter().map(|text| text.len() + 2).sum();
    let whole = length == data.len() && !data.is_empty();
    whole.then(|| joined(all.into_iter().map(text)))
}

fn classes(data: &[u8]) -> Option<String> {
    let (enterprise, rest) = word(data)?;
    Some(format!("{} (enterprise {enterprise})", list(rest)?))
}

fn enterprise(data: &[u8]) -> Option<String> {
    let (enterprise, rest) = word(data)?;
    Some(format!("enterprise {enterprise}, {}", bytes(rest)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_has_one_name() {
        for (at, (code, _, _)) in OPTIONS.iter().enumerate() {
            let mut before = OPTIONS[..at].iter();
            assert!(!before.any(|(other, _, _)| other == code), "{code}");
        }
        assert_eq!(name(59), "boot file URL");
        assert_eq!(name(999), "option 999");
    }

    #[test]
    fn values_read_as_people_write_them() {
        let address = "2001:db8::5".parse::<Ipv6Addr>().unwrap().octets();
        let lent = [&address[..], &[0, 0, 14, 16, 0, 0, 14, 16]].concat();
        let inner = [&[0, 5, 0, 24][..], &lent].concat();
        let association = [&[0, 0, 0, 9, 0, 0, 7, 8, 0, 0, 11, 64][..], &inner].concat();
        let refused = b"\0\0\0\x09\0\0\0\0\0\0\0\0\0\x0d\0\x06\0\x02none";
        let uuid = b"\0\x04\x4c\x4c\x45\x44\0\x43\x48\x10\x80\x52\xb4\xc0\x4f\x4a\x4d\x32";
        for (code, data, want) in [
            (
                1,
                &[0, 3, 0, 1, 2, 0, 0, 0, 0, 9][..],
                "DUID-LL 02:00:00:00:00:09",
            ),
            (
                1,
                &[0, 1, 0, 1, 9, 9, 9, 9, 2, 0, 0, 0, 0, 9],
                "DUID-LLT 02:00:00:00:00:09",
            ),
            (2, uuid, "DUID-UUID 4c4c4544-0043-4810-8052-b4c04f4a4d32"),
            (2, b"\0\x02\0\0\x01\x57abc", "DUID-EN enterprise 343, abc"),
            (2, &[9, 9, 9], "090909"),
            (
                3,
                &association,
                "number 00000009, renewed after 1800 s, rebound after 2880 s; 5 address: 2001:db8::5 for 3600 s",
            ),
            (
                3,
                refused,
                "number 00000009; 13 status: NoAddrsAvail (none)",
            ),
            (3, &[0, 0, 0, 9], "00000009"),
            (5, &address, "20010db8000000000000000000000005"),
            (6, &[0, 59, 0, 23], "59, 23"),
            (7, &[255], "255"),
            (8, &[0, 120], "1.20 s"),
            (13, &[0, 4], "NotOnLink"),
            (14, &[], "yes"),
            (15, b"\0\x04iPXE", "iPXE"),
            (15, b"iPXE", "iPXE"),
            (
                16,
                b"\0\0\x01\x57\0\x0aHTTPClient",
                "HTTPClient (enterprise 343)",
            ),
            (24, b"\x07example\x03net\0", "example.net"),
            (59, b"tftp://[2001:db8::1]/x", "tftp://[2001:db8::1]/x"),
            (61, &[0, 7], "7 (x64 UEFI)"),
            (62, &[1, 3, 16], "UNDI 3.16"),
            (79, &[0, 1, 2, 0, 0, 0, 0, 9], "02:00:00:00:00:09"),
            (38, b"a\x1b[2J", "a\\u{1b}[2J"),
        ] {
            assert_eq!(value(code, data), want, "{code}");
        }
    }

    #[test]
    fn a_duid_is_read_as_others_write_it() {
        for text in ["00030001020000000009", "00:03:00:01:02:00:00:00:00:09"] {
            let duid: Duid = text.parse().unwrap();
            assert_eq!(duid.to_string(), "00030001020000000009");
        }
        for text in ["", "0003", "192.0.2.1", "2001:db8::1"] {
            text.parse::<Duid>().unwrap_err();
        }
    }

    #[test]
    fn any_bytes_are_shown_however_deep_they_stand() {
        for code in 0..160 {
            for length in 0..64_u8 {
                let data: Vec<u8> = (0..length).map(|at| at.wrapping_mul(37)).collect();
                let _ = value(code, &data);
            }
        }
        let mut nested = Vec::new();
        while nested.len() < 4000 {
            let length = u16::try_from(nested.len() + 12).unwrap().to_be_bytes();
            nested = [&[0, 3][..], &length, &[0; 12], &nested].concat();
        }
        let shown = value(3, &nested[4..]);
        assert_eq!(shown.matches("IA_NA").count(), usize::from(DEPTH));
    }
}
